# httpx (Python), HTTP/1.1 and HTTP/2
# needs: pip httpx[http2]
# version: python3 -c 'import httpx; print(httpx.__version__)'
import os

import httpx

for newer in (False, True):
    with httpx.Client(http2=newer) as client:
        answer = client.get(os.environ["URL"] + "/json")
        answer.raise_for_status()
        assert answer.http_version == ("HTTP/2" if newer else "HTTP/1.1"), answer.http_version
        print(answer.json()["says"])
