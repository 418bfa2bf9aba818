//! Renewals that are refused, for as long as they are: as a metric, and for the status.
//!
//! Problem: an event tells of it once, at night, and what was in force goes on until it expires.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::telemetry::metrics::{Family, Gauge, Kind, Registry};

/// What is known of the renewals of every listener and upstream. Clones share it.
#[derive(Debug, Clone)]
pub struct Refusals {
    registry: Registry,
    known: Arc<Mutex<BTreeMap<Owner, Known>>>,
}

/// Whose files they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A listener's, by its name.
    Listener(String),
    /// An upstream's.
    Upstream(String),
}

/// A renewal that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub why: String,
    /// Since when.
    pub since: SystemTime,
}

#[derive(Debug)]
struct Known {
    gauge: Gauge,
    /// Looks in a row at which something was wrong.
    looks: u32,
    refusal: Option<Refusal>,
}

impl Owner {
    /// What it is, `listener` or `upstream`, and its name.
    pub fn kind_and_name(&self) -> (&'static str, &str) {
        match self {
            Self::Listener(name) => ("listener", name),
            Self::Upstream(name) => ("upstream", name),
        }
    }
}

impl Refusals {
    /// None yet.
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            known: Arc::default(),
        }
    }

    /// Those of now.
    pub fn list(&self) -> Vec<(Owner, Refusal)> {
        let known = self.known();
        let refused = known
            .iter()
            .filter_map(|(owner, known)| Some((owner.clone(), known.refusal.clone()?)));
        refused.collect()
    }

    /// Forgets the owners that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&Owner) -> bool) {
        self.known().retain(|owner, _| is_there(owner));
    }

    /// All was well at a look.
    pub(super) fn none(&self, owner: &Owner) {
        let mut known = self.known();
        let known = self.of(&mut known, owner);
        known.looks = 0;
        known.refusal = None;
        known.gauge.set(0);
    }

    /// Something was wrong at a look. It is a refusal at the second in a row; tells whether it has
    /// become one.
    pub(super) fn wrong(&self, owner: &Owner, why: &str) -> bool {
        let mut known = self.known();
        let known = self.of(&mut known, owner);
        known.looks = known.looks.saturating_add(1);
        if known.looks < 2 {
            return false;
        }
        let before = known.refusal.take();
        known.refusal = Some(Refusal {
            why: why.to_owned(),
            since: before
                .as_ref()
                .map_or_else(SystemTime::now, |before| before.since),
        });
        known.gauge.set(1);
        before.is_none()
    }

    fn of<'a>(&self, known: &'a mut BTreeMap<Owner, Known>, owner: &Owner) -> &'a mut Known {
        known.entry(owner.clone()).or_insert_with(|| {
            let (kind, name) = owner.kind_and_name();
            let gauge = self
                .registry
                .gauge(&FAILING, &[("kind", kind), ("name", name)]);
            gauge.set(0);
            Known {
                gauge,
                looks: 0,
                refusal: None,
            }
        })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Owner, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static FAILING: Family = Family {
    name: "evenkeel_tls_renewal_failing",
    help: "Whether what changed in a listener's or upstream's files for TLS is refused.",
    kind: Kind::Gauge,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Format;

    fn scraped(registry: &Registry) -> String {
        let mut text = String::new();
        registry.encode(Format::Text, &mut text);
        let lines = text.lines();
        lines
            .filter(|line| line.starts_with(FAILING.name))
            .collect()
    }

    #[test]
    fn a_refusal_begins_at_the_second_look_and_lasts_until_all_is_well() {
        let registry = Registry::new(1);
        let refusals = Refusals::new(&registry);
        let web = Owner::Listener("web".to_owned());
        let line = |value| format!("{}{{kind=\"listener\",name=\"web\"}} {value}", FAILING.name);
        assert!(!refusals.wrong(&web, "a"));
        assert_eq!((refusals.list().len(), scraped(&registry)), (0, line(0)));
        assert!(refusals.wrong(&web, "a"));
        assert_eq!(scraped(&registry), line(1));
        let first = refusals.list();
        assert!(!refusals.wrong(&web, "b"), "it is told once");
        let second = refusals.list();
        assert_eq!((&*first[0].1.why, &*second[0].1.why), ("a", "b"));
        assert_eq!(first[0].1.since, second[0].1.since);
        refusals.none(&web);
        assert_eq!((refusals.list().len(), scraped(&registry)), (0, line(0)));
        refusals.retain(|_| false);
        assert_eq!(scraped(&registry), "");
    }
}
