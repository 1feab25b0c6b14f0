# curl --noproxy
# needs: apt curl
# version: curl --version
curl -sS --fail-with-body --noproxy '*' "$URL/hello"
