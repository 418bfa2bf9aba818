//! Connections that are relayed without being read further than the name that TLS begins with.

use std::sync::Arc;
use std::time::Duration;

use super::action::{Choice, Split};
use super::sessions::SessionMetrics;
use crate::route::NameTable;
use crate::telemetry::metrics::{Counter, Family, Kind, Registry};

/// Where connections go by the names that their clients ask for.
#[derive(Debug)]
pub struct ByName {
    /// The routes of a listener that take connections.
    pub routes: NameTable<Arc<SessionRoute>>,
    /// What happens to a connection that none of them takes.
    pub otherwise: Otherwise,
    /// The longest that a client may take until it has said what decides, and with the handshake
    /// if TLS ends here.
    pub limit: Duration,
    results: [Counter; HelloResult::ALL.len()],
}

/// What happens to a connection that no route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// TLS ends here.
    EndsTls,
    /// It is relayed to the listener's own target.
    Relays,
    /// It is closed.
    Refuses,
}

/// What became of the reading of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloResult {
    /// A route took the connection.
    Route,
    /// The listener itself did.
    Default,
    /// Nobody did.
    NoRoute,
    /// It is TLS, but not as it must be.
    Malformed,
    /// The client took too long.
    TimedOut,
    /// The client went away.
    ClientClosed,
}

/// Where the bytes of a connection go.
#[derive(Debug)]
pub struct SessionRoute {
    /// Its name in the configuration; empty for a listener's own target.
    pub name: Arc<str>,
    split: Split,
    /// What is measured about each choice.
    metrics: Box<[Arc<SessionMetrics>]>,
}

/// One choice of a [`SessionRoute`].
#[derive(Debug, Clone)]
pub struct SessionTarget {
    /// The route.
    pub route: Arc<SessionRoute>,
    place: usize,
}

impl ByName {
    /// Resolves the handles.
    pub(super) fn new(
        registry: &Registry,
        listener: &str,
        routes: NameTable<Arc<SessionRoute>>,
        (otherwise, limit): (Otherwise, Duration),
    ) -> Self {
        let result = |result: HelloResult| {
            let labels = [("listener", listener), ("result", result.as_str())];
            registry.counter(&HELLOS, &labels)
        };
        Self {
            routes,
            otherwise,
            limit,
            results: HelloResult::ALL.map(result),
        }
    }

    /// Counts a connection.
    pub fn count(&self, result: HelloResult) {
        self.results[result as usize].inc();
    }
}

impl HelloResult {
    /// Every result, in the order of their declaration, which is the order of their counters.
    const ALL: [Self; 6] = [
        Self::Route,
        Self::Default,
        Self::NoRoute,
        Self::Malformed,
        Self::TimedOut,
        Self::ClientClosed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Default => "default",
            Self::NoRoute => "no_route",
            Self::Malformed => "malformed",
            Self::TimedOut => "timeout",
            Self::ClientClosed => "client_closed",
        }
    }
}

impl SessionRoute {
    /// Resolves the handles; whether connections are brought to the listener that were going
    /// elsewhere.
    pub(super) fn new(
        registry: &Registry,
        listener: &str,
        name: &str,
        (split, is_brought): (Split, bool),
    ) -> Self {
        let name: Arc<str> = name.into();
        let choices = split.choices().iter();
        let metrics = choices.map(|choice| {
            let names = (&name, &choice.upstream.name);
            let metrics = SessionMetrics::new(registry, listener, names);
            Arc::new(if is_brought {
                metrics.with_refusals(registry)
            } else {
                metrics
            })
        });
        Self {
            metrics: metrics.collect(),
            name,
            split,
        }
    }

    /// Its upstreams, each with its weight.
    pub fn choices(&self) -> &[Choice] {
        self.split.choices()
    }

    /// Sessions now. Routes of a listener that share an upstream share what is measured.
    pub fn active(&self) -> i64 {
        self.metrics.iter().map(|one| one.active.value()).sum()
    }

    /// One of the upstreams, each with the probability of its weight.
    pub fn pick(self: &Arc<Self>, random: &mut fastrand::Rng) -> SessionTarget {
        SessionTarget {
            route: Arc::clone(self),
            place: self.split.pick_place(random),
        }
    }
}

impl SessionTarget {
    /// Where the bytes go, and the limits of that.
    pub fn choice(&self) -> &Choice {
        &self.route.split.choices()[self.place]
    }

    /// What is measured about it.
    pub fn metrics(&self) -> &Arc<SessionMetrics> {
        &self.route.metrics[self.place]
    }
}

static HELLOS: Family = Family {
    name: "evenkeel_tls_hellos_total",
    help: "Connections at listeners with routes by server name, by who took them.",
    kind: Kind::Counter,
    buckets: None,
};
