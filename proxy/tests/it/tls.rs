//! TLS towards upstreams: a credential goes only to a host that proved who it is.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use crate::house::{House, SECRET};

/// An authority that signs for the test, and the file with its certificate.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
    _directory: tempfile::TempDir,
}

pub(crate) fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let text = STANDARD.encode(certificate.der());
    fs::write(
        &file,
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"),
    )
    .unwrap();
    Ca {
        issuer: Issuer::new(params, key),
        file,
        _directory: directory,
    }
}

impl Ca {
    pub(crate) fn leaf(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // One that is named like its issuer is taken for self-signed by OpenSSL.
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

fn self_signed(name: &str) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap(), key)
}

/// An HTTPS server with this certificate; what it is sent comes out of the channel.
pub(crate) async fn upstream(
    (certificate, key): (Certificate, KeyPair),
) -> (SocketAddr, mpsc::Receiver<String>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = vec![0; 8192];
            let length = stream.read(&mut head).await.unwrap_or(0);
            sender
                .send(String::from_utf8_lossy(&head[..length]).into_owned())
                .await
                .unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, receiver)
}

pub(crate) fn config(address: SocketAddr) -> String {
    let url = format!("https://localhost:{}", address.port());
    format!(
        "[secrets.crm]\nfile = \"key\"\n\
         [tools.crm]\nurl = \"{url}/\"\nprivate = true\n\
         credential = {{ kind = \"bearer\", secret = \"crm\" }}\n\
         [[policies.open.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"{url}/*\"\n\
         [agents.desk]\ntools = [\"crm\"]\npolicies = [\"open\"]\n"
    )
}

#[tokio::test]
async fn a_host_that_proves_its_name_gets_the_credential() {
    let ca = ca();
    let (address, mut seen) = upstream(ca.leaf("localhost")).await;
    let house = House::program(&config(address), &[("SSL_CERT_FILE", &ca.file)]).await;
    let sandbox = house.busy_sandbox().await;
    // Over plain HTTP from the agent, whether by the tool's name or by its URL: TLS is the gate's to speak.
    let by_url = format!("GET https://localhost:{}/a", address.port());
    for line in ["GET /tools/crm/a", &by_url] {
        let answer = sandbox.ask(line, &[]).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "hello"),
            "{line}"
        );
        let request = seen.recv().await.unwrap();
        assert!(request.starts_with("GET /a HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains(&format!("authorization: Bearer {SECRET}\r\n")),
            "{request}"
        );
    }
    assert!(house.audit()[0]["timings"]["tls_us"].is_u64());
}

#[tokio::test]
async fn a_host_that_proves_nothing_gets_nothing() {
    let ca = ca();
    for (certificate, what) in [
        (ca.leaf("other.example"), "another's name"),
        (self_signed("localhost"), "its own word"),
        (self::ca().leaf("localhost"), "a stranger's word"),
    ] {
        let (address, mut seen) = upstream(certificate).await;
        let house = House::program(&config(address), &[("SSL_CERT_FILE", &ca.file)]).await;
        let answer = house
            .busy_sandbox()
            .await
            .ask("GET /tools/crm/a", &[])
            .await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (502, &"UPSTREAM_UNREACHABLE".into()),
            "{what}"
        );
        assert!(seen.try_recv().is_err(), "{what}");
        assert!(!answer.body.contains(SECRET));
    }
}
