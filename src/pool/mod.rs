//! Connections to endpoints: opened, driven through one call, and kept warm in between.
//!
//! Each worker has a pool of its own, so nothing here is locked or shared. Idle connections are
//! stacked per endpoint: the one used last is taken first, so that a pool that has become too large
//! shrinks by itself. Nothing is read from an idle connection; a readiness that appears on one
//! means that the endpoint closed it (or said something unasked), and it is not used again.

mod call;
mod idle;
mod own_call;
mod response;
mod shared;
mod wanted;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

use rustls::pki_types::ServerName;
use tokio::time::Instant;

pub use call::{Call, CallError, Event};
pub use idle::{Keep, Pool};
pub use own_call::OwnCall;
pub use response::{Receipt, ResponseBody};
pub use shared::{Shared, SharedCall};
pub use wanted::Wanted;

use crate::endpoint::{ConnectFailure, Endpoint, OpenConnection, Protocol};
use crate::http1::{Limits, Received};
use crate::net::{Address, Stream};
use crate::proxy_protocol::Introduction;
use crate::telemetry::tcp::TcpSampler;
use crate::tls::{Purpose, Secured};

/// A connection to an endpoint. In a box wherever it goes: it goes from hand to hand with every
/// request.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    received: Received,
    endpoint: Arc<Endpoint>,
    /// How its session came about, if it is one of TLS.
    secured: Option<Box<Secured>>,
    /// Whom it was introduced with, if the endpoint is told.
    client: Option<Introduction>,
    reused: bool,
    /// Counts as one of the endpoint's connections until it is closed.
    open: OpenConnection,
}

/// What carries a call.
#[derive(Debug)]
pub enum Carrier {
    /// A connection for it alone: HTTP/1.1.
    Own(Box<Connection>),
    /// One that had room for it a moment ago: HTTP/2.
    Shared(Rc<Shared>),
}

/// Why no connection to an endpoint could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint has as many connections as its limit allows, and none was closed in time.
    /// Said by who waits.
    #[error("the endpoint has as many connections as its limit allows")]
    Limit,
    /// It did not stand in time. Said by who waits.
    #[error("no connection in time")]
    TimedOut,
    /// It stood, and its handshake of TLS was not over in time. Said by who waits.
    #[error("no handshake in time")]
    HandshakeTimedOut,
    /// The endpoint or the network refused.
    #[error("{0}")]
    Refused(#[from] io::Error),
    /// The same, of a connection that was to be shared: another request has it told.
    #[error("{why}")]
    Joined {
        /// What it was.
        failure: ConnectFailure,
        /// In words.
        why: Rc<str>,
    },
}

/// How far an opening has come, for who limits it.
#[derive(Debug, Default)]
pub struct Progress {
    /// When it was allowed, if it has been.
    pub allowed: Cell<Option<Instant>>,
    /// Whether the endpoint has taken the connection: what is waited for is TLS.
    pub stands: Cell<bool>,
}

impl ConnectError {
    /// The time is up: for the endpoint, if the connection had been allowed, else for those that
    /// hold the others.
    pub fn overdue(progress: &Progress) -> Self {
        if progress.stands.get() {
            Self::HandshakeTimedOut
        } else if progress.allowed.get().is_some() {
            Self::TimedOut
        } else {
            Self::Limit
        }
    }

    /// How the endpoint failed, if it did.
    pub fn failure(&self) -> Option<ConnectFailure> {
        match self {
            Self::Limit => None,
            Self::TimedOut => Some(ConnectFailure::TimedOut),
            Self::HandshakeTimedOut => Some(ConnectFailure::TlsTimedOut),
            Self::Refused(error) => Some(ConnectFailure::of(error)),
            Self::Joined { failure, .. } => Some(*failure),
        }
    }
}

impl Connection {
    /// Opens a connection that has been counted in, and is like this. The caller sets the time
    /// limit, and tells the endpoint how it went.
    pub async fn open(
        endpoint: &Arc<Endpoint>,
        wanted: Wanted<'_>,
        purpose: Purpose,
        (open, progress): (OpenConnection, &Progress),
    ) -> io::Result<Box<Self>> {
        let stood = || progress.stands.set(true);
        let address = &endpoint.address;
        let (stream, secured) = connect(endpoint, address, purpose, wanted, stood).await?;
        Ok(Box::new(Self {
            stream,
            secured,
            client: wanted.client.cloned(),
            received: Received::default(),
            endpoint: Arc::clone(endpoint),
            reused: false,
            open,
        }))
    }

    /// Has the kernel asked about it now and then.
    fn watch(&mut self, sampler: &TcpSampler) {
        sampler.watch(&mut self.stream, self.endpoint.metrics.tcp());
    }

