//! Handles that are made when they are first needed.

use arc_swap::ArcSwap;

use crate::telemetry::metrics::Handle;

/// Series that come into being when they are first needed, since most combinations never occur. A
/// look-up is a scan of the few that did.
#[derive(Debug)]
pub(super) struct Lazy<K, H>(ArcSwap<Vec<(K, H)>>);

impl<K, H> Default for Lazy<K, H> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Vec::new()))
    }
}

impl<K: Clone + PartialEq, H: Handle + Clone> Lazy<K, H> {
    /// Lets those go whose key does not stay, and asks again for those that found no room, while
    /// the registry `has_room`.
    pub(super) fn settle(
        &self,
        stays: impl Fn(&K) -> bool,
        has_room: impl Fn() -> bool,
        make: impl Fn(&K) -> H,
    ) {
        let is_settled = |(key, handle): &(K, H)| stays(key) && (handle.is_own() || !has_room());
        if self.0.load().iter().all(is_settled) {
            return;
        }
        self.0.rcu(|present| {
            let mut next = Vec::clone(present);
            next.retain(|(key, _)| stays(key));
            for (key, handle) in &mut next {
                if !handle.is_own() && has_room() {
                    *handle = make(key);
                }
            }
            next
        });
    }

    /// The sum of what each handle says.
    pub(super) fn sum(&self, value: impl Fn(&H) -> u64) -> u64 {
        self.0.load().iter().map(|(_, handle)| value(handle)).sum()
    }

    /// Does something with the one of this key, which is made if it is not there.
    pub(super) fn with(&self, key: &K, act: impl Fn(&H), make: impl FnOnce() -> H) {
        self.with_matching(|other| other == key, act, || (key.clone(), make()));
    }

    /// The same with a key that is made only when it is needed.
    pub(super) fn with_matching(
        &self,
        same: impl Fn(&K) -> bool,
        act: impl Fn(&H),
        make: impl FnOnce() -> (K, H),
    ) {
        let present = self.0.load();
        if let Some((_, handle)) = present.iter().find(|(key, _)| same(key)) {
            return act(handle);
        }
        let entry = make();
        act(&entry.1);
        // Two workers may make the same series at once: the registry gives both the same cells, so
        // whichever entry stays is right, but it must stay once.
        self.0.rcu(|present| {
            let mut next = Vec::clone(present);
            if next.iter().all(|(key, _)| *key != entry.0) {
                next.push(entry.clone());
            }
            next
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Lazy;
    use crate::telemetry::metrics::{Counter, Family, Kind, Registry};

    static COUNT: Family = Family {
        name: "test_total",
        help: "A count.",
        kind: Kind::Counter,
        buckets: None,
    };

    #[test]
    fn what_two_make_at_once_stays_once() {
        let registry = Registry::new(1);
        let lazy = Lazy::default();
        let make = || registry.counter(&COUNT, &[]);
        lazy.with(&1, Counter::inc, || {
            // Another worker comes first.
            lazy.with(&1, Counter::inc, make);
            make()
        });
        assert_eq!(lazy.sum(Counter::value), 2);
    }
}
