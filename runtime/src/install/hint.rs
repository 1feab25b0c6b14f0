//! What to do about an install that failed, by what its program said last. Never more than a hint: the lines stand beside it.

use http::StatusCode;

const NO_WHEEL: &str =
    "the index has no such package or version, or no wheel of it for this machine";

const OTHER_THAN_LOCKED: &str =
    "what the registry has is not what `lock_file` says: look who changed which of the two";

/// A text that programs say, and what it means for whoever installs. The first that is found counts.
const KNOWN: &[(&str, &str)] = &[
    (
        "UNKNOWN_DESTINATION",
        "the gate knows no rule for that place: name a policy for it in `[agents.NAME.install]`",
    ),
    (
        "POLICY_DENIED",
        "a rule denies that: see the policies of `[agents.NAME.install]`",
    ),
    (
        "destination blocked",
        "the address of that name is not one that the gate dials: a tool with `private = true` may be in a network of your own",
    ),
    (
        "Could not resolve host",
        "no rule of `[agents.NAME.install]` names that host, so it has no address",
    ),
    (
        "The requested URL returned error: 403",
        "the gate or the server refuses that: see the audit, and the policies of `[agents.NAME.install]`",
    ),
    (
        "could not read Username",
        "the repository asks who is there: name a tool with its credential in `[agents.NAME.install] tools`",
    ),
    (
        "Authentication failed",
        "the repository does not take the credential of the tool in `[agents.NAME.install] tools`",
    ),
    (
        "E401",
        "the registry asks who is there: name a tool with its credential in `[agents.NAME.install] tools`",
    ),
    (
        "couldn't find remote ref",
        "the repository has no such branch, tag or commit",
    ),
    (
        "Repository not found",
        "there is no such repository, or not for this credential",
    ),
    ("E404", "the registry has no such package or version"),
    ("ETARGET", "the registry has no such version"),
    (
        "EALLOWGIT",
        "a package that it needs comes out of a repository, and npm would run programs of that: it is not taken",
    ),
    (
        "only wheels are taken",
        "a package that it needs is no wheel, and building one would run its code: it is not taken",
    ),
    ("No matching distribution found", NO_WHEEL),
    // As uv says it.
    ("has no usable wheels", NO_WHEEL),
    ("there is no version of", NO_WHEEL),
    ("was not found in the package registry", NO_WHEEL),
    ("EINTEGRITY", OTHER_THAN_LOCKED),
    ("DO NOT MATCH THE HASHES", OTHER_THAN_LOCKED),
    ("Hash mismatch", OTHER_THAN_LOCKED),
    (
        "ensurepip is not available",
        "this system's Python makes no environments: install uv, or python3-venv",
    ),
    ("No space left", "there is no room left"),
    ("ENOSPC", "there is no room left"),
    ("git: not found", "git is not installed on this machine"),
    ("npm: not found", "npm is not installed on this machine"),
    (
        "python3: not found",
        "python3 is not installed on this machine",
    ),
];

/// The hint for these lines, if any is known.
pub(super) fn about(lines: &[String]) -> Option<&'static str> {
    let said = |text: &str| lines.iter().any(|line| line.contains(text));
    KNOWN
        .iter()
        .find_map(|(text, hint)| said(text).then_some(*hint))
}

/// The hint for what a server answers, if it has said nothing that is known.
pub(super) fn about_status(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        401 | 403 => Some(
            "whoever has it asks who is there: name a tool with its credential in `[agents.NAME.install] tools`",
        ),
        404 | 410 => Some("there is no such object, or not for this credential"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_has_a_hint_and_nothing_else() {
        let lines = ["fatal: couldn't find remote ref nowhere".to_owned()];
        assert!(about(&lines).unwrap().contains("no such branch"));
        assert_eq!(about(&["fatal: odd".to_owned()]), None);
        assert_eq!(about(&[]), None);
    }
}
