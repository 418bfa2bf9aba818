//! Calls of gRPC: how long they may take, and how they ended.
//!
//! gRPC says how a call went in a field, `grpc-status`, which comes in the head where there is no
//! body, and otherwise in the trailers. So what is counted of a call is known at its very end only,
//! and a body has to be looked at on its way: but of gRPC's calls alone.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode, Version, header};
use http_body::{Body as HttpBody, SizeHint};
use tokio::time::Instant;

use crate::body::{Body, BodyError, Flow, NextFrame};
use crate::endpoint::{Endpoint, Of, Outcome};
use crate::message::{Fields, RequestParts, ResponseParts, Value};
use crate::policy::grpc::{self, BadTimeout, Code, Messages};
use crate::telemetry::access::End;
use crate::upstream::Pick;

/// A call of gRPC.
#[derive(Debug)]
pub(super) struct GrpcCall {
    timeout: Result<Option<Duration>, BadTimeout>,
    told: Rc<Told>,
}

/// What a client was told, so far.
#[derive(Debug, Default)]
struct Told {
    /// How the call ended.
    code: Cell<Option<Code>>,
    /// Where its response has got, if that is one of gRPC.
    messages: Cell<Option<Messages>>,
    /// Who is judged by how it ends.
    judged: RefCell<Option<Judged>>,
}

/// An endpoint, and which attempt at it the call is.
#[derive(Debug)]
struct Judged {
    endpoint: Arc<Endpoint>,
    of: Of,
}

/// A response's body, whose trailers are looked at.
struct Watched {
    body: Body,
    told: Rc<Told>,
}

impl GrpcCall {
    /// The call that a request is, if it is one. gRPC is spoken over HTTP/2 alone.
    pub(super) fn of(parts: &RequestParts) -> Option<Box<Self>> {
        if parts.version != Version::HTTP_2 {
            return None;
        }
        let kind = parts.headers.get(header::CONTENT_TYPE)?;
        grpc::is_grpc(kind.as_bytes()).then(|| {
            let mut timeouts = parts.headers.get_all(TIMEOUT);
            let timeout = timeouts.next();
            let timeout = timeout.map(|value| grpc::timeout(value.as_bytes()));
            Box::new(Self {
                timeout: match timeouts.next() {
                    Some(_) => Err(BadTimeout),
                    None => timeout.transpose(),
                },
                told: Rc::default(),
            })
        })
    }

    /// How long the call may take, if its client has said.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout.unwrap_or_default()
    }

    /// Whether what its client has said of that cannot be read.
    pub(super) fn is_malformed(&self) -> bool {
        self.timeout.is_err()
    }

    /// Notes what a client is told by us.
    pub(super) fn tell(&self, code: Code) {
        self.told.code.set(Some(code));
    }

    /// An endpoint is to be told how the call ends, of which it has answered the beginning.
    pub(super) fn is_judged(&self, pick: &Pick) {
        let judged = Judged {
            endpoint: Arc::clone(pick.endpoint()),
            of: pick.of(),
        };
        self.told.judged.replace(Some(judged));
    }

    /// Notes what an endpoint's response says of the call's end, now or behind its body.
    pub(super) fn watch(&self, parts: &ResponseParts, body: Body) -> Body {
        if self.told.code.get().is_some() {
            return body;
        }
        if let Some(status) = parts.headers.get(STATUS.as_str()) {
            self.told.ends_with(Code::parse(status.as_bytes()));
        }
        if body.is_end_stream() {
            self.told.ends();
            return body;
        }
        let kind = parts.headers.get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| grpc::is_grpc(kind.as_bytes())) {
            self.told.messages.set(Some(Messages::default()));
        }
        let told = Rc::clone(&self.told);
        Body::stream(Watched { body, told })
    }

    /// Whether the response has begun, and no message of it is cut off here.
    pub(super) fn is_between_messages(&self) -> bool {
        let messages = self.told.messages.get();
        messages.is_some_and(|messages| messages.is_between())
    }

    /// How the call ended, as its client has it.
    pub(super) fn ended(&self, status: u16, end: End) -> Code {
        match end {
            End::ClientAbort => Code::Cancelled,
            _ => self.told.code.get().unwrap_or_else(|| untold(status, end)),
        }
    }
}

/// How a call ended whose client was told nothing of it.
fn untold(status: u16, end: End) -> Code {
    match end {
        End::ClientAbort => Code::Cancelled,
        End::Timeout => Code::DeadlineExceeded,
        // What clients make of RST_STREAM with INTERNAL_ERROR.
        End::EndpointReset => Code::Internal,
        End::Shed => Code::Unavailable,
        End::Ok | End::Denied => StatusCode::from_u16(status).map_or(Code::Unknown, Code::of_http),
    }
}

impl Told {
    /// An endpoint has said how the call ended.
    fn ends_with(&self, code: Code) {
        self.code.set(Some(code));
        self.judge(Outcome::GrpcEnded(code as u8));
    }