    /// Whether it speaks HTTP/2.
    fn is_http2(&self) -> bool {
        match self.endpoint.protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::Either => self.secured.as_ref().is_some_and(|it| it.is_http2()),
        }
    }

    /// Whether it has carried a call before: then it may turn out to have been closed meanwhile.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// The endpoint that it leads to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The stream with what was received behind the head of the response, for a tunnel.
    pub fn into_tunnel(self) -> Tunnelled {
        Tunnelled {
            stream: self.stream,
            received: self.received,
            open: self.open,
        }
    }

    /// Whether a new connection to the endpoint, as it is now, would be made in the same way, for a
    /// call alone.
    #[inline]
    fn is_made_for(&self, endpoint: &Endpoint) -> bool {
        if endpoint.protocol == Protocol::Http2 {
            // A reload has changed it, and its word is to hold now, not once none of these rest.
            return false;
        }
        if self.endpoint.socket != endpoint.socket {
            return false;
        }
        if self.client.is_some() != endpoint.proxy_protocol.is_some() {
            return false;
        }
        match (&self.secured, &endpoint.tls) {
            (None, None) => true,
            (Some(secured), Some(peer)) => peer.is_current(secured),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// The host that its session is with, where that depends on the request.
    fn host(&self) -> Option<&ServerName<'static>> {
        self.secured.as_ref()?.name()
    }

    /// How an idle connection stands. Costs no system call while the endpoint is silent.
    fn state(&mut self) -> State {
        if !self.received.is_empty() {
            return State::Dirty;
        }
        // Tried, not polled: a poll would be told to wait once the task has used up its turn, and
        // take every further connection for quiet.
        match self.stream.try_peek() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => State::Quiet,
            Ok(None) | Err(_) => State::Closed,
            Ok(Some(_)) => State::Dirty,
        }
    }
}

/// Opens a connection to an endpoint, at an address that may have another port; says before all
/// else for whom it is, where that is wanted; and begins a session of TLS on it where the endpoint
/// has one. The caller sets the one time limit of all, and hears when TLS is all that is missing.
pub async fn connect(
    endpoint: &Endpoint,
    address: &Address,
    purpose: Purpose,
    wanted: Wanted<'_>,
    stood: impl FnOnce(),
) -> io::Result<(Stream, Option<Box<Secured>>)> {
    let mut stream = Stream::connect(address, endpoint.socket.as_deref()).await?;
    if let Some(client) = wanted.client {
        // In a box: most endpoints are told nothing.
        stream = Box::pin(introduce(stream, client)).await?;
    }
    let Some(peer) = &endpoint.tls else {
        return Ok((stream, None));
    };
    stood();
    // In a box: most endpoints are spoken to without, and do not carry the room for it.
    let (stream, secured) = Box::pin(peer.begin(stream, purpose, wanted.host)).await?;
    Ok((stream, Some(Box::new(secured))))
}

/// Says whom a new connection is for, in one write where the socket takes that. It owns the stream
/// while it waits, so that probes, which may move to another thread, can use it.
async fn introduce(stream: Stream, client: &Introduction) -> io::Result<Stream> {
    let bytes = client.finished();
    let (mut stream, mut sent) = (Some(stream), 0);
    let introduced = poll_fn(move |cx| {
        while let Some(open) = &stream
            && sent < bytes.len()
        {
            sent += ready!(open.poll_write_slice(cx, &bytes[sent..]))?;
        }
        Poll::Ready(io::Result::Ok(stream.take()))
    });
    introduced
        .await?
        .ok_or_else(|| io::ErrorKind::NotConnected.into())
}

/// A connection that has left HTTP.
#[derive(Debug)]
pub struct Tunnelled {
    /// The stream.
    pub stream: Stream,
    /// What came behind the head of the response.
    pub received: Received,
    /// Counts as one of the endpoint's connections until it is dropped.
    pub open: OpenConnection,
}

/// How an idle connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come: it can be used.
    Quiet,
    /// The endpoint has closed it.
    Closed,
    /// The endpoint has said something unasked: whatever it is, it answers no request of ours.
    Dirty,
}

/// How to return a connection once its call has ended.
#[derive(Debug, Clone)]
pub struct Return {
    /// The pool it came from.
    pub pool: Rc<Pool>,
    /// How long and how many.
    pub keep: Keep,
}

/// Bounds on a response's head: what nginx and HAProxy take by default, doubled for cookies.
pub const RESPONSE_LIMITS: Limits = Limits {
    head: 32 * 1024,
    fields: 200,
};

#[cfg(test)]
mod tests;
