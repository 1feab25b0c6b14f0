//! The laws of `properties.rs` for rules that look inside: precedence in any order, no allow without an allow rule, and
//! a doubt that never helps. Never depends on a particular config.

use postern_policy::{BodyShown, CanonicalUrl, Evidence, Verdict};
use proptest::prelude::*;

use crate::fixture::{compile, judge_with, url, word};

const PERMISSIONS: [&str; 3] = ["deny", "approval_required", "allow"];

/// Every kind of condition that looks beyond method and URL, and forms of paths.
const CONDITIONS: [&str; 12] = [
    "paths = [\"/v1/*\", \"/pay/**\"]",
    "paths = [\"/@me/*\"]",
    "operations = [\"POST\"]",
    "headers = { \"x-env\" = \"prod\" }",
    "headers = { \"x-env\" = { present = false } }",
    "query = { dry_run = \"true\" }",
    "query = { dry_run = { present = false } }",
    "when = \"body.amount > 10\"",
    "when = \"!has(body.amount) || body.list.exists(x, x == 1)\"",
    "when = \"path.startsWith('/v1') && query.dry_run == 'true'\"",
    "graphql = { operations = [\"query\"], fields = [\"a\"] }",
    "mcp = { tools = [\"search\"] }",
];

const URLS: [&str; 8] = [
    "https://api.example/v1/x",
    "https://api.example/v1/x?dry_run=true",
    "https://api.example/v1/x?dry_run=true&DRY_RUN=false",
    "https://api.example/pay/1/2?dry_run=false",
    "https://api.example/%40me/x",
    "https://api.example/?query=%7Ba%7D",
    "https://api.example:8443/v1/x",
    "https://other.example/v1/x",
];

const BODIES: [&str; 9] = [
    "{\"amount\": 11}",
    "{\"amount\": 9, \"list\": [1]}",
    "{\"amount\": 11, \"Amount\": 9}",
    "{\"query\": \"{a}\"}",
    "{\"query\": \"{a b}\"}",
    "{\"query\": \"mutation {a}\"}",
    "{\"jsonrpc\": \"2.0\", \"method\": \"tools/call\", \"params\": {\"name\": \"search\"}}",
    "[]",
    "{",
];

#[derive(Debug, Clone)]
struct Written {
    permission: &'static str,
    resource: &'static str,
    conditions: Vec<&'static str>,
}

/// What a call shows besides method and URL.
#[derive(Debug, Clone)]
struct Shown {
    env: Option<&'static str>,
    twice: bool,
    body: Option<&'static str>,
}

impl Shown {
    fn evidence(&self) -> Evidence<'static> {
        let mut fields = vec![("content-type", &b"application/json"[..])];
        fields.extend(self.env.map(|env| ("x-env", env.as_bytes())));
        if self.twice {
            fields.push(("X_Env", b"prod"));
        }
        let body = self
            .body
            .map_or(BodyShown::Absent, |body| BodyShown::Whole(body.as_bytes()));
        Evidence::none().with_headers(fields).with_body(body)
    }
}

fn rule() -> impl Strategy<Value = Written> {
    let resources = [
        "https://api.example/*",
        "https://api.example/v1/*",
        "https://*.example/v1/*",
        "https://api.example:*/*",
    ];
    (
        proptest::sample::select(&PERMISSIONS[..]),
        proptest::sample::select(resources.to_vec()),
        proptest::sample::subsequence(&CONDITIONS[..], 0..=2),
    )
        .prop_map(|(permission, resource, conditions)| {
            // What only a rule that denies may say.
            let wide = resource.contains(":*/") || resource.contains("*.");
            Written {
                permission: if wide { "deny" } else { permission },
                resource,
                conditions: apart(conditions),
            }
        })
}

/// At most one condition for each key.
fn apart(mut conditions: Vec<&'static str>) -> Vec<&'static str> {
    let key = |text: &&str| text.split(' ').next().map(str::to_owned);
    conditions.dedup_by_key(|text| key(text));
    conditions
}

fn rules() -> impl Strategy<Value = Vec<(usize, Written)>> {
    proptest::collection::vec(rule(), 0..8)
        .prop_map(|rules| rules.into_iter().enumerate().collect())
}

fn shown() -> impl Strategy<Value = Shown> {
    let env = proptest::option::of(proptest::sample::select(vec!["prod", "dev"]));
    let body = proptest::option::weighted(0.8, proptest::sample::select(&BODIES[..]));
    (env, proptest::bool::weighted(0.2), body).prop_map(|(env, twice, body)| Shown {
        env,
        twice,
        body,
    })
}

fn config(rules: &[(usize, Written)]) -> String {
    let mut text =
        String::from("[agents.desk]\npolicies = [\"p0\", \"p1\"]\n[policies.p0]\n[policies.p1]\n");
    for (name, rule) in rules {
        text += &format!(
            "[[policies.p{}.rules]]\nname = \"r{name}\"\npermission = \"{}\"\nresource = \"{}\"\n{}\n",
            name % 2,
            rule.permission,
            rule.resource,
            rule.conditions.join("\n")
        );
    }
    text
}

fn judge(
    rules: &[(usize, Written)],
    method: &str,
    called: &CanonicalUrl,
    evidence: &Evidence<'_>,
) -> Verdict {
    judge_with(
        &compile(&config(rules)).expect("it compiles"),
        method,
        called,
        evidence,
    )
}

fn kind(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allowed(_) => 0,
        Verdict::ApprovalRequired(_) => 1,
        Verdict::Denied(_) => 2,
    }
}

/// An allow rule that holds for everything on one host and port.
fn open(at: usize, resource: &'static str) -> (usize, Written) {
    (
        at,
        Written {
            permission: "allow",
            resource,
            conditions: vec![],
        },
    )
}