    /// It ended, and no endpoint has said how: its client makes `UNKNOWN` of that.
    fn ends(&self) {
        self.judge(Outcome::GrpcEnded(Code::Unknown as u8));
    }

    /// Tells who is judged by the end how that was.
    fn judge(&self, outcome: Outcome) {
        if let Some(Judged { endpoint, of }) = self.judged.take() {
            endpoint.learn_of(of, outcome, Instant::now);
        }
    }
}

impl Watched {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let next = ready!(self.body.poll_frame_pinned(cx));
        let data = match &next {
            Some(Ok(frame)) => frame.data_ref(),
            Some(Err(_)) | None => None,
        };
        if let Some(data) = data
            && let Some(mut messages) = self.told.messages.get()
        {
            messages.take(data);
            self.told.messages.set(Some(messages));
        }
        if let Some(Ok(frame)) = &next
            && let Some(trailers) = frame.trailers_ref()
            && let Some(status) = trailers.get(&STATUS)
        {
            self.told.ends_with(Code::parse(status.as_bytes()));
        }
        match &next {
            // What took it from the endpoint has told.
            Some(Err(_)) => drop(self.told.judged.take()),
            None => self.told.ends(),
            Some(Ok(_)) if self.body.is_end_stream() => self.told.ends(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(next)
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        self.poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// That its client left says nothing of an endpoint.
impl Drop for Watched {
    fn drop(&mut self) {
        self.told.judged.take();
    }
}

/// Nothing is drawn past it: there is no such way to a client of HTTP/2.
impl Flow for Watched {
    fn poll_behind(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.body.poll_behind(cx);
    }

    /// Between two messages a call may have nothing to say, in the midst of one it has.
    fn fell_silent(mut self: Pin<&mut Self>) {
        let messages = self.told.messages.get();
        if messages.is_some_and(|messages| !messages.is_between()) {
            self.told.judge(Outcome::FellSilent);
        }
        self.body.fell_silent();
    }

    fn awaits_request(&self) -> bool {
        self.body.awaits_request()
    }
}

/// Tells the endpoint of a call how much time is left for it.
pub(super) fn tell_time_left(fields: &mut Fields, left: Duration) {
    let text = grpc::timeout_text(left);
    fields.insert(&TIMEOUT_NAME, Value::of_ascii(text.as_bytes()));
}

/// Whether a response is one of gRPC, and not what any server of HTTP says to a request that a
/// client calls a call.
pub(super) fn is_of_call(parts: &ResponseParts) -> bool {
    let kind = || parts.headers.get(header::CONTENT_TYPE);
    parts.status == StatusCode::OK
        && (kind().is_some_and(|kind| grpc::is_grpc(kind.as_bytes()))
            || parts.headers.get(STATUS.as_str()).is_some())
}

const TIMEOUT: &str = "grpc-timeout";
static TIMEOUT_NAME: HeaderName = HeaderName::from_static(TIMEOUT);

static STATUS: HeaderName = HeaderName::from_static("grpc-status");

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::endpoint::{Health, Trial};
    use crate::upstream::tests::of_one;

    #[tokio::test(start_paused = true)]
    async fn calls_of_before_decide_nothing_about_an_endpoint_that_is_tried() {
        let upstream = of_one();
        let live = &upstream.endpoints()[0].live;
        let pick = || {
            let pick = upstream.pick(&[], &mut Rng::with_seed(1), Instant::now());
            pick.expect("there is one")
        };
        let before = pick();
        tokio::time::advance(Duration::from_mins(1)).await;
        live.set_health(Health::HalfOpen, None);
        let trial = pick();
        let ends = |pick: &Pick, code| {
            let call = GrpcCall {
                timeout: Ok(None),
                told: Rc::default(),
            };
            call.is_judged(pick);
            call.told.ends_with(code);
            live.take_trial()
        };
        assert_eq!(ends(&before, Code::Ok), None);
        assert_eq!(ends(&before, Code::Unavailable), None);
        assert_eq!(ends(&trial, Code::Ok), Some(Trial::Passed));
        assert_eq!(ends(&trial, Code::Unavailable), Some(Trial::Failed));
    }

    #[test]
    fn ends_are_told_as_clients_have_them() {
        let call = || GrpcCall {
            timeout: Ok(None),
            told: Rc::default(),
        };
        assert_eq!(call().ended(200, End::Ok), Code::Unknown);
        assert_eq!(call().ended(404, End::Ok), Code::Unimplemented);
        assert_eq!(call().ended(503, End::Ok), Code::Unavailable);
        assert_eq!(call().ended(200, End::Timeout), Code::DeadlineExceeded);
        assert_eq!(call().ended(200, End::EndpointReset), Code::Internal);
        let told = call();
        told.tell(Code::NotFound);
        assert_eq!(told.ended(200, End::Ok), Code::NotFound);
        // The client did not wait to hear it.
        assert_eq!(told.ended(200, End::ClientAbort), Code::Cancelled);
    }
}
