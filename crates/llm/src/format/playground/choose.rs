//! How the playground picks a function and finds its arguments in a message: by words, numbers and quotes alone. Never calls a
//! function whose required arguments it did not find, and never works longer for a long request than its limits let it.

use std::collections::HashSet;

use serde_json::{Map, Number, Value, json};

use crate::Function;

/// How strongly a function must fit: one word of its name, or two of its description.
const SCORE_MIN: u32 = 2;

/// How much of a message is looked at, in words.
const TOKENS_MAX: usize = 500;

/// How many functions are looked at, the first ones.
const FUNCTIONS_MAX: usize = 128;

/// How much of a function's name, and of its description, is looked at, in words.
const FUNCTION_WORDS_MAX: usize = 250;

/// How many properties of a function are looked at: the required ones first.
const PROPERTIES_MAX: usize = 64;

/// How many values of one `enum` are looked at, the first ones.
const ENUM_VALUES_MAX: usize = 64;

/// The longest text that is compared with the values of an `enum`, in bytes.
const ENUM_TEXT_BYTES_MAX: usize = 128;

/// The longest number, in bytes; a longer one is a mark.
const NUMBER_BYTES_MAX: usize = 32;

/// The longest message that becomes an argument as a whole, in bytes.
const WHOLE_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// How many missing arguments are asked for at once.
const MISSING_NAMED_MAX: usize = 8;

/// Words that stand in every request and so choose nothing.
const COMMON: [&str; 58] = [
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "by", "call", "can", "could",
    "do", "find", "for", "from", "get", "give", "have", "i", "in", "is", "it", "its", "list",
    "look", "make", "me", "my", "of", "on", "one", "or", "please", "post", "put", "read", "return",
    "returns", "show", "tell", "that", "the", "their", "this", "to", "tool", "up", "use", "was",
    "what", "where", "which", "with", "you", "your",
];

/// String arguments that mean the message itself.
const WHOLE_MESSAGE: [&str; 9] = [
    "body", "input", "message", "prompt", "q", "query", "question", "search", "text",
];

/// What the playground wants of the tools.
pub(super) enum Wish {
    /// Nothing.
    Nothing,
    /// This call.
    Call {
        /// The function.
        name: String,
        /// All it needs.
        arguments: Map<String, Value>,
    },
    /// This call, if it only knew.
    Ask {
        /// The function.
        name: String,
        /// Required arguments that the message does not have: at least one, and the first few of many.
        missing: Vec<String>,
    },
}

/// The function that fits the message best, of the first [`FUNCTIONS_MAX`]; of equals, the first.
pub(super) fn best<'f>(functions: &'f [Function], asked: &str) -> Option<&'f Function> {
    let asked = stems(asked, TOKENS_MAX);
    let mut best = None;
    for function in functions.iter().take(FUNCTIONS_MAX) {
        let score = score(function, &asked);
        if score >= SCORE_MIN && best.is_none_or(|(_, other)| score > other) {
            best = Some((function, score));
        }
    }
    best.map(|(function, _)| function)
}

/// The call of a function with what the message has for it.
pub(super) fn fill(function: &Function, asked: &str) -> Wish {
    let mut found = Found::of(asked);
    let mut arguments = Map::new();
    let nothing = Map::new();
    let properties = function.parameters["properties"]
        .as_object()
        .unwrap_or(&nothing);
    let required = || {
        let names = function.parameters["required"].as_array();
        names.into_iter().flatten().filter_map(Value::as_str)
    };
    let is_needed: HashSet<&str> = required().collect();
    let needed = properties
        .iter()
        .filter(|(name, _)| is_needed.contains(name.as_str()));
    let others = properties
        .iter()
        .filter(|(name, _)| !is_needed.contains(name.as_str()));
    for (name, schema) in needed.chain(others).take(PROPERTIES_MAX) {
        let value = found.take(name, schema).or_else(|| {
            let is_needed = is_needed.contains(name.as_str());
            is_needed
                .then(|| whole_message(name, schema, asked))
                .flatten()
        });
        if let Some(value) = value {
            arguments.insert(name.clone(), value);
        }
    }
    // All required names count here, also those that were not looked at: a call without one of them must not happen.
    let missing: Vec<String> = required()
        .filter(|name| !arguments.contains_key(*name))
        .take(MISSING_NAMED_MAX)
        .map(str::to_owned)
        .collect();
    let name = function.name.clone();
    if missing.is_empty() {
        Wish::Call { name, arguments }
    } else {
        Wish::Ask { name, missing }
    }
}

