# yarn 1
# needs: apt nodejs/node, npm yarn@1
# version: node $NODE_PATH/yarn/bin/yarn.js --version
echo '{}' > package.json
node "$NODE_PATH/yarn/bin/yarn.js" add --non-interactive --registry "$URL/" tiny-thing && node -e 'require("tiny-thing")'
