//! A body on its way out, looked through as it streams. What passed is kept only as far as a dummy might have begun there; the
//! frame that would complete one does not pass. A dummy is worth nothing, so nothing is held back for one that may only begin:
//! what counts is that the request never comes to its end. Never changes a byte.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::{Alarm, Known, Misplaced, Spot};
use crate::body::{Body, BoxError};

/// The body carries a dummy.
#[derive(Debug, thiserror::Error)]
#[error("the body carries what stands for a credential")]
struct Carried;

/// A body that breaks off where it carries a dummy, and rings then.
pub(super) fn watched(inner: Body, known: &Arc<Known>, alarm: &Alarm) -> Body {
    Watched {
        inner,
        known: Arc::clone(known),
        alarm: alarm.clone(),
        passed: Vec::new(),
    }
    .boxed_unsync()
}

struct Watched {
    inner: Body,
    known: Arc<Known>,
    alarm: Alarm,
    /// The last of what passed, shorter than anything that is looked for.
    passed: Vec<u8>,
}

impl Watched {
    fn judge(&mut self, frame: &Frame<Bytes>) -> Result<(), Misplaced> {
        if let Some(trailers) = frame.trailers_ref() {
            return self.known.judge_trailers(trailers);
        }
        let data: &[u8] = frame.data_ref().map_or(&[], |data| data);
        let kept = self.known.search.longest().saturating_sub(1);
        if !self.passed.is_empty() {
            let start = &data[..data.len().min(kept)];
            self.passed.extend_from_slice(start);
            self.known.only_of(None, &self.passed, &Spot::Body)?;
        }
        self.known.only_of(None, data, &Spot::Body)?;
        if data.len() >= kept {
            self.passed.clear();
            self.passed.extend_from_slice(&data[data.len() - kept..]);
        } else {
            if self.passed.is_empty() {
                self.passed.extend_from_slice(data);
            }
            let old = self.passed.len().saturating_sub(kept);
            self.passed.drain(..old);
        }
        Ok(())
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.alarm.rang().is_some() {
            return Poll::Ready(Some(Err(Carried.into())));
        }
        let next = ready!(Pin::new(&mut this.inner).poll_frame(context));
        if let Some(Ok(frame)) = &next
            && let Err(misplaced) = this.judge(frame)
        {
            this.alarm.ring(misplaced);
            return Poll::Ready(Some(Err(Carried.into())));
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
