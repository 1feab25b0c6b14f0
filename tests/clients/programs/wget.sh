# wget
# needs: apt wget
# version: wget --version
wget -q -O - --tries=1 "$URL/hello"
