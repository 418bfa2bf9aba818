//! A call on a connection that others share: HTTP/2.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

use super::Shared;
use crate::body::{Body, BodyError, Keeping, NextFrame};
use crate::endpoint::Endpoint;
use crate::http1::{Framing, ResponseHead, Trailers};
use crate::http2::{self, ErrorCode, OpenError, Opening, SendError, Sending, Stream, StreamError};
use crate::message::RequestParts;
use crate::pool::call::{CallError, Event, Interim};
use crate::pool::own_call::Sent;
use crate::pool::{Call, Keep};

/// A request that has been given to a connection which carries others as well. Dropped before its
/// end, it takes back its stream.
#[derive(Debug)]
pub struct SharedCall {
    /// There until the call has ended.
    stream: Option<Stream>,
    shared: Rc<Shared>,
    sending: Option<Sending>,
    pub(super) sent: Sent,
    interim: Interim,
    keep: Keep,
    /// What had left the connection before.
    sent_before: u64,
    /// What had come by the time at which the request had left.
    heard_before: u64,
    began: Instant,
    /// Whether it is known how it ended, as far as its connection is concerned.
    is_judged: Cell<bool>,
    /// What came with the head.
    early: VecDeque<Frame<Bytes>>,
}

impl Call {
    /// Opens a stream for a request on a shared connection, and tells whether that has brought a
    /// response before. Gives the body back if there is no room
    /// after all, or none any more; the connection is then not asked again.
    pub fn share(
        shared: &Rc<Shared>,
        parts: &RequestParts,
        opening: Opening<'_>,
        (body, keeping): (Body, Keeping),
        keep: Keep,
    ) -> Result<(Self, bool), Body> {
        let sent_before = shared.http2.sent();
        let stream = match shared.http2.open(parts, opening) {
            Ok(stream) => stream,
            Err(OpenError::Full | OpenError::Ending) => {
                shared.close();
                return Err(body);
            }
        };
        let began = Instant::now();
        shared.enter(began);
        let sending = Sending::request(body, opening.length).keep(keeping);
        let sent = if opening.ends {
            Sent::Wholly
        } else {
            Sent::Partly
        };
        let call = Self::Shared(Box::new(SharedCall {
            stream: Some(stream),
            sending: Some(sending),
            sent,
            interim: Interim::default(),
            keep,
            sent_before,
            heard_before: shared.http2.received(),
            began,
            is_judged: Cell::new(false),
            early: VecDeque::new(),
            shared: Rc::clone(shared),
        }));
        Ok((call, shared.is_proven.get()))
    }
}

impl SharedCall {
    /// Sends what goes and reads what comes. Ready with each interim head and with the final one.
    pub(in crate::pool) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event, CallError>> {
        self.poll_request(cx)?;
        let Some(stream) = &self.stream else {
            return Poll::Pending;
        };
        let head = match ready!(stream.poll_head(cx)) {
            Ok(head) => response_head(head),
            Err(error) => return Poll::Ready(Err(self.failure(error))),
        };
        self.shared.is_proven.set(true);
        if head.parts.status.is_informational() {
            return Poll::Ready(self.interim.interim(head));
        }
        self.is_judged.set(true);
        self.shared.has_answered();
        Poll::Ready(Ok(Event::Response(head)))
    }

