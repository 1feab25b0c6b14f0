"""Services that check AWS signatures as Amazon does, by botocore, and a client of theirs, boto3, with a key that counts nowhere.

    aws.py serve SCRATCH      serves S3, DynamoDB and STS; writes their ports to SCRATCH and runs until it is ended
    aws.py call GATE          calls all three through the gate at GATE, by its tool addresses

Whatever is not signed with the key below is answered 403. Never speaks to Amazon.
"""

import hashlib
import hmac
import http.server
import os
import sys
import threading
import urllib.parse
import urllib.request

KEY_ID, SECRET, TOKEN = "AKIDGATEREAL", "gate/real+secret", "gate-session"
REGION = "eu-central-1"
ANSWERS = {
    "s3": b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>",
    "dynamodb": b'{"TableNames":["orders"]}',
    "sts": b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account>"
    b"</GetCallerIdentityResult></GetCallerIdentityResponse>",
}


def wanted(service, handler, body):
    """The signature that botocore gives this request."""
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    shown = handler.headers["Authorization"]
    names = shown.split("SignedHeaders=")[1].split(",")[0].split(";")
    assert shown.startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/"), shown
    assert {"host", "x-amz-date"} <= set(names), names
    for name in handler.headers:
        assert not name.lower().startswith("x-amz-") or name.lower() in names, name
    headers = {name: handler.headers[name] for name in names}
    url = f"http://{handler.headers['Host']}{handler.path}"
    request = AWSRequest(method=handler.command, url=url, headers=headers, data=body)
    request.context["timestamp"] = handler.headers["X-Amz-Date"]
    request.context["payload_signing_enabled"] = True
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    auth = kind(Credentials(KEY_ID, SECRET), service, REGION)
    auth.payload = lambda _: handler.headers.get("X-Amz-Content-Sha256") or hashlib.sha256(body).hexdigest()
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return auth.signature(text, request), auth


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def check_chunks(handler, body, last):
    """Every chunk holds on to the one before, as Amazon's documents say it."""
    stamp = handler.headers["X-Amz-Date"]
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    key = ("AWS4" + SECRET).encode()
    for word in scope.split("/"):
        key = sign(key, word)
    whole = b""
    while True:
        line, _, body = body.partition(b"\r\n")
        size, _, shown = line.decode().partition(";chunk-signature=")
        data, body = body[: int(size, 16)], body[int(size, 16) :]
        empty, digest = hashlib.sha256().hexdigest(), hashlib.sha256(data).hexdigest()
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{scope}\n{last}\n{empty}\n{digest}"
        last = sign(key, text).hex()
        assert shown == last, f"chunk of {size}: {shown} is not {last}"
        assert body[:2] == b"\r\n", body[:20]
        body, whole = body[2:], whole + data
        if not data:
            assert not body and len(whole) == int(handler.headers["X-Amz-Decoded-Content-Length"])
            return


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        service = self.server.service
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            signature, _ = wanted(service, self, body)
            shown = self.headers["Authorization"].split("Signature=")[1]
            assert shown == signature, f"{self.command} {self.path}: {shown} is not {signature}"
            said = self.headers.get("X-Amz-Content-Sha256", "")
            if said.startswith("STREAMING-AWS4"):
                check_chunks(self, body, signature)
            if service == "sts":
                assert self.headers["X-Amz-Security-Token"] == TOKEN
            status, text = 200, b"" if self.command == "PUT" else ANSWERS[service]
        except Exception as error:
            status, text = 403, f"{type(error).__name__}: {error}".encode()
            print(text.decode(), file=sys.stderr, flush=True)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


def serve(scratch):
    ports = []
    for service in ANSWERS:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
        server.service = service
        ports.append(str(server.server_port))
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(scratch + ".part", "w") as file:
        file.write(" ".join(ports))
    os.rename(scratch + ".part", scratch)
    threading.Event().wait()


def streamed(gate):
    """Signed chunks, as Amazon's SDK for Java sends them: the signatures are made with a key that counts nowhere."""
    zeros = "0" * 64
    pieces = [b"a" * 65536, b"b" * 1024, b""]
    body = b"".join(b"%x;chunk-signature=%s\r\n%s\r\n" % (len(p), zeros.encode(), p) for p in pieces)
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential=AKIDUMMY/20130524/x/s3/aws4_request, SignedHeaders=host, Signature={zeros}",
        "X-Amz-Date": "20130524T000000Z",
        "X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "X-Amz-Decoded-Content-Length": "66560",
        "Content-Encoding": "aws-chunked",
    }
    url = f"{gate}/tools/s3/b/streamed"
    request = urllib.request.Request(url, data=body, headers=headers, method="PUT")
    assert urllib.request.urlopen(request).status == 200


def call(gate):
    import boto3
    from botocore.config import Config

    def client(service, **more):
        return boto3.client(
            service,
            endpoint_url=f"{gate}/tools/{service}",
            region_name="us-west-1",
            aws_access_key_id="AKIDUMMY",
            aws_secret_access_key="dummy",
            aws_session_token="dummy",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **more),
        )

    s3 = client("s3")
    for key in ("plain.txt", "a b/c+d(e)~f'g!*&=@:,$.txt", "ü/日本.txt"):
        s3.put_object(Bucket="b", Key=key, Body=b"hello")
        s3.get_object(Bucket="b", Key=key, Range="bytes=0-9")["Body"].read()
    s3.list_objects_v2(Bucket="b", Prefix="a b+c/ü", Delimiter="/", MaxKeys=2)
    unsigned = client("s3", signature_version="s3v4")
    url = unsigned.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "x y"}, ExpiresIn=60)
    assert urllib.request.urlopen(url).status == 200
    streamed(gate)
    # Whoever signs nothing is signed for.
    assert urllib.request.urlopen(f"{gate}/tools/s3/b/x?acl").status == 200
    assert client("dynamodb").list_tables()["TableNames"] == ["orders"]
    assert client("sts").get_caller_identity()["Account"] == "1"
    print(f"boto3 {boto3.__version__}: S3, DynamoDB, STS, a presigned URL and signed chunks")


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](sys.argv[2])