/// A text with everything but letters and digits turned into single spaces.
pub(super) fn spaced(text: &str) -> String {
    words(text).collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

fn score(function: &Function, asked: &HashSet<String>) -> u32 {
    let name = stems(&function.name, FUNCTION_WORDS_MAX);
    let description = stems(&function.description, FUNCTION_WORDS_MAX);
    let fits = |word: &String| {
        if name.contains(word) {
            2
        } else {
            u32::from(description.contains(word))
        }
    };
    asked.iter().map(fits).sum()
}

/// The telling ones of the first words of a text, lower case, without a plural's end.
fn stems(text: &str, words_max: usize) -> HashSet<String> {
    let mut stems = HashSet::new();
    for word in words(text).take(words_max) {
        let word = word.to_lowercase();
        if COMMON.contains(&word.as_str()) || word.parse::<f64>().is_ok() {
            continue;
        }
        let singular = word.strip_suffix('s').filter(|_| word.len() > 3);
        stems.insert(singular.unwrap_or(&word).to_owned());
    }
    stems
}

/// A piece of the message that can become an argument.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Number(String),
    /// A word with a digit in it, such as `ORD-1042`.
    Mark(String),
    Quoted(String),
}

/// The pieces of a message; each becomes one argument at most.
struct Found {
    tokens: Vec<Option<Token>>,
}

impl Found {
    fn of(text: &str) -> Self {
        let mut tokens = Vec::new();
        for (position, piece) in text.split('"').enumerate() {
            if position % 2 == 1 {
                tokens.push(Some(Token::Quoted(piece.to_owned())));
            } else {
                tokens.extend(
                    piece
                        .split([' ', '\t', '\n', '\r', '=', ':', ','])
                        .filter_map(token)
                        .map(Some)
                        .take(TOKENS_MAX - tokens.len()),
                );
            }
            if tokens.len() >= TOKENS_MAX {
                break;
            }
        }
        Self { tokens }
    }

    /// Takes what fits an argument: first what stands right after its name, then the first that fits its type.
    fn take(&mut self, name: &str, schema: &Value) -> Option<Value> {
        let named = (1..self.tokens.len()).find(|&at| {
            let before = matches!(&self.tokens[at - 1], Some(Token::Word(word)) if word.eq_ignore_ascii_case(name));
            before && self.value(at, name, schema, true).is_some()
        });
        let at = named.or_else(|| {
            (0..self.tokens.len()).find(|&at| self.value(at, name, schema, false).is_some())
        })?;
        let value = self.value(at, name, schema, named.is_some());
        self.tokens[at] = None;
        value
    }

    fn value(&self, at: usize, name: &str, schema: &Value, is_named: bool) -> Option<Value> {
        let token = self.tokens[at].as_ref()?;
        if let Some(allowed) = schema["enum"].as_array() {
            let (Token::Word(text) | Token::Mark(text) | Token::Number(text) | Token::Quoted(text)) =
                token;
            if text.len() > ENUM_TEXT_BYTES_MAX {
                return None;
            }
            let same = |v: &&Value| v.as_str().is_some_and(|v| v.eq_ignore_ascii_case(text));
            return allowed.iter().take(ENUM_VALUES_MAX).find(same).cloned();
        }
        match (schema["type"].as_str(), token) {
            (Some("integer"), Token::Number(text)) => text.parse::<i64>().ok().map(Value::from),
            (Some("number") | None, Token::Number(text)) => number(text),
            (Some("string") | None, Token::Quoted(text)) | (None, Token::Mark(text)) => {
                Some(json!(text))
            }
            (Some("string"), Token::Number(text) | Token::Mark(text))
                if is_named || is_key(name) =>
            {
                Some(json!(text))
            }
            (Some("string"), Token::Word(text)) if is_named => Some(json!(text)),
            _ => None,
        }
    }
}

fn token(piece: &str) -> Option<Token> {
    let piece = piece.trim_matches(|c: char| !c.is_alphanumeric() && c != '-');
    let bare = piece.trim_end_matches('-');
    if bare.is_empty() {
        return None;
    }
    let digits = bare.strip_prefix('-').unwrap_or(bare);
    let is_number = bare.len() <= NUMBER_BYTES_MAX
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && digits.matches('.').count() <= 1;
    let text = bare.trim_start_matches('-').to_owned();
    Some(if is_number {
        Token::Number(bare.to_owned())
    } else if text.chars().any(|c| c.is_ascii_digit()) {
        Token::Mark(text)
    } else {
        Token::Word(text)
    })
}

fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(json!(whole));
    }
    text.parse()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
}

/// Whether an argument's name says that it names one thing: `id`, `order_id`, `orderId`, `code`, `number`, `ref`.
fn is_key(name: &str) -> bool {
    let ends_with = |end: &&str| {
        let tail = name.len().checked_sub(end.len());
        tail.and_then(|at| name.get(at..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
    };
    ["id", "code", "number", "ref", "key", "no"]
        .iter()
        .any(ends_with)
}

fn whole_message(name: &str, schema: &Value, asked: &str) -> Option<Value> {
    let is_text = schema["type"].as_str() == Some("string") && schema["enum"].is_null();
    let wants = WHOLE_MESSAGE.contains(&name.to_lowercase().as_str());
    let whole = asked.trim();
    let fits = (1..=WHOLE_MESSAGE_BYTES_MAX).contains(&whole.len());
    (is_text && wants && fits).then(|| json!(whole))
}
