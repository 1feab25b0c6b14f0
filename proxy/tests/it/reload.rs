//! A config that changes while the gate serves: what is in force after it, and what is not used again.

use std::{fs, os::unix::fs::symlink};

use postern_contract::link::GateStatus;

use crate::{
    house::{House, SECRET, Sandbox, config},
    tls,
    upstream::{Answer, Upstream},
};

async fn stage() -> (Upstream, House, Sandbox) {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&config(upstream.address)).await;
    let sandbox = house.busy_sandbox().await;
    (upstream, house, sandbox)
}

fn second(status: &GateStatus) -> bool {
    status.policy_generation == 2
}

/// The config with its first rule denying what it allowed.
fn denying(upstream: &Upstream) -> String {
    let config = config(upstream.address);
    config.replacen("permission = \"allow\"", "permission = \"deny\"", 1)
}

#[tokio::test]
async fn a_changed_config_is_in_force_without_a_restart() {
    let (upstream, house, sandbox) = stage().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    house.rewrite(&denying(&upstream));
    let status = house.until(second).await;
    assert!(status.config_troubles.is_empty(), "{status:?}");
    let answer = sandbox.ask("GET /tools/crm/a", &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["rule"]),
        (403, &"read all".into())
    );
    assert_eq!(upstream.requests().len(), 1);
    let generations = house.audit();
    let generations = generations.iter().map(|line| &line["policy_generation"]);
    assert!(generations.eq([1, 2]));
}

#[tokio::test]
async fn a_broken_config_leaves_the_last_good_one_in_force_and_says_where() {
    let (upstream, house, sandbox) = stage().await;
    let broken = denying(&upstream).replacen("private = true", "privat = true", 1);
    house.rewrite(&broken);
    let status = house.until(|status| status.config_failures == 1).await;
    assert_eq!(status.policy_generation, 1);
    assert!(
        status.config_troubles[0].contains("postern.toml:7:1: "),
        "{status:?}"
    );
    assert!(status.troubles.is_empty(), "calls are not in trouble");
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);

    fs::remove_file(house.directory.path().join("postern.toml")).unwrap();
    let status = house.until(|status| status.config_failures == 2).await;
    assert_eq!(status.policy_generation, 1);
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);

    house.rewrite(&denying(&upstream));
    let status = house.until(second).await;
    assert!(status.config_troubles.is_empty(), "{status:?}");
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 403);
}

#[tokio::test]
async fn a_rotated_secret_is_never_sent_again_nor_is_its_connection_used() {
    let (upstream, house, sandbox) = stage().await;
    for _ in 0..2 {
        sandbox.ask("GET /tools/crm/a", &[]).await;
    }
    assert_eq!(upstream.connections(), 1, "kept for the second call");
    house.replace("key", "sk_second");
    house.until(second).await;
    sandbox.ask("GET /tools/crm/a", &[]).await;
    assert_eq!(upstream.connections(), 2);
    let requests = upstream.requests();
    assert!(requests[1].contains(SECRET), "{requests:?}");
    assert!(requests[2].contains("Bearer sk_second\r\n"), "{requests:?}");
}

#[tokio::test]
async fn a_secret_that_is_gone_is_gone_also_while_the_config_is_broken() {
    let (upstream, house, sandbox) = stage().await;
    house.rewrite("nonsense");
    house.until(|status| status.config_failures == 1).await;
    fs::remove_file(house.directory.path().join("key")).unwrap();
    let status = house.until(second).await;
    let told = status.config_troubles.join("\n");
    assert!(told.contains("postern.toml:1:"), "{told}");
    assert!(told.contains("postern.toml:3:1: "), "{told}");
    assert!(!told.contains(SECRET));
    let answer = sandbox.ask("GET /tools/crm/a", &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &"GATE_UNAVAILABLE".into())
    );
    assert_eq!(sandbox.ask("GET /tools/told/a", &[]).await.status, 200);
    assert_eq!(upstream.requests().len(), 1, "without a credential: never");

    house.replace("key", "sk_second");
    house
        .until(|status| status.policy_generation == 3 && status.config_troubles.len() == 1)
        .await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
}

