# boto3 (AWS, Python)
# needs: pip boto3
# credential: none
# version: python3 -c 'import boto3; print(boto3.__version__)'
import os

import boto3
from botocore.config import Config

client = boto3.client(
    "s3", endpoint_url=os.environ["URL"], region_name="eu-central-1", aws_access_key_id="AKIANOBODYNOBODYNOBO",
    aws_secret_access_key="a-key-of-nobody", config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
)
print(client.get_object(Bucket="bucket", Key="one.txt")["Body"].read().decode())
client.put_object(Bucket="bucket", Key="two.txt", Body=b"two")
assert client.get_object(Bucket="bucket", Key="two.txt")["Body"].read() == b"two"
