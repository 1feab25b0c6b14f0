//! Looks into the body of a call whose credential is a signature over it, before anybody is dialled. Never keeps more of one than its
//! sandbox's share has room for.

use super::{Credentials, Outbound, place::Reads};
use crate::{
    book::Book,
    identify::Caller,
    record::Record,
    refuse::Refused,
    sealed::Claim,
    shown::{self, Shown},
};

/// Why a request cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsignable {
    /// Its body is signed by the agent in a way that is not known here.
    #[error(
        "the body is signed piece by piece in a way that the gate cannot sign anew: send it whole"
    )]
    Stream,
    /// Its body is larger than what is read.
    #[error("the gate signs the bodies of this tool, and reads at most {0} bytes of one")]
    TooLong(usize),
    /// It does more than its URL says.
    #[error(
        "`{0}` acts beyond the URL that was decided on: the tool's credential must say that it `permits` this"
    )]
    Beyond(&'static str),
}

/// The same request, with what its credentials must know of its body, and the tokens of the agent's own that go along.
pub(crate) async fn look(
    mut outbound: Outbound,
    credentials: Option<&Credentials>,
    (book, caller): (&Book, &Caller),
    record: &mut Record,
) -> Result<(Outbound, Claim), Refused> {
    let asked = (&outbound.headers, &mut outbound.body);
    outbound.claim.look(asked, (book, caller), record).await?;
    let claim = outbound.claim.clone();
    let Some(credentials) = credentials else {
        return Ok((outbound, claim));
    };
    match credentials.reads(&outbound.headers)? {
        Reads::Nothing => {}
        Reads::Pieces(bytes) => shown::hold(0, bytes, caller, record)?,
        Reads::Whole { bytes_max, or_not } => {
            let with = (book.patience.body, bytes_max);
            outbound.shown = shown::open(&mut outbound.body, with, caller, record).await?;
            if outbound.shown == Shown::TooLong && !or_not {
                return Err(Unsignable::TooLong(bytes_max).into());
            }
        }
    }
    Ok((outbound, claim))
}
