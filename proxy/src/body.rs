//! Bodies on their way through: streamed, counted, and never waited for without end. Never buffers one whole.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use tokio::time::Sleep;

use crate::{
    count::{Count, Over},
    dial::Stay,
    headers,
    inject::Fields,
};

/// What can go wrong with a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any body.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is known whole.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of which some was read already: that first, then the rest, then these trailers.
pub(crate) fn resumed(first: Bytes, rest: Body, trailers: Option<HeaderMap>) -> Body {
    Resumed {
        first: Some(first),
        rest,
        trailers,
    }
    .boxed_unsync()
}

struct Resumed {
    first: Option<Bytes>,
    rest: Body,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Resumed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match ready!(Pin::new(&mut self.rest).poll_frame(context)) {
            None => Poll::Ready(self.trailers.take().map(|last| Ok(Frame::trailers(last)))),
            next => Poll::Ready(next),
        }
    }
}

/// A body whose trailers stay behind.
pub(crate) fn without_trailers(inner: Body) -> Body {
    Untrailed(inner).boxed_unsync()
}

struct Untrailed(Body);

impl http_body::Body for Untrailed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = ready!(Pin::new(&mut self.0).poll_frame(context));
        Poll::Ready(next.filter(|frame| !matches!(frame, Ok(frame) if frame.is_trailers())))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Nothing came for too long.
#[derive(Debug, thiserror::Error)]
#[error("nothing came for too long in the middle of a body")]
pub(crate) struct Stalled;

/// A body that ends with [`Stalled`] if its sender falls silent and with `Over` if its call is over before it, with the
/// trailers that may pass.
pub(crate) struct Paced<B> {
    inner: B,
    /// Whose end is the body's too; an answer is counted and ended by who seals it.
    count: Option<Count>,
    /// The fields that no trailer may be in.
    own: Option<Fields>,
    silence: Option<Pin<Box<Sleep>>>,
    silence_max: Duration,
    _stay: Option<Stay>,
}

impl<B> Paced<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Paces a body and counts its bytes.
    pub(crate) fn body(inner: B, count: Count, silence_max: Duration) -> Body {
        Self::body_without(inner, None, count, silence_max)
    }

    /// The same, with no trailer for credentials that stand in these fields.
    pub(crate) fn body_without(
        inner: B,
        own: Option<Fields>,
        count: Count,
        silence_max: Duration,
    ) -> Body {
        Self {
            inner,
            count: Some(count),
            own,
            silence: None,
            silence_max,
            _stay: None,
        }
        .boxed_unsync()
    }

    /// An answer's body, which holds on to its connection. Whoever seals it counts.
    pub(crate) fn answer(inner: B, stay: Option<Stay>, silence_max: Duration) -> Body {
        Self {
            inner,
            count: None,
            own: None,
            silence: None,
            silence_max,
            _stay: stay,
        }
        .boxed_unsync()
    }
}

impl<B> Paced<B> {
    fn pass(&self, bytes: usize) -> Result<(), Over> {
        self.count
            .as_ref()
            .map_or(Ok(()), |count| count.pass(bytes))
    }

    fn wait(&self, context: &Context<'_>) -> Result<(), Over> {
        self.count
            .as_ref()
            .map_or(Ok(()), |count| count.wait(context))
    }
}

impl<B> http_body::Body for Paced<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(next) => {
                this.silence = None;
                let Some(frame) = next.transpose().map_err(Into::into)? else {
                    return Poll::Ready(None);
                };
                if let Some(data) = frame.data_ref() {
                    this.pass(data.len())?;
                    return Poll::Ready(Some(Ok(frame)));
                }
                this.pass(0)?;
                let mut trailers = frame.into_trailers().unwrap_or_default();
                headers::clean_trailers(&mut trailers, this.own.as_deref().unwrap_or_default());
                Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))))
            }
            Poll::Pending => {
                this.wait(context)?;
                let limit = this.silence_max;
                let silence = this
                    .silence
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                match silence.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(Stalled.into()))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
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

    use super::*;

    #[tokio::test]
    async fn silence_ends_a_body() {
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let silence_max = Duration::from_millis(1);
        let paced = Paced::body(StreamBody::new(never), Count::default(), silence_max);
        let error = paced.collect().await.unwrap_err();
        assert!(error.is::<Stalled>());
    }

    #[tokio::test]
    async fn the_end_of_its_call_ends_a_body_that_goes_on_and_one_that_waits() {
        let more = futures_util::stream::repeat_with(|| {
            Ok::<_, BoxError>(Frame::data(Bytes::from("abc")))
        });
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let (sending, waiting) = (Count::default(), Count::default());
        let silence_max = Duration::from_secs(300);
        let mut body = Paced::body(StreamBody::new(more), sending.clone(), silence_max);
        assert!(body.frame().await.unwrap().is_ok());
        sending.end();
        assert!(body.frame().await.unwrap().unwrap_err().is::<Over>());
        let mut body = Paced::body(StreamBody::new(never), waiting.clone(), silence_max);
        let ended = async {
            tokio::task::yield_now().await;
            waiting.end();
        };
        let (frame, ()) = tokio::join!(body.frame(), ended);
        assert!(frame.unwrap().unwrap_err().is::<Over>());
    }

    #[tokio::test]
    async fn bytes_are_counted_and_trailers_that_mean_nothing_stay_behind() {
        let frames: [Result<_, BoxError>; 2] = [
            Ok(Frame::data(Bytes::from("abc"))),
            Ok(Frame::trailers(HeaderMap::new())),
        ];
        let stream = StreamBody::new(futures_util::stream::iter(frames));
        let count = Count::default();
        let paced = Paced::body(stream, count.clone(), Duration::from_secs(300));
        let collected = paced.collect().await.unwrap();
        assert!(collected.trailers().is_none());
        assert_eq!((collected.to_bytes(), count.get()), (Bytes::from("abc"), 3));
    }
}
