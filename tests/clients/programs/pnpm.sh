# pnpm
# needs: apt nodejs/node, npm pnpm
# version: $NODE_PATH/.bin/pnpm --version
echo '{}' > package.json
"$NODE_PATH/.bin/pnpm" add --config.fetch-retries=0 --registry "$URL/" tiny-thing && node -e 'require("tiny-thing")'
