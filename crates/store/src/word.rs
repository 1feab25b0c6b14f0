//! How a closed list of words stands in a column: by its serde name, so that the wire and the database cannot drift apart.
//! Never used for anything with data in it.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The word as it is written.
pub(crate) fn to_column(word: impl Serialize) -> Result<String, serde_json::Error> {
    match serde_json::to_value(word)? {
        Value::String(text) => Ok(text),
        _ => Err(serde::ser::Error::custom("not a word")),
    }
}

/// The word as it is read.
pub(crate) fn from_column<T: DeserializeOwned>(text: String) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::String(text))
}
