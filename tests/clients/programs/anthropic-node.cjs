// Anthropic's SDK (Node)
// needs: apt nodejs/node, npm @anthropic-ai/sdk
// credential: header
// keys: ANTHROPIC_API_KEY sk-ant-api03- 80
// note: with the credential, the key in its environment is a dummy
// version: sed -n 's/.*"version"//p' $NODE_PATH/@anthropic-ai/sdk/package.json
const Anthropic = require("@anthropic-ai/sdk");
(async () => {
    const client = new Anthropic({ baseURL: process.env.URL, maxRetries: 0 });
    const ask = { model: "m", max_tokens: 9, messages: [{ role: "user", content: "hi" }] };
    console.log((await client.messages.create(ask)).content[0].text);
    console.log(await client.messages.stream(ask).finalText());
})().catch((error) => { console.error(error.message); process.exit(1); });
