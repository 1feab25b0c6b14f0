# yarn, newer than 1
# needs: apt nodejs/node, npm @yarnpkg/cli-dist
# version: node $NODE_PATH/@yarnpkg/cli-dist/bin/yarn.js --version
# note: has a proxy only where its own settings name one
yarn() { node "$NODE_PATH/@yarnpkg/cli-dist/bin/yarn.js" "$@"; }
export YARN_NPM_REGISTRY_SERVER="$URL" YARN_ENABLE_TELEMETRY=0 YARN_HTTP_RETRY=0
echo '{"name": "mine"}' > package.json && touch yarn.lock
yarn add tiny-thing && yarn node -e 'require("tiny-thing")'
