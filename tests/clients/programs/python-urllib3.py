# urllib3 (Python)
# needs: pip urllib3
# version: python3 -c 'import urllib3; print(urllib3.__version__)'
import os

import urllib3

pools = [urllib3.PoolManager(retries=False)]
if proxy := os.environ.get("HTTPS_PROXY"):
    pools.append(urllib3.ProxyManager(proxy, retries=False))
for pool in pools:
    answer = pool.request("GET", os.environ["URL"] + "/json")
    assert answer.status == 200, answer.data
    print(answer.json()["says"])
