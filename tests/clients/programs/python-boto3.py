# boto3 (AWS, Python)
# needs: pip boto3
# credential: sigv4
# keys: AWS_ACCESS_KEY_ID AKIA 24, AWS_SECRET_ACCESS_KEY aws/ 40
# note: signed anew by the gate; the keys in its environment are dummies then
# version: python3 -c 'import boto3; print(boto3.__version__)'
import os

import boto3
from botocore.config import Config

client = boto3.client(
    "s3", endpoint_url=os.environ["URL"], region_name="eu-central-1",
    config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
)
print(client.get_object(Bucket="bucket", Key="one.txt")["Body"].read().decode())
client.put_object(Bucket="bucket", Key="two.txt", Body=b"two")
assert client.get_object(Bucket="bucket", Key="two.txt")["Body"].read() == b"two"
