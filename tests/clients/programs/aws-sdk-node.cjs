// AWS SDK v3 (Node)
// needs: apt nodejs/node, npm @aws-sdk/client-s3
// credential: none
// version: sed -n 's/.*"version"//p' $NODE_PATH/@aws-sdk/client-s3/package.json
const { S3Client, GetObjectCommand, PutObjectCommand } = require("@aws-sdk/client-s3");
(async () => {
    const client = new S3Client({
        endpoint: process.env.URL, region: "eu-central-1", forcePathStyle: true, maxAttempts: 1,
        credentials: { accessKeyId: "AKIANOBODYNOBODYNOBO", secretAccessKey: "a-key-of-nobody" },
    });
    const got = await client.send(new GetObjectCommand({ Bucket: "bucket", Key: "one.txt" }));
    console.log(await got.Body.transformToString());
    await client.send(new PutObjectCommand({ Bucket: "bucket", Key: "three.txt", Body: "three" }));
})().catch((error) => { console.error(error.name, error.message); process.exit(1); });
