// @grpc/grpc-js (Node)
// needs: apt nodejs/node, npm @grpc/grpc-js
// at: grpc
// version: sed -n 's/.*"version"//p' $NODE_PATH/@grpc/grpc-js/package.json
const { Client, credentials } = require("@grpc/grpc-js");
const same = (bytes) => bytes;
const client = new Client(`${process.env.HOST}:${process.env.PORT}`, credentials.createSsl());
const until = { deadline: Date.now() + 20000 };
client.makeUnaryRequest("/clients.Words/Say", same, same, Buffer.from("hi"), until, (error, said) => {
    if (error) { console.error(error.message); process.exit(1); }
    console.log(said.toString());
    const spelled = [];
    client.makeServerStreamRequest("/clients.Words/Spell", same, same, Buffer.from("hi"), until)
        .on("data", (word) => spelled.push(word.toString()))
        .on("error", (error) => { console.error(error.message); process.exit(1); })
        .on("end", () => { console.log(spelled.join(" ")); client.close(); });
});
