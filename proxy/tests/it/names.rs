//! From names to addresses, against a name server that lies.

use hickory_resolver::proto::op::ResponseCode;

use crate::{
    dns::{Dns, Said, at},
    house::{Answer as Told, House, soon},
    upstream::{Answer, Upstream},
};

/// A config with one tool by this name and port, and this name server.
fn config(dns: &Dns, (name, port): (&str, u16), private: bool) -> String {
    format!(
        "[egress]\nresolvers = [\"{}\"]\n\
         [tools.crm]\nurl = \"http://{name}:{port}/\"\nprivate = {private}\n\
         [tools.public]\nurl = \"http://{name}:{port}/public\"\n\
         [[policies.open.rules]]\nname = \"all\"\npermission = \"allow\"\nresource = \"http://{name}:{port}/*\"\n\
         [[policies.open.rules]]\nname = \"inside\"\npermission = \"allow\"\nresource = \"http://10.0.0.1/*\"\n\
         [agents.desk]\ntools = [\"crm\", \"public\"]\npolicies = [\"open\"]\n",
        dns.address
    )
}

/// What a call to a tool of this name comes to.
async fn called(dns: &Dns, name: (&str, u16), private: bool) -> Told {
    let house = House::start(&config(dns, name, private)).await;
    let sandbox = house.busy_sandbox().await;
    sandbox.ask("GET /tools/crm/", &[]).await
}

#[track_caller]
fn blocked(answer: &Told, what: &str) {
    assert_eq!(answer.status, 403, "{what}: {answer:?}");
    assert_eq!(answer.json()["code"], "DESTINATION_BLOCKED", "{what}");
}

#[tokio::test]
async fn special_addresses_behind_a_name() {
    for (address, private) in [
        ("127.0.0.1", false),
        ("10.0.0.1", false),
        ("100.64.0.1", false),
        ("192.168.1.1", false),
        ("::1", false),
        ("fd12::1", false),
        ("0.0.0.0", true),
        ("169.254.169.254", true),
        ("fd00:ec2::254", true),
        ("fe80::1", true),
        ("224.0.0.1", true),
        ("::ffff:169.254.169.254", true),
        ("64:ff9b::a9fe:a9fe", true),
        ("2002:7f00:1::1", true),
        ("::127.0.0.1", true),
    ] {
        let dns = Dns::start(move |_| at(&[address])).await;
        blocked(&called(&dns, ("crm.example", 80), private).await, address);
    }
}

#[tokio::test]
async fn a_chain_of_aliases_that_ends_inside() {
    // The server tells the whole chain, or lets us ask for the rest of it.
    let whole = Dns::start(|_| Said::Alias("cdn.example.", vec!["10.0.0.7"])).await;
    blocked(&called(&whole, ("crm.example", 80), false).await, "whole");
    let parts = Dns::start(|question| match question.name.as_str() {
        "crm.example" => Said::Alias("cdn.example.", vec![]),
        "cdn.example" => Said::Alias("inside.example.", vec![]),
        _ => at(&["10.0.0.7", "fd12::1"]),
    })
    .await;
    blocked(&called(&parts, ("crm.example", 80), false).await, "parts");
}

#[tokio::test]
async fn one_private_address_among_public_ones_spoils_all() {
    for mixed in [
        vec!["93.184.216.34", "10.0.0.1"],
        vec!["10.0.0.1", "93.184.216.34", "2606:4700:4700::1111"],
        vec!["93.184.216.34", "fd12::1"],
        vec!["2606:4700:4700::1111", "127.0.0.1"],
    ] {
        let said = mixed.clone();
        let dns = Dns::start(move |_| at(&said)).await;
        let answer = called(&dns, ("crm.example", 80), false).await;
        blocked(&answer, &format!("{mixed:?}"));
    }
}

