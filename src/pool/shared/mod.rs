//! Connections that many requests share: HTTP/2.
//!
//! Problem: one connection carries a hundred requests, so whatever is wrong with it is wrong for a
//! hundred requests; and a hundred requests that come at once must not open a hundred connections.
//!
//! So each worker has a [`Group`] of connections to an endpoint. A request takes the oldest one
//! that has room, so that those which a peak has opened become idle and are closed. Where none has,
//! it joins those who wait, and one of them opens another for all. A connection takes no new
//! streams once its endpoint has said that it ends (GOAWAY), or once a request has waited on it in
//! vain while nothing else was heard: then the endpoint is asked whether it is still there (PING);
//! and where nothing arrives that is sent there, it is lost for all that are on it.
//! Nor does one that a few requests in a row have failed on ([`watch`]).
//! A connection is driven by a task of its own, which belongs to the group.

mod body;
mod call;
mod group;
mod groups;
mod joining;
mod queue;
mod watch;

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
pub(super) use group::Group;
pub(super) use groups::Groups;

use self::watch::Heard;
use super::{Connection, Keep, RESPONSE_LIMITS};
use crate::endpoint::{ConnectFailure, Endpoint, Of, OpenConnection, Outcome, Protocol};
use crate::http2::{self, Driven, Ended, ErrorCode, Settings};
use crate::tls;

