//! The body of a response, read from its stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, SizeHint};

use super::SharedCall;
use crate::body::{BodyError, Flow, NextFrame};
use crate::http1::Framing;
use crate::pool::Receipt;
use crate::pool::own_call::Sent;

/// A response's body. Dropped before its end, it takes back its stream.
#[derive(Debug)]
pub(in crate::pool) struct SharedBody<G> {
    /// There until the response has been received.
    call: Option<Box<SharedCall>>,
    /// What the head says of it.
    length: Option<u64>,
    /// What has been passed on.
    passed: u64,
    /// Released when the response has been received: the request is no longer in flight.
    guard: Option<G>,
}

impl<G: Receipt> SharedBody<G> {
    /// The body behind a head that a call has brought.
    pub(in crate::pool) fn new(call: Box<SharedCall>, framing: Framing, guard: G) -> Self {
        let mut body = Self {
            call: Some(call),
            length: match framing {
                Framing::None => Some(0),
                Framing::Length(length) => Some(length),
                Framing::Chunked | Framing::UntilClose => None,
            },
            passed: 0,
            guard: Some(guard),
        };
        body.look_ahead();
        body
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let Some(call) = &mut self.call else {
            return Poll::Ready(None);
        };
        let next = ready!(call.poll_frame(cx));
        match &next {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, Bytes::len);
                self.passed += count as u64;
                self.look_ahead();
            }
            Some(Err(_)) => {
                self.call = None;
                if let Some(guard) = &mut self.guard {
                    guard.broke_off();
                }
            }
            None => self.finish(),
        }
        Poll::Ready(next)
    }

    /// Looks whether the piece before was the last.
    fn look_ahead(&mut self) {
        if self.call.as_ref().is_some_and(|call| call.has_ended()) {
            self.finish();
        }
    }

    /// The response has been received.
    fn finish(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.ended();
        }
        self.call = None;
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) {
        if let Some(call) = &mut self.call
            && call.poll_request(cx).is_err()
        {
            // The client's half of the exchange is broken; the response may still be whole.
            call.sent = Sent::Refused;
        }
    }
}

impl<G: Receipt> HttpBody for SharedBody<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let body = self.get_mut();
        body.poll_request(cx);
        body.poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.call.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.length.map(|length| length.saturating_sub(self.passed));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<G: Receipt> Flow for SharedBody<G> {
    fn poll_behind(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.get_mut().poll_request(cx);
    }

    fn fell_silent(self: Pin<&mut Self>) {
        let body = self.get_mut();
        if let (Some(_), Some(guard)) = (body.length, &mut body.guard) {
            guard.fell_silent();
        }
    }

    fn awaits_request(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.awaits_body())
    }
}
