//! Readiness as a value that one holds: may traffic be sent here?
//!
//! It looks at this process alone. A proxy that calls itself unready when its endpoints are down
//! would take itself out everywhere at once, and turn their trouble into an outage of its own. One
//! beside an application is another matter: nothing that comes there can be served elsewhere. So
//! readiness follows upstreams only where they are named (`admin.ready_when`).

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::endpoint::Health;
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;

/// What has to hold before traffic may come. Clones show the same state.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    state: Arc<State>,
}

/// That the last good configuration is in force, since the one that should be cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instead {
    /// Why the other one cannot be.
    pub why: Vec<String>,
    /// The file that it is in.
    pub file: String,
    /// Since when.
    pub since: SystemTime,
    /// When the one that is in force was last put in force from its file.
    pub kept: Option<SystemTime>,
}

#[derive(Debug, Default)]
struct State {
    instead: Mutex<Option<Arc<Instead>>>,
    listening: AtomicBool,
    configured: AtomicBool,
    draining: AtomicBool,
    left: AtomicBool,
}

/// One condition of readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, as `/readyz?verbose` lists it.
    pub name: Cow<'static, str>,
    /// Whether it holds.
    pub holds: bool,
}

impl Readiness {
    /// Not ready: nothing is bound, nothing is configured.
    pub fn new() -> Self {
        Self::default()
    }

    /// All listeners accept.
    pub fn listening(&self) {
        self.state.listening.store(true, Ordering::Release);
    }

    /// A configuration is in force.
    pub fn configured(&self) {
        self.state.configured.store(true, Ordering::Release);
    }

    /// The last good configuration is in force, or no longer so. That is no reason not to be ready:
    /// it serves.
    pub fn serve_instead(&self, instead: Option<Arc<Instead>>) {
        *self.state.instead() = instead;
    }

    /// Whether the last good configuration is in force, and why.
    pub fn instead(&self) -> Option<Arc<Instead>> {
        self.state.instead().clone()
    }

    /// The process is about to end. It never becomes ready again.
    pub fn draining(&self) {
        self.state.draining.store(true, Ordering::Release);
    }

    /// The process is about to end, and another instance serves.
    pub fn left(&self) {
        self.state.left.store(true, Ordering::Release);
        self.draining();
    }

    /// Every condition, in the order in which a start fulfils them.
    pub fn checks(&self) -> [Check; 3] {
        let read = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        [
            Check {
                name: "listeners".into(),
                holds: read(&self.state.listening),
            },
            Check {
                name: "configuration".into(),
                holds: read(&self.state.configured),
            },
            Check {
                name: "not-draining".into(),
                holds: !read(&self.state.draining),
            },
        ]
    }

    /// Whether all of them hold.
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.holds)
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.state.draining.load(Ordering::Acquire)
    }

    /// Whether another instance serves.
    pub fn has_left(&self) -> bool {
        self.state.left.load(Ordering::Acquire)
    }
}

impl State {
    fn instead(&self) -> MutexGuard<'_, Option<Arc<Instead>>> {
        // It is replaced as a whole.
        self.instead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The conditions that a configuration adds: each of the upstreams that it names has a healthy
/// endpoint.
pub(super) fn followed(snapshot: &Snapshot) -> Vec<Check> {
    let named = snapshot.config.admin.ready_when.iter();
    let check = |name: &String| Check {
        name: format!("{UPSTREAM}{name}").into(),
        holds: snapshot.upstreams.get(name.as_str()).is_some_and(serves),
    };
    named.map(check).collect()
}

fn serves(upstream: &Arc<Upstream>) -> bool {
    let endpoints = upstream.endpoints();
    let mut endpoints = endpoints.iter();
    upstream.leads_to_destinations()
        || endpoints.any(|endpoint| upstream.health_of(endpoint) == Health::Healthy)
}

/// Before the name of an upstream that readiness follows.
pub(super) const UPSTREAM: &str = "upstream-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_bound_configured_and_not_draining() {
        let readiness = Readiness::new();
        let seen = readiness.clone();
        assert!(!seen.is_ready());
        readiness.listening();
        assert!(!seen.is_ready());
        readiness.configured();
        assert!(seen.is_ready());
        readiness.draining();
        assert!(!seen.is_ready());
        assert!(seen.is_draining());
    }

    #[test]
    fn the_failing_check_is_named() {
        let readiness = Readiness::new();
        readiness.listening();
        let failing: Vec<_> = readiness
            .checks()
            .into_iter()
            .filter(|check| !check.holds)
            .map(|check| check.name)
            .collect();
        assert_eq!(failing, ["configuration"]);
    }
}
