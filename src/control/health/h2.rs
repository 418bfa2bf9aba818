//! Questions in HTTP/2: one connection, one stream, one answer.
//!
//! Problem: what the streams of a connection share is not for several threads, while probes may
//! move from one to another. So these conversations have a thread of their own, which begins with
//! the first of them and ends with the prober.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::body::Body;
use crate::http2::{
    Connection, Driven, Ended, ErrorCode, Opening, SendError, Sending, Settings, StreamError,
};
use crate::message::{RequestParts, ResponseParts};
use crate::net::Stream;

/// Asks in HTTP/2.
#[derive(Debug, Clone, Default)]
pub(super) struct H2 {
    asked: Arc<OnceLock<mpsc::UnboundedSender<Asked>>>,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) parts: RequestParts,
    pub(super) body: Bytes,
    /// Whether more than the head of the answer is wanted.
    pub(super) wants_body: bool,
}

/// What is answered. Of a body that is too long only the beginning is there, and no trailers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) parts: ResponseParts,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
}

#[derive(Debug)]
struct Asked {
    stream: Stream,
    request: Request,
    answer: oneshot::Sender<Result<Answer, String>>,
}

/// A conversation.
struct Talk {
    connection: Rc<Connection>,
    stream: crate::http2::Stream,
    sending: Option<Sending>,
    wants_body: bool,
    head: Option<ResponseParts>,
    body: Vec<u8>,
    trailers: HeaderMap,
    ended: Option<String>,
}

impl H2 {
    /// Asks on a new connection, which is closed afterwards. The error says in words why there is
    /// no answer. The caller sets the time limit; a question that is dropped ends the conversation.
    pub(super) async fn ask(&self, stream: Stream, request: Request) -> Result<Answer, String> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            stream,
            request,
            answer,
        };
        // The thread ends only after all who could ask, or if it could not begin.
        drop(self.asked.get_or_init(begin).send(asked));
        let answered = answered.await;
        answered.unwrap_or_else(|_| Err("there is no thread to ask from".to_owned()))
    }
}

/// Begins the thread. Where there is none, nobody takes what is asked.
fn begin() -> mpsc::UnboundedSender<Asked> {
    let (asked, taken) = mpsc::unbounded_channel();
    let thread = thread::Builder::new().name("probes-h2".to_owned());
    let spawned = thread.spawn(move || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .build_local(runtime::LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(serve(taken)),
            Err(error) => tracing::error!(%error, "no probes in HTTP/2"),
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no probes in HTTP/2");
    }
    asked
}

/// Has every question asked, until nobody is left who could have another.
async fn serve(mut taken: mpsc::UnboundedReceiver<Asked>) {
    while let Some(asked) = taken.recv().await {
        let Asked {
            stream,
            request,
            mut answer,
        } = asked;
        // The task belongs to this thread's runtime, which ends it.
        drop(spawn_local(async move {
            let mut asking = pin!(ask(stream, request));
            let result = tokio::select! {
                biased;
                () = answer.closed() => return,
                result = &mut asking => result,
            };
            drop(answer.send(result)); // who has given up does not want to know
        }));
    }
}

/// Asks, and drives the connection in place meanwhile.
async fn ask(stream: Stream, request: Request) -> Result<Answer, String> {
    let Request {
        parts,
        body,
        wants_body,
    } = request;
    let is_https = stream.is_secure();
    let connection = Connection::client(stream, SETTINGS, Instant::now());
    let opening = Opening {
        is_https,
        ends: body.is_empty(),
        length: (!body.is_empty()).then_some(body.len() as u64),
        te_trailers: wants_body,
        protocol: None,
    };
    let stream = connection.open(&parts, opening);
    let stream = stream.map_err(|error| error.to_string())?;
    let sending = Sending::request(Body::full(body), opening.length);
    let mut talk = Talk {
        stream,
        connection,
        sending: (!opening.ends).then_some(sending),
        wants_body,
        head: None,
        body: Vec::new(),
        trailers: HeaderMap::new(),
        ended: None,
    };
    let answer = poll_fn(|cx| talk.poll(cx)).await;
    talk.say_goodbye();
    answer
}

impl Talk {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, String>> {
        if let Some(sending) = &mut self.sending {
            match sending.poll_send(cx, &self.stream) {
                // An endpoint that takes no more of it may have answered.
                Poll::Ready(Ok(()) | Err(SendError::Stream(_))) => self.sending = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
                Poll::Pending => {}
            }
        }
        while self.ended.is_none()
            && let Poll::Ready(driven) = self.connection.poll_drive(cx, Instant::now())
        {
            if let Driven::Ended(ended) = driven {
                self.ended = Some(in_words(&ended));
            }
        }
        match self.poll_answer(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(self.answer()),
            Poll::Ready(Err(StreamError::Ended)) => Poll::Ready(Err(self.why())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
            Poll::Pending if self.ended.is_some() => Poll::Ready(Err(self.why())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Takes what has come. Ready at the end of the answer, or of what is wanted of it.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while self.head.is_none() {
            let head = ready!(self.stream.poll_head(cx))?;
            if !head.parts.status.is_informational() {
                self.head = Some(head.parts);
            }
        }
        while self.wants_body
            && let Some(frame) = ready!(self.stream.poll_frame(cx))
        {
            match Frame::into_data(frame?) {
                Ok(data) => self.body.extend_from_slice(&data),
                Err(frame) => self
                    .trailers
                    .extend(frame.into_trailers().unwrap_or_default()),
            }
            if self.body.len() > LONGEST_BODY {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn answer(&mut self) -> Result<Answer, String> {
        let parts = self.head.take();
        Ok(Answer {
            parts: parts.ok_or_else(|| self.why())?,
            body: std::mem::take(&mut self.body),
            trailers: std::mem::take(&mut self.trailers),
        })
    }

    /// Why the connection has ended.
    fn why(&self) -> String {
        let closed = || "the connection was closed".to_owned();
        self.ended.clone().unwrap_or_else(closed)
    }

    /// Says that the connection ends, if that can be said at once.
    fn say_goodbye(&self) {
        if self.ended.is_none() {
            self.connection.end_now(ErrorCode::NO_ERROR, "");
            let cx = &mut Context::from_waker(std::task::Waker::noop());
            drop(self.connection.poll_drive(cx, Instant::now()));
        }
    }
}

fn in_words(ended: &Ended) -> String {
    match ended {
        Ended::Closed => "the connection was closed".to_owned(),
        Ended::Broken(error) => error.to_string(),
        Ended::Refused(_, why) => format!("it is not HTTP/2 ({why})"),
        Ended::Abused(abuse) => format!("it is not HTTP/2 ({})", abuse.word()),
    }
}

/// Enough for an answer in a few words; nothing of an endpoint that is probed is kept.
const SETTINGS: Settings = Settings {
    max_streams: 0,
    stream_window: 64 * 1024,
    connection_window: 64 * 1024,
    head: 32 * 1024,
    fields: 200,
    connect_protocol: false,
};

/// Longer than any answer that is read: the rest of another one is of no interest.
const LONGEST_BODY: usize = 16 * 1024;
