//! Outlier detection: drives the pure part of it ([`Group`]) with what workers count, and tells the
//! upstreams.
//!
//! Problem: probes and requests both change what an endpoint is held for, and whoever writes last
//! would win. So there is one owner: the prober's task, which has this as a part. Each group is
//! looked at once an interval, and at once when a worker tells of an endpoint in it. What is known
//! goes on over reloads, found again by the number of the endpoint.
//!
//! Where several upstreams fail together, of which none knows of the others, nothing is ejected in
//! any of them: that is something they share, most likely this instance or its network.

mod scope;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use self::scope::{Part, Scope};
use self::told::Told;
use crate::endpoint::{By, Endpoint, Reading};
use crate::upstream::{
    Change, Group, HealthChange, KeptMember, Look, Member, Notice, OutlierDetection, Seen, State,
    Upstream,
};

/// All endpoints of all upstreams.
#[derive(Debug)]
pub(super) struct Outliers {
    watched: BTreeMap<Key, Watched>,
    /// Which group an endpoint is in.
    places: BTreeMap<u64, Key>,
    /// What the process before knew, until it is taken up.
    resumed: BTreeMap<u64, State>,
    random: Rng,
    /// When it is time to look next.
    due: Option<Instant>,
    /// Since when nothing is ejected anywhere, if that is so.
    everywhere: Option<Instant>,
}

/// An upstream's name, and whether it is about its backups.
type Key = (Arc<str>, bool);

/// A group and what it stands for.
#[derive(Debug)]
struct Watched {
    upstream: Arc<Upstream>,
    endpoints: BTreeMap<u64, Arc<Endpoint>>,
    group: Group,
    due: Instant,
    interval: Duration,
    /// Whether requests went there, when it was looked at last.
    is_active: bool,
    /// Whether people were told that nothing is ejected.
    told: Told,
}

impl Outliers {
    pub(super) fn new(random: Rng) -> Self {
        Self {
            watched: BTreeMap::new(),
            places: BTreeMap::new(),
            resumed: BTreeMap::new(),
            random,
            due: None,
            everywhere: None,
        }
    }

    /// Takes the endpoints of these upstreams for all that there are.
    pub(super) fn apply(&mut self, upstreams: &[Arc<Upstream>], now: Instant) {
        let mut before = std::mem::take(&mut self.watched);
        self.places.clear();
        let mut known: BTreeMap<u64, State> = std::mem::take(&mut self.resumed);
        for watched in before.values_mut() {
            known.append(&mut watched.group.give_up_members());
        }
        for upstream in upstreams {
            let detection = upstream.outlier_detection();
            let endpoints = upstream.endpoints();
            let is_probed = upstream.health_check().is_some();
            for is_backup in [false, true] {
                let endpoints: BTreeMap<u64, Arc<Endpoint>> = endpoints
                    .iter()
                    .filter(|endpoint| endpoint.backup == is_backup)
                    .map(|endpoint| (endpoint.live.id(), Arc::clone(endpoint)))
                    .collect();
                if endpoints.is_empty() {
                    continue;
                }
                let key = (Arc::clone(&upstream.name), is_backup);
                let mut watched = Watched::go_on(before.remove(&key), upstream, detection, now);
                watched.endpoints = endpoints;
                let members = watched.members(is_probed);
                let changes = watched.group.adopt(detection, members, &mut known, now);
                let ids = watched.endpoints.keys();
                self.places.extend(ids.map(|id| (*id, key.clone())));
                watched.carry_out(changes);
                watched.tell_of_an_end(now);
                self.watched.insert(key, watched);
            }
        }
        self.find_due();
        self.survey(now);
    }

    /// Goes on from these with the upstreams that are told next.
    pub(super) fn resume(&mut self, known: BTreeMap<u64, State>) {
        self.resumed = known;
    }

    /// What is to be kept of all endpoints over the end of the process, by their numbers.
    pub(super) fn kept(&self, now: Instant) -> BTreeMap<u64, KeptMember> {
        let groups = self.watched.values();
        groups.flat_map(|watched| watched.group.kept(now)).collect()
    }

