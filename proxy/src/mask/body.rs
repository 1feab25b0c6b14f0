//! A body, or its trailers, as an agent may see it. Never waits for more than comes by itself, and never changes a length.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::{
    border::Border,
    echoes::{Stopped, Tally},
    fields,
    pass::Pass,
};
use crate::body::{Body, BoxError};

/// A body that is looked through.
pub(super) struct Masked {
    inner: Body,
    pass: Pass,
    border: Border,
    tally: Tally,
    counted: u32,
    /// What follows what was held back.
    trailers: Option<HeaderMap>,
    over: bool,
}

impl Masked {
    /// A body of an answer, looked through.
    pub(super) fn body(inner: Body, (pass, border): (Pass, Border), tally: Tally) -> Body {
        Self {
            inner,
            pass,
            border,
            tally,
            counted: 0,
            trailers: None,
            over: false,
        }
        .boxed_unsync()
    }

    /// What leaves now that this came.
    fn passed(&mut self, data: Bytes) -> Result<Bytes, Stopped> {
        // Nothing can follow what an ended body held.
        let is_last = self.inner.is_end_stream() || self.inner.size_hint().exact() == Some(0);
        let border = self.border.last(&data);
        let settled = if is_last { data.len() } else { border };
        let out = self.pass.push(data, settled);
        self.count()?;
        Ok(out)
    }

    fn count(&mut self) -> Result<(), Stopped> {
        let fresh = self.pass.hits() - self.counted;
        self.counted = self.pass.hits();
        self.tally.add(fresh)
    }

    /// The end of the data: what was held back, then trailers if there are any.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Option<Frame<Bytes>> {
        self.over = true;
        let rest = self.pass.finish();
        if rest.is_empty() {
            return trailers.map(Frame::trailers);
        }
        self.trailers = trailers;
        Some(Frame::data(rest))
    }
}

impl http_body::Body for Masked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(this.trailers.take().map(|last| Ok(Frame::trailers(last))));
        }
        loop {
            let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(context)).transpose()?
            else {
                return Poll::Ready(this.end(None).map(Ok));
            };
            let out = match frame.into_data() {
                Ok(data) => this.passed(data)?,
                Err(frame) => {
                    let mut last = frame.into_trailers().unwrap_or_default();
                    this.tally
                        .add(fields::mask(&mut last, this.pass.scanner()))?;
                    return Poll::Ready(this.end(Some(last)).map(Ok));
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let nothing_waits = self.pass.held() == 0 && self.trailers.is_none();
        nothing_waits && (self.over || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, held) = (self.inner.size_hint(), self.pass.held() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + held);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}
