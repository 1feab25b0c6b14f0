//! Guesses what a mistyped key was meant to be. Never changes what was written.

/// How alike two words must be before one is offered for the other; 1 is equal.
const ALIKE_MIN: f64 = 0.6;

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
