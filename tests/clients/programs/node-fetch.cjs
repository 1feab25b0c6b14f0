// fetch (Node)
// needs: apt nodejs/node
// version: node --version
fetch(process.env.URL + "/json").then(async (answer) => {
    if (!answer.ok) throw new Error(await answer.text());
    console.log((await answer.json()).says);
}).catch((error) => { console.error(error); process.exit(1); });
