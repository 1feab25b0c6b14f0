//! Programs that know of no proxy: their connections by name and by address come to the gate all the same, their questions
//! for names are answered by it, and all the rest is refused at once.

use std::{fs, path::Path};

use postern_testkit::{Devbox, Setup, Upstream};
use serde_json::{Value, json};

use crate::fixture::{self, KEY, NameServer, SecureTool, order};

/// What tells programs of the proxy.
const PROXIES: [&str; 7] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// A rule about whatever is beneath a zone, and one about a host that is no tool.
const MORE_RULES: &str = r#"
[[policies.hands.rules]]
name = "a zone"
permission = "allow"
resource = "https://*.zone.example/*"

[[policies.hands.rules]]
name = "a host"
permission = "allow"
resource = "http://open.example/*"
operations = ["GET"]
"#;

/// The tool, its name's server, and a devbox whose agent may call `http://shop.example:PORT/base`.
struct Scene {
    tool: Upstream,
    names: NameServer,
    devbox: Devbox,
}

impl Scene {
    fn start(ordinary: bool) -> Self {
        let (tool, names) = (fixture::tool(), NameServer::start());
        let url = format!("http://shop.example:{}", tool.address().port());
        let config = [names.config(), fixture::config(&url), MORE_RULES.to_owned()].concat();
        let setup = Setup::new(&config);
        let setup = if ordinary {
            let setup = setup.as_ordinary_user();
            setup.flag("--allow-weaker").flag("separate_uid")
        } else {
            setup
        };
        let devbox = fixture::files(setup).start();
        Self {
            tool,
            names,
            devbox,
        }
    }

    fn port(&self) -> u16 {
        self.tool.address().port()
    }

    fn url(&self, path: &str) -> String {
        format!("http://shop.example:{}/base{path}", self.port())
    }

    fn order(&self, what: &Value) -> Value {
        order(&self.devbox, what)
    }

    /// Runs a program to which nobody has spoken of a proxy.
    fn run(&self, argv: &[&str]) -> Value {
        run(&self.devbox, argv)
    }

    fn curl(&self, arguments: &[&str]) -> String {
        curl(&self.devbox, arguments)
    }

    /// An attempt at a port that nobody named is reset once it is written down, or refused by a kernel that leads it nowhere.
    fn comes_to_nothing(&self, host: &str, port: u16) {
        let said = self.order(&json!({"do": "attempt", "host": host, "port": port}));
        let said = said.as_str().unwrap();
        if said.contains("ConnectionRefused") {
            return eprintln!("skipped: attempts at other ports leave no record here");
        }
        assert!(said.contains("ConnectionReset"), "{host}:{port}: {said}");
        let lines = self.devbox.audit();
        let place = json!(format!("{host}:{port}"));
        let line = lines.iter().rfind(|line| line["authority"] == place);
        let line = line.unwrap_or_else(|| panic!("{place} left no line: {lines:?}"));
        assert_eq!(
            [&line["door"], &line["decision"], &line["reason"]],
            ["captured", "refused", "UNKNOWN_DESTINATION"],
            "{line}"
        );
    }

    fn asks(&self, name: &str, kind: &str, over_tcp: bool) -> Value {
        self.order(&json!({"do": "dns", "name": name, "kind": kind, "tcp": over_tcp}))
    }
}

fn run(devbox: &Devbox, argv: &[&str]) -> Value {
    let without = PROXIES.into_iter().flat_map(|name| ["-u", name]);
    let argv: Vec<&str> = ["env"]
        .into_iter()
        .chain(without)
        .chain(argv.iter().copied())
        .collect();
    order(devbox, &json!({"do": "run", "argv": argv}))
}

/// What curl gets: the body, then the status.
fn curl(devbox: &Devbox, arguments: &[&str]) -> String {
    let argv = ["curl", "-sS", "-g", "-w", " %{http_code}"].into_iter();
    let done = run(
        devbox,
        &argv.chain(arguments.iter().copied()).collect::<Vec<_>>(),
    );
    format!(
        "{}{}",
        done["out"].as_str().unwrap(),
        done["err"].as_str().unwrap()
    )
}

fn has_v6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn has_node() -> bool {
    Path::new("/usr/bin/node").exists() || Path::new("/usr/local/bin/node").exists()
}

/// Node's own client, which looks at no variable.
fn node(url: &str) -> [String; 3] {
    let script = format!("fetch('{url}').then(async r => console.log(await r.text(), r.status))");
    ["node".to_owned(), "-e".to_owned(), script]
}

