// undici (Node)
// needs: apt nodejs/node, npm undici
// version: sed -n 's/.*"version"//p' $NODE_PATH/undici/package.json
const { request, EnvHttpProxyAgent, Agent } = require("undici");
(async () => {
    for (const dispatcher of [new Agent(), new EnvHttpProxyAgent()]) {
        const { statusCode, body } = await request(process.env.URL + "/json", { dispatcher });
        if (statusCode !== 200) throw new Error(await body.text());
        console.log((await body.json()).says);
        await dispatcher.close();
    }
})().catch((error) => { console.error(error); process.exit(1); });
