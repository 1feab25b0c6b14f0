# curl, where the server wants a certificate
# needs: apt curl
# credential: certificate
# version: curl --version
# note: the gate shows its own, with a key that the program has not
curl -sS --fail-with-body "$URL/hello"
