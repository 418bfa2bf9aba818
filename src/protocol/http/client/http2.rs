//! The body of a request that came on a stream of HTTP/2.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, SizeHint};

use super::Client;
use crate::body::{BodyError, Flow, NextFrame};
use crate::http2::StreamError;

/// The body of a request, taken from its stream as it is asked for.
#[derive(Debug)]
pub(super) struct StreamBody {
    client: Rc<Client>,
    /// Bytes that are still to come, where the head said how many there are.
    left: Option<u64>,
    has_ended: bool,
}

impl StreamBody {
    pub(super) fn new(client: Rc<Client>, length: Option<u64>) -> Self {
        Self {
            client,
            left: length,
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
                self.left = self.left.map(|left| left.saturating_sub(count as u64));
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
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Flow for StreamBody {}
