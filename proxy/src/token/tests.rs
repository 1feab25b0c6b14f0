//! The broker over a clock that stands still and an endpoint that answers when it is told to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use postern_daemon::Clock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{config::Config, dial::World};

/// A config whose tools want these credentials.
fn written(endpoint: SocketAddr, credentials: &[&str]) -> String {
    let at = format!(
        r#"token_url = {{ url = "http://{endpoint}/", private = true, plaintext = true }}"#
    );
    let tools = credentials.iter().enumerate().map(|(number, credential)| {
        format!(
            "[tools.t{number}]\nurl = \"http://127.0.0.1:9/{number}\"\nprivate = true\n\
             credential = {{ {credential}, {at}, client_id = \"me\" }}\n"
        )
    });
    let tools: String = tools.collect();
    format!("[secrets.app]\nfile = \"key\"\n{tools}")
}

struct Stage {
    endpoint: TcpListener,
    directory: tempfile::TempDir,
    tokens: Arc<Tokens>,
    clock: Clock,
    book: Arc<Book>,
}

const CLIENT: &str = r#"kind = "oauth2", client_secret = "app""#;
const REFRESH: &str = r#"kind = "refresh_token", refresh_token = "app""#;

async fn tokens_in(directory: &Path, clock: &Clock) -> Arc<Tokens> {
    let store = Store::open(&directory.join("gate.db")).await.unwrap();
    let dialer = Arc::new(Dialer::new(World::default(), Clock::system()));
    let counted = metrics::Tokens::default();
    Tokens::open(&dialer, (&store, directory), (counted, clock)).unwrap()
}

async fn stage(credentials: &[&str]) -> Stage {
    let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = written(endpoint.local_addr().unwrap(), credentials);
    std::fs::write(directory.path().join("postern.toml"), config).unwrap();
    let clock = Clock::manual(1_700_000_000_000);
    let tokens = tokens_in(directory.path(), &clock).await;
    let book = book(directory.path(), "one", (1, None));
    Stage {
        endpoint,
        directory,
        tokens,
        clock,
        book,
    }
}

/// The book of a generation in which the secret is this.
fn book(directory: &Path, secret: &str, (generation, before): (u64, Option<&Book>)) -> Arc<Book> {
    use std::os::unix::fs::PermissionsExt as _;
    let key = directory.join("key");
    std::fs::write(&key, secret).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = Config::read(&directory.join("postern.toml")).unwrap();
    let before = before.map(|book| &book.secrets);
    let (book, missing) = config.into_book_without(generation, before);
    assert!(missing.is_none(), "{missing:?}");
    Arc::new(book)
}

impl Stage {
    /// What the first tool's token is, or why there is none.
    fn mint(&self) -> JoinHandle<Result<String, Penniless>> {
        self.mint_for(0, &self.book)
    }

    fn mint_for(&self, tool: usize, book: &Arc<Book>) -> JoinHandle<Result<String, Penniless>> {
        let (tokens, book) = (Arc::clone(&self.tokens), Arc::clone(book));
        tokio::spawn(async move {
            let wanted = book.wanted().nth(tool);
            let purse = tokens.mint(&book, std::iter::once(wanted), None).await?;
            let token = purse.token(0).unwrap().value().expose().to_vec();
            Ok(String::from_utf8(token).unwrap())
        })
    }

