//! Bodies whose exchange must be over by a certain time. Never looks at what passes.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::{Body, BoxError};

/// The exchange took longer than its tool may take.
#[derive(Debug, thiserror::Error)]
#[error("the exchange took longer than this tool may take")]
pub(crate) struct Overdue;

struct Deadline {
    inner: Body,
    over: Pin<Box<Sleep>>,
}

/// The same body, which breaks off at the deadline if there is one.
pub(crate) fn until(body: Body, deadline: Option<Instant>) -> Body {
    let Some(deadline) = deadline else {
        return body;
    };
    let over = Box::pin(sleep_until(deadline));
    Deadline { inner: body, over }.boxed_unsync()
}

impl http_body::Body for Deadline {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Overdue.into())));
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use postern_daemon::Clock;

    use super::*;
    use crate::body::full;

    #[tokio::test]
    async fn a_body_breaks_off_at_its_deadline_and_not_before() {
        let now = Instant::from_std(Clock::system().now());
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let body = until(StreamBody::new(never).boxed_unsync(), Some(now));
        assert!(body.collect().await.unwrap_err().is::<Overdue>());
        let later = now + std::time::Duration::from_secs(3600);
        for deadline in [Some(later), None] {
            let whole = until(full("abc"), deadline).collect().await.unwrap();
            assert_eq!(whole.to_bytes(), "abc");
        }
    }
}
