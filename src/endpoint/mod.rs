//! One endpoint: who it is, what it may carry, and what is known about it at this moment.
//!
//! Problem: a configuration is replaced wholly at every reload, but what was learned about an
//! endpoint (its health, what is in flight, when it closes idle connections) must outlive it. So an
//! endpoint is two things: [`Endpoint`], immutable, made anew by every build, and [`Live`], shared
//! by all builds and all workers, made of atomics, and found again in [`LiveStates`] by the name of
//! the upstream and the address. Keyed by the address alone, two upstreams would poison each other.
//!
//! Use: a pick holds [`InFlight`] while its request runs, a connection holds [`OpenConnection`]
//! while it stands; both count down when dropped. Who meets the limit of connections is a
//! [`Waiter`]. How attempts end is told to [`Endpoint::learn`].

mod backoff;
mod check_result;
mod condition;
mod datagrams;
mod failure;
mod flow;
mod health;
mod idle;
mod idle_requests;
mod line;
mod live;
mod metrics;
mod outcome;
mod probes;
mod protocol;
mod shedding;
mod states;
mod suspects;
mod tcp;
mod tcp_sessions;

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::{Address, Connecting};
use crate::proxy_protocol;
use crate::telemetry::access;
use crate::tls::Peer;

pub use check_result::CheckResult;
pub use condition::{Condition, Ejection, KeptCondition, Terms};
pub use datagrams::Direction;
pub use failure::ConnectFailure;
pub use flow::Flow;
pub use health::{By, Health, Machine, ProbeResult, Transition};
pub use idle_requests::{IdleInbox, IdleRequest, IdleRequests};
pub use line::Line;
pub(crate) use live::Of;
pub use live::{
    Held, InFlight, Kept, Live, OpenConnection, REQUEST, Reading, SLOTS, TooSlow, Trial, Verdict,
    Waiter, times_of,
};
pub use metrics::{Metrics, Names};
pub use outcome::{Blame, Ends, FAIR, Fault, Outcome};
pub use probes::ProbeRequests;
pub use protocol::{Http2, Protocol};
pub use states::LiveStates;
pub use suspects::Suspects;
pub use tcp_sessions::SessionEnd;

/// An endpoint as one build of the configuration sees it.
///
/// What is known about it comes first: so whoever counts himself in or out finds the way there
/// beside the count of those that hold this.
#[derive(Debug)]
#[repr(C)]
pub struct Endpoint {
    /// What is known about it; survives reloads.
    pub live: Arc<Live>,
    /// Where connections go.
    pub address: Address,
    /// Options of the sockets that lead there, if any were written.
    pub socket: Option<Arc<Connecting>>,
    /// How it is spoken to in TLS, if it is.
    pub tls: Option<Arc<Peer>>,
    /// How it is told whom a connection is for, if it is.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// What it is spoken to in.
    pub protocol: Protocol,
    /// How its HTTP/2 connections are kept, if there are any.
    pub http2: Http2,
    /// The address as metrics and logs print it.
    pub name: Arc<str>,
    /// The failure domain; empty if none was written.
    pub zone: Arc<str>,
    /// Share of the traffic against other endpoints, at least 1.
    pub weight: u32,
    /// Whether it is used only when no other is healthy.
    pub backup: bool,
    /// What it may carry at once.
    pub limits: Limits,
    /// Which outcomes count against it.
    pub blame: Arc<Blame>,
    /// Whether picks compare how long it takes.
    pub learns_latency: bool,
    /// What is counted about it; survives reloads.
    pub metrics: Arc<Metrics>,
    /// How the access log tells it, once that was asked.
    pub logged: OnceLock<access::Target>,
}

/// What one endpoint may carry at once, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests (or tunnels) in flight; `u32::MAX` is no limit.
    pub max_in_flight: u32,
    /// The same, at all endpoints of its upstream together.
    pub max_together: u32,
    /// Open connections; `u32::MAX` is no limit.
    pub max_connections: u32,
}

/// The most requests that may be in flight at an endpoint: each needs a connection of its own, or a
/// stream on one, so both limits bound it.
#[derive(Debug, Clone, Copy)]
pub struct MostInFlight {
    requests: u32,
    /// Connections, and streams on each as far as the endpoint allows them, where these bound it.
    streams: Option<(NonZeroU32, u32)>,
}

impl Endpoint {
    /// A new connection stands, `took` after it was asked for.
    ///
    /// For a tunnel that is the proof that the endpoint is well. For HTTP only an answer is: see
    /// [`Endpoint::learn`].
    pub fn connected(&self, took: Duration) {
        self.metrics.connected(took);
    }

    /// Takes in how an attempt ended that nobody picked the endpoint for. Returns whether that
    /// counts against the endpoint.
    ///
    /// A *reused* connection that turns out closed is not told here: it was idle too long
    /// ([`Live::learn_idle_close`]).
    pub fn learn(&self, outcome: Outcome, now: Instant) -> bool {
        let of = outcome.began(now).map_or_else(Of::default, Of::Since);
        self.learn_of(of, outcome, || now)
    }

