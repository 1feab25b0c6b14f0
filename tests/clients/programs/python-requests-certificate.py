# requests (Python), where the server wants a certificate
# needs: pip requests
# credential: certificate
# version: python3 -c 'import requests; print(requests.__version__)'
# note: as curl
import os

import requests

answer = requests.get(os.environ["URL"] + "/json", timeout=20)
answer.raise_for_status()
print(answer.json()["says"])
