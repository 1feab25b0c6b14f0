# urllib.request (Python)
# version: python3 --version
import json
import os
import urllib.request

with urllib.request.urlopen(os.environ["URL"] + "/json", timeout=20) as answer:
    print(json.load(answer)["says"])
