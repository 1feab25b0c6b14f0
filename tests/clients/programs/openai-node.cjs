// OpenAI's SDK (Node)
// needs: apt nodejs/node, npm openai
// keys: OPENAI_API_KEY sk-proj- 60
// note: with the credential, the key in its environment is a dummy
// version: sed -n 's/.*"version"//p' $NODE_PATH/openai/package.json
const OpenAI = require("openai");
(async () => {
    const client = new OpenAI({ baseURL: process.env.URL + "/v1", maxRetries: 0 });
    const ask = { model: "m", messages: [{ role: "user", content: "hi" }] };
    console.log((await client.chat.completions.create(ask)).choices[0].message.content);
    let said = "";
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) said += chunk.choices[0].delta.content;
    console.log(said);
})().catch((error) => { console.error(error.message); process.exit(1); });
