//! Tells when a route or an upstream is full, and when it is well again.
//!
//! Problem: a limit that turns requests away does what it is for, and nobody hears of it but those
//! who are turned away; and if each time were told, a limit that is reached now and then would fill
//! the log. So the control plane looks once a second at what is counted anyway. Full is what has
//! turned somebody away, or has been at its limit or let somebody wait at some looks in a row; it
//! is well again once none of that was so for a while, and a tenth of its room is free.
//!
//! A look reads counters and changes nothing: a request pays nothing for it.

mod state;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use self::state::{Change, Seen, State};
use crate::snapshot::{Bulkhead, Handle, Kind, Route, Shed, Snapshot};
use crate::telemetry::events::{Event, Events};
use crate::telemetry::metrics::{Family, Gauge, Kind as MetricKind, Registry};
use crate::upstream::Upstream;

/// Looks at all routes and upstreams that may be full.
#[derive(Debug)]
pub struct Fullness {
    handle: Handle,
    events: Events,
    registry: Registry,
    /// The configuration that what is watched is of.
    generation: Option<u64>,
    watched: BTreeMap<Key, Watched>,
}

/// What may be full, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Route(Arc<str>),
    Upstream(Arc<str>),
}

/// What of a configuration is counted together.
#[derive(Debug)]
enum Part {
    Upstream(Arc<Upstream>),
    /// A route at one of its listeners.
    Route(Arc<Route>),
}

#[derive(Debug)]
struct Watched {
    parts: Vec<Part>,
    state: State,
    /// What its limit is, if it has one.
    limit: Option<Gauge>,
}

impl Fullness {
    /// Watches the snapshot in force.
    pub fn new(handle: Handle, events: Events, registry: Registry) -> Self {
        Self {
            handle,
            events,
            registry,
            generation: None,
            watched: BTreeMap::new(),
        }
    }

    /// Looks until it is dropped.
    #[expect(clippy::infinite_loop, reason = "it ends where it is dropped")]
    pub async fn run(mut self) -> Infallible {
        let mut ticks = interval(LOOK);
        // Looks that were missed are not made up for: they would see nothing new.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(Instant::now());
        }
    }

    fn look(&mut self, now: Instant) {
        let snapshot = self.handle.load();
        if self.generation != Some(snapshot.generation) {
            self.generation = Some(snapshot.generation);
            self.watch(&snapshot);
        }
        for (key, watched) in &mut self.watched {
            let seen = seen(&watched.parts);
            watched.show(&self.registry, key, seen.most);
            if let Some(change) = watched.state.look(&seen, now) {
                self.events.publish(event(key, &change));
            }
        }
    }

    /// From now on it is these that are looked at: with thousands of routes it costs too much to
    /// look for them each time.
    fn watch(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.watched);
        let all = parts(snapshot).into_iter().map(|(key, parts)| {
            let watched = match before.remove(&key) {
                Some(watched) => Watched { parts, ..watched },
                None => Watched {
                    state: State::new(&seen(&parts)),
                    limit: None,
                    parts,
                },
            };
            (key, watched)
        });
        self.watched = all.collect();
    }
}

impl Watched {
    fn show(&mut self, registry: &Registry, key: &Key, most: Option<u32>) {
        let Some(most) = most else {
            self.limit = None;
            return;
        };
        let limit = self.limit.get_or_insert_with(|| match key {
            Key::Route(name) => registry.gauge(&ROUTE_LIMIT, &[("route", name)]),
            Key::Upstream(name) => registry.gauge(&UPSTREAM_LIMIT, &[("upstream", name)]),
        });
        limit.set(most.into());
    }
}

/// What may be full, each with what is counted of it.
fn parts(snapshot: &Snapshot) -> BTreeMap<Key, Vec<Part>> {
    let upstreams = snapshot.upstreams.values().map(|upstream| {
        let key = Key::Upstream(Arc::clone(&upstream.name));
        (key, vec![Part::Upstream(Arc::clone(upstream))])
    });
    let mut all: BTreeMap<Key, Vec<Part>> = upstreams.collect();
    for listener in &snapshot.listeners {
        let Kind::Http(http) = &listener.kind else {
            continue;
        };
        for route in http.all_routes().filter(|it| it.bulkhead.is_some()) {
            let parts = all.entry(Key::Route(Arc::clone(&route.name))).or_default();
            parts.push(Part::Route(Arc::clone(route)));
        }
    }
    all
}

/// What is counted now.
fn seen(parts: &[Part]) -> Seen {
    let mut all = Seen::default();
    for part in parts {
        match part {
            Part::Upstream(upstream) => {
                all = Seen {
                    in_flight: upstream.in_flight(),
                    most: upstream.max_in_flight(),
                    waiting: upstream.waiting(),
                    turned_away: upstream.turned_away(),
                };
            }
            Part::Route(route) => {
                let here = Seen {
                    in_flight: route.bulkhead.as_ref().map_or(0, Bulkhead::in_flight),
                    most: route.bulkhead.as_ref().map(Bulkhead::most),
                    ..Seen::default()
                };
                // Each may have a limit of its own: what tells is where it is nearest to that.
                if all.most.is_none() || here.is_fuller_than(&all) {
                    (all.in_flight, all.most) = (here.in_flight, here.most);
                }
                // All its listeners count in one series, and one that has turned nobody away is
                // not heard of.
                let turned_away = route.metrics.turned_away(Shed::Concurrency);
                all.turned_away = all.turned_away.max(turned_away);
            }
        }
    }
    all
}

fn event(key: &Key, change: &Change) -> Event {
    let (kinds, field) = match key {
        Key::Route(name) => (["route_full", "route_recovered"], ("route", name)),
        Key::Upstream(name) => (["upstream_full", "upstream_recovered"], ("upstream", name)),
    };
    Event {
        kind: kinds[usize::from(!change.is_full)],
        why: change.why.clone(),
        fields: vec![(field.0, field.1.to_string())],
    }
}

/// Often enough that whoever is called sees why.
const LOOK: Duration = Duration::from_secs(1);

static ROUTE_LIMIT: Family = Family {
    name: "evenkeel_route_max_in_flight",
    help: "Requests of a route that may be under way at once.",
    kind: MetricKind::Gauge,
    buckets: None,
};

static UPSTREAM_LIMIT: Family = Family {
    name: "evenkeel_upstream_max_in_flight",
    help: "Requests and tunnels that may be in flight at all endpoints of an upstream.",
    kind: MetricKind::Gauge,
    buckets: None,
};

#[cfg(test)]
mod tests;
