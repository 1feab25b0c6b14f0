//! The least that a proxy can do: bytes one way, bytes the other way. What a download through the gate is compared with.

use std::net::SocketAddr;

use serde_json::json;
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
};

use crate::{options::Options, say};

/// Pipes whatever comes to `--listen` to `--to`, with buffers of `--buffer BYTES`.
pub(crate) async fn serve(options: &Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.must::<SocketAddr>("listen")?).await?;
    let to: SocketAddr = options.must("to")?;
    let buffer: usize = options.must("buffer")?;
    say(&json!({ "listening": listener.local_addr()?.to_string() }))?;
    loop {
        let (mut near, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut far = TcpStream::connect(to).await?;
            copy_bidirectional_with_sizes(&mut near, &mut far, buffer, buffer).await
        });
    }
}