proptest! {
    #[test]
    fn the_order_of_rules_that_look_inside_never_matters(
        (rules, shuffled) in rules().prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        method in proptest::sample::select(vec!["GET", "POST", "CONNECT"]),
        text in proptest::sample::select(&URLS[..]),
        shown in shown(),
    ) {
        let called = url(text);
        let (one, other) = (judge(&rules, method, &called, &shown.evidence()), judge(&shuffled, method, &called, &shown.evidence()));
        prop_assert_eq!(kind(&one), kind(&other));
    }

    #[test]
    fn a_rule_that_looks_inside_is_never_outvoted(
        rules in rules(),
        method in proptest::sample::select(vec!["GET", "POST", "CONNECT"]),
        text in proptest::sample::select(&URLS[..]),
        shown in shown(),
    ) {
        let called = url(text);
        let together = kind(&judge(&rules, method, &called, &shown.evidence()));
        for rule in rules.iter().filter(|(_, rule)| rule.permission != "allow") {
            let beside = [
                rule.clone(),
                open(100, "https://api.example/*"),
                open(101, "https://api.example:8443/*"),
                open(102, "https://other.example/*"),
            ];
            let alone = kind(&judge(&beside, method, &called, &shown.evidence()));
            prop_assert!(together >= alone, "{:?}", rule);
        }
    }

    #[test]
    fn nothing_is_allowed_inside_that_no_rule_allows(
        rules in rules(),
        method in proptest::sample::select(vec!["GET", "POST", "CONNECT"]),
        text in proptest::sample::select(&URLS[..]),
        shown in shown(),
    ) {
        let called = url(text);
        let without: Vec<_> = rules.into_iter().filter(|(_, rule)| rule.permission != "allow").collect();
        let verdict = judge(&without, method, &called, &shown.evidence());
        prop_assert!(!matches!(verdict, Verdict::Allowed(_)), "{}", word(&verdict));
    }

    /// Whoever shows less is never allowed more.
    #[test]
    fn what_cannot_be_judged_never_helps(
        rules in rules(),
        method in proptest::sample::select(vec!["GET", "POST", "CONNECT"]),
        text in proptest::sample::select(&URLS[..]),
        shown in shown(),
    ) {
        let called = url(text);
        let known = judge(&rules, method, &called, &shown.evidence());
        let fields = [("content-type", &b"application/json"[..])];
        for less in [
            Evidence::none(),
            shown.evidence().with_body(BodyShown::TooLong),
            shown.evidence().with_body(BodyShown::Hidden),
            Evidence::none().with_body(BodyShown::Whole(b"{}")),
        ] {
            let verdict = judge(&rules, method, &called, &less);
            prop_assert!(kind(&verdict) >= kind(&known), "{} then {}", word(&known), word(&verdict));
        }
        // Alone, an allow rule with a body condition never holds for a body that nobody can judge.
        let garbled = Evidence::none().with_headers(fields).with_body(BodyShown::Whole(b"{\"a\":1,\"a\":1}"));
        let inside: Vec<_> = rules.into_iter().filter(|(_, rule)| {
            rule.conditions.iter().any(|text| text.contains("body") || text.starts_with("graphql") || text.starts_with("mcp"))
        }).collect();
        let verdict = judge(&inside, method, &called, &garbled);
        prop_assert!(!matches!(verdict, Verdict::Allowed(_)), "{}", word(&verdict));
    }

    #[test]
    fn a_body_that_is_not_needed_changes_nothing(
        rules in rules(),
        text in proptest::sample::select(&URLS[..]),
        shown in shown(),
    ) {
        let book = compile(&config(&rules)).expect("it compiles");
        let (agent, method) = ("desk".parse().expect("a name"), "POST".parse().expect("a method"));
        let called = url(text);
        let facts = postern_policy::Facts { stage: None, agent: &agent, method: &method, url: &called, tool: None };
        if !book.needs_body(&facts) {
            let with = book.decide_with(&facts, &shown.evidence());
            let without = book.decide_with(&facts, &shown.evidence().with_body(BodyShown::Hidden));
            prop_assert_eq!(word(&with), word(&without));
        }
    }

    #[test]
    fn no_body_and_no_document_makes_a_condition_panic(bytes in "\\PC{0,60}|[\\[\\]{}\":,a0#.@()$!| \\\\\\n]{0,60}", as_graphql in any::<bool>()) {
        let rules = [
            "graphql = { fields = [\"a\"] }",
            "mcp = {}",
            "when = \"body.list.exists(x, x.a == 1) || string(body.a) == '1'\"",
        ];
        let rules: Vec<_> = rules.into_iter().map(|condition| Written {
            permission: "deny", resource: "https://api.example/*", conditions: vec![condition],
        }).enumerate().collect();
        let text = if as_graphql { serde_json::json!({ "query": bytes }).to_string() } else { bytes };
        let fields = [("content-type", &b"application/json"[..])];
        let evidence = Evidence::none().with_headers(fields).with_body(BodyShown::Whole(text.as_bytes()));
        let verdict = judge(&rules, "POST", &url(URLS[0]), &evidence);
        prop_assert_eq!(kind(&verdict), 2);
    }

    #[test]
    fn no_expression_makes_the_compiler_panic(text in "\\PC{0,60}|(body|\\.|\\(|\\)|\\[|\\]|a|'|1|&&|\\|\\||!|-|\\?|:|exists|,| |==|\\{|\\}){0,30}") {
        // What TOML would need escapes for.
        let text = text.replace(['\\', '"'], "");
        let rule = Written { permission: "deny", resource: "https://api.example/*", conditions: vec![] };
        let config = config(&[(0, rule)]) + &format!("when = \"{text}\"\n");
        drop(compile(&config));
    }
}