    /// When it is time to look.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due
    }

    fn find_due(&mut self) {
        let due = |watched: &Watched| watched.told.next().into_iter().chain([watched.due]).min();
        self.due = self.watched.values().filter_map(due).min();
    }

    /// Looks at the groups for which it is time.
    pub(super) fn sweep(&mut self, now: Instant) {
        let due = self
            .watched
            .iter()
            .filter(|(_, watched)| watched.due <= now);
        let due: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            // Where no request ever went there is nothing to see, and there may be thousands. A
            // row of failures is told of at once in any case.
            if let Some(watched) = self.watched.get_mut(&key) {
                watched.upstream.tell_of_burst(now);
                if watched.is_unused() {
                    watched.due = now + watched.interval * UNUSED;
                    continue;
                }
            }
            self.look(&key, true, now);
        }
        self.survey(now);
        for watched in self.watched.values_mut() {
            if let Some(notice) = watched.told.due(now) {
                watched.upstream.tell(&notice);
            }
        }
        self.find_due();
    }

    /// Looks at the groups of these endpoints, of which workers have told.
    pub(super) fn suspect(&mut self, ids: &[u64], now: Instant) {
        let keys = ids.iter().filter_map(|id| self.places.get(id)).cloned();
        let keys: BTreeSet<Key> = keys.collect();
        for key in keys {
            self.look(&key, false, now);
        }
        self.survey(now);
        self.find_due();
    }

    /// Takes in what probes say, and makes of it what the endpoint is held for.
    pub(super) fn probes_say(&mut self, mut change: HealthChange, now: Instant) -> HealthChange {
        let id = change.endpoint.live.id();
        let watched = self
            .places
            .get(&id)
            .and_then(|key| self.watched.get_mut(key));
        if let Some(watched) = watched {
            let ((health, ejection), more) = watched.group.probes_say(id, change.health, now);
            if health != change.health {
                change.why = format!("{}; requests have ejected it before", change.why);
            }
            change.health = health;
            change.ejection = ejection;
            watched.carry_out(more);
        }
        change
    }

    /// A probe has passed on the address that requests use.
    pub(super) fn probe_passed(&mut self, id: u64, now: Instant) {
        let watched = self
            .places
            .get(&id)
            .and_then(|key| self.watched.get_mut(key));
        if let Some(watched) = watched
            && let Some(change) = watched.group.probe_passed(id, now)
        {
            watched.carry_out(vec![change]);
        }
    }

    fn look(&mut self, key: &Key, turns: bool, now: Instant) {
        let Some(watched) = self.watched.get_mut(key) else {
            return;
        };
        let Watched {
            group, endpoints, ..
        } = watched;
        let starting = if turns {
            watched.upstream.starting(now)
        } else {
            BTreeSet::new()
        };
        let read = |id| {
            let Some(endpoint) = endpoints.get(&id) else {
                return Seen::default();
            };
            let trial = endpoint.live.take_trial();
            if turns || trial.is_some() {
                endpoint.live.trust();
            }
            Seen {
                reading: endpoint.live.read(),
                trial,
                is_starting: starting.contains(&id),
            }
        };
        let terms = (turns, self.everywhere.is_none());
        let Look { changes, notice } = group.look(read, terms, now, &mut self.random);
        watched.is_active = watched.group.is_active();
        if turns {
            watched.measure_by(&starting);
            watched.due = now + watched.interval;
        }
        watched.carry_out(changes);
        // Of one or two endpoints none is ejected anyway.
        let is_news = |it: &Notice| watched.group.is_suspended() || it.is_end();
        let notice = notice.filter(is_news);
        if let Some(told) = notice.and_then(|notice| watched.told.notices(notice, now)) {
            watched.upstream.tell(&told);
        }
    }

    /// Looks whether upstreams fail together. At every look anew, not only when one begins or ends
    /// to fail: upstreams come and go, and their traffic does.
    fn survey(&mut self, now: Instant) {
        let scope = Scope::of(self.groups(), self.everywhere.unwrap_or(now));
        let is_everywhere = match self.everywhere {
            None => scope.is_everywhere(),
            Some(_) => scope.is_still_everywhere(),
        };
        if is_everywhere != self.everywhere.is_some() {
            self.everywhere = is_everywhere.then_some(now);
            if is_everywhere {
                self.pardon(now);
            } else {
                self.tell_of_those_left(now);
            }
            if let Some(watched) = self.watched.values().next() {
                scope.tell(&watched.upstream, is_everywhere);
            }
        }
        let mut suspended: Option<(Arc<Upstream>, bool)> = None;
        for watched in self.watched.values_mut() {
            if is_everywhere {
                watched.told.drop_what_is_due();
            }
            let upstream = &watched.upstream;
            let other = suspended.take_if(|(other, _)| Arc::ptr_eq(other, upstream));
            let is_suspended = watched.is_suspended(is_everywhere) || other.is_some_and(|it| it.1);
            upstream.set_suspended(is_suspended);
            suspended = Some((Arc::clone(upstream), is_suspended));
        }
    }

    /// Those that stand in for each other, upstream by upstream.
    fn groups(&self) -> impl Iterator<Item = (&Arc<str>, Part)> {
        let groups = self.watched.iter();
        groups.map(|((name, _), watched)| {
            let part = Part {
                fails_since: watched.group.fails_since(),
                is_active: watched.is_active,
                endpoints: watched.group.may_be_ejected(),
            };
            (name, part)
        })
    }
}