    /// The next question, which waits for its answer.
    async fn asked(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.endpoint.accept().await.unwrap();
        let mut text = String::new();
        while !text.contains("grant_type=") {
            let mut piece = vec![0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            assert_ne!(length, 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        (stream, text)
    }

    fn cut_over(&self, book: &Book) {
        self.tokens.cut_over(book);
    }
}

async fn answer(mut stream: TcpStream, token: &str, more: &str) {
    let body =
        format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600{more}}}"#);
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn nobody_waits_while_a_token_is_replaced_ahead_of_its_end() {
    let stage = stage(&[CLIENT]).await;
    let (first, second) = (stage.mint(), stage.mint());
    let (stream, _) = stage.asked().await;
    answer(stream, "t1", "").await;
    assert_eq!(first.await.unwrap().unwrap(), "t1");
    assert_eq!(second.await.unwrap().unwrap(), "t1");
    stage.clock.advance(Duration::from_secs(3500));
    assert_eq!(stage.mint().await.unwrap().unwrap(), "t1");
    let (stream, _) = stage.asked().await;
    // The endpoint has been asked and thinks.
    for _ in 0..100 {
        assert_eq!(stage.mint().await.unwrap().unwrap(), "t1");
    }
    answer(stream, "t2", "").await;
    // When the old one ends, who still waits has the new one.
    stage.clock.advance(Duration::from_secs(97));
    assert_eq!(stage.mint().await.unwrap().unwrap(), "t2");
}

#[tokio::test]
async fn a_tools_401_takes_a_token_from_nobody_and_has_it_asked_for_at_once() {
    let stage = stage(&[CLIENT]).await;
    let waiting = stage.mint();
    let (stream, _) = stage.asked().await;
    answer(stream, "t1", "").await;
    assert_eq!(waiting.await.unwrap().unwrap(), "t1");
    let wanted = || std::iter::once(stage.book.wanted().next());
    let purse = stage
        .tokens
        .mint(&stage.book, wanted(), None)
        .await
        .unwrap();
    let provoked = || {
        let mut refused = http::Response::new(crate::body::empty());
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        let asked_with = (&stage.book, wanted());
        stage
            .tokens
            .heard(asked_with, &purse, &Relayed::Answer(refused));
    };
    provoked();
    // Its endpoint breaks off, and everybody else goes on.
    let (stream, _) = stage.asked().await;
    assert_eq!(stage.mint().await.unwrap().unwrap(), "t1");
    drop(stream);
    let failed = || stage.tokens.counted.failed.get() > 0;
    while !failed() {
        tokio::task::yield_now().await;
    }
    assert_eq!(stage.mint().await.unwrap().unwrap(), "t1");
    stage.clock.advance(Duration::from_secs(10));
    provoked();
    let (stream, _) = stage.asked().await;
    answer(stream, "t2", "").await;
    while stage.mint().await.unwrap().unwrap() != "t2" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_under_way_for_a_value_that_is_withdrawn_comes_to_nothing() {
    let stage = stage(&[CLIENT]).await;
    let waiting = stage.mint();
    let (stream, _) = stage.asked().await;
    let next = book(stage.directory.path(), "two", (2, Some(&stage.book)));
    stage.cut_over(&next);
    answer(stream, "t1", "").await;
    assert!(matches!(
        waiting.await.unwrap(),
        Err(Penniless {
            why: NoToken::Withdrawn,
            ..
        })
    ));
    // The old book asks no more, the new one with its own value.
    let late = stage.mint().await.unwrap();
    assert!(matches!(
        late,
        Err(Penniless {
            why: NoToken::Withdrawn,
            ..
        })
    ));
    let fresh = stage.mint_for(0, &next);
    let (stream, asked) = stage.asked().await;
    // `me:two`.
    assert!(asked.contains("Basic bWU6dHdv\r\n"), "{asked}");
    answer(stream, "t2", "").await;
    assert_eq!(fresh.await.unwrap().unwrap(), "t2");
    // A book in which nothing has changed goes on with what is there.
    let same = book(stage.directory.path(), "two", (3, Some(&next)));
    stage.cut_over(&same);
    assert_eq!(stage.mint_for(0, &same).await.unwrap().unwrap(), "t2");
    assert_eq!(stage.mint_for(0, &next).await.unwrap().unwrap(), "t2");
}

#[tokio::test]
async fn what_a_refresh_token_has_become_is_kept_before_its_token_is_used() {
    let stage = stage(&[REFRESH]).await;
    let waiting = stage.mint();
    let (stream, asked) = stage.asked().await;
    assert!(asked.contains("refresh_token=one&"), "{asked}");
    answer(stream, "t1", r#","refresh_token":"r2""#).await;
    assert_eq!(waiting.await.unwrap().unwrap(), "t1");
    // Another gate over the same directory, as after a crash at this moment.
    let next = Stage {
        tokens: tokens_in(stage.directory.path(), &stage.clock).await,
        ..stage
    };
    let waiting = next.mint();
    let (stream, asked) = next.asked().await;
    assert!(asked.contains("refresh_token=r2&"), "{asked}");
    // A server that does not rotate gives none, and the one before goes on.
    answer(stream, "t2", "").await;
    assert_eq!(waiting.await.unwrap().unwrap(), "t2");
    next.clock.advance(Duration::from_secs(3600));
    let waiting = next.mint();
    let (stream, asked) = next.asked().await;
    assert!(asked.contains("refresh_token=r2&"), "{asked}");
    answer(stream, "t3", "").await;
    assert_eq!(waiting.await.unwrap().unwrap(), "t3");
}

#[tokio::test]
async fn two_grants_over_one_refresh_token_take_turns() {
    let wider = format!(r#"{REFRESH}, scopes = ["a"]"#);
    let stage = stage(&[REFRESH, &wider]).await;
    let (one, other) = (
        stage.mint_for(0, &stage.book),
        stage.mint_for(1, &stage.book),
    );
    let (stream, asked) = stage.asked().await;
    assert!(asked.contains("refresh_token=one&"), "{asked}");
    answer(stream, "t1", r#","refresh_token":"r2""#).await;
    let (stream, asked) = stage.asked().await;
    assert!(asked.contains("refresh_token=r2&"), "{asked}");
    answer(stream, "t2", r#","refresh_token":"r3""#).await;
    let mut both = [one.await.unwrap().unwrap(), other.await.unwrap().unwrap()];
    both.sort();
    assert_eq!(both, ["t1", "t2"]);
}

#[tokio::test]
async fn tools_that_are_written_alike_share_a_token() {
    let stage = stage(&[CLIENT, CLIENT]).await;
    let waiting = stage.mint_for(0, &stage.book);
    let (stream, _) = stage.asked().await;
    answer(stream, "t1", "").await;
    assert_eq!(waiting.await.unwrap().unwrap(), "t1");
    assert_eq!(stage.mint_for(1, &stage.book).await.unwrap().unwrap(), "t1");
}
