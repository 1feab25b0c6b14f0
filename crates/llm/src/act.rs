//! What a question would make a provider do besides answering: fetch, search, run, remember. Never decides whether it may.

/// One thing that a provider would do on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// It searches the web.
    WebSearch,
    /// It fetches pages that the conversation names.
    WebFetch,
    /// It runs programs in a container of its own.
    CodeExecution,
    /// It makes pictures.
    ImageGeneration,
    /// It steers a computer, whoever's that is.
    ComputerUse,
    /// It calls MCP servers.
    Mcp,
    /// It fetches a URL that stands where content could.
    UrlInputs,
    /// It keeps the question and its answer.
    StoredState,
    /// It does something under a name that this gateway does not know.
    UnknownKinds,
    /// It reads files or vectors that it keeps. Never allowed: whose they are is not known here.
    FileSearch,
    /// It goes on from something that it keeps. Never allowed: whose that is is not known here.
    StateIds,
}

impl Act {
    /// Those that a model's `allow` may name.
    pub const ALLOWABLE: [Self; 9] = [
        Self::WebSearch,
        Self::WebFetch,
        Self::CodeExecution,
        Self::ImageGeneration,
        Self::ComputerUse,
        Self::Mcp,
        Self::UrlInputs,
        Self::StoredState,
        Self::UnknownKinds,
    ];

    /// Its word in config and in refusals.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::WebSearch => "web_search",
            Self::WebFetch => "web_fetch",
            Self::CodeExecution => "code_execution",
            Self::ImageGeneration => "image_generation",
            Self::ComputerUse => "computer_use",
            Self::Mcp => "mcp",
            Self::UrlInputs => "url_inputs",
            Self::StoredState => "stored_state",
            Self::UnknownKinds => "unknown_kinds",
            Self::FileSearch => "file_search",
            Self::StateIds => "state_ids",
        }
    }

    /// The act of a word in config, if it is one that may be allowed.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALLOWABLE.into_iter().find(|act| act.word() == word)
    }

    /// Whether some config can allow it.
    #[must_use]
    pub fn is_allowable(self) -> bool {
        Self::ALLOWABLE.contains(&self)
    }

    /// The act of a tool, by its type without the date of its version; `None` for tools that the client runs itself.
    pub(crate) fn of_tool(kind: &str) -> Option<Self> {
        match undated(kind) {
            "function"
            | "custom"
            | "local_shell"
            | "apply_patch"
            | "bash"
            | "text_editor"
            | "memory"
            | "tool_search"
            | "tool_search_tool_bm25"
            | "tool_search_tool_regex" => None,
            "web_search" | "web_search_preview" => Some(Self::WebSearch),
            "web_fetch" => Some(Self::WebFetch),
            "code_interpreter"
            | "code_execution"
            | "bash_code_execution"
            | "text_editor_code_execution"
            | "shell"
            | "programmatic_tool_calling" => Some(Self::CodeExecution),
            "image_generation" => Some(Self::ImageGeneration),
            "computer" | "computer_use_preview" | "computer_toolset" => Some(Self::ComputerUse),
            "mcp" | "mcp_toolset" => Some(Self::Mcp),
            "file_search" => Some(Self::FileSearch),
            _ => Some(Self::UnknownKinds),
        }
    }
}

/// A type without the date at its end: `web_search_20250305` and `web_search_2025_08_26` are `web_search`.
fn undated(kind: &str) -> &str {
    let date = |c: char| c.is_ascii_digit() || c == '_';
    let name = kind.trim_end_matches(date);
    let digits = kind[name.len()..]
        .bytes()
        .filter(u8::is_ascii_digit)
        .count();
    if digits == 8 { name } else { kind }
}

/// An act, and where the question asks for it: `tools[0]`, `messages[2].content[1].image_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the provider would do.
    pub act: Act,
    /// The field, with its position.
    pub at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_do_not_make_a_kind() {
        for (kind, act) in [
            ("web_search_20250305", Some(Act::WebSearch)),
            ("web_search_2025_08_26", Some(Act::WebSearch)),
            ("web_search_preview_2025_03_11", Some(Act::WebSearch)),
            ("web_search_2", Some(Act::UnknownKinds)),
            ("bash_20250124", None),
            ("20250124", Some(Act::UnknownKinds)),
            ("", Some(Act::UnknownKinds)),
            ("Function", Some(Act::UnknownKinds)),
        ] {
            assert_eq!(Act::of_tool(kind), act, "{kind}");
        }
    }

    #[test]
    fn every_word_is_found_again() {
        for act in Act::ALLOWABLE {
            assert_eq!(Act::from_word(act.word()), Some(act));
        }
        assert_eq!(Act::from_word(Act::StateIds.word()), None);
    }
}
