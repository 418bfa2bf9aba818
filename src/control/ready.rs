//! Readiness as a value that one holds: may traffic be sent here?
//!
//! It looks at this process alone. A proxy that calls itself unready when its endpoints are down
//! would take itself out everywhere at once, and turn their trouble into an outage of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What has to hold before traffic may come. Clones show the same state.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    listening: AtomicBool,
    configured: AtomicBool,
    draining: AtomicBool,
}

/// One condition of readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Its name, as `/readyz?verbose` lists it.
    pub name: &'static str,
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

    /// The process is about to end. It never becomes ready again.
    pub fn draining(&self) {
        self.state.draining.store(true, Ordering::Release);
    }

    /// Every condition, in the order in which a start fulfils them.
    pub fn checks(&self) -> [Check; 3] {
        let read = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        [
            Check {
                name: "listeners",
                holds: read(&self.state.listening),
            },
            Check {
                name: "configuration",
                holds: read(&self.state.configured),
            },
            Check {
                name: "not-draining",
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
}

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
        let failing: Vec<&str> = readiness
            .checks()
            .iter()
            .filter(|check| !check.holds)
            .map(|check| check.name)
            .collect();
        assert_eq!(failing, ["configuration"]);
    }
}
