//! A connection: its socket and its session, driven by one task.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::error::{Abuse, ErrorCode};
use super::head::{HeadError, RequestHead};
use super::settings::Settings;
use super::stream::Stream;
use crate::message::RequestParts;
use crate::net;

/// A connection that speaks HTTP/2, shared by the task that drives it and the tasks of its streams.
#[derive(Debug)]
pub struct Connection {
    stream: net::Stream,
}

/// What the owner of a connection has to act on.
#[derive(Debug)]
pub enum Driven {
    /// A client asks. The stream counts against the limit until it is dropped.
    Request(Box<RequestHead>, Stream),
    /// What a client asks cannot be served. Where the head is too large the stream is there to
    /// answer on, else it has been reset.
    Refused(HeadError, Option<Stream>),
    /// The connection has ended: all streams know, and nothing more is to be sent.
    Ended(Ended),
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// In order: the other end closed it, or both had nothing more to say.
    Closed,
    /// It broke.
    Broken(io::Error),
    /// The other end broke the protocol, and was told so. The text says how.
    Refused(ErrorCode, &'static str),
    /// The other end did too much of this, and was told so.
    Abused(Abuse),
}

/// What a connection waits for, for its owner's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The preface and the first SETTINGS of the other end.
    Beginning,
    /// The rest of a head.
    Head,
    /// Nothing: there are streams.
    Busy,
    /// A stream: there is none.
    Idle,
}

/// How a stream is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// `:scheme` is `https`, not `http`.
    pub is_https: bool,
    /// No body follows.
    pub ends: bool,
    /// How long the body is, if that is known.
    pub length: Option<u64>,
    /// Whether trailers of the response are kept: `TE: trailers`.
    pub te_trailers: bool,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<&'a [u8]>,
}

/// Why no stream can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There are as many as the other end allows.
    #[error("the connection has as many streams as it may have")]
    Full,
    /// It has ended or is about to.
    #[error("the connection is about to end")]
    Ending,
}

impl Connection {
    /// Our side towards a client. `received` are bytes that came before: the beginning of the
    /// preface.
    pub fn server(stream: net::Stream, received: Vec<u8>, settings: Settings) -> Rc<Self> {
        drop((received, settings));
        Rc::new(Self { stream })
    }

    /// Our side towards an endpoint. The preface leaves with the first write.
    pub fn client(stream: net::Stream, settings: Settings) -> Rc<Self> {
        _ = settings;
        Rc::new(Self { stream })
    }

    /// The socket.
    pub fn stream(&self) -> &net::Stream {
        &self.stream
    }

    /// Reads and writes for all streams until something is to be acted on. Only the one task that
    /// drives the connection may call this; dropping that task without [`Driven::Ended`] must be
    /// followed by dropping all streams.
    pub fn poll_drive(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        now: std::time::Instant,
    ) -> Poll<Driven> {
        _ = (cx, now);
        Poll::Pending
    }

    /// What the connection waits for.
    pub fn state(&self) -> State {
        State::Idle
    }

    /// Streams that are open or held.
    pub fn streams(&self) -> usize {
        0
    }

    /// A number that grows with every byte that comes.
    pub fn received(&self) -> u64 {
        0
    }

    /// A number that grows with every byte that leaves.
    pub fn sent(&self) -> u64 {
        0
    }

    /// Whether there are bytes that the socket does not take.
    pub fn is_held_up(&self) -> bool {
        false
    }

    /// Of a client: streams that can be opened now; 0 once the connection is to end.
    pub fn room(&self) -> usize {
        0
    }

    /// Whether its end has been announced, by either side: GOAWAY.
    pub fn is_ending(&self) -> bool {
        false
    }

    /// Of a client: whether the other end's SETTINGS have come.
    pub fn is_settled(&self) -> bool {
        false
    }

    /// Of a client: whether the other end takes extended CONNECT.
    pub fn takes_connect_protocol(&self) -> bool {
        false
    }

    /// Of a client: opens a stream and hands its head to the connection. Fields of a connection are
    /// left out, names are written small, `Host` becomes `:authority`, `Cookie` stays as it is.
    pub fn open(
        self: &Rc<Self>,
        parts: &RequestParts,
        opening: Opening<'_>,
    ) -> Result<Stream, OpenError> {
        _ = (parts, opening);
        Err(OpenError::Ending)
    }

    /// Sends a PING, unless one is under way.
    pub fn ping(&self) {}

    /// Whether a PING is under way.
    pub fn awaits_pong(&self) -> bool {
        false
    }

    /// Whether our SETTINGS are not acknowledged yet.
    pub fn awaits_settings(&self) -> bool {
        false
    }

    /// Of a server: says that the connection will end, while new streams are still taken: GOAWAY
    /// with the highest number (RFC 9113 §6.8).
    pub fn announce_end(&self) {}

    /// Takes no more streams and says which was the last. Those that there are go on; when there
    /// are none left, the connection ends.
    pub fn end_gently(&self) {}

    /// Ends the connection with this code and text; all streams break.
    pub fn end_now(&self, code: ErrorCode, why: &'static str) {
        _ = (code, why);
    }

    /// As [`Connection::end_now`], for what a client does too much of.
    pub fn end_abused(&self, abuse: Abuse) {
        _ = abuse;
    }
}