/// Java's own client, which trusts whom its own list names.
const GET_IN_JAVA: &str = r#"
import java.net.URI;
import java.net.http.*;
public class Get {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.body() + " " + answer.statusCode());
    }
}
"#;

/// Every Java of the machine that can run a source file: a distribution's, whose list is in /etc, and any with its own.
fn javas() -> Vec<String> {
    let Ok(homes) = fs::read_dir("/usr/lib/jvm") else {
        return Vec::new();
    };
    let homes = homes.map(|entry| entry.unwrap());
    homes
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.path().join("bin"))
        .filter(|programs| programs.join("javac").exists())
        .map(|programs| programs.join("java").to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn programs_that_know_of_no_proxy_are_governed_all_the_same() {
    for ordinary in [false, true] {
        let scene = Scene::start(ordinary);
        let url = scene.url("/items/7");
        let mut wanted = 2;
        assert!(scene.curl(&[&url]).ends_with(" 200"));
        let fetched = scene.order(&json!({"do": "fetch", "url": url}));
        assert_eq!(fetched["status"], 200, "{fetched}");
        if has_node() {
            let argv = node(&url);
            let done = scene.run(&argv.each_ref().map(String::as_str));
            assert!(done["out"].as_str().unwrap().ends_with(" 200\n"), "{done}");
            wanted += 1;
        }
        let requests = scene.tool.requests();
        assert_eq!(requests.len(), wanted);
        for request in &requests {
            assert_eq!(request.target, "/base/items/7");
            assert_eq!(request.values("authorization"), [format!("Bearer {KEY}")]);
        }
        let denied = scene.curl(&["-X", "DELETE", &url]);
        assert!(
            denied.contains("never remove") && denied.ends_with(" 403"),
            "{denied}"
        );
        assert_eq!(scene.tool.requests().len(), wanted);
        let line = scene.devbox.audit().pop().unwrap();
        assert_eq!(
            (&line["door"], &line["tool"]),
            (&json!("captured"), &json!("shop"))
        );
    }
}

#[test]
fn https_by_name_needs_no_proxy_either() {
    let (tool, names) = (SecureTool::start(), NameServer::start());
    let url = format!("https://secure.example:{}", tool.port());
    let setup = Setup::new(&[names.config(), fixture::config(&url)].concat());
    let setup = fixture::files(setup.file("tool-ca.pem", &tool.authority));
    let authority = setup.folder().join("tool-ca.pem");
    let devbox = setup
        .variable("SSL_CERT_FILE", authority.to_str().unwrap())
        .start();
    let url = format!("{url}/base/items/7");
    assert_eq!(curl(&devbox, &[&url]), "hello 200");
    let fetched = order(&devbox, &json!({"do": "fetch", "url": url}));
    assert_eq!(fetched["body"], "hello", "{fetched}");
    let mut wanted = 2;
    if has_node() {
        let argv = node(&url);
        let done = run(&devbox, &argv.each_ref().map(String::as_str));
        assert_eq!(done["out"], "hello 200\n", "{done}");
        wanted += 1;
    }
    for java in javas() {
        let line =
            format!("cat >/tmp/Get.java <<'END'\n{GET_IN_JAVA}END\n{java} /tmp/Get.java {url}");
        let done = run(&devbox, &["sh", "-c", &line]);
        assert_eq!(done["out"], "hello 200\n", "{java}: {done}");
        wanted += 1;
    }
    let heads = tool.heads();
    assert_eq!(heads.len(), wanted);
    for head in heads {
        assert!(
            head.contains(&format!("authorization: Bearer {KEY}\r\n")),
            "{head}"
        );
    }
}

#[test]
fn a_name_has_one_address_and_the_address_one_name() {
    let scene = Scene::start(false);
    for family in ["ahosts", "ahostsv4", "hosts"] {
        let found = scene.run(&["getent", family, "shop.example"]);
        let text = found["out"].as_str().unwrap().to_owned();
        assert!(
            text.starts_with("198.18.0.") || text.starts_with("fd70:"),
            "{found}"
        );
        assert_eq!(scene.run(&["getent", family, "shop.example"])["out"], text);
    }
    // What no rule and no tool is about does not exist, and nobody was asked about any of it.
    for name in ["nobody.example", "example", "operator.local"] {
        assert_eq!(scene.run(&["getent", "hosts", name])["code"], 2, "{name}");
    }
    assert_eq!(scene.names.asked(), Vec::<String>::new());
    let told = scene.devbox.audit();
    let refused = |line: &&Value| line["door"] == "names" && line["authority"] == "nobody.example";
    let line = told.iter().find(refused).unwrap();
    assert_eq!(line["reason"], "UNKNOWN_DESTINATION");
    // On an address of a name nobody else is spoken to, and an address of nobody leads nowhere.
    let said = scene.curl(&["-H", "Host: open.example", &scene.url("/items/7")]);
    assert!(
        said.contains("MISDIRECTED") && said.ends_with(" 421"),
        "{said}"
    );
    let host = format!("Host: shop.example:{}", scene.port());
    let said = scene.curl(&["-H", &host, &format!("http://198.19.7.7:{}/", scene.port())]);
    assert!(
        said.contains("stands for no name") && said.ends_with(" 400"),
        "{said}"
    );
    assert_eq!(scene.tool.requests().len(), 0);
}

#[test]
fn connections_by_address_are_captured_in_both_families() {
    let scene = Scene::start(false);
    let host = format!("Host: shop.example:{}", scene.port());
    let addresses = ["192.0.2.7", "127.0.0.1", "8.8.8.8", "[2001:db8::7]"];
    let addresses = addresses
        .into_iter()
        .filter(|at| has_v6() || !at.starts_with('['));
    for address in addresses {
        let url = format!("http://{address}:{}/base/items/7", scene.port());
        let before = scene.tool.requests().len();
        let said = scene.curl(&["-H", &host, &url]);
        assert!(said.ends_with(" 200"), "{address}: {said}");
        assert_eq!(scene.tool.requests().len(), before + 1);
        // Nobody is named but the address: nothing allows that.
        let said = scene.curl(&[&url]);
        assert!(
            said.contains("UNKNOWN_DESTINATION") && said.ends_with(" 403"),
            "{address}: {said}"
        );
        assert_eq!(scene.tool.requests().len(), before + 1);
    }
    // An allowed name that leads to a private address is no way in.
    let said = scene.curl(&["http://open.example/"]);
    assert!(said.contains("DESTINATION_BLOCKED"), "{said}");
}

#[test]
fn what_nobody_named_is_refused_at_once() {
    for ordinary in [false, true] {
        let scene = Scene::start(ordinary);
        for (host, port) in [
            ("192.0.2.7", 25),
            ("shop.example", 22),
            ("8.8.8.8", 853),
            ("10.0.0.1", 5432),
        ] {
            scene.comes_to_nothing(host, port);
        }
        // QUIC and whatever else comes in datagrams: the error comes at once, so that programs fall back to TCP.
        for (host, port) in [
            ("shop.example", 443),
            ("192.0.2.7", 443),
            ("192.0.2.7", 123),
        ] {
            let said = scene.order(&json!({"do": "datagram", "host": host, "port": port}));
            assert!(
                said.as_str().unwrap().contains("ConnectionRefused"),
                "{host}:{port}: {said}"
            );
        }
    }
}

#[test]
fn an_attempt_at_a_port_that_nobody_named_is_written_down_and_reaches_nobody() {
    for ordinary in [false, true] {
        let scene = Scene::start(ordinary);
        let serve = "python3 -m http.server 8123 --bind 0.0.0.0";
        let argv = serve.split(' ').collect::<Vec<_>>();
        assert_eq!(
            scene.order(&json!({"do": "start", "argv": argv})),
            "started"
        );
        let retried = [
            "--retry",
            "50",
            "--retry-connrefused",
            "--retry-delay",
            "0",
            "-o",
            "/dev/null",
        ];
        let own = [&retried[..], &["http://127.0.0.1:8123/"]].concat();
        assert!(scene.curl(&own).contains(" 200"));
        for (host, port) in [
            ("192.0.2.7", 8123),
            ("shop.example", 8123),
            ("10.0.0.1", 22),
        ] {
            scene.comes_to_nothing(host, port);
        }
        assert!(
            scene
                .curl(&["-o", "/dev/null", "http://127.0.0.1:8123/"])
                .ends_with(" 200")
        );
        assert_eq!(scene.tool.requests().len(), 0);
    }
}

#[test]
fn records_of_text_carry_nothing() {
    let scene = Scene::start(false);
    for over_tcp in [false, true] {
        for kind in ["TXT", "NULL", "CNAME", "MX", "SRV", "HTTPS", "ANY"] {
            let own = scene.asks("shop.example", kind, over_tcp);
            assert_eq!(
                (&own["code"], &own["answers"]),
                (&json!(0), &json!(0)),
                "{kind}: {own}"
            );
            let other = scene.asks("c2VjcmV0.evil.example", kind, over_tcp);
            assert_eq!(
                (&other["code"], &other["answers"]),
                (&json!(3), &json!(0)),
                "{kind}: {other}"
            );
            assert!(
                other["text"]
                    .as_str()
                    .unwrap()
                    .contains("no rule and no tool"),
                "{other}"
            );
        }
        let own = scene.asks("shop.example", "A", over_tcp);
        assert_eq!(
            (&own["code"], &own["answers"]),
            (&json!(0), &json!(1)),
            "{own}"
        );
    }
    assert_eq!(scene.names.asked(), Vec::<String>::new());
}

#[test]
fn long_labels_under_an_allowed_wildcard_reach_nobody() {
    let scene = Scene::start(false);
    let label = "a".repeat(63);
    let name = format!("{label}.{label}.{label}.zone.example");
    let said = scene.asks(&name, "A", false);
    assert_eq!(
        (&said["code"], &said["answers"]),
        (&json!(0), &json!(1)),
        "{said}"
    );
    // Nobody was asked, and a connection there is judged before anybody would be.
    let said = scene.curl(&[&format!("https://{name}/")]);
    assert!(said.contains(" 000"), "{said}");
    assert_eq!(scene.names.asked(), Vec::<String>::new());
    let line = scene.devbox.audit().pop().unwrap();
    assert_eq!(
        (&line["door"], &line["reason"]),
        (&json!("captured"), &json!("UNKNOWN_DESTINATION"))
    );
}

#[test]
fn resolvers_elsewhere_are_the_gate_or_refused() {
    let scene = Scene::start(false);
    // Whichever server is asked, the gate answers, from that server's address.
    let servers = ["8.8.8.8", "1.1.1.1", "192.0.2.53", "2001:4860:4860::8888"];
    let servers = servers
        .into_iter()
        .filter(|at| has_v6() || !at.contains(':'));
    for server in servers {
        for over_tcp in [false, true] {
            let ask = |name: &str| {
                scene.order(&json!({"do": "dns", "name": name, "kind": "A", "server": server, "tcp": over_tcp}))
            };
            assert_eq!(ask("shop.example")["code"], 0);
            assert_eq!(ask("evil.example")["code"], 3);
        }
    }
    // DNS over HTTPS is a call like any other, DNS over TLS a port that nobody named.
    for (host, at) in [
        ("dns.google", "8.8.8.8"),
        ("cloudflare-dns.com", "1.1.1.1"),
        ("dns.quad9.net", "9.9.9.9"),
    ] {
        assert_eq!(scene.run(&["getent", "hosts", host])["code"], 2, "{host}");
        let resolve = format!("{host}:443:{at}");
        for url in [
            format!("https://{host}/dns-query?name=x"),
            format!("https://{at}/dns-query?name=x"),
        ] {
            let said = scene.curl(&["--resolve", &resolve, &url]);
            assert!(said.contains(" 000"), "{url}: {said}");
            let line = scene.devbox.audit().pop().unwrap();
            assert_eq!(line["reason"], "UNKNOWN_DESTINATION", "{line}");
        }
        scene.comes_to_nothing(at, 853);
    }
    assert_eq!(scene.names.asked(), Vec::<String>::new());
}

#[test]
fn names_by_multicast_reach_nobody() {
    let scene = Scene::start(false);
    for (host, port) in [
        ("224.0.0.251", 5353),
        ("224.0.0.252", 5355),
        ("255.255.255.255", 137),
    ] {
        let said =
            scene.order(&json!({"do": "datagram", "host": host, "port": port, "seconds": 0.2}));
        assert!(said.as_str().unwrap().contains("Error"), "{host}: {said}");
    }
    assert_eq!(scene.run(&["getent", "hosts", "printer.local"])["code"], 2);
}

#[test]
fn a_flood_of_questions_hurts_nobody_but_its_sandbox() {
    let scene = Scene::start(false);
    let flooded = scene.order(&json!({"do": "flood_dns", "count": 20_000}));
    assert_eq!(flooded, "sent");
    // Names that were given are still there, the gate is well, and calls go on.
    assert!(
        scene
            .curl(&["--retry", "5", &scene.url("/items/7")])
            .ends_with(" 200")
    );
}
