//! Laws that hold for every rulebook and every text: precedence in any order, no allow without an allow rule, one form
//! that stays, what is sent is what was decided. Never depends on a particular config.

use crate::fixture::{compile, judge, url, word};
use postern_contract::ToolName;
use postern_policy::{
    Authority, CanonicalPath, CanonicalQuery, CanonicalUrl, HostName, Scheme, Verdict,
};
use proptest::prelude::*;

const METHODS: [&str; 4] = ["GET", "POST", "DELETE", "CONNECT"];

const RESOURCES: [&str; 8] = [
    "https://api.example.com/*",
    "https://api.example.com/v1/*",
    "https://api.example.com/v1/charges",
    "https://*.example.com/*",
    "https://*.example.com/v1/ch*",
    "https://plain.example.com/*",
    "https://plain.example.com/@me",
    "http://api.example.com/*",
];

const URLS: [&str; 9] = [
    "https://api.example.com/",
    "https://api.example.com/v1",
    "https://api.example.com/v1/charges",
    "https://api.example.com/v1/x/../charges?a=1",
    "https://api.example.com/v2",
    "https://plain.example.com/",
    "https://plain.example.com/%40me",
    "https://other.example.com/v1/charges",
    "http://api.example.com/",
];

const PERMISSIONS: [&str; 3] = ["deny", "approval_required", "allow"];

#[derive(Debug, Clone)]
struct Written {
    permission: &'static str,
    resource: Option<&'static str>,
    methods: Vec<&'static str>,
    tagged: bool,
}

fn rule() -> impl Strategy<Value = Written> {
    let resource = proptest::option::weighted(0.8, proptest::sample::select(&RESOURCES[..]));
    let methods = proptest::sample::subsequence(&METHODS[..], 0..=2);
    (
        proptest::sample::select(&PERMISSIONS[..]),
        resource,
        methods,
        any::<bool>(),
    )
        .prop_map(|(permission, resource, methods, tagged)| Written {
            permission,
            resource,
            methods,
            tagged: tagged || resource.is_none(),
        })
}

/// A config with one tagged tool beneath `/v1`, and the rules under the names given, spread over two policies.
fn config(rules: &[(usize, Written)]) -> String {
    let mut text = String::from(
        "[tools.api]\nurl = \"https://api.example.com/v1\"\ntags = [\"t\"]\n\
         [agents.desk]\ntools = [\"api\"]\npolicies = [\"p0\", \"p1\"]\n\
         [policies.p0]\n[policies.p1]\n",
    );
    for (name, rule) in rules {
        let policy = name % 2;
        text += &format!(
            "[[policies.p{policy}.rules]]\nname = \"r{name}\"\npermission = \"{}\"\noperations = {:?}\n",
            rule.permission, rule.methods
        );
        if let Some(resource) = rule.resource {
            text += &format!("resource = \"{resource}\"\n");
        }
        if rule.tagged {
            text += "tags = [\"t\"]\n";
        }
    }
    text
}

fn kind(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allowed(_) => 0,
        Verdict::ApprovalRequired(_) => 1,
        Verdict::Denied(_) => 2,
    }
}

fn rules(most: usize) -> impl Strategy<Value = Vec<(usize, Written)>> {
    proptest::collection::vec(rule(), 0..most)
        .prop_map(|rules| rules.into_iter().enumerate().collect())
}

/// What the rules say one by one: each alone in a rulebook, beside a rule that allows everything it can.
fn denied_alone(rule: &(usize, Written), method: &str, called: &CanonicalUrl) -> u8 {
    let open = |at: usize, resource| {
        (
            at,
            Written {
                permission: "allow",
                resource: Some(resource),
                methods: vec![],
                tagged: false,
            },
        )
    };
    let beside = [
        rule.clone(),
        open(100, "https://api.example.com/*"),
        open(101, "https://plain.example.com/*"),
        open(102, "https://other.example.com/*"),
        open(103, "http://api.example.com/*"),
    ];
    kind(&judge(
        &compile(&config(&beside)).expect("it compiles"),
        method,
        called,
    ))
}

