//! HTTP/2 towards upstreams and gRPC from end to end, by real HTTP/2 clients and servers.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    house::{House, SECRET, Sandbox, soon},
    intercept, tls,
    two::{Two, message, trailers},
    upstream::{Answer, Upstream},
};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

fn config(two: &Two, scheme: &str) -> String {
    let port = two.address.port();
    let tool = |name: &str, host: &str| {
        format!(
            "[tools.{name}]\nurl = \"{scheme}://{host}:{port}/api\"\nprivate = true\nprotocol = \"grpc\"\n\
             credential = {{ kind = \"bearer\", secret = \"crm\" }}\n\
             [[policies.open.rules]]\nname = \"{name}\"\npermission = \"allow\"\n\
             resource = \"{scheme}://{host}:{port}/*\"\n"
        )
    };
    format!(
        "[secrets.crm]\nfile = \"key\"\n{}{}[agents.desk]\ntools = [\"rpc\", \"other\"]\npolicies = [\"open\"]\n",
        tool("rpc", "localhost"),
        tool("other", "127.0.0.1"),
    )
}

async fn stage() -> (Two, House, Sandbox) {
    let two = Two::start(None).await;
    let house = House::start(&config(&two, "http")).await;
    let sandbox = house.busy_sandbox().await;
    (two, house, sandbox)
}

async fn client<S>(stream: S) -> SendRequest<Body>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

async fn dialled(sandbox: &Sandbox) -> SendRequest<Body> {
    client(TcpStream::connect(sandbox.address).await.unwrap()).await
}

/// A request as a gRPC client sends it, with trailers that it should not have.
fn call(url: String) -> Request<Body> {
    let frames = [
        Ok(Frame::data(message("ask"))),
        Ok(Frame::trailers(trailers(&[
            ("x-sum", "1"),
            ("authorization", "mine"),
            ("x-end-user-id", "root"),
        ]))),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    Request::post(url)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", "Bearer mine")
        .body(body)
        .unwrap()
}

async fn asked(sender: &mut SendRequest<Body>, url: String) -> Response<Incoming> {
    soon(sender.send_request(call(url))).await.unwrap()
}

fn at(sandbox: &Sandbox, tool: &str, method: &str) -> String {
    format!("http://{}/tools/{tool}/pkg.Desk/{method}", sandbox.address)
}

#[tokio::test]
async fn a_unary_call_passes_with_its_trailers_and_the_tools_credential() {
    let (two, house, sandbox) = stage().await;
    let mut sender = dialled(&sandbox).await;
    let response = asked(&mut sender, at(&sandbox, "rpc", "Ask")).await;
    assert_eq!(response.status(), 200);
    let whole = soon(response.into_body().collect()).await.unwrap();
    let last = whole.trailers().cloned().unwrap();
    assert_eq!(last, trailers(&[("grpc-status", "0")]));
    let expected = [message("ask"), message("more")].concat();
    assert_eq!(whole.to_bytes(), expected);
    let seen = two.seen();
    let fields = seen[0].head.headers();
    assert_eq!(seen[0].head.uri().path(), "/api/pkg.Desk/Ask");
    assert_eq!(fields["authorization"], format!("Bearer {SECRET}"));
    assert_eq!(fields["te"], "trailers");
    assert!(!fields.contains_key("host") && !fields.contains_key("connection"));
    assert_eq!(seen[0].trailers, trailers(&[("x-sum", "1")]));
    assert_eq!(seen[0].body, message("ask"));
    let line = &house.audit()[0];
    assert_eq!(
        (&line["status"], &line["bytes_up"]),
        (&200.into(), &8.into())
    );
}

#[tokio::test]
async fn a_stream_of_messages_arrives_one_by_one() {
    let (two, _house, sandbox) = stage().await;
    let mut sender = dialled(&sandbox).await;
    let mut body = asked(&mut sender, at(&sandbox, "rpc", "Slow"))
        .await
        .into_body();
    let first = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), message("ask"));
    // The server says the rest only now.
    two.go.notify_one();
    let rest = soon(body.collect()).await.unwrap();
    assert_eq!(rest.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(rest.to_bytes(), message("more"));
}

#[tokio::test]
async fn an_answer_of_trailers_alone_is_one() {
    let (_two, _house, sandbox) = stage().await;
    let mut sender = dialled(&sandbox).await;
    let response = asked(&mut sender, at(&sandbox, "rpc", "Nothing")).await;
    assert_eq!(response.headers()["grpc-status"], "5");
    let whole = soon(response.into_body().collect()).await.unwrap();
    assert!(whole.trailers().is_none() && whole.to_bytes().is_empty());
}

