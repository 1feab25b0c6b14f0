//! `answers` of a tool or provider as written: how a credential is kept from coming back. Never looks into an answer.

use serde::Deserialize;

/// What becomes of an answer to a call that had a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// How it is looked through for the credential.
    pub mask: Mask,
    /// In which encoding it is asked for.
    pub encoding: Encoding,
    /// How often answers to a run may hold the credential before none of its calls goes out any more.
    pub echoes: u32,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            mask: Mask::default(),
            encoding: Encoding::default(),
            echoes: 100,
        }
    }
}

/// How an answer is looked through for the credential that its call had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// Its end is held back until nothing more can belong to it: as many bytes as the longest form has, but one.
    #[default]
    Hold,
    /// Nothing is held back, so of a credential that comes in pieces the first ones pass.
    Live,
    /// Not at all.
    Off,
}

/// In which encoding an answer is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// In none.
    #[default]
    Identity,
    /// In any that the gate can decode; the agent gets it decoded.
    Decode,
}
