# curl, HTTP/2
# needs: apt curl
# version: curl --version
curl -sS --fail-with-body --http2 -w '%{http_version}\n' "$URL/hello" | tee said && grep -qx 2 said
