//! Connections that are opened and say nothing, more than a sandbox may have.

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::{
    house::{House, config, soon},
    upstream::{Answer, Upstream},
};

/// More than one sandbox's share of connections, and fewer than wait in the kernel beside it.
const IDLE: usize = 560;

#[tokio::test]
async fn connections_that_idle_use_up_their_own_sandboxs_share_and_do_not_stay() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let text = format!("[patience]\nhead = \"2s\"\n{}", config(upstream.address));
    // A program, so that both sides' descriptors do not count together.
    let house = House::program(&text, &[]).await;
    let (one, other) = (house.busy_sandbox().await, house.busy_sandbox().await);
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(one.address).await.unwrap());
    }
    assert_eq!(other.ask("GET /tools/crm/", &[]).await.status, 200);
    // Its own turn comes when those before it were given up.
    assert_eq!(one.ask("GET /tools/crm/", &[]).await.status, 200);
    for mut stream in idle {
        let mut said = Vec::new();
        drop(soon(stream.read_to_end(&mut said)).await);
        assert!(!said.starts_with(b"HTTP/1.1 2"));
    }
}
