// axios (Node)
// needs: apt nodejs/node, npm axios
// version: sed -n 's/.*"version"//p' $NODE_PATH/axios/package.json
require("axios").get(process.env.URL + "/json")
    .then((answer) => console.log(answer.data.says))
    .catch((error) => { console.error(error.message, error.response?.data); process.exit(1); });
