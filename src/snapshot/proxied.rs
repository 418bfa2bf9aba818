//! Which PROXY headers a listener takes, and what becomes of them.

use std::net::IpAddr;
use std::time::Duration;

use super::timeouts::proxy_header;
use crate::config::{self, ProxyHeaderPolicy};
use crate::net::TrustedPeers;
use crate::telemetry::metrics::{Counter, Family, Kind, Registry};

/// Which PROXY headers a listener takes.
#[derive(Debug)]
pub struct ProxyHeaders {
    /// Whether a connection without one is refused.
    pub is_required: bool,
    /// The longest that one may take to come.
    pub limit: Duration,
    trusted: TrustedPeers,
    results: [Counter; HeaderResult::ALL.len()],
}

/// What became of a connection where a PROXY header may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderResult {
    /// One of version 1 told of a client.
    V1,
    /// One of version 2 did.
    V2,
    /// The proxy in front has connected for itself.
    Local,
    /// There was none, and need not be.
    Absent,
    /// Who has connected is not believed.
    Untrusted,
    /// There was something else, or one that cannot be taken.
    Malformed,
    /// It did not come in time.
    TimedOut,
    /// The other end went away before.
    ClientClosed,
}

impl ProxyHeaders {
    /// What a listener's author wants, if any are to be taken.
    pub(super) fn new(
        registry: &Registry,
        listener: &str,
        written: &config::Listener,
        defaults: &config::Timeouts,
    ) -> Option<Self> {
        let is_required = match written.proxy_protocol? {
            ProxyHeaderPolicy::Required => true,
            ProxyHeaderPolicy::Accepted => false,
        };
        let result = |result: HeaderResult| {
            let labels = [("listener", listener), ("result", result.as_str())];
            registry.counter(&HEADERS, &labels)
        };
        Some(Self {
            is_required,
            limit: proxy_header([&written.timeouts, defaults]),
            trusted: TrustedPeers::new(&written.trusted_proxies),
            results: HeaderResult::ALL.map(result),
        })
    }

    /// Whether a header that comes from there is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.trusts(address)
    }

    /// Counts a connection.
    pub fn count(&self, result: HeaderResult) {
        self.results[result as usize].inc();
    }
}

impl HeaderResult {
    /// Every result, in the order of their declaration, which is the order of their counters.
    const ALL: [Self; 8] = [
        Self::V1,
        Self::V2,
        Self::Local,
        Self::Absent,
        Self::Untrusted,
        Self::Malformed,
        Self::TimedOut,
        Self::ClientClosed,
    ];

    /// Its word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Local => "local",
            Self::Absent => "absent",
            Self::Untrusted => "untrusted",
            Self::Malformed => "malformed",
            Self::TimedOut => "timeout",
            Self::ClientClosed => "client_closed",
        }
    }
}

static HEADERS: Family = Family {
    name: "evenkeel_proxy_headers_total",
    help: "Connections at listeners that take PROXY headers, by what came.",
    kind: Kind::Counter,
    buckets: None,
};
