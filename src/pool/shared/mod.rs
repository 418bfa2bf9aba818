//! Connections that many requests share: HTTP/2.
//!
//! Problem: one connection carries a hundred requests, so whatever is wrong with it is wrong for a
//! hundred requests; and a hundred requests that come at once must not open a hundred connections.
//!
//! So each worker has a [`Group`] of connections to an endpoint. A request takes the oldest one
//! that has room, so that those which a peak has opened become idle and are closed. Where none has,
//! it joins those who wait, and one of them opens another for all. A connection takes no new
//! streams once its endpoint has said that it ends (GOAWAY), or once a request has waited on it in
//! vain while nothing else was heard: then the endpoint is asked whether it is still there (PING).
//! A connection is driven by a task of its own, which belongs to the group.

mod body;
mod call;
mod group;
mod joining;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Instant;

pub(super) use body::SharedBody;
pub use call::SharedCall;
pub(super) use group::{Group, Groups};

use super::{Connection, Keep, RESPONSE_LIMITS};
use crate::endpoint::{ConnectFailure, Endpoint, OpenConnection};
use crate::http2::{self, Driven, Ended, ErrorCode, Settings, State};
use crate::tls;

/// A connection that requests share.
#[derive(Debug)]
pub struct Shared {
    http2: Rc<http2::Connection>,
    endpoint: Arc<Endpoint>,
    /// How its session came about, if it is one of TLS.
    secured: Option<Box<tls::Secured>>,
    group: Weak<Group>,
    /// Requests on it.
    calls: Cell<u32>,
    /// Whether one of them has been answered.
    has_answered: Cell<bool>,
    standing: Cell<Standing>,
    /// Why its endpoint refused it, where that is known.
    refusal: Cell<Option<tls::Failure>>,
    /// Whether the endpoint has been told that requests were lost with it.
    is_told: Cell<bool>,
    rest: Cell<Rest>,
    heard: Cell<Heard>,
    /// What had been heard when it came into doubt.
    doubted: Cell<Option<u64>>,
    /// Since when all that is left is to end it.
    ends_since: Cell<Option<Instant>>,
}

/// What becomes of a shared connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It takes streams.
    Open,
    /// It takes no more, and ends with those that it has.
    Closing,
    /// It has ended.
    Ended,
}

/// A connection without requests.
#[derive(Debug, Clone, Copy)]
struct Rest {
    since: Instant,
    keep: Keep,
}

/// When something was heard of the endpoint.
#[derive(Debug, Clone, Copy)]
struct Heard {
    received: u64,
    at: Instant,
    /// When it was asked for a sign.
    asked: Option<Instant>,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    /// Makes a new connection one that is shared, and drives it.
    fn start(connection: Connection, group: &Rc<Group>, now: Instant) -> (Rc<Self>, Task) {
        let Connection {
            stream,
            endpoint,
            secured,
            open,
            ..
        } = connection;
        let http2 = http2::Connection::client(stream, settings(&endpoint), now);
        let shared = Rc::new(Self {
            heard: Cell::new(Heard {
                received: http2.received(),
                at: now,
                asked: None,
            }),
            http2,
            endpoint,
            secured,
            group: Rc::downgrade(group),
            calls: Cell::new(0),
            has_answered: Cell::new(false),
            standing: Cell::new(Standing::Open),
            refusal: Cell::new(None),
            is_told: Cell::new(false),
            rest: Cell::new(Rest {
                since: now,
                keep: KEEP,
            }),
            doubted: Cell::new(None),
            ends_since: Cell::new(None),
        });
        let driven = drive(Rc::clone(&shared), open);
        (shared, Task(spawn_local(driven)))
    }

    /// The endpoint that it leads to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Streams that may be opened on it, of `most` at once.
    pub(super) fn room(&self, most: u32) -> u32 {
        if self.standing.get() != Standing::Open || self.is_doubted() {
            return 0;
        }
        let own = most.saturating_sub(self.calls.get());
        u32::try_from(self.http2.room()).map_or(own, |room| room.min(own))
    }

    /// Whether a request has waited in vain, and nothing has been heard since.
    fn is_doubted(&self) -> bool {
        self.doubted.get() == Some(self.http2.received())
    }

    /// Whether its end has begun, by either side: then a stream that was not processed says nothing
    /// about the endpoint.
    fn is_ending(&self) -> bool {
        self.standing.get() != Standing::Open || self.http2.is_leaving()
    }

    /// A request has waited in vain: the endpoint is asked for a sign. If nothing at all has been
    /// heard since the request was sent, the connection is in doubt until something is.
    fn doubt(&self, received: u64) {
        if self.standing.get() == Standing::Ended {
            return;
        }
        if self.http2.received() == received {
            self.doubted.set(Some(received));
        }
        self.ask(Instant::now());
    }

    /// Asks the endpoint for a sign.
    fn ask(&self, now: Instant) {
        let mut heard = self.heard.get();
        if heard.asked.is_none() {
            heard.asked = Some(now);
            heard.received = self.http2.received();
            self.heard.set(heard);
            self.http2.ping();
        }
    }

