//! Handles that are made when they are first needed.

use arc_swap::ArcSwap;

/// Series that come into being when they are first needed, since most combinations never occur. A
/// look-up is a scan of the few that did.
#[derive(Debug)]
pub(super) struct Lazy<K, H>(ArcSwap<Vec<(K, H)>>);

impl<K, H> Default for Lazy<K, H> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Vec::new()))
    }
}

impl<K: Clone + PartialEq, H: Clone> Lazy<K, H> {
    /// Whether something holds of every key.
    pub(super) fn all(&self, holds: impl Fn(&K) -> bool) -> bool {
        self.0.load().iter().all(|(key, _)| holds(key))
    }

    /// Those whose key stays.
    pub(super) fn filtered(&self, stays: impl Fn(&K) -> bool) -> Self {
        let mut entries = Vec::clone(&self.0.load());
        entries.retain(|(key, _)| stays(key));
        Self(ArcSwap::from_pointee(entries))
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
        // whichever entry stays is right.
        self.0.rcu(|present| {
            let mut next = Vec::clone(present);
            next.push(entry.clone());
            next
        });
    }
}