/// Intervals after which a group is looked at again to which no request went.
const UNUSED: u32 = 10;

impl Watched {
    fn go_on(
        before: Option<Self>,
        upstream: &Arc<Upstream>,
        detection: &OutlierDetection,
        now: Instant,
    ) -> Self {
        let interval = detection.interval;
        let before = before.unwrap_or_else(|| Self {
            upstream: Arc::clone(upstream),
            endpoints: BTreeMap::new(),
            group: Group::new(detection.clone()),
            due: now + interval,
            interval,
            is_active: false,
            told: Told::Nothing,
        });
        Self {
            upstream: Arc::clone(upstream),
            due: before.due.min(now + interval),
            interval,
            ..before
        }
    }

    /// Tells workers from when on an answer is too slow; of those that are still becoming warm none
    /// is.
    fn measure_by(&self, starting: &BTreeSet<u64>) {
        let too_slow = self.group.too_slow();
        for (id, endpoint) in &self.endpoints {
            let too_slow = too_slow.filter(|_| !starting.contains(id));
            endpoint.live.measure_by(too_slow);
        }
    }

    /// Whether nothing is ejected since many fail.
    fn is_suspended(&self, is_everywhere: bool) -> bool {
        let is_enabled = self.upstream.outlier_detection().is_enabled;
        self.group.is_suspended() || (is_enabled && is_everywhere)
    }

    /// A reload may have ended what people were told of: it ejects nothing any more.
    fn tell_of_an_end(&mut self, now: Instant) {
        if self.upstream.outlier_detection().is_enabled {
            return;
        }
        if let Told::Suspended(since) = std::mem::take(&mut self.told) {
            let notice = self.group.not_suspended(since, now);
            self.upstream.tell(&notice);
        }
    }

    /// Whether nothing was ever asked of its endpoints, nor is any ejected since before.
    fn is_unused(&self) -> bool {
        let mut endpoints = self.endpoints.values();
        !self.group.has_out() && endpoints.all(|endpoint| endpoint.live.is_unused())
    }

    fn members(&self, is_probed: bool) -> Vec<(Member, Reading)> {
        let member = |(id, endpoint): (&u64, &Arc<Endpoint>)| {
            let member = Member {
                id: *id,
                health: endpoint.live.health(),
                is_probed,
            };
            (member, endpoint.live.read())
        };
        self.endpoints.iter().map(member).collect()
    }

    /// Tells the upstream. All together: every telling makes a new table.
    fn carry_out(&self, changes: Vec<Change>) {
        let changes: Vec<HealthChange> = changes
            .into_iter()
            .filter_map(|change| {
                let endpoint = Arc::clone(self.endpoints.get(&change.id)?);
                Some(HealthChange {
                    endpoint,
                    health: change.health,
                    by: By::Passive,
                    why: change.why,
                    ejection: change.ejection,
                })
            })
            .collect();
        if !changes.is_empty() {
            self.upstream.apply(changes);
        }
    }
}

#[cfg(test)]
mod tests;
