//! The byte copy in both directions: for TCP listeners, upgraded connections and CONNECT.
//!
//! Problem: a relay must not tell either side something that the other did not say. An end (FIN) is
//! passed on as an end of that direction alone, so that a client which has finished sending still
//! gets its answer. A reset (RST) is passed on as a reset, and so is every cut of our own (idle,
//! age, drain), so that nobody takes a truncated stream for a whole one. What came before a reset
//! is still delivered, for as long as it is being taken. A slow reader stops the reading from the
//! other side: each direction holds at most one buffer or pipe, and none while nothing moves.
//!
//! Use: [`tunnel`] with both streams, what was read from them before, and its limits. A caller that
//! drops the future (at the end of a drain) cuts both sides.

mod direction;
mod end;
mod limits;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use self::direction::{Broken, Direction};
use self::limits::Limits;
use crate::endpoint::Live;
use crate::snapshot::TunnelTimeouts;
use crate::telemetry::metrics::Counter;

pub use self::end::End;

/// How a tunnel came to its end, and what had passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes that the endpoint's socket took from the client.
    pub sent: u64,
    /// Bytes that the client's socket took from the endpoint.
    pub received: u64,
    /// Who ended it.
    pub end: Ended,
}

/// Who ended a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Both sides ended their direction.
    Closed,
    /// Nothing moved for the idle limit; both sides were reset.
    Idle,
    /// It had lasted for as long as it may; both sides were reset.
    MaxAge,
    /// The endpoint was taken out of its upstream; both sides were reset.
    Removed,
    /// Nothing has moved at all for as long as the first byte may take; both sides were reset.
    Silent,
    /// The client reset the connection or became unreachable; the endpoint was reset.
    ClientReset,
    /// The endpoint did; the client was reset.
    EndpointReset,
}

/// What was read from the streams before the tunnel began; it is written first.
#[derive(Debug, Default)]
pub struct Prefix {
    /// From the client.
    pub sent: Bytes,
    /// From the endpoint.
    pub received: Bytes,
}

/// Bytes that have passed so far. It belongs to the caller, so that a tunnel that is dropped can
/// still be accounted for.
#[derive(Debug, Default)]
pub struct Passed {
    /// From the client to the endpoint.
    pub sent: Cell<u64>,
    /// From the endpoint to the client.
    pub received: Cell<u64>,
}

/// Counters that move while the bytes do: an hour-long tunnel must not show up at its end only.
#[derive(Debug, Clone, Copy)]
pub struct Meters<'a> {
    /// From the client to the endpoint.
    pub sent: &'a Counter,
    /// From the endpoint to the client.
    pub received: &'a Counter,
}

/// How a tunnel is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// How long it may last.
    pub limits: TunnelTimeouts,
    /// Where it leads: the first byte from there is the proof that the endpoint is well, and its
    /// removal ends the tunnel.
    pub endpoint: &'a Live,
    /// What has passed.
    pub passed: &'a Passed,
    /// Counters, if any.
    pub meters: Option<Meters<'a>>,
}

/// Copies bytes both ways until both directions have ended, one side breaks, or a limit is over.
///
/// A function that returns a future, since an `async fn` holds its arguments twice and what they
/// became once more, and there may be very many tunnels at rest.
pub fn tunnel<'a>(
    client: End<'a>,
    upstream: End<'a>,
    prefix: Prefix,
    watch: Watch<'a>,
) -> impl Future<Output = Outcome> + 'a {
    let Watch { passed, meters, .. } = watch;
    let mut relay = Relay {
        sent: Direction::new(prefix.sent, &passed.sent, meters.map(|meters| meters.sent)),
        received: Direction::new(
            prefix.received,
            &passed.received,
            meters.map(|meters| meters.received),
        ),
        reset: None,
        broken: None,
        limits: Limits::new(watch.limits, watch.endpoint),
        endpoint: watch.endpoint,
        seen: 0,
        is_answered: false,
        passed,
        ends: Ends {
            client,
            upstream,
            settled: Cell::new(false),
        },
    };
    // Whoever waits for one side to take bytes does not read from the other, and would not hear of
    // its reset.
    let mut broken = None;
    poll_fn(move |cx| {
        if let Poll::Ready(outcome) = relay.poll(cx) {
            return Poll::Ready(outcome);
        }
        if !relay.is_stuck() {
            broken = None;
            return Poll::Pending;
        }
        let watched = broken
            .get_or_insert_with(|| Box::pin(first_broken(relay.ends.client, relay.ends.upstream)));
        let side = ready!(watched.as_mut().poll(cx));
        broken = None;
        relay.hurry(side);
        relay.poll(cx)
    })
}