#[tokio::test]
async fn a_secret_behind_links_is_read_anew_when_one_of_them_turns() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let mounted = config(upstream.address).replace("file = \"key\"", "file = \"data/key\"");
    let house = House::start_with(&mounted, |directory| {
        for name in ["one", "two"] {
            fs::create_dir(directory.join(name)).unwrap();
            fs::copy(directory.join("key"), directory.join(name).join("key")).unwrap();
        }
        symlink("one", directory.join("data")).unwrap();
    })
    .await;
    let directory = house.directory.path();
    house.replace("two/key", "sk_second");
    symlink("two", directory.join("data2")).unwrap();
    fs::rename(directory.join("data2"), directory.join("data")).unwrap();
    house.until(second).await;
    let sandbox = house.busy_sandbox().await;
    sandbox.ask("GET /tools/crm/a", &[]).await;
    assert!(upstream.only().contains("Bearer sk_second\r\n"));
}

#[tokio::test]
async fn sighup_reads_everything_anew_and_listen_addresses_wait_for_the_next_start() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::program(&config(upstream.address), &[]).await;
    house.hang_up();
    house.until(second).await;
    let moved = format!("[listen]\napi = \"127.0.0.1:9\"\n{}", denying(&upstream));
    house.rewrite(&moved);
    house.hang_up();
    house.until(|status| status.policy_generation >= 3).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 403);
}

/// A tool behind TLS that names its authority in a file beside the config.
/// The shared config with its secret from a command that prints a file, asked every second.
fn commanded(upstream: &Upstream, more: &str) -> String {
    let asked = format!("command = [\"cat\", \"key\"]\nttl = \"1s\"\n{more}");
    config(upstream.address).replacen("file = \"key\"", &asked, 1)
}

fn bearer(upstream: &Upstream) -> String {
    let last = upstream.requests().pop().unwrap_or_default();
    let mut lines = last.lines().map(str::to_ascii_lowercase);
    lines
        .find(|line| line.starts_with("authorization:"))
        .unwrap_or_default()
}

#[tokio::test]
async fn a_value_that_a_command_changes_is_never_sent_again() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&commanded(&upstream, "")).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    assert!(bearer(&upstream).contains(&SECRET.to_ascii_lowercase()));
    house.replace("key", "sk_second");
    house.until(second).await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    assert!(bearer(&upstream).ends_with("bearer sk_second"));
    assert_eq!(upstream.connections(), 2, "the kept one is not used again");
}

#[tokio::test]
async fn the_last_value_is_served_while_its_source_is_down() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&commanded(&upstream, "")).await;
    let sandbox = house.busy_sandbox().await;
    fs::remove_file(house.directory.path().join("key")).unwrap();
    let down = |status: &GateStatus| !status.config_troubles.is_empty();
    let status = house.until(down).await;
    let told = &status.config_troubles[0];
    assert!(
        told.contains("secret `crm`") && told.contains("still served"),
        "{told}"
    );
    assert!(status.troubles.is_empty(), "calls are not in trouble");
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
}

#[tokio::test]
async fn a_value_that_no_request_can_carry_is_none_and_the_last_one_is_served() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&commanded(&upstream, "")).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    house.replace("key", "sk_second\nand a line that says what it is");
    let troubled = |status: &GateStatus| !status.config_troubles.is_empty();
    let told = house.until(troubled).await.config_troubles.join(" ");
    assert!(
        told.contains("secret `crm`") && told.contains("still served"),
        "{told}"
    );
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    assert!(bearer(&upstream).contains(&SECRET.to_ascii_lowercase()));
}

