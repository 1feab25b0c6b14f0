//! What a run's program is started with: its words, its variables, what it reads. Never starts it.

use std::collections::BTreeMap;

use postern_invoke::WorkerRequest;
use serde_json::Value;
use uuid::Uuid;

use super::{Settings, preset::MODEL};
use crate::config::InputWritten;

/// The longest message as an argument, in bytes.
const ARGUMENT_BYTES_MAX: usize = 32 << 10;

/// What stands for the message, and for the file that it is in.
const MESSAGE: &str = "{message}";
const FILE: &str = "{file}";

/// Puts what it reads into the file that its first argument names, and becomes the rest.
const INTO_A_FILE: &str = "umask 077 && cat >\"$0\" && exec \"$@\" </dev/null";

/// What to start.
#[derive(Debug, PartialEq)]
pub(super) struct Words {
    pub(super) argv: Vec<String>,
    /// Beside what every agent has.
    pub(super) env: BTreeMap<String, String>,
    /// What it reads; nothing if that is nothing.
    pub(super) stdin: Option<Vec<u8>>,
}

/// Why a message does not fit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error(
        "the message is over {ARGUMENT_BYTES_MAX} bytes, too long for an argument: `input` may be `stdin` or `file`"
    )]
    TooLong,
    #[error("the message has a NUL, which no argument can have: `input` may be `stdin` or `file`")]
    Nul,
}

/// The words of one run of an agent with this model, which goes on in a session of the program's if there is one.
pub(super) fn of(
    settings: &Settings,
    (model, session): (&str, Option<&str>),
    request: &WorkerRequest,
) -> Result<Words, Unfit> {
    let env = variables(request);
    let text = text_of(&request.message);
    let argv = settings.argv.iter();
    let argv = argv.map(|word| word.replace(MODEL, model)).collect();
    let argv = match settings.session.as_ref().zip(session) {
        Some((way, session)) => way.go_on(argv, session),
        None => argv,
    };
    let (argv, stdin) = match settings.input {
        InputWritten::Stdin => (argv, Some(text.into_bytes())),
        InputWritten::Request => {
            let mut line = serde_json::to_vec(request).unwrap_or_default();
            line.push(b'\n');
            (argv, Some(line))
        }
        InputWritten::Argument if text.len() > ARGUMENT_BYTES_MAX => return Err(Unfit::TooLong),
        InputWritten::Argument if text.contains('\0') => return Err(Unfit::Nul),
        InputWritten::Argument => (filled(argv, MESSAGE, &text), None),
        InputWritten::File => {
            let path = format!("/tmp/message-{}", Uuid::new_v4().simple());
            let wrapped = ["sh", "-c", INTO_A_FILE, &path].map(str::to_owned);
            let argv = wrapped.into_iter().chain(filled(argv, FILE, &path));
            (argv.collect(), Some(text.into_bytes()))
        }
    };
    Ok(Words { argv, env, stdin })
}

/// A message as text; what is none comes as JSON.
pub(in crate::agents) fn text_of(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whose run it is.
pub(in crate::agents) fn variables(request: &WorkerRequest) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
    set("POSTERN_RUN_ID", request.run_id.to_string());
    set("POSTERN_REQUEST_ID", request.request_id.to_string());
    if let Some(user) = &request.user_id {
        set("POSTERN_USER_ID", user.clone());
    }
    env
}

/// Words with a value in the place of those that stand for it, or behind the last.
fn filled(mut argv: Vec<String>, mark: &str, value: &str) -> Vec<String> {
    if !argv.iter().any(|word| word == mark) {
        argv.push(mark.to_owned());
    }
    for word in &mut argv {
        if word == mark {
            value.clone_into(word);
        }
    }
    argv
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::command::settings::Reading;

    fn words(argv: &[&str], input: InputWritten, message: Value) -> Result<Words, Unfit> {
        let settings = Settings {
            files: None,
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            input,
            output: Reading::Text,
            session: None,
        };
        let request = WorkerRequest {
            message,
            history: Vec::new(),
            request_id: "rid-1".parse().unwrap(),
            run_id: "run-1".parse().unwrap(),
            user_id: Some("ada".to_owned()),
            conversation_id: None,
            resume: None,
        };
        of(&settings, ("fast", None), &request)
    }

    #[test]
    fn the_message_goes_where_the_config_says() {
        let stdin = words(&["p", "-m={model}"], InputWritten::Stdin, json!("hi")).unwrap();
        assert_eq!(stdin.argv, ["p", "-m=fast"]);
        assert_eq!(stdin.stdin.as_deref(), Some(b"hi".as_slice()));
        assert_eq!(stdin.env["POSTERN_USER_ID"], "ada");
        let argument = |argv: &[&str], message| words(argv, InputWritten::Argument, message);
        assert_eq!(
            argument(&["p", "-q"], json!({ "a": 1 })).unwrap().argv,
            ["p", "-q", "{\"a\":1}"]
        );
        let named = argument(&["p", "--", "{message}", "end"], json!("hi {message}"));
        assert_eq!(named.unwrap().argv, ["p", "--", "hi {message}", "end"]);
        let file = words(&["p"], InputWritten::File, json!("hi")).unwrap();
        assert_eq!(file.argv[0], "sh");
        assert_eq!(file.argv[3], file.argv[5]);
        let request = words(&["p"], InputWritten::Request, json!("hi")).unwrap();
        let request: Value = serde_json::from_slice(&request.stdin.unwrap()).unwrap();
        assert_eq!(
            (&request["message"], &request["run_id"]),
            (&json!("hi"), &json!("run-1"))
        );
    }

    #[test]
    fn what_cannot_be_an_argument_is_said() {
        let argument = |message: &str| words(&["p"], InputWritten::Argument, json!(message));
        assert_eq!(argument("a\0b"), Err(Unfit::Nul));
        let long = "x".repeat(ARGUMENT_BYTES_MAX + 1);
        assert_eq!(argument(&long), Err(Unfit::TooLong));
    }
}
