// AWS SDK v3 (Node)
// needs: apt nodejs/node, npm @aws-sdk/client-s3
// credential: sigv4
// keys: AWS_ACCESS_KEY_ID AKIA 24, AWS_SECRET_ACCESS_KEY aws/ 40
// note: as boto3
// version: sed -n 's/.*"version"//p' $NODE_PATH/@aws-sdk/client-s3/package.json
const { S3Client, GetObjectCommand, PutObjectCommand } = require("@aws-sdk/client-s3");
(async () => {
    const client = new S3Client({
        endpoint: process.env.URL, region: "eu-central-1", forcePathStyle: true, maxAttempts: 1,
    });
    const got = await client.send(new GetObjectCommand({ Bucket: "bucket", Key: "one.txt" }));
    console.log(await got.Body.transformToString());
    await client.send(new PutObjectCommand({ Bucket: "bucket", Key: "three.txt", Body: "three" }));
})().catch((error) => { console.error(error.name, error.message); process.exit(1); });
