//! Secrets that AWS keeps, from its answer to the tool: rotated, served while it is down, and never in a log. How a question is signed
//! is tested beside the source.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use postern_contract::link::GateStatus;

use crate::{
    house::House,
    upstream::{Answer, Upstream},
};

const FIRST: &str = "sk_aws_first_52d3";
const SECOND: &str = "sk_aws_second_8e6f";
const SECRET_KEY: &str = "aws-secret-key-1c9d7e0b";

/// A config with one tool, whose credential is kept by AWS.
fn config(aws: SocketAddr, tool: SocketAddr) -> String {
    format!(
        r#"
[secrets.stripe]
aws = {{ region = "eu-central-1", secret = "apps/stripe", access_key = "AKIDEXAMPLE", secret_key_file = "key", endpoint = "http://{aws}", plaintext = true }}
ttl = "1s"

[tools.stripe]
url = "http://{tool}/v1"
private = true
credential = {{ kind = "bearer", secret = "stripe" }}

[[policies.support.rules]]
name = "all"
permission = "allow"
resource = "http://{tool}/*"

[agents.desk]
tools = ["stripe"]
policies = ["support"]
"#,
    )
}

#[tokio::test]
async fn a_value_that_is_rotated_at_aws_is_sent_next_and_the_last_one_while_it_refuses() {
    let says = Arc::new(Mutex::new(
        Answer::ok(&format!(r#"{{"SecretString":"{FIRST}"}}"#)).now,
    ));
    let said = Arc::clone(&says);
    let aws = Upstream::start(move |_| Answer {
        now: said.lock().unwrap().clone(),
        then: None,
    });
    let aws = aws.await;
    let tool = Upstream::start(|_| Answer::ok("hello")).await;
    let config = config(aws.address, tool.address);
    let house = House::start_with(&config, |directory| {
        use std::os::unix::fs::PermissionsExt as _;
        let key = directory.join("key");
        std::fs::write(&key, SECRET_KEY).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    });
    let house = house.await;
    for secret in [FIRST, SECOND, SECRET_KEY] {
        house.directory.had_secret(secret);
    }
    let sandbox = house.busy_sandbox().await;
    let sent = |secret: &str| {
        let last = tool.requests().pop().unwrap_or_default();
        last.contains(&format!("authorization: Bearer {secret}\r\n"))
    };
    assert_eq!(sandbox.ask("GET /tools/stripe/a", &[]).await.status, 200);
    assert!(sent(FIRST), "{:?}", tool.requests());
    assert!(
        !aws.requests()
            .iter()
            .any(|asked| asked.contains(SECRET_KEY))
    );
    *says.lock().unwrap() = Answer::ok(&format!(r#"{{"SecretString":"{SECOND}"}}"#)).now;
    house.until(|status| status.policy_generation == 2).await;
    assert_eq!(sandbox.ask("GET /tools/stripe/a", &[]).await.status, 200);
    assert!(sent(SECOND), "{:?}", tool.requests());
    let refusal = r#"{"__type":"AccessDeniedException"}"#;
    let refusal = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{refusal}",
        refusal.len()
    );
    *says.lock().unwrap() = refusal.into_bytes();
    let refused = |status: &GateStatus| !status.config_troubles.is_empty();
    let told = house.until(refused).await.config_troubles.join("\n");
    assert!(
        told.contains("may not read it") && told.contains("still served"),
        "{told}"
    );
    assert_eq!(sandbox.ask("GET /tools/stripe/a", &[]).await.status, 200);
    assert!(sent(SECOND));
}
