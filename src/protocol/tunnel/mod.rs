//! The byte copy in both directions: for TCP listeners, upgraded connections and CONNECT.
//!
//! Problem: a relay must not tell either side something that the other did not say. An end (FIN) is
//! passed on as an end of that direction alone, so that a client which has finished sending still
//! gets its answer. A reset (RST) is passed on as a reset, and so is every cut of our own (idle,
//! drain), so that nobody takes a truncated stream for a whole one. A slow reader stops the reading
//! from the other side: each direction holds at most one buffer or pipe, and none while nothing
//! moves.
//!
//! Use: [`tunnel`] with both streams, what was read from them before, and the idle limit. A caller
//! that drops the future (at the end of a drain) cuts both sides.

mod direction;
mod end;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::direction::{Broken, Direction};
use crate::telemetry::metrics::Counter;
use crate::time::Deadline;

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
    /// The longest time without a byte in either direction.
    pub idle: Duration,
    /// The longest time to the first byte in either direction, where none was read before.
    pub first_byte: Option<Duration>,
    /// What has passed.
    pub passed: &'a Passed,
    /// Counters, if any.
    pub meters: Option<Meters<'a>>,
}

/// Copies bytes both ways until both directions have ended, one side breaks, or nothing moves.
pub async fn tunnel(
    client: End<'_>,
    upstream: End<'_>,
    prefix: Prefix,
    watch: Watch<'_>,
) -> Outcome {
    let Watch { passed, meters, .. } = watch;
    let ends = Ends {
        client,
        upstream,
        settled: Cell::new(false),
    };
    let mut relay = Relay {
        sent: Direction::new(prefix.sent, &passed.sent, meters.map(|meters| meters.sent)),
        received: Direction::new(
            prefix.received,
            &passed.received,
            meters.map(|meters| meters.received),
        ),
        reset: None,
        quiet: Quiet::new(watch.idle, watch.first_byte),
        seen: 0,
        passed,
        ends: &ends,
    };
    let end = poll_fn(|cx| relay.poll(cx)).await;
    ends.settled.set(end == Ended::Closed);
    Outcome {
        sent: passed.sent.get(),
        received: passed.received.get(),
        end,
    }
}

/// Both directions and what watches over them.
#[derive(Debug)]
struct Relay<'a> {
    sent: Direction<'a>,
    received: Direction<'a>,
    /// A side that no longer takes bytes, while what it had sent before is still being delivered.
    reset: Option<Side>,
    quiet: Quiet,
    /// What had passed when the idle limit was last started.
    seen: u64,
    passed: &'a Passed,
    ends: &'a Ends<'a>,
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

/// The idle limit.
#[derive(Debug)]
struct Quiet {
    idle: Duration,
    /// Until something has passed.
    first_byte: Option<Duration>,
    since: Instant,
    deadline: Deadline,
    probing: bool,
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
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
        self.poll_quiet(cx)
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

    /// Starts the idle limit afresh if something has passed, and looks whether it is over.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let passed = self.passed.sent.get() + self.passed.received.get();
        if passed != self.seen {
            self.seen = passed;
            self.quiet.restart();
        }
        let ends = self.ends;
        self.quiet.poll_over(cx, ends)
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

impl Quiet {
    fn new(idle: Duration, first_byte: Option<Duration>) -> Self {
        let mut quiet = Self {
            idle,
            first_byte: None,
            since: Instant::now(),
            deadline: Deadline::default(),
            probing: idle <= PROBE_FROM,
        };
        quiet.restart();
        quiet.first_byte = first_byte.filter(|limit| *limit < idle);
        quiet.arm();
        quiet
    }

    fn restart(&mut self) {
        self.since = Instant::now();
        self.first_byte = None;
        self.arm();
    }

    fn arm(&mut self) {
        let last = self.first_byte.unwrap_or(self.idle);
        let limit = if self.probing {
            last
        } else {
            PROBE_FROM.min(last)
        };
        self.deadline.set_at(self.since + limit);
    }

    fn poll_over(&mut self, cx: &mut Context<'_>, ends: &Ends<'_>) -> Poll<Ended> {
        while self.deadline.poll_passed(cx).is_ready() {
            match self.first_byte {
                Some(limit) if self.since.elapsed() >= limit => {
                    return Poll::Ready(Ended::Silent);
                }
                None if self.probing => return Poll::Ready(Ended::Idle),
                Some(_) | None => {}
            }
            // Only a tunnel that has fallen silent pays for the socket options.
            self.probing = true;
            ends.probe();
            self.arm();
        }
        Poll::Pending
    }
}

/// Silence after which the kernel is asked to probe both peers: longer than most pauses, short
/// against the idle limits of tunnels, which are minutes to hours.
const PROBE_FROM: Duration = Duration::from_secs(30);
