//! The body of a response, read from its connection, which goes back to the pool at its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::own_call::{OwnCall, Sent};
use super::{Connection, Return};
use crate::body::{BodyError, Conduit, Flow, NextFrame};
use crate::http1::{Amount, Decoded, Decoder, Framing, Trailers, can_draw, poll_draw};

/// What a response's body holds while it is received. Dropped at its end, or with it: where it
/// hears nothing before, somebody has left who took the response, and that says nothing of the
/// endpoint.
pub trait Receipt: std::fmt::Debug + Unpin + 'static {
    /// All of it has been received.
    fn ended(&mut self);

    /// The endpoint broke off, or what it sends is no message.
    fn broke_off(&mut self);

    /// Nothing more came in time, although the head had said how much there is. Where it does not
    /// say, silence may be what there is to tell.
    fn fell_silent(&mut self);
}

/// A response's body. Dropped before its end, it takes its connection with it: what is left of the
/// response must never be taken for the next one.
#[derive(Debug)]
pub struct ResponseBody<G> {
    call: Option<OwnCall>,
    decoder: Decoder,
    framing: Framing,
    persistent: bool,
    home: Return,
    /// Released when the response has been received: the request is no longer in flight.
    guard: Option<G>,
    /// What was decoded together with the piece before: a frame, or the error that follows it.
    ahead: Option<Result<Frame<Bytes>, BodyError>>,
}

impl<G: Receipt> ResponseBody<G> {
    /// The body behind a head that a call has brought.
    pub fn new(
        call: OwnCall,
        (framing, trailers): (Framing, Trailers),
        persistent: bool,
        home: Return,
        guard: G,
    ) -> Self {
        let mut body = Self {
            call: Some(call),
            decoder: Decoder::with_trailers(framing, trailers),
            framing,
            persistent,
            home,
            guard: Some(guard),
            ahead: None,
        };
        if body.decoder.is_done() {
            body.finish();
        }
        body
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(ahead));
        }
        loop {
            match self.decode() {
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(Some(frame)) => {
                    self.look_ahead();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) => {}
            }
            let Some(call) = self.call.as_mut() else {
                return Poll::Ready(None);
            };
            let Connection {
                stream, received, ..
            } = call.connection_mut();
            match ready!(received.poll_fill(cx, stream, Amount::for_rest(self.decoder.left()))) {
                Ok(count) if count > 0 => {}
                Ok(_) => return Poll::Ready(self.end_of_input().map(Err)),
                Err(_) => return Poll::Ready(Some(Err(self.broke_off(BodyError::Truncated)))),
            }
        }
    }

    /// The next frame of what has been received, if there is one.
    fn decode(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let Some(call) = self.call.as_mut() else {
            return Ok(None);
        };
        let received = &mut call.connection_mut().received;
        match self.decoder.decode(received.bytes()) {
            Err(error) => Err(self.broke_off(error.into())),
            Ok(Decoded::Data { skip, length }) => {
                let bytes = received.take(skip, length);
                if self.decoder.is_done() {
                    self.finish();
                }
                Ok(Some(Frame::data(bytes)))
            }
            Ok(Decoded::End { consumed, trailers }) => {
                received.consume(consumed);
                self.finish();
                Ok(trailers.map(Frame::trailers))
            }
            Ok(Decoded::More { consumed }) => {
                received.consume(consumed);
                Ok(None)
            }
        }
    }

    /// Looks whether a chunked piece was the last: then its end leaves in the same write, and the
    /// connection is free before the client has taken the piece. An error is kept
    /// for the next call.
    fn look_ahead(&mut self) {
        if self.framing == Framing::Chunked && self.call.is_some() {
            self.ahead = self.decode().transpose();
        }
    }

    fn end_of_input(&mut self) -> Option<BodyError> {
        match self.decoder.end_of_input() {
            Ok(()) => {
                self.persistent = false;
                self.finish();
                None
            }
            Err(error) => Some(self.broke_off(error.into())),
        }
    }

    /// Nothing more comes, and that was not all.
    fn broke_off(&mut self, error: BodyError) -> BodyError {
        self.call = None;
        if let Some(guard) = &mut self.guard {
            guard.broke_off();
        }
        error
    }

    /// The response has been received: its connection is free, if it can be used again.
    fn finish(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.ended();
        }
        let Some(mut call) = self.call.take() else {
            return;
        };
        let Return { pool, keep } = &self.home;
        call.end(self.persistent, pool, *keep, Instant::now());
    }
}

impl<G: Receipt> HttpBody for ResponseBody<G> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let body = self.get_mut();
        if let Some(call) = body.call.as_mut()
            && call.poll_request(cx).is_err()
        {
            // The client's half of the exchange is broken; the response may still be whole.
            call.sent = Sent::Refused;
        }
        body.poll_data(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.call.is_none() && self.ahead.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder
            .left()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<G: Receipt> Flow for ResponseBody<G> {
    fn can_be_drawn(&self) -> bool {
        // While the request is being sent, both need the task's attention for every piece.
        let can = |call: &OwnCall| {
            let Connection {
                stream, received, ..
            } = call.connection();
            call.is_sent() && can_draw(stream, received, &self.decoder)
        };
        self.call.as_ref().is_some_and(can)
    }

    fn poll_draw(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        conduit: &mut dyn Conduit,
    ) -> Poll<Result<usize, BodyError>> {
        let body = self.get_mut();
        let Some(call) = body.call.as_mut() else {
            return Poll::Ready(Ok(0));
        };
        let Connection {
            stream, received, ..
        } = call.connection_mut();
        let drawn = poll_draw(cx, (stream, received), &mut body.decoder, conduit);
        let Ok(count) = ready!(drawn) else {
            return Poll::Ready(Err(body.broke_off(BodyError::Truncated)));
        };
        if count == 0 {
            return Poll::Ready(body.end_of_input().map_or(Ok(0), Err));
        }
        if body.decoder.is_done() {
            body.finish();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_behind(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        if let Some(call) = self.get_mut().call.as_mut()
            && call.poll_request(cx).is_err()
        {
            call.sent = Sent::Refused;
        }
    }

    fn fell_silent(self: Pin<&mut Self>) {
        let body = self.get_mut();
        if let (Framing::Length(_), Some(guard)) = (body.framing, &mut body.guard) {
            guard.fell_silent();
        }
    }

    fn awaits_request(&self) -> bool {
        self.call.as_ref().is_some_and(OwnCall::awaits_body)
    }
}
