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
//! [`Waiter`]. How attempts end is told to [`Endpoint`] ([`Endpoint::connected`],
//! [`Endpoint::connect_failed`], [`Endpoint::responded`]).

mod backoff;
mod check_result;
mod datagrams;
mod failure;
mod flow;
mod health;
mod idle;
mod idle_requests;
mod live;
mod metrics;
mod probes;
mod protocol;
mod queue;
mod states;
mod tcp;
mod tcp_sessions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::{Address, Connecting};
use crate::proxy_protocol;
use crate::telemetry::access;
use crate::tls::Peer;

pub use check_result::CheckResult;
pub use datagrams::Direction;
pub use failure::ConnectFailure;
pub use flow::Flow;
pub use health::{By, Health, Machine, ProbeResult, Transition};
pub use idle_requests::{IdleInbox, IdleRequest, IdleRequests};
pub use live::{InFlight, Live, OpenConnection, Verdict, Waiter};
pub use metrics::{Metrics, Names};
pub use probes::ProbeRequests;
pub use protocol::{Http2, Protocol};
pub use queue::{Line, Place, Queue};
pub use states::LiveStates;
pub use tcp_sessions::SessionEnd;

/// An endpoint as one build of the configuration sees it.
#[derive(Debug)]
pub struct Endpoint {
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
    /// What is known about it; survives reloads.
    pub live: Arc<Live>,
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
    /// Open connections; `u32::MAX` is no limit.
    pub max_connections: u32,
}

/// The most requests that may be in flight at an endpoint: each needs a connection of its own, or a
/// stream on one, so both limits bound it.
#[derive(Debug, Clone, Copy)]
pub struct MostInFlight {
    requests: u32,
    /// Connections, and streams on each as far as the endpoint allows them, where these bound it.
    streams: Option<(u32, u32)>,
}

impl Endpoint {
    /// A new connection stands, `took` after it was asked for.
    ///
    /// For a tunnel that is the proof that the endpoint is well. For HTTP only an answer is: see
    /// [`Endpoint::responded`].
    pub fn connected(&self, took: Duration) {
        self.metrics.connected(took);
    }

    /// A new connection could not be made, or ended before a byte of the first response. Returns
    /// whether the endpoint is to blame: a failure of our own (no descriptors, no ports) says
    /// nothing about it and does not take it out of the picks.
    ///
    /// A *reused* connection that turns out closed is not reported here: it was idle too long
    /// ([`Live::learn_idle_close`]).
    pub fn connect_failed(&self, failure: ConnectFailure, now: Instant) -> bool {
        self.metrics.connect_failed(failure);
        if failure.is_ours() {
            return false;
        }
        match failure {
            ConnectFailure::Terminated => self.live.died_unanswered(now),
            ConnectFailure::Refused
            | ConnectFailure::TimedOut
            | ConnectFailure::Unroutable
            | ConnectFailure::Unavailable
            | ConnectFailure::TlsCertificate
            | ConnectFailure::TlsName
            | ConnectFailure::TlsAlert
            | ConnectFailure::TlsProtocol
            | ConnectFailure::Ours => self.live.connect_failed(now),
        }
        true
    }

    /// A new connection could not be made, and that says nothing about the endpoint: it was for a
    /// name that a client chose, or the endpoint answers on others. It is counted.
    pub fn count_failure(&self, failure: ConnectFailure) {
        self.metrics.connect_failed(failure);
    }

    /// The head of a response arrived, with this status: counts it and ends the connect backoff.
    pub fn responded(&self, status: http::StatusCode) {
        self.live.connect_succeeded();
        self.metrics.responded(Some(status));
    }

    /// A request was sent, and the endpoint took no notice of it: it is sent there once more.
    pub fn unprocessed(&self) {
        self.metrics.unprocessed();
    }

    /// An attempt was sent and ended without the head of a response.
    pub fn unanswered(&self) {
        self.metrics.responded(None);
    }

    /// The most requests that may be in flight.
    pub fn most_in_flight(&self) -> MostInFlight {
        let Limits {
            max_in_flight,
            max_connections,
        } = self.limits;
        let has_streams = match self.protocol {
            Protocol::Http1 => false,
            Protocol::Http2 | Protocol::Either => max_connections < u32::MAX,
        };
        let (requests, streams) = if has_streams {
            (
                max_in_flight,
                Some((max_connections, self.http2.max_streams)),
            )
        } else {
            (max_in_flight.min(max_connections), None)
        };
        MostInFlight { requests, streams }
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
        self.requests.min(connections.saturating_mul(each))
    }
}

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self {
        max_in_flight: u32::MAX,
        max_connections: u32::MAX,
    };
}
