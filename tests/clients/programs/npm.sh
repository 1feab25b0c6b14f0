# npm
# needs: apt nodejs/node, npm npm
# version: $NODE_PATH/.bin/npm --version
echo '{}' > package.json
"$NODE_PATH/.bin/npm" install --no-audit --no-fund --no-update-notifier --fetch-retries 0 --registry "$URL/" tiny-thing && node -e 'require("tiny-thing")'