    /// Takes no more streams.
    fn close(&self) {
        if self.standing.get() == Standing::Open {
            self.standing.set(Standing::Closing);
            self.http2.end_gently();
        }
    }

    /// Since when it has been without requests.
    fn rests_since(&self) -> Option<Instant> {
        let is_at_rest = self.calls.get() == 0 && self.standing.get() == Standing::Open;
        is_at_rest.then(|| self.rest.get().since)
    }

    /// Whether a new connection to the endpoint, as it is now, would be made in the same way.
    fn is_made_for(&self, endpoint: &Endpoint) -> bool {
        match (&self.secured, &endpoint.tls) {
            (None, None) => true,
            (Some(secured), Some(peer)) => peer.is_current(secured),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// A request begins on it.
    fn enter(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    /// A request on it has ended. `keep` is how it rests, if that was the last.
    fn leave(&self, keep: Keep) {
        let left = self.calls.get().saturating_sub(1);
        self.calls.set(left);
        if left == 0 {
            self.rest.set(Rest {
                since: Instant::now(),
                keep,
            });
        }
        let Some(group) = self.group.upgrade() else {
            return;
        };
        if group.is_waited_for() {
            group.wake();
        } else if left == 0 && (keep.count == 0 || !self.endpoint.live.may_rest()) {
            self.close();
        }
    }

    /// Looks after it, about once a second: is it wanted, and is there somebody? False if it has
    /// had its time to end.
    fn look_after(&self, now: Instant) -> bool {
        if self.http2.state() == State::Ending {
            let since = self.ends_since.get().unwrap_or(now);
            self.ends_since.set(Some(since));
            return now.duration_since(since) < LAST_WORDS;
        }
        let Rest { since, keep } = self.rest.get();
        let is_idle = self.calls.get() == 0 && now.duration_since(since) >= keep.idle;
        let is_retired = self.endpoint.live.is_retired();
        if is_idle || is_retired || !self.is_made_for(&self.endpoint) {
            self.close();
        }
        let received = self.http2.received();
        let mut heard = self.heard.get();
        if heard.received != received || self.calls.get() == 0 && heard.asked.is_none() {
            heard = Heard {
                received,
                at: now,
                asked: None,
            };
            self.heard.set(heard);
        }
        let http2 = &self.endpoint.http2;
        match heard.asked {
            None if now.duration_since(heard.at) >= http2.keepalive_interval => self.ask(now),
            Some(asked) if now.duration_since(asked) >= http2.keepalive_timeout => {
                let why = "nothing was heard, and PING was not answered";
                self.http2.end_now(ErrorCode::NO_ERROR, why);
            }
            Some(asked) if now.duration_since(asked) >= SIGN => self.doubted.set(Some(received)),
            None | Some(_) => {}
        }
        true
    }

    /// The connection has ended.
    fn has_ended(&self, ended: &Ended) {
        let name = &self.endpoint.name;
        tracing::debug!(endpoint = %name, ?ended, calls = self.calls.get(), "connection ended");
        self.standing.set(Standing::Ended);
        if let Ended::Broken(error) = ended {
            self.refusal.set(tls::Failure::of(error));
        }
    }

    /// A request was lost with the connection. For the endpoint that is one failure, however many
    /// requests were lost.
    fn lost_one(&self) {
        if !self.is_told.replace(true) {
            let refusal = self.refusal.get().map(ConnectFailure::from);
            let failure = refusal.unwrap_or(ConnectFailure::Terminated);
            self.endpoint.connect_failed(failure, Instant::now());
        }
    }
}

/// Drives a connection until it ends, and takes it out of its group.
async fn drive(shared: Rc<Shared>, open: OpenConnection) {
    let ended = poll_fn(|cx| {
        loop {
            match shared.http2.poll_drive(cx, Instant::now()) {
                Poll::Ready(Driven::Ended(ended)) => return Poll::Ready(ended),
                // An endpoint asks for nothing.
                Poll::Ready(Driven::Request(..) | Driven::Refused(..)) => {}
                Poll::Pending => break,
            }
        }
        // There may be more room, or none for ever.
        if let Some(group) = shared.group.upgrade() {
            group.wake();
        }
        Poll::Pending
    });
    let ended = ended.await;
    shared.has_ended(&ended);
    drop(open);
    if let Some(group) = shared.group.upgrade() {
        group.forget(&shared);
    }
}

/// What an endpoint may send.
fn settings(endpoint: &Endpoint) -> Settings {
    Settings {
        max_streams: 0, // it may open none
        stream_window: endpoint.http2.stream_window,
        connection_window: endpoint.http2.connection_window,
        head: RESPONSE_LIMITS.head,
        fields: RESPONSE_LIMITS.fields,
        connect_protocol: false,
    }
}

/// How long an endpoint that is asked for a sign may take before it gets no more requests on that
/// connection: longer than any way there and back.
const SIGN: Duration = Duration::from_millis(500);

/// How long an endpoint may take to hear that the connection ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Until the first request has said how it is kept.
const KEEP: Keep = Keep {
    idle: Duration::from_secs(4),
    count: 1,
};