    /// The same of any attempt. `now` has to be true also at the end of what went on for long:
    /// failures fade from that time on.
    pub(crate) fn learn_of(&self, of: Of, outcome: Outcome, now: impl Fn() -> Instant) -> bool {
        let fault = outcome.fault(&self.blame);
        let is_well = fault.is_none() && outcome.sheds().is_none();
        let mut is_late = false;
        match outcome {
            Outcome::Answered {
                status,
                took,
                is_whole,
                ..
            } => {
                self.live.connect_succeeded();
                self.metrics.responded(Some(status));
                is_late = self.live.answered(took);
                if is_well && is_whole {
                    self.live.went_well(of);
                }
                if let Some(took) = took.filter(|_| is_well && self.learns_latency) {
                    self.live.took(now(), took);
                }
            }
            Outcome::Ended | Outcome::GrpcEnded(_) => {
                if is_well {
                    self.live.went_well(of);
                }
            }
            Outcome::Proved => {
                self.live.ended();
                self.live.proved(of);
            }
            Outcome::NoConnection(failure) => self.not_connected(failure, now()),
            Outcome::Broken | Outcome::TimedOut => self.live.ended(),
            // Where what broke off does not count it is no good news either.
            Outcome::CutShort | Outcome::FellSilent | Outcome::Abandoned => {}
        }
        if let Some(fault) = fault {
            self.live.failed(fault, self.blame.row, of);
        }
        match outcome.sheds() {
            Some(stay_away) => self.live.penalize(now(), Some(stay_away)),
            None if fault.is_some() || is_late || outcome == Outcome::Abandoned => {
                self.live.penalize(now(), None);
            }
            None if outcome.is_good_news() => self.live.succeeded(now),
            None => {}
        }
        fault.is_some()
    }

    /// No answer came for so long: then one takes at least as long as that. Nothing is learned of
    /// it where one is known to take longer.
    pub fn awaited(&self, waited: Duration, now: Instant) {
        if self.learns_latency {
            let known = self.live.latency(now).unwrap_or_default();
            if waited.as_secs_f32() * 1e6 > known {
                self.live.took(now, waited);
            }
        }
    }

    /// A new connection could not be made, or ended before a byte of the first response. A failure
    /// of our own (no descriptors, no ports) says nothing about the endpoint and does not take it
    /// out of the picks.
    fn not_connected(&self, failure: ConnectFailure, now: Instant) {
        self.metrics.connect_failed(failure);
        if failure.is_ours() {
            return;
        }
        self.live.ended();
        match failure {
            ConnectFailure::Terminated => self.live.died_unanswered(now),
            ConnectFailure::TimedOut | ConnectFailure::Unroutable => {
                self.live.connect_timed_out(now);
            }
            ConnectFailure::Refused
            | ConnectFailure::TlsTimedOut
            | ConnectFailure::Unavailable
            | ConnectFailure::TlsCertificate
            | ConnectFailure::TlsName
            | ConnectFailure::TlsAlert
            | ConnectFailure::TlsProtocol
            | ConnectFailure::Ours => self.live.connect_failed(now),
        }
    }

    /// A new connection could not be made, and that says nothing about the endpoint: it was for a
    /// name that a client chose, or the endpoint answers on others. It is counted.
    pub fn count_failure(&self, failure: ConnectFailure) {
        self.metrics.connect_failed(failure);
    }

    /// A request was sent, and the endpoint took no notice of it: it is sent there once more.
    pub fn unprocessed(&self) {
        self.metrics.unprocessed();
    }

    /// An attempt was given up after so long, since another endpoint answered before it. That is no
    /// failure: but to a balancer that compares times it is one. And several in a row, without a
    /// word to anybody for a while, are what a limit of time would have told of each of them.
    pub fn unheard(&self, waited: Duration, now: Instant) {
        if self.learns_latency {
            self.live.took_longer(now, waited);
        }
        if self.live.is_silent(now) {
            let began = now.checked_sub(waited).unwrap_or(now);
            self.learn_of(Of::Since(began), Outcome::TimedOut, || now);
            self.live.died_unanswered(now);
        }
    }

    /// An attempt was sent and ended without the head of a response, for whatever reason: counts
    /// it. What it says of the endpoint is for [`Endpoint::learn`].
    pub fn unanswered(&self) {
        self.metrics.responded(None);
    }

    /// Whether it is below its own limits.
    pub fn has_room(&self) -> bool {
        self.live.in_flight() < self.most_in_flight().now(&self.live)
    }

    /// The most requests that may be in flight.
    pub fn most_in_flight(&self) -> MostInFlight {
        let Limits {
            max_in_flight,
            max_together: _,
            max_connections,
        } = self.limits;
        let shared = match self.protocol {
            Protocol::Http1 => None,
            Protocol::Http2 | Protocol::Either => NonZeroU32::new(max_connections),
        };
        match shared.filter(|connections| connections.get() < u32::MAX) {
            Some(connections) => MostInFlight {
                requests: max_in_flight,
                streams: Some((connections, self.http2.max_streams)),
            },
            None => MostInFlight {
                requests: max_in_flight.min(max_connections),
                streams: None,
            },
        }
    }

    /// Counts a session in that goes here and nowhere else, unless there is no room.
    pub(crate) fn try_begin_session(self: &Arc<Self>) -> Option<InFlight<Arc<Self>>> {
        let most = self.most_in_flight().with_own_connection(&self.live);
        self.live.try_begin_at(self, most, self.limits.max_together)
    }
}

impl MostInFlight {
    /// As many as may be now.
    #[inline]
    pub fn now(&self, live: &Live) -> u32 {
        let Some((connections, each)) = self.streams else {
            return self.requests;
        };
        let each = each.min(live.carried());
        self.requests.min(connections.get().saturating_mul(each))
    }

    /// The same for one that takes a connection for itself, as bytes do that nobody reads: that
    /// others share theirs makes no room for it.
    pub fn with_own_connection(&self, live: &Live) -> u32 {
        match self.streams {
            Some((connections, _)) if live.connections() >= connections.get() => {
                self.requests.min(connections.get())
            }
            Some(_) | None => self.requests,
        }
    }
}

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self {
        max_in_flight: u32::MAX,
        max_together: u32::MAX,
        max_connections: u32::MAX,
    };
}
