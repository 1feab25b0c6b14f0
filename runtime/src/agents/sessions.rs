//! Conversations that an agent's own program keeps in its sandbox: which of its sessions goes on with which conversation of whose.
//! Lives and ends with the one sandbox, as the program's own memory does, and never names a session of another.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use postern_invoke::WorkerRequest;

/// Conversations of one sandbox; the one that went on longest ago is forgotten first.
const SESSIONS_MAX: usize = 256;

/// The longest id of a session, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Whose conversation, and which.
type Key = (Option<String>, String);

/// All of one sandbox, the latest last.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<VecDeque<(Key, String)>>);

impl Sessions {
    fn all(&self) -> MutexGuard<'_, VecDeque<(Key, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session in which a run goes on; none where its conversation is new here, or it has none.
    pub(super) fn of(&self, request: &WorkerRequest) -> Option<String> {
        let key = key(request)?;
        let all = self.all();
        let found = all.iter().find(|(known, _)| *known == key);
        found.map(|(_, session)| session.clone())
    }

    /// A run came to its end, in this session if its program named one that can be named again; the next of its conversation begins
    /// anew otherwise.
    pub(super) fn ended(&self, request: &WorkerRequest, session: Option<&str>) {
        let Some(key) = key(request) else { return };
        let mut all = self.all();
        all.retain(|(known, _)| *known != key);
        let Some(session) = session.filter(|session| can_be_a_word(session)) else {
            return;
        };
        if all.len() == SESSIONS_MAX {
            all.pop_front();
        }
        all.push_back((key, session.to_owned()));
    }
}

fn key(request: &WorkerRequest) -> Option<Key> {
    let conversation = request.conversation_id.clone()?;
    Some((request.user_id.clone(), conversation))
}

/// Whether an id, which the program chose, is nothing but a word among its arguments.
fn can_be_a_word(session: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=ID_BYTES_MAX).contains(&session.len())
        && !session.starts_with('-')
        && session.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(user: Option<&str>, conversation: Option<&str>) -> WorkerRequest {
        WorkerRequest {
            message: "hi".into(),
            history: Vec::new(),
            request_id: "rid-1".parse().unwrap(),
            run_id: "run-1".parse().unwrap(),
            user_id: user.map(str::to_owned),
            conversation_id: conversation.map(str::to_owned),
            resume: None,
        }
    }

    #[test]
    fn a_conversation_is_its_users_alone() {
        let sessions = Sessions::default();
        let ada = request(Some("ada"), Some("c"));
        sessions.ended(&ada, Some("ses_1"));
        assert_eq!(sessions.of(&ada).as_deref(), Some("ses_1"));
        for other in [
            request(Some("eve"), Some("c")),
            request(None, Some("c")),
            request(Some("ada"), Some("d")),
            request(Some("ada"), None),
        ] {
            assert_eq!(sessions.of(&other), None);
        }
        sessions.ended(&ada, None);
        assert_eq!(sessions.of(&ada), None);
    }

    #[test]
    fn an_option_in_the_place_of_a_session_is_none_and_the_oldest_is_forgotten() {
        let sessions = Sessions::default();
        let asked = request(None, Some("c"));
        for odd in [
            "",
            "--mcp-config",
            "a b",
            "../x",
            &"x".repeat(ID_BYTES_MAX + 1),
        ] {
            sessions.ended(&asked, Some(odd));
            assert_eq!(sessions.of(&asked), None, "{odd}");
        }
        for number in 0..=SESSIONS_MAX {
            let asked = request(None, Some(&number.to_string()));
            sessions.ended(&asked, Some("s"));
        }
        assert_eq!(sessions.of(&request(None, Some("0"))), None);
        assert!(sessions.of(&request(None, Some("1"))).is_some());
        assert_eq!(sessions.all().len(), SESSIONS_MAX);
    }
}
