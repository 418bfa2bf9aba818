//! Which PROXY headers a listener takes, and what becomes of them.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::timeouts::proxy_header;
use crate::config::{self, ProxyHeaderPolicy};
use crate::net::{TrustedPeers, UNNAMED};
use crate::telemetry::events::{Event, Events};
use crate::telemetry::metrics::{Counter, Family, Kind};
use crate::upstream::World;

/// Which PROXY headers a listener takes.
#[derive(Debug)]
pub struct ProxyHeaders {
    /// Whether a connection without one is refused.
    pub is_required: bool,
    /// The longest that one may take to come.
    pub limit: Duration,
    listener: Box<str>,
    trusted: TrustedPeers,
    results: [Counter; HeaderResult::ALL.len()],
    events: Events,
    /// What was told of the refused, by the reason for it.
    told: Mutex<[Told; HeaderResult::ALL.len()]>,
}

/// What was told of those that were refused for one reason.
#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    /// Of how many nothing was told since.
    left_out: u64,
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
        world: &World,
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
            world.registry.counter(&HEADERS, &labels)
        };
        Some(Self {
            is_required,
            limit: proxy_header([&written.timeouts, defaults]),
            listener: listener.into(),
            trusted: TrustedPeers::new(&written.trusted_proxies),
            results: HeaderResult::ALL.map(result),
            events: world.events.clone(),
            told: Mutex::default(),
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

    /// Counts one of this peer that is refused, and tells why, at most once a minute for each
    /// result: whoever may connect could else push all other events out.
    pub fn refuse(&self, result: HeaderResult, peer: IpAddr, why: &str, now: Instant) {
        self.count(result);
        let Some(left_out) = self.may_tell(result, now) else {
            return;
        };
        let peer = match peer.to_canonical() {
            peer if peer == UNNAMED.ip() => "unix:".to_owned(),
            peer => peer.to_string(),
        };
        let others = match left_out {
            0 => String::new(),
            1 => "; one other since the last event".to_owned(),
            others => format!("; {others} others since the last event"),
        };
        self.events.publish(Event {
            kind: "proxy_header_refused",
            why: format!("{peer}: {why}{others}"),
            fields: vec![
                ("listener", self.listener.to_string()),
                ("peer", peer),
                ("result", result.as_str().to_owned()),
            ],
        });
    }

    /// How many were left out before this one, if it is to be told of.
    fn may_tell(&self, result: HeaderResult, now: Instant) -> Option<u64> {
        if !result.is_telling() {
            return None;
        }
        // Whole between any two statements.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = &mut told[result as usize];
        if told.last.is_some_and(|last| now < last + TOLD_EVERY) {
            told.left_out += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.left_out))
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

    /// Whether somebody should hear of it. Who goes away without a word asks whether the port is
    /// open, as the checks of many balancers do.
    fn is_telling(self) -> bool {
        match self {
            Self::Untrusted | Self::Malformed | Self::TimedOut => true,
            Self::V1 | Self::V2 | Self::Local | Self::Absent | Self::ClientClosed => false,
        }
    }

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

/// A listener fills the memory of events in five hours at most, and what goes on is told again
/// while somebody looks at it.
const TOLD_EVERY: Duration = Duration::from_mins(1);

static HEADERS: Family = Family {
    name: "evenkeel_proxy_headers_total",
    help: "Connections at listeners that take PROXY headers, by what came.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{HeaderResult, ProxyHeaders, TOLD_EVERY};
    use crate::config;
    use crate::telemetry::events::Events;
    use crate::telemetry::metrics::Registry;
    use crate::upstream::World;

    fn headers(events: &Events) -> ProxyHeaders {
        let text = "[listener.web]\nbind = \":80\"\nto = [\"10.0.0.1:80\"]\n\
                    proxy_protocol = \"required\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
        let config: config::Config = toml::from_str(text).expect("a configuration");
        let world = World::new(Registry::new(1), events.clone());
        let defaults = &config.defaults.timeouts;
        ProxyHeaders::new(&world, "web", &config.listener["web"], defaults).expect("wanted")
    }

    #[test]
    fn who_is_refused_is_told_of_once_a_minute_for_each_reason() {
        let events = Events::default();
        let headers = headers(&events);
        let start = Instant::now();
        let refuse = |result, peer: &str, at| {
            headers.refuse(result, peer.parse().expect("an address"), "why", at);
        };
        refuse(HeaderResult::Malformed, "10.0.0.5", start);
        refuse(HeaderResult::Malformed, "10.0.0.6", start);
        refuse(HeaderResult::Untrusted, "192.0.2.7", start);
        refuse(HeaderResult::ClientClosed, "10.0.0.7", start);
        refuse(HeaderResult::Malformed, "10.0.0.8", start + TOLD_EVERY);
        let told = events.list(0);
        let why: Vec<&str> = told.iter().map(|one| &*one.event.why).collect();
        assert_eq!(
            why,
            [
                "10.0.0.5: why",
                "192.0.2.7: why",
                "10.0.0.8: why; one other since the last event",
            ]
        );
        let fields = &told[1].event.fields;
        assert!(
            fields.contains(&("result", "untrusted".to_owned())),
            "{fields:?}"
        );
    }
}