/// Returns once a side has broken, with that side.
async fn first_broken(client: End<'_>, upstream: End<'_>) -> Side {
    tokio::select! {
        biased;
        () = client.broken() => Side::Client,
        () = upstream.broken() => Side::Endpoint,
    }
}

/// Both directions and what watches over them.
#[derive(Debug)]
struct Relay<'a> {
    sent: Direction<'a>,
    received: Direction<'a>,
    /// A side that no longer takes bytes, while what it had sent before is still being delivered.
    reset: Option<Side>,
    /// A side that has broken while the other one does not take what it had said.
    broken: Option<Side>,
    limits: Limits<'a>,
    endpoint: &'a Live,
    /// What had passed when the idle limit was last started.
    seen: u64,
    /// Whether the endpoint has said anything.
    is_answered: bool,
    passed: &'a Passed,
    ends: Ends<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Client,
    Endpoint,
}

/// The two ends. Dropped unless settled, it has both reset.
#[derive(Debug)]
struct Ends<'a> {
    client: End<'a>,
    upstream: End<'a>,
    settled: Cell<bool>,
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let end = ready!(self.poll_end(cx));
        self.ends.settled.set(end == Ended::Closed);
        Poll::Ready(Outcome {
            sent: self.passed.sent.get(),
            received: self.passed.received.get(),
            end,
        })
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let (client, upstream) = (self.ends.client, self.ends.upstream);
        match self.sent.poll_copy(cx, client, upstream) {
            Poll::Ready(Err(Broken::Source)) => {
                return Poll::Ready(self.reset.unwrap_or(Side::Client).reset());
            }
            Poll::Ready(Err(Broken::Sink)) => self.break_off(Side::Endpoint),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        match self.received.poll_copy(cx, upstream, client) {
            Poll::Ready(Err(Broken::Source)) => {
                return Poll::Ready(self.reset.unwrap_or(Side::Endpoint).reset());
            }
            Poll::Ready(Err(Broken::Sink)) => self.break_off(Side::Client),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if self.sent.is_done() && self.received.is_done() {
            return Poll::Ready(self.reset.map_or(Ended::Closed, Side::reset));
        }
        self.poll_limits(cx)
    }

    /// A side takes nothing more. What it said before it went may explain why (an early answer to
    /// an upload): that is still delivered, and then the other side is reset, not told of an end.
    fn break_off(&mut self, side: Side) {
        let (broken, other) = match side {
            Side::Client => (&mut self.received, &mut self.sent),
            Side::Endpoint => (&mut self.sent, &mut self.received),
        };
        broken.abandon();
        other.keep_end_to_itself();
        self.reset.get_or_insert(side);
    }

    /// Starts the idle limit afresh if something has passed, and looks whether a limit is over.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let received = self.passed.received.get();
        let passed = self.passed.sent.get() + received;
        if passed != self.seen {
            self.seen = passed;
            self.limits.restart();
            if !self.is_answered && received > 0 {
                self.is_answered = true;
                self.endpoint.connect_succeeded();
            }
        }
        let over = ready!(self.limits.poll_over(cx, &self.ends));
        Poll::Ready(match self.broken {
            Some(side) if over == Ended::Idle => side.reset(),
            Some(_) | None => over,
        })
    }

    /// Whether one side does not take what the other has said, and neither is known to have broken.
    fn is_stuck(&self) -> bool {
        self.broken.is_none() && (self.sent.is_stuck() || self.received.is_stuck())
    }

    /// A side has broken: its last words may still be taken, if they are taken now.
    fn hurry(&mut self, side: Side) {
        self.broken = Some(side);
        self.limits.hurry();
    }
}

impl Side {
    fn reset(self) -> Ended {
        match self {
            Self::Client => Ended::ClientReset,
            Self::Endpoint => Ended::EndpointReset,
        }
    }
}

impl Ends<'_> {
    fn probe(&self) {
        self.client.probe();
        self.upstream.probe();
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if !self.settled.get() {
            self.client.cut();
            self.upstream.cut();
        }
    }
}
