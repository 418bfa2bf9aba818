//! The byte copy in both directions: for TCP listeners, upgraded connections and CONNECT.
//!
//! Problem: a relay must not tell either side something that the other did not say. An end (FIN) is
//! passed on as an end of that direction alone, so that a client which has finished sending still
//! gets its answer. A reset (RST) is passed on as a reset, and so is every cut of our own (idle,
//! age, drain), so that nobody takes a truncated stream for a whole one. What came before a reset
//! is still delivered, for as long as it is being taken: a reset throws away what the kernel has
//! not delivered yet, so it waits for that, though not for ever; what waits in the window of a
//! stream of HTTP/2 when that is reset is lost, as RFC 9113 §5.1 allows. A slow reader stops the
//! reading from the other side: each direction holds at most one buffer or pipe, and none while
//! nothing moves.
//!
//! Use: [`tunnel`] with both streams, what was read from them before, and its limits. A caller that
//! drops the future (at the end of a drain) cuts both sides.

mod direction;
mod end;
mod ends;
mod limits;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use self::direction::{Broken, Direction};
use self::ends::{Breaks, Ends, Of, Side};
use self::limits::Limits;
use crate::endpoint::{self, ConnectFailure, Live, OpenConnection};
use crate::snapshot::{SessionResult, TunnelTimeouts};
use crate::telemetry::metrics::Counter;
use crate::upstream::Pick;

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

impl Ended {
    /// What it is counted as.
    pub fn result(self) -> SessionResult {
        match self {
            Self::Closed => SessionResult::Ok,
            Self::Idle => SessionResult::Idle,
            Self::MaxAge => SessionResult::MaxAge,
            Self::Removed => SessionResult::Removed,
            Self::Silent => SessionResult::Silent,
            Self::ClientReset => SessionResult::ClientReset,
            Self::EndpointReset => SessionResult::EndpointReset,
        }
    }

    /// The cause, where that is a failure or a limit of time: a word of RFC 9209, or our own.
    pub fn error(self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::ClientReset => None,
            Self::Idle => Some("tunnel_idle_timeout"),
            Self::Silent => Some("first_byte_timeout"),
            Self::MaxAge => Some("tunnel_max_age"),
            Self::Removed => Some("destination_unavailable"),
            Self::EndpointReset => Some(ConnectFailure::Terminated.as_str()),
        }
    }
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

/// What counts a tunnel at its endpoint: until it ends, or the endpoint is gone, however long its
/// client takes for what came from there.
#[derive(Debug, Default)]
pub struct Places {
    held: RefCell<Option<(OpenConnection, Pick)>>,
    /// Which attempt it is, also when they have been given back.
    of: endpoint::Of,
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
    /// What it holds there.
    pub places: &'a Places,
    /// What has passed.
    pub passed: &'a Passed,
    /// Counters, if any.
    pub meters: Option<Meters<'a>>,
}

impl Places {
    /// One more of an endpoint's connections, and one more in flight there.
    pub fn of(open: OpenConnection, pick: Pick) -> Self {
        Self {
            of: pick.of(),
            held: RefCell::new(Some((open, pick))),
        }
    }

    /// Which attempt the tunnel is, for who tells how it ended.
    pub(crate) fn of_attempt(&self) -> endpoint::Of {
        self.of
    }

    fn give_back(&self) {
        drop(self.held.take());
    }
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
        breaks: Breaks::default(),
        limits: Limits::new(watch.limits, watch.endpoint),
        places: watch.places,
        seen: 0,
        is_answered: false,
        ends: Ends::new(client, upstream),
    };
    poll_fn(move |cx| relay.poll(cx))
}

/// Both directions and what watches over them.
#[derive(Debug)]
struct Relay<'a> {
    sent: Direction<'a>,
    received: Direction<'a>,
    /// The side that broke first. What it had said before may still be on its way.
    reset: Option<Side>,
    breaks: Breaks<'a>,
    limits: Limits<'a>,
    places: &'a Places,
    /// What had moved when the idle limit was last started.
    seen: u64,
    /// Whether the endpoint has said anything.
    is_answered: bool,
    ends: Ends<'a>,
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let end = loop {
            if let Poll::Ready(end) = self.poll_end(cx) {
                break end;
            }
            // Who waits for one side does not read from the other, and nobody does behind its end.
            let is_wanted = Of {
                client: !self.sent.looks_at_source(),
                endpoint: !self.received.looks_at_source(),
            };
            match self.breaks.poll(cx, &self.ends, is_wanted) {
                Some(broken) => self.break_off(broken),
                None => return Poll::Pending,
            }
        };
        self.ends.settle(end == Ended::Closed);
        Poll::Ready(Outcome {
            sent: self.sent.passed(),
            received: self.received.passed(),
            end,
        })
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let (client, upstream) = (self.ends.client, self.ends.upstream);
        if !self.limits.has_told(cx) {
            self.sent.call_anew();
            self.received.call_anew();
        }
        match self.sent.poll_copy(cx, client, upstream) {
            Poll::Ready(Err(Broken::Source)) => {
                self.sent.abandon();
                self.break_off(Side::Client);
            }
            Poll::Ready(Err(Broken::Sink)) => self.break_off(Side::Endpoint),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        match self.received.poll_copy(cx, upstream, client) {
            Poll::Ready(Err(Broken::Source)) => {
                self.received.abandon();
                self.break_off(Side::Endpoint);
            }
            Poll::Ready(Err(Broken::Sink)) => self.break_off(Side::Client),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if self.sent.is_done() && self.received.is_done() {
            match self.reset {
                None => return Poll::Ready(Ended::Closed),
                Some(side) if self.has_arrived(side) => return Poll::Ready(side.reset()),
                Some(_) => {}
            }
        }
        self.poll_limits(cx)
    }

    /// A side takes nothing more. What it said before it went may explain why (an early answer to
    /// an upload): that is still delivered, as long as it is being taken, and then the other side
    /// is reset, not told of an end.
    fn break_off(&mut self, side: Side) {
        let (broken, other) = match side {
            Side::Client => (&mut self.received, &mut self.sent),
            Side::Endpoint => (&mut self.sent, &mut self.received),
        };
        broken.abandon();
        other.keep_end_to_itself();
        self.reset.get_or_insert(side);
        self.breaks.tell(side);
        match side {
            Side::Client => self.ends.client.let_go(),
            Side::Endpoint => self.places.give_back(),
        }
        self.limits.hurry(side, &self.ends);
    }

    /// Whether nothing that this side said is still on its way, or nobody is left to take it.
    fn has_arrived(&self, side: Side) -> bool {
        self.breaks.are_known() || self.ends.outstanding_beside(side) == 0
    }

    /// Starts the idle limit afresh if something has moved, and looks whether a limit is over.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let received = self.received.passed();
        let passed = self.sent.passed() + received;
        let moved = passed + self.ends.sent_behind();
        // What a session of TLS says of its own is not yet a first byte.
        if moved != self.seen && passed > 0 {
            self.seen = moved;
            self.limits.restart(&self.ends);
            if !self.is_answered && received > 0 {
                self.is_answered = true;
                self.limits.endpoint().proved(self.places.of);
            }
        }
        let over = ready!(self.limits.poll_over(cx, &self.ends));
        Poll::Ready(match self.reset {
            Some(side) if over == Ended::Idle => side.reset(),
            Some(_) | None => over,
        })
    }
}
