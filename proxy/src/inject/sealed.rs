//! Puts tokens that an agent asked for itself in the place of what stands for them: in `Authorization`, or in the form that asks for
//! the next. Never adds one to a call that did not show what stands for it.

use http::header::{AUTHORIZATION, CONTENT_LENGTH};

use super::{Draft, Unfit};
use crate::{body, sealed::Claim};

/// Puts a call's own tokens in, if it has any.
pub(super) fn put(claim: &Claim, draft: &mut Draft<'_>) -> Result<(), Unfit> {
    if let Some(value) = claim.authorization() {
        draft.put(AUTHORIZATION, &value)?;
    }
    if let Some(form) = claim.form() {
        draft.headers.insert(CONTENT_LENGTH, form.len().into());
        draft.body = body::full(bytes::Bytes::from_owner(form));
    }
    Ok(())
}
