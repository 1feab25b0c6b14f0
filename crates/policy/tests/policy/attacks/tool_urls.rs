//! A tool's address in the sandbox never leaves the tool. Never decides on rules.

use postern_contract::ToolName;
use postern_policy::NoToolUrl;

use super::book;

fn tool_url(tool: &str, rest: &str) -> Result<String, NoToolUrl> {
    let tool: ToolName = tool.parse().expect("a name");
    book()
        .tool_url(&tool, rest, None)
        .map(|url| url.to_string())
}

#[test]
fn a_tool_url_stays_beneath_its_base() {
    assert_eq!(
        tool_url("search", ""),
        Ok("https://api.example.com/search".into())
    );
    assert_eq!(
        tool_url("search", "/"),
        Ok("https://api.example.com/search/".into())
    );
    assert_eq!(
        tool_url("search", "/x/../y"),
        Ok("https://api.example.com/search/y".into())
    );
    assert_eq!(
        tool_url("stripe", "//v1//charges"),
        Ok("https://api.stripe.com/v1/charges".into())
    );
    let search: ToolName = "search".parse().expect("a name");
    for rest in [
        "/..",
        "/../other",
        "/%2e%2e/other",
        "/x/../../other",
        "/../searching",
        "/../search-admin",
    ] {
        assert_eq!(
            tool_url("search", rest),
            Err(NoToolUrl::Outside(search.clone())),
            "{rest}"
        );
    }
    assert_eq!(tool_url("nobody", "/"), Err(NoToolUrl::NoSuchTool));
}

#[test]
fn a_tool_url_never_reaches_another_tool() {
    let another = NoToolUrl::Another {
        tool: "search".parse().expect("a name"),
        other: "search-admin".parse().expect("a name"),
    };
    for rest in [
        "/admin",
        "/admin/",
        "/x/../admin/users",
        "/%61dmin/x",
        "//admin",
    ] {
        assert_eq!(tool_url("search", rest), Err(another.clone()), "{rest}");
    }
    assert_eq!(
        tool_url("search", "/administer"),
        Ok("https://api.example.com/search/administer".into())
    );
    let admin: ToolName = "search-admin".parse().expect("a name");
    assert_eq!(
        tool_url("search-admin", "/../x"),
        Err(NoToolUrl::Outside(admin))
    );
}

#[test]
fn a_tool_url_takes_no_other_authority_query_or_fragment() {
    for rest in [
        "x",
        "@evil.io/",
        ".evil.io/",
        ":8443/",
        "/a?b",
        "/a#b",
        "/a;b",
        "/a%2f..%2fb",
        "/../..",
    ] {
        assert!(tool_url("stripe", rest).is_err(), "{rest}");
    }
    let stripe: ToolName = "stripe".parse().expect("a name");
    assert!(book().tool_url(&stripe, "/", Some("a#b")).is_err());
    let url = book()
        .tool_url(&stripe, "/v1", Some("a=%7e"))
        .expect("a URL");
    assert_eq!(url.to_string(), "https://api.stripe.com/v1?a=~");
}