    /// Moves the request on. An endpoint that takes no more of it may have answered: that is for
    /// the reading side to find out.
    pub(super) fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), CallError> {
        let (Sent::Partly, Some(stream), Some(sending)) =
            (self.sent, &self.stream, &mut self.sending)
        else {
            return Ok(());
        };
        match sending.poll_send(cx, stream) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                self.sent = Sent::Wholly;
                self.heard_before = self.shared.http2.received();
            }
            Poll::Ready(Err(SendError::Stream(_))) => self.sent = Sent::Refused,
            Poll::Ready(Err(SendError::Body(error))) => {
                self.excuse();
                return Err(CallError::RequestBody(error));
            }
            Poll::Ready(Err(SendError::Length)) => {
                self.excuse();
                return Err(CallError::RequestLength);
            }
        }
        Ok(())
    }

    /// The whole body, if it has come with the head. What has come of one that is longer is kept.
    pub(in crate::pool) fn take_whole_body(&mut self, framing: Framing) -> Option<Bytes> {
        if framing == Framing::None {
            return Some(Bytes::new());
        }
        let stream = self.stream.as_ref()?;
        // Nobody is to be woken: who streams the rest asks again.
        let cx = &mut Context::from_waker(Waker::noop());
        let first = match stream.poll_frame(cx) {
            Poll::Ready(Some(Ok(first))) => first,
            Poll::Ready(None) => return Some(Bytes::new()),
            Poll::Ready(Some(Err(_))) | Poll::Pending => return None,
        };
        match first.into_data() {
            Ok(data) if stream.has_ended() => Some(data),
            Ok(data) => {
                self.early.push_back(Frame::data(data));
                None
            }
            Err(trailers) => {
                self.early.push_back(trailers);
                None
            }
        }
    }

    /// The next piece of the response's body.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if let Some(early) = self.early.pop_front() {
            return Poll::Ready(Some(Ok(early)));
        }
        let Some(stream) = &self.stream else {
            return Poll::Ready(None);
        };
        let frame = ready!(stream.poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(body_error)))
    }

    /// Whether all of the response has been taken.
    pub(super) fn has_ended(&self) -> bool {
        let stream = self.stream.as_ref();
        self.early.is_empty() && stream.is_none_or(Stream::has_ended)
    }

    /// The response has been received: the stream is free.
    pub(in crate::pool) fn end(&mut self) {
        if let Some(stream) = self.stream.take() {
            if !self.is_judged.get() && self.began.elapsed() >= LONG {
                self.shared.is_given_up();
            }
            drop(stream);
            self.shared.leave(self.keep);
        }
    }

    /// The request has waited in vain, for its response or to be taken.
    pub(in crate::pool) fn doubt(&self) {
        self.fails();
        self.shared.doubt(self.heard_before);
    }

    /// The request has waited for a while: if nothing has been heard since it was sent, the
    /// endpoint is asked for a sign. The connection comes into doubt if none comes.
    pub(in crate::pool) fn ask(&self) {
        self.shared.wonder(self.heard_before);
    }

    /// The request was given up before there was time to answer it. Its connection is not to blame,
    /// but is asked for a sign: where all are given up as early, nobody else would ask.
    pub(in crate::pool) fn wonder(&self) {
        self.excuse();
        self.ask();
    }

    /// The request has waited for as long as a connection has to be made.
    pub(in crate::pool) fn looked_after(&self) -> Result<(), CallError> {
        if self.shared.leads_nowhere(self.heard_before) {
            self.excuse();
            return Err(CallError::Undelivered { is_told: false });
        }
        self.ask();
        Ok(())
    }

    /// It brings no final head, for which its connection answers.
    fn fails(&self) {
        if !self.is_judged.replace(true) {
            self.shared.has_failed();
        }
    }

    /// It brings no final head, and its connection is not to blame.
    pub(in crate::pool) fn excuse(&self) {
        self.is_judged.set(true);
    }

    /// What carries it.
    pub(in crate::pool) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    pub(in crate::pool) fn is_sent(&self) -> bool {
        self.sent == Sent::Wholly
    }

    pub(in crate::pool) fn awaits_body(&self) -> bool {
        let sending = self.sending.as_ref();
        self.sent == Sent::Partly && sending.is_some_and(Sending::awaits_body)
    }

    pub(in crate::pool) fn progress(&self) -> u64 {
        self.sending.as_ref().map_or(0, Sending::progress)
    }

    pub(in crate::pool) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.shared.endpoint
    }

    pub(in crate::pool) fn has_whole_body(&self) -> bool {
        self.sending.as_ref().is_some_and(Sending::has_whole_body)
    }

    pub(in crate::pool) fn keep_nothing(&mut self) {
        if let Some(sending) = &mut self.sending {
            sending.keep_nothing();
        }
    }

    pub(in crate::pool) fn into_whole_body(mut self) -> Option<Body> {
        self.sending.take()?.into_whole_body()
    }

    fn failure(&self, error: StreamError) -> CallError {
        let shared = &self.shared;
        match error {
            StreamError::Unprocessed if shared.is_ending() => {}
            // Said of the request, or of the response.
            StreamError::Reset(ErrorCode::HTTP_1_1_REQUIRED) | StreamError::Malformed(_) => {
                self.excuse();
            }
            StreamError::Unprocessed | StreamError::Reset(_) => self.fails(),
            StreamError::GivenUp(_) | StreamError::Ended => {}
        }
        match error {
            StreamError::Unprocessed => CallError::Unprocessed,
            StreamError::Reset(ErrorCode::HTTP_1_1_REQUIRED) => CallError::Http1Required,
            StreamError::Reset(code) => CallError::StreamReset(code),
            StreamError::Malformed(code) => CallError::MalformedStream(code),
            // Whoever gave it up asks for no answer.
            StreamError::GivenUp(_) => CallError::Truncated,
            StreamError::Ended if shared.led_nowhere() => CallError::Undelivered { is_told: true },
            StreamError::Ended => {
                let is_unsent = shared.http2.sent() == self.sent_before;
                let is_told = shared.lost_one(self.began);
                let was_at_work = !is_unsent && self.began.elapsed() >= AT_WORK;
                CallError::Lost {
                    is_unsent,
                    refusal: shared.refusal.get(),
                    broke_off: was_at_work && !is_told && !shared.was_announced(),
                }
            }
        }
    }
}

impl Drop for SharedCall {
    fn drop(&mut self) {
        self.end();
    }
}

/// A head as HTTP/1.1 would have brought it.
fn response_head(head: http2::ResponseHead) -> ResponseHead {
    let framing = match head.length {
        _ if head.ends => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked, // its end will be told, and trailers may come
    };
    ResponseHead {
        parts: head.parts,
        framing,
        trailers: Trailers::Kept,
        persistent: true,
        upgrade: None,
        size: 0,
    }
}

fn body_error(error: StreamError) -> BodyError {
    match error {
        StreamError::Reset(code) => BodyError::Reset(code.0),
        StreamError::Malformed(_) => BodyError::Malformed,
        StreamError::Unprocessed | StreamError::GivenUp(_) | StreamError::Ended => {
            BodyError::Truncated
        }
    }
}

/// What a connection had been at work for as long as this was none that had been kept for too long:
/// as for one that carries a single request.
const AT_WORK: Duration = Duration::from_secs(1);

/// A call that was given up after so long has waited in vain: most answers take less.
const LONG: Duration = Duration::from_secs(2);