#[tokio::test]
async fn a_name_that_means_another_address_between_check_and_dial() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let dns = Dns::start(|question| match (question.six, question.before) {
        (true, _) => at(&[]),
        (false, 0) => Said::Addresses(vec!["127.0.0.1"], 0),
        (false, _) => Said::Addresses(vec!["169.254.169.254"], 0),
    })
    .await;
    let name = ("crm.example", upstream.address.port());
    let house = House::start(&config(&dns, name, true)).await;
    let sandbox = house.busy_sandbox().await;
    let answer = sandbox.ask("GET /tools/crm/", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    // What was judged is what was dialled: nobody was asked again in between.
    assert_eq!(dns.asked().len(), 2, "{:?}", dns.asked());
    let reached = upstream.address.to_string();
    assert_eq!(house.audit()[0]["address"], reached.as_str());
    // As soon as the gate asks again, the new answer is judged like the first one was.
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    let changed = async {
        loop {
            ticks.tick().await;
            let answer = sandbox.ask("GET /tools/crm/", &[]).await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    blocked(&soon(changed).await, "rebound");
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_a_call_like_any_other() {
    let upstream = Upstream::start(|_| {
        Answer::raw("HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let dns = Dns::start(|_| at(&["127.0.0.1"])).await;
    let name = ("crm.example", upstream.address.port());
    let house = House::start(&config(&dns, name, true)).await;
    let sandbox = house.busy_sandbox().await;
    let answer = sandbox.ask("GET /tools/crm/", &[]).await;
    // The gate follows nothing by itself; an agent that does is judged again, rule or no rule.
    assert_eq!(answer.status, 302, "{answer:?}");
    assert_eq!(upstream.requests().len(), 1);
    let followed = sandbox
        .ask("GET http://10.0.0.1/", &["host: 10.0.0.1"])
        .await;
    blocked(&followed, "redirected");
    let other = sandbox
        .ask("GET http://10.0.0.2/", &["host: 10.0.0.2"])
        .await;
    assert_eq!(other.json()["code"], "UNKNOWN_DESTINATION");
}

#[tokio::test]
async fn what_is_remembered_is_judged_each_time() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let dns = Dns::start(|question| at(if question.six { &[] } else { &["127.0.0.1"] })).await;
    let name = ("crm.example", upstream.address.port());
    let house = House::start(&config(&dns, name, true)).await;
    let sandbox = house.busy_sandbox().await;
    for _ in 0..3 {
        let answer = sandbox.ask("GET /tools/crm/", &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let other = sandbox.ask("GET /tools/public/", &[]).await;
        blocked(&other, "a tool that is not private");
    }
    assert_eq!(dns.asked().len(), 2, "{:?}", dns.asked());
}

#[tokio::test]
async fn names_that_mean_nothing_are_told_apart_from_servers_that_do_not_know() {
    for (code, words) in [
        (ResponseCode::NXDomain, "has no address"),
        (ResponseCode::NoError, "has no address"),
        (ResponseCode::ServFail, "no name server answered"),
        (ResponseCode::Refused, "no name server answered"),
    ] {
        let dns = Dns::start(move |_| Said::Code(code)).await;
        let answer = called(&dns, ("crm.example", 80), true).await;
        assert_eq!(answer.status, 502, "{code}: {answer:?}");
        let told = answer.json();
        assert_eq!(told["code"], "UPSTREAM_UNREACHABLE", "{code}");
        let message = told["message"].as_str().unwrap().to_lowercase();
        assert!(message.contains(words), "{code}: {message}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let dns = Dns::start(|_| Said::Silence).await;
    let answer = called(&dns, ("crm.example", 80), true).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(answer.json()["code"], "UPSTREAM_TIMEOUT");
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_asked_for_again_over_tcp() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let dns = Dns::start(|question| match (question.over_tcp, question.six) {
        (false, _) => Said::Cut,
        (true, true) => at(&[]),
        (true, false) => at(&["127.0.0.1"]),
    })
    .await;
    let answer = called(&dns, ("crm.example", upstream.address.port()), true).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(dns.asked().iter().any(|question| question.over_tcp));
}

#[tokio::test]
async fn a_name_with_one_family_alone_is_reached_and_a_dead_family_costs_one_try() {
    let upstream = Upstream::start_at("[::1]:0", |_| Answer::ok("six")).await;
    let dns = Dns::start(|_| at(&["::1"])).await;
    let answer = called(&dns, ("crm.example", upstream.address.port()), true).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "six"));
    // The other way about: nobody listens on the IPv6 side, which is tried first.
    let upstream = Upstream::start(|_| Answer::ok("four")).await;
    let dns = Dns::start(|_| at(&["::1", "127.0.0.1"])).await;
    let answer = called(&dns, ("crm.example", upstream.address.port()), true).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "four"));
}

#[tokio::test]
async fn names_of_this_machine_are_asked_of_nobody() {
    let upstream = Upstream::start(|_| Answer::ok("hello")).await;
    let dns = Dns::start(|_| at(&["169.254.169.254"])).await;
    for name in ["localhost", "LocalHost.", "crm.localhost"] {
        let answer = called(&dns, (name, upstream.address.port()), true).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let answer = called(&dns, (name, upstream.address.port()), false).await;
        blocked(&answer, name);
    }
    assert!(dns.asked().is_empty(), "{:?}", dns.asked());
}

#[tokio::test]
async fn the_name_server_itself_is_no_destination() {
    let dns = Dns::start(|question| at(if question.six { &[] } else { &["127.0.0.1"] })).await;
    let port = dns.address.port();
    for name in ["crm.example", "127.0.0.1"] {
        blocked(&called(&dns, (name, port), true).await, name);
    }
}
