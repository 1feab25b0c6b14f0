// https (Node)
// needs: apt nodejs/node
// version: node --version
require("node:https").get(process.env.URL + "/hello", (answer) => {
    answer.pipe(process.stdout);
    answer.on("end", () => { process.exitCode = answer.statusCode === 200 ? 0 : 1; });
}).on("error", (error) => { console.error(error); process.exit(1); });