#[tokio::test]
async fn a_gate_whose_command_prints_what_no_request_can_carry_starts_all_the_same() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let printing = commanded(&upstream, "").replace(r#""cat", "key""#, r#""printf", "a\\nb""#);
    let house = House::start(&printing).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 503);
    assert_eq!(sandbox.ask("GET /tools/told/a", &[]).await.status, 200);
}

#[tokio::test]
async fn a_value_is_dropped_when_its_source_is_down_for_too_long() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let house = House::start(&commanded(
        &upstream,
        "refresh_ahead = \"900ms\"\nkeep = \"0s\"\n",
    ))
    .await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    fs::remove_file(house.directory.path().join("key")).unwrap();
    let gone = |status: &GateStatus| {
        status.policy_generation >= 2
            && status
                .config_troubles
                .iter()
                .any(|told| told.contains("refused"))
    };
    let status = house.until(gone).await;
    assert!(!status.config_troubles.join("").contains(SECRET));
    let answer = sandbox.ask("GET /tools/crm/a", &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &"GATE_UNAVAILABLE".into())
    );
    assert_eq!(sandbox.ask("GET /tools/told/a", &[]).await.status, 200);
}

#[tokio::test]
async fn a_credential_of_systemds_is_a_secret() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let credentials = tempfile::tempdir().unwrap();
    fs::write(credentials.path().join("crm-key"), "sk_systemd\n").unwrap();
    let config = config(upstream.address).replacen("file = \"key\"", "credential = \"crm-key\"", 1);
    let environment = [("CREDENTIALS_DIRECTORY", credentials.path())];
    let house = House::program(&config, &environment).await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    assert!(bearer(&upstream).ends_with("bearer sk_systemd"));
}

fn vouched(address: std::net::SocketAddr) -> String {
    tls::config(address).replace("private = true", "private = true\nca = \"roots.pem\"")
}

#[tokio::test]
async fn a_tools_authority_that_changes_is_believed_from_then_on() {
    let (stranger, ours) = (tls::ca(), tls::ca());
    let (address, mut seen) = tls::upstream(ours.leaf("localhost")).await;
    let house = House::start_with(&vouched(address), |directory| {
        fs::copy(&stranger.file, directory.join("roots.pem")).unwrap();
    })
    .await;
    let sandbox = house.busy_sandbox().await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 502);
    house.replace("roots.pem", &fs::read_to_string(&ours.file).unwrap());
    house.until(second).await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    assert!(seen.recv().await.unwrap().contains(SECRET));
    house.replace("roots.pem", &fs::read_to_string(&stranger.file).unwrap());
    house.until(|status| status.policy_generation == 3).await;
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 502);
}

#[tokio::test]
async fn a_broken_file_of_authorities_leaves_the_last_good_one_and_holds_up_no_secret() {
    let ca = tls::ca();
    let (address, mut seen) = tls::upstream(ca.leaf("localhost")).await;
    let house = House::start_with(&vouched(address), |directory| {
        fs::copy(&ca.file, directory.join("roots.pem")).unwrap();
    })
    .await;
    let sandbox = house.busy_sandbox().await;
    house.replace("roots.pem", "nonsense");
    let status = house.until(|status| status.config_failures == 1).await;
    assert_eq!(status.policy_generation, 1);
    assert!(
        status.config_troubles[0].contains("roots.pem"),
        "{status:?}"
    );
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    assert!(seen.recv().await.unwrap().contains(SECRET));
    house.replace("key", "sk_second");
    let status = house.until(second).await;
    assert!(!status.config_troubles.is_empty(), "{status:?}");
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
    assert!(seen.recv().await.unwrap().contains("Bearer sk_second\r\n"));
    // The file alone puts everything right.
    house.replace("roots.pem", &fs::read_to_string(&ca.file).unwrap());
    let whole = |status: &GateStatus| status.policy_generation == 3;
    assert!(house.until(whole).await.config_troubles.is_empty());
    assert_eq!(sandbox.ask("GET /tools/crm/a", &[]).await.status, 200);
}
