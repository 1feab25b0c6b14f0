//! Holds back the last of an answer until its audit line is written. Never changes a byte; never buffers more than the
//! frame in hand.
//!
//! ```text
//! frame ─▶ is it the last? ── no ──▶ pass
//!                  └── yes, or the end, or an error, or the agent left ──▶ write the line ──▶ pass (or cut, if that failed)
//! ```

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::Unrecorded;
use crate::{
    body::{Body, BoxError},
    record::Record,
};

/// A body whose end waits for the record.
pub(crate) struct Sealed {
    inner: Body,
    record: Option<Box<Record>>,
}

impl Sealed {
    /// Ties an answer to its record. An answer without a body has its line written here and now, before its head.
    pub(crate) fn response(
        response: Response<Body>,
        mut record: Box<Record>,
    ) -> Result<Response<Body>, Unrecorded> {
        record.headed(&response);
        if response.body().is_end_stream() {
            record.close(None)?;
            return Ok(response);
        }
        Ok(response.map(|inner| {
            Self {
                inner,
                record: Some(record),
            }
            .boxed_unsync()
        }))
    }

    fn close(&mut self, cut: Option<&str>) -> Result<(), Unrecorded> {
        match self.record.take() {
            Some(mut record) => record.close(cut),
            None => Ok(()),
        }
    }

    /// Whether nothing follows what was just read.
    fn is_over(&self) -> bool {
        self.inner.is_end_stream() || self.inner.size_hint().exact() == Some(0)
    }
}

impl http_body::Body for Sealed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(next) => match self.record.as_mut().and_then(|record| record.cut_now()) {
                None => next,
                Some(cut) => Some(Err(cut.into())),
            },
            Poll::Pending => match &mut self.record {
                Some(record) => Some(Err(ready!(record.poll_cut(context)).into())),
                None => return Poll::Pending,
            },
        };
        let sealed = match &next {
            Some(Ok(frame)) => {
                if let (Some(data), Some(record)) = (frame.data_ref(), &mut self.record) {
                    record.sent(data);
                }
                if frame.is_trailers() || self.is_over() {
                    self.close(None)
                } else {
                    Ok(())
                }
            }
            Some(Err(error)) => {
                let words = error.to_string();
                self.close(Some(&words))
            }
            None => self.close(None),
        };
        match sealed {
            Ok(()) => Poll::Ready(next),
            Err(unrecorded) => Poll::Ready(Some(Err(unrecorded.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.record.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
