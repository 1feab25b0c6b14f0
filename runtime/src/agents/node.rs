//! Agents that are a Node module: as those of Python, with another worker. Its code is one file that this executable carries, on
//! nothing but what Node brings; the interpreter is the sandbox's own.

use super::python::Language;

/// Node as the sandbox's PATH has it; 18 or later.
pub(super) const NODE: Language = Language {
    word: "node",
    suffixes: &[".mjs", ".js", ".cjs"],
    worker: include_str!("node/worker.mjs"),
    target: "/run/postern/worker.mjs",
    program: "node",
    env: &[],
};
