//! Puts serde's messages into words for people: what a mistyped key was meant to be. Never repeats a value that may be a
//! secret.

/// How alike two words must be before one is offered for the other; 1 is equal.
const ALIKE_MIN: f64 = 0.6;

/// serde's message without the value that it is about; what would have been right stays.
pub(super) fn without_value(message: &str) -> String {
    // These are about keys, which are no secrets.
    let about_keys = [
        "unknown field",
        "missing field",
        "duplicate field",
        "duplicate key",
    ];
    if about_keys
        .iter()
        .any(|beginning| message.starts_with(beginning))
    {
        return message.to_owned();
    }
    // The last `expected` is serde's own: a value that says so stands before it.
    let (about, right) = match message.rsplit_once(", expected ") {
        Some((about, right)) => (about, format!(", expected {right}")),
        None => (message, String::new()),
    };
    // Whatever is quoted may be the value, and a value may have quotes in it.
    let quote = |c: char| matches!(c, '`' | '"');
    let about = match (about.find(quote), about.rfind(quote)) {
        (Some(first), Some(last)) if first < last => {
            format!("{}…{}", &about[..=first], &about[last..])
        }
        _ => about.to_owned(),
    };
    about + &right
}

/// serde's message, with `did you mean` where an unknown word is close to a known one.
pub(super) fn with_hint(message: &str) -> String {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some((wrong, known)) = words.split_first().filter(|_| unknown) else {
        return message.to_owned();
    };
    let best = known
        .iter()
        .map(|word| (strsim::normalized_damerau_levenshtein(wrong, word), *word))
        .max_by(|one, two| one.0.total_cmp(&two.0));
    match best {
        Some((alike, word)) if alike >= ALIKE_MIN => format!("{message}; did you mean `{word}`?"),
        _ => message.to_owned(),
    }
}
