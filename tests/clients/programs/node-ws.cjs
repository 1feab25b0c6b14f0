// ws (Node)
// needs: apt nodejs/node, npm ws
// version: sed -n 's/.*"version"//p' $NODE_PATH/ws/package.json
const WebSocket = require("ws");
const socket = new WebSocket(process.env.URL.replace("https", "wss") + "/socket");
const heard = [];
socket.on("error", (error) => { console.error(error.message); process.exit(1); });
socket.on("message", (data) => {
    heard.push(data.toString());
    console.log(data.toString());
    if (heard.length === 1) socket.send("hi");
    else socket.close();
});
socket.on("close", () => process.exit(heard[1] === "hi" ? 0 : 1));