/// A connection that requests share.
#[derive(Debug)]
pub struct Shared {
    http2: Rc<http2::Connection>,
    endpoint: Arc<Endpoint>,
    /// How its session came about, if it is one of TLS.
    secured: Option<Box<tls::Secured>>,
    /// Whether its endpoint was told whom it is for.
    is_introduced: bool,
    group: Weak<Group>,
    /// Requests on it.
    calls: Cell<u32>,
    /// Since when there are any.
    busy_since: Cell<Instant>,
    /// Whether one of them has been answered.
    is_proven: Cell<bool>,
    standing: Cell<Standing>,
    /// Whether its endpoint has said GOAWAY before we have.
    is_left: Cell<bool>,
    /// Whether it was given up since nothing that was sent on it arrived.
    led_nowhere: Cell<bool>,
    /// Why its endpoint refused it, where that is known.
    refusal: Cell<Option<tls::Failure>>,
    /// Whether the endpoint has been told that requests were lost with it, or not taken on it.
    is_told: Cell<bool>,
    rest: Cell<Rest>,
    heard: Cell<Heard>,
    began: Instant,
    /// Calls in a row that brought no final head.
    failures: Cell<u32>,
    /// Calls in a row whose clients waited for long, and then no longer.
    given_up: Cell<u32>,
    /// How often in a row it was asked for a sign because of a request.
    asked_in_a_row: Cell<u32>,
    /// When it began to give way to another worker.
    gave_way: Cell<Option<Instant>>,
    /// What had been heard when it came into doubt.
    doubted: Cell<Option<u64>>,
    /// When it took its last stream.
    closed: Cell<Option<Instant>>,
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
            client,
            open,
            ..
        } = connection;
        // Fails only on a socket that is broken already, which the next read tells.
        drop(stream.probe_peer());
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
            is_introduced: client.is_some(),
            group: Rc::downgrade(group),
            calls: Cell::new(0),
            busy_since: Cell::new(now),
            is_proven: Cell::new(false),
            standing: Cell::new(Standing::Open),
            is_left: Cell::new(false),
            led_nowhere: Cell::new(false),
            refusal: Cell::new(None),
            is_told: Cell::new(false),
            rest: Cell::new(Rest {
                since: now,
                keep: KEEP,
            }),
            began: now,
            failures: Cell::new(0),
            given_up: Cell::new(0),
            asked_in_a_row: Cell::new(0),
            gave_way: Cell::new(None),
            doubted: Cell::new(None),
            closed: Cell::new(None),
            ends_since: Cell::new(None),
        });
        let driven = drive(Rc::clone(&shared), open);
        (shared, Task(spawn_local(driven)))
    }

    /// The endpoint that it leads to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether it is this one.
    fn is(self: &Rc<Self>, other: &Weak<Self>) -> bool {
        std::ptr::eq(Rc::as_ptr(self), other.as_ptr())
    }

    /// Streams that may be opened on it, of `most` at once. Before the endpoint has said how many
    /// it allows it gets one, since it would refuse what is too much.
    pub(super) fn room(&self, most: u32) -> u32 {
        if self.standing.get() != Standing::Open || self.is_doubted() || self.gives_way() {
            return 0;
        }
        let most = if self.http2.is_settled() { most } else { 1 };
        let own = most.saturating_sub(self.calls.get());
        u32::try_from(self.http2.room()).map_or(own, |room| room.min(own))
    }

    /// Whether its end has begun, by either side: then a stream that was not processed says nothing
    /// about the endpoint.
    fn is_ending(&self) -> bool {
        self.standing.get() != Standing::Open || self.http2.is_leaving()
    }

    /// Takes no more streams.
    fn close(&self) {
        if self.standing.get() == Standing::Open {
            self.standing.set(Standing::Closing);
            self.closed.set(Some(Instant::now()));
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
        let is_kept_alike = self.endpoint.http2.is_as(&endpoint.http2);
        if endpoint.protocol == Protocol::Http1
            || !is_kept_alike
            || self.endpoint.socket != endpoint.socket
            || self.is_introduced != endpoint.proxy_protocol.is_some()
        {
            return false;
        }
        match (&self.secured, &endpoint.tls) {
            (None, None) => true,
            (Some(secured), Some(peer)) => peer.is_current(secured),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// A request begins on it.
    fn enter(&self, now: Instant) {
        if self.calls.get() == 0 {
            self.busy_since.set(now);
        }
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
        let is_wanted = group.is_waited_for() && !self.gives_way();
        if left == 0 && !is_wanted && (keep.count == 0 || !self.endpoint.live.may_rest()) {
            self.close();
        }
        group.wake();
    }

    /// Hears what the endpoint says with a GOAWAY.
    fn heed_goodbye(&self) {
        if let Some((code, why)) = self.http2.take_goodbye() {
            if self.standing.get() == Standing::Open {
                self.is_left.set(true);
            }
            let name = &self.endpoint.name;
            tracing::debug!(endpoint = %name, %code, %why, "the endpoint says GOAWAY");
            if code == ErrorCode::ENHANCE_YOUR_CALM && &*why == TOO_MANY_PINGS {
                self.asked_too_often();
            }
            if code == ErrorCode::HTTP_1_1_REQUIRED
                && self.endpoint.protocol == Protocol::Either
                && let Some(group) = self.group.upgrade()
            {
                group.requires_http1_from(Instant::now());
            }
        }
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

    /// Whether its endpoint ends it in good order, and has served others on it, or does so: one of
    /// those that end their connections after a few dozen requests. Not if it is we who end it,
    /// since requests were refused on it.
    pub fn is_used_up(&self) -> bool {
        self.is_left.get() && (self.is_proven.get() || self.http2.has_taken_some())
    }

    /// A request that was not taken on it goes elsewhere. If the endpoint has not answered on it,
    /// and takes nothing on another one either, that is one failure, however many requests go: it
    /// would take as little of those that come next.
    pub(crate) fn refused_one(&self, of: Of) {
        let (group, now) = (self.group.upgrade(), Instant::now());
        let serves = |group: Rc<Group>| group.serves_beside(self, now);
        let serves = self.is_proven.get() || group.is_some_and(serves);
        if !serves && !self.is_told.replace(true) {
            let lost = Outcome::NoConnection(ConnectFailure::Terminated);
            self.endpoint.learn_of(of, lost, || now);
        }
    }

    /// A request that began then was lost with the connection. For the endpoint that is one
    /// failure, however many requests were lost; and none if it had brought answers, as with a kept
    /// connection of HTTP/1.1: connections end, and whether the endpoint is there the next one
    /// tells. Unless the one before was lost as well, a short while ago. Whether it was told; if
    /// not, those that it had been at work for count by themselves.
    fn lost_one(&self, began: Instant) -> bool {
        if self.is_told.replace(true) {
            return false;
        }
        let group = self.group.upgrade();
        let is_again = group.is_some_and(|group| group.loses_another(Instant::now()));
        let tells = is_again || !self.is_proven.get();
        if tells {
            let refusal = self.refusal.get().map(ConnectFailure::from);
            let failure = refusal.unwrap_or(ConnectFailure::Terminated);
            let lost = Outcome::NoConnection(failure);
            self.endpoint.learn_of(Of::Since(began), lost, Instant::now);
        }
        tells
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
        shared.heed_goodbye();
        // There may be more room, or none for ever.
        if let Some(group) = shared.group.upgrade() {
            group.learn(&shared);
            group.wake();
        }
        Poll::Pending
    });
    let ended = ended.await;
    shared.heed_goodbye();
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

/// What servers of gRPC say then (gRPC A8).
const TOO_MANY_PINGS: &str = "too_many_pings";

/// Until the first request has said how it is kept.
const KEEP: Keep = Keep {
    idle: Duration::from_secs(4),
    count: 1,
};
