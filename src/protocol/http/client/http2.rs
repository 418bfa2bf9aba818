//! The body of a request that came on a stream of HTTP/2, and what comes when nobody wants it.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, SizeHint};

use super::{Client, LINGER, LINGER_BYTES};
use crate::body::{BodyError, Flow, NextFrame};
use crate::http2::{Stream, StreamError};
use crate::time::Deadline;

/// The body of a request, taken from its stream as it is asked for.
#[derive(Debug)]
pub(super) struct StreamBody {
    client: Rc<Client>,
    has_ended: bool,
}

impl StreamBody {
    pub(super) fn new(client: Rc<Client>) -> Self {
        Self {
            client,
            has_ended: false,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let Some(stream) = self.client.http2() else {
            return Poll::Ready(None);
        };
        if self.has_ended {
            return Poll::Ready(None);
        }
        let next = ready!(stream.poll_frame(cx));
        Poll::Ready(match next {
            None => {
                self.has_ended = true;
                None
            }
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, Bytes::len);
                self.client.took(count);
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.has_ended = true;
                Some(Err(self.broken(error)))
            }
        })
    }

    /// What became of it.
    fn broken(&self, error: StreamError) -> BodyError {
        match error {
            StreamError::Malformed(_) => BodyError::Malformed,
            // Our doing, not the client's.
            StreamError::GivenUp(_) => BodyError::Truncated,
            StreamError::Reset(_) | StreamError::Unprocessed | StreamError::Ended => {
                self.client.fail();
                BodyError::Truncated
            }
        }
    }
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        self.get_mut().poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.client.has_whole_request()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.client.http2().and_then(Stream::left);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Flow for StreamBody {}

/// Ends a stream on which the client may still be sending: what comes is thrown away for a moment.
/// RFC 9113 §8.1 would have it reset at once with `NO_ERROR`, which clients must not take for a
/// failure; but some do, and lose the response.
pub(super) async fn linger(stream: &Stream, deadline: &Deadline) {
    deadline.set(LINGER);
    let mut left = LINGER_BYTES;
    let discarded = poll_fn(|cx| {
        while left > 0
            && let Some(Ok(frame)) = ready!(stream.poll_frame(cx))
        {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(())
    });
    _ = deadline.guard(discarded).await;
}