#[tokio::test]
async fn calls_of_one_sandbox_share_a_connection_and_never_with_another_or_for_another_authority() {
    let (two, house, sandbox) = stage().await;
    let mut sender = dialled(&sandbox).await;
    let first = asked(&mut sender, at(&sandbox, "rpc", "Ask")).await;
    soon(first.into_body().collect()).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(asked(&mut sender, at(&sandbox, "rpc", "Slow")).await);
    }
    assert_eq!((two.connections(), two.seen().len()), (1, 21));
    // The same address under another name, and the same tool from another sandbox.
    asked(&mut sender, at(&sandbox, "other", "Ask")).await;
    assert_eq!(two.connections(), 2);
    let other = house.busy_sandbox().await;
    asked(&mut dialled(&other).await, at(&other, "rpc", "Ask")).await;
    assert_eq!(two.connections(), 3);
}

#[tokio::test]
async fn an_upstream_that_says_goodbye_is_dialled_afresh_and_asked_once() {
    let (two, _house, sandbox) = stage().await;
    let mut sender = dialled(&sandbox).await;
    for round in 1..=5 {
        let response = asked(&mut sender, at(&sandbox, "rpc", "Ask")).await;
        assert_eq!(response.status(), 200);
        soon(response.into_body().collect()).await.unwrap();
        assert_eq!((two.seen().len(), two.connections()), (round, round));
        two.bye.notify_waiters();
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
        let ended = async {
            while two.ended() < round {
                ticks.tick().await;
            }
        };
        soon(ended).await;
    }
}

#[tokio::test]
async fn grpc_inside_a_connect_is_http2_on_both_sides() {
    let ca = tls::ca();
    let two = Two::start(Some(ca.leaf("localhost"))).await;
    let house = House::program(&config(&two, "https"), &[("SSL_CERT_FILE", &ca.file)]).await;
    let sandbox = house.busy_sandbox().await;
    let authority = format!("localhost:{}", two.address.port());
    let stream = intercept::connect(&sandbox, &authority).await;
    let mut trusting = intercept::client(&house);
    trusting.alpn_protocols = vec![b"h2".to_vec()];
    let secured = intercept::secure(trusting, "localhost", stream)
        .await
        .unwrap();
    assert_eq!(secured.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = client(secured).await;
    let url = format!("https://{authority}/api/pkg.Desk/Ask");
    let response = asked(&mut sender, url).await;
    let whole = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
    let fields = two.seen()[0].head.headers().clone();
    assert_eq!(fields["authorization"], format!("Bearer {SECRET}"));
}

#[tokio::test]
async fn an_ordinary_tool_is_called_in_the_version_that_tls_agreed_on() {
    let ca = tls::ca();
    let two = Two::start(Some(ca.leaf("localhost"))).await;
    let house = House::program(&tls::config(two.address), &[("SSL_CERT_FILE", &ca.file)]).await;
    let sandbox = house.busy_sandbox().await;
    for count in 1..=3 {
        let answer = sandbox.post("/tools/crm/a?b=c", "{}").await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("{}"), "{answer:?}");
        assert_eq!((two.seen().len(), two.connections()), (count, 1));
    }
    let seen = two.seen()[0].head.clone();
    assert_eq!(seen.version(), http::Version::HTTP_2);
    let authority = format!("localhost:{}", two.address.port());
    assert_eq!(seen.uri().to_string(), format!("https://{authority}/a?b=c"));
    assert_eq!(seen.headers()["authorization"], format!("Bearer {SECRET}"));
}

#[tokio::test]
async fn a_server_that_does_not_speak_http2_is_no_grpc_tool() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let text = format!(
        "[tools.rpc]\nurl = \"http://{0}/\"\nprivate = true\nprotocol = \"grpc\"\n[agents.desk]\ntools = [\"rpc\"]\n\
         policies = [\"p\"]\n[[policies.p.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"http://{0}/*\"\n",
        upstream.address
    );
    let house = House::start(&text).await;
    let answer = house
        .busy_sandbox()
        .await
        .ask("GET /tools/rpc/x", &[])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (502, &"UPSTREAM_UNREACHABLE".into())
    );
}

#[tokio::test]
async fn connect_in_http2_is_refused_in_words_and_its_extension_is_not_offered() {
    let (two, _house, sandbox) = stage().await;
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = soon(sender.ready()).await.unwrap();
    assert!(!sender.is_extended_connect_protocol_enabled());
    let connect = Request::connect(two.address.to_string()).body(()).unwrap();
    let (answer, _) = sender.send_request(connect, true).unwrap();
    let answer = soon(answer).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["x-postern-decision"], "BAD_REQUEST");
    assert_eq!(two.connections(), 0);
}
