//! Embeddings, as OpenAI has them: vectors of texts or of token numbers.

use super::search::Search;
use crate::{RequestError, act::Act, json::Json};

pub(super) fn look(body: &Json<'_>, search: &mut Search) -> Result<(), RequestError> {
    search.others(body, "", &["model", "input", "metadata"])?;
    let input = body.get("input").map_or(&[][..], |input| match input {
        Json::List(list) => list,
        one => std::slice::from_ref(one),
    });
    // Some providers take objects here that name pictures to fetch.
    for object in input
        .iter()
        .filter(|input| matches!(input, Json::Object(_)))
    {
        search.note(Act::UnknownKinds, "input");
        search.deep(object, "input");
    }
    Ok(())
}
