# requests (Python)
# needs: pip requests
# version: python3 -c 'import requests; print(requests.__version__)'
import os

import requests

answer = requests.get(os.environ["URL"] + "/json", timeout=20)
answer.raise_for_status()
print(answer.json()["says"])