proptest! {
    #[test]
    fn the_strictest_of_the_rules_that_hold_wins(
        permissions in proptest::collection::vec(proptest::sample::select(&PERMISSIONS[..]), 0..5),
        resources in proptest::collection::vec(proptest::sample::select(&RESOURCES[..4]), 5),
    ) {
        let rules: Vec<_> = permissions.iter().zip(resources).map(|(permission, resource)| {
            Written { permission, resource: Some(resource), methods: vec![], tagged: false }
        }).enumerate().collect();
        let verdict = judge(&compile(&config(&rules)).expect("it compiles"), "GET", &url(URLS[2]));
        let expected = match () {
            () if permissions.contains(&"deny") => 2,
            () if permissions.contains(&"approval_required") => 1,
            () if permissions.contains(&"allow") => 0,
            () => 2,
        };
        prop_assert_eq!(kind(&verdict), expected, "{}", word(&verdict));
    }

    #[test]
    fn the_order_of_rules_never_matters(
        (rules, shuffled) in rules(8).prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        method in proptest::sample::select(&METHODS[..]),
        text in proptest::sample::select(&URLS[..]),
    ) {
        let (one, other) = (compile(&config(&rules)), compile(&config(&shuffled)));
        let (one, other) = (one.expect("it compiles"), other.expect("it compiles"));
        let called = url(text);
        prop_assert_eq!(kind(&judge(&one, method, &called)), kind(&judge(&other, method, &called)));
    }

    #[test]
    fn a_rule_that_denies_or_asks_is_never_outvoted(
        rules in rules(8),
        method in proptest::sample::select(&METHODS[..]),
        text in proptest::sample::select(&URLS[..]),
    ) {
        let called = url(text);
        let together = kind(&judge(&compile(&config(&rules)).expect("it compiles"), method, &called));
        for rule in rules.iter().filter(|(_, rule)| rule.permission != "allow") {
            prop_assert!(together >= denied_alone(rule, method, &called), "{:?}", rule);
        }
    }

    #[test]
    fn nothing_is_allowed_that_no_rule_allows(
        rules in rules(8),
        method in proptest::sample::select(&METHODS[..]),
        text in proptest::sample::select(&URLS[..]),
    ) {
        let called = url(text);
        let book = compile(&config(&rules)).expect("it compiles");
        let verdict = judge(&book, method, &called);
        if let Verdict::Allowed(allowed) = &verdict {
            let (_, rule) = rules
                .iter()
                .find(|(at, _)| allowed.rule() == format!("r{at}"))
                .expect("the rule is one of ours");
            prop_assert_eq!(rule.permission, "allow");
            prop_assert!(rule.methods.is_empty() || rule.methods.contains(&method));
        }
        let without: Vec<_> = rules.into_iter().filter(|(_, rule)| rule.permission != "allow").collect();
        let verdict = judge(&compile(&config(&without)).expect("it compiles"), method, &called);
        prop_assert!(!matches!(verdict, Verdict::Allowed(_)), "{}", word(&verdict));
    }

    #[test]
    fn what_is_sent_is_what_was_decided(
        rules in rules(8),
        method in proptest::sample::select(&METHODS[..]),
        text in proptest::sample::select(&URLS[..]),
    ) {
        let called = url(text);
        let book = compile(&config(&rules)).expect("it compiles");
        let (sent_method, sent) = match judge(&book, method, &called) {
            Verdict::Allowed(allowed) => (allowed.method().clone(), allowed.url().clone()),
            Verdict::ApprovalRequired(pending) => (pending.method().clone(), pending.url().clone()),
            Verdict::Denied(_) => return Ok(()),
        };
        prop_assert_eq!((sent_method.as_str(), &sent), (method, &called));
        // Whoever reads the bytes that are sent sees what the rules saw.
        prop_assert_eq!(CanonicalUrl::parse(&sent.to_string()), Ok(called.clone()));
        let target = CanonicalUrl::from_target(sent.authority().clone(), &sent.target());
        prop_assert_eq!(target, Ok(called));
    }

    #[test]
    fn a_host_name_keeps_its_form(text in "[a-zA-Z0-9.:@#%_\\[\\] \\x00-\\x7fé。-]{0,40}") {
        if let Ok(name) = text.parse::<HostName>() {
            prop_assert_eq!(name.as_str().parse::<HostName>(), Ok(name.clone()));
            prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)));
            prop_assert!(!name.as_str().ends_with('.'));
        }
        if let Ok(authority) = Authority::parse(Scheme::Https, &text) {
            prop_assert_eq!(Authority::parse(Scheme::Https, &authority.to_string()), Ok(authority.clone()));
            let named = authority.host_and_port();
            prop_assert_eq!(Authority::parse(Scheme::Https, &named), Ok(authority));
        }
    }

    #[test]
    fn a_path_keeps_its_form(text in "/([a-c./;\\\\]|%2[0-9a-fEF]|%[2-7][0-9a-f]|%25|%c3%a9|%[0-9a-f]{0,2}|é|@){0,12}") {
        if let Ok(path) = text.parse::<CanonicalPath>() {
            prop_assert_eq!(path.as_str().parse::<CanonicalPath>(), Ok(path.clone()));
            let plain = path.as_str().is_ascii() && !path.as_str().contains(['\\', ';', ' ', '#', '?']);
            prop_assert!(plain && !path.as_str().contains("//"), "{}", path);
            let dots = path.as_str().split('/').any(|segment| matches!(segment, "." | ".."));
            prop_assert!(!dots && !path.as_str().contains("%2F") && !path.as_str().contains("%5C"), "{}", path);
        }
    }

    #[test]
    fn a_query_keeps_its_form(text in "([a-c&=+?/#]|%2[0-9a-fEF]|%[0-9a-f]{0,2}|é|[ -~]){0,20}") {
        if let Ok(query) = text.parse::<CanonicalQuery>() {
            prop_assert_eq!(query.as_str().parse::<CanonicalQuery>(), Ok(query.clone()));
            prop_assert!(query.as_str().is_ascii() && !query.as_str().contains(['#', ' ']));
        }
    }

    #[test]
    fn a_url_keeps_its_form(text in "(https?://)?[a-cA-C0-9.:@\\[\\]]{0,12}(/[a-c./%25eé]{0,8})?(\\?[a-c=&%#]{0,6})?") {
        if let Ok(url) = CanonicalUrl::parse(&text) {
            prop_assert_eq!(CanonicalUrl::parse(&url.to_string()), Ok(url));
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC*|[\\x00-\\xff]*") {
        let _ = CanonicalUrl::parse(&text);
        let _ = CanonicalUrl::parse(&format!("http://a/{text}"));
        let _ = CanonicalUrl::parse(&format!("http://{text}"));
        let _ = Authority::parse_connect(&text);
    }

    #[test]
    fn a_tool_url_always_belongs_to_its_tool(rest in "(/|\\.|\\.\\.|%2e|%2f|admin|a|;|\\\\|%25|\\?|#|@|:){0,10}", base in 0..3_usize) {
        let bases = ["https://a.example", "https://a.example/v1", "https://a.example/api/x"];
        let book = compile(&format!(
            "[tools.one]\nurl = \"{}\"\n[tools.two]\nurl = \"https://a.example/v1/admin\"\n", bases[base]
        )).expect("it compiles");
        let tool: ToolName = "one".parse().expect("a name");
        if let Ok(url) = book.tool_url(&tool, &rest, None) {
            let route = book.route(&url).expect("the URL belongs to some tool");
            prop_assert_eq!((route.tool(), route.base().authority()), (&tool, url.authority()));
            prop_assert!(url.to_string().starts_with(bases[base]), "{} {}", url, bases[base]);
        }
    }
}
