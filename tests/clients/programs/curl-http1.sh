# curl, HTTP/1.1
# needs: apt curl
# version: curl --version
curl -sS --fail-with-body --http1.1 "$URL/hello"
