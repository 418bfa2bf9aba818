//! The endpoints that stand in for each other, and which of them are out.
//!
//! What an upstream's endpoints share out among themselves they are compared by, and counted: its
//! primaries are one group, its backups another. An ejected primary is made up for by primaries; a
//! backup that nobody uses tells nothing about them.
//!
//! How many may be out: [`OutlierDetection::most_out`], those counted that probes found unhealthy.
//! Where probes find more so that it is too many, ejections are the first to give way.

use std::collections::BTreeMap;

use fastrand::Rng;
use tokio::time::Instant;

use super::OutlierDetection;
use super::correlated::{Course, Extent, Notice};
use super::detect::Cause;
use super::late::late_trial;
use super::room::Room;
use super::state::{Member, Seen, State};
use super::usual::Usual;
use super::window::Counts;
use crate::endpoint::{Ejection, Health, Reading, Trial};

/// Endpoints that stand in for each other.
#[derive(Debug)]
pub struct Group {
    pub(super) detection: OutlierDetection,
    pub(super) members: BTreeMap<u64, State>,
    course: Course,
    /// How long answers took when an interval ended last.
    pub(super) usual: Option<Usual>,
}

/// What an endpoint is to be held for from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its number.
    pub id: u64,
    /// What it is.
    pub health: Health,
    /// Why, in words.
    pub why: String,
    /// The ejection, if it is one, and the word for its cause.
    pub ejection: Option<(Ejection, &'static str)>,
}

/// What came of a look.
#[derive(Debug, Default)]
pub struct Look {
    /// In the order in which it happened.
    pub changes: Vec<Change>,
    /// What is to be told besides.
    pub notice: Option<Notice>,
}

/// What an endpoint is held for, and the ejection, if it is one.
pub type Held = (Health, Option<(Ejection, &'static str)>);

impl Group {
    /// A group without members.
    pub fn new(detection: OutlierDetection) -> Self {
        Self {
            detection,
            members: BTreeMap::new(),
            course: Course::Usual,
            usual: None,
        }
    }

    /// Lets go of its members, so that they can be found again in another group.
    pub fn give_up_members(&mut self) -> BTreeMap<u64, State> {
        std::mem::take(&mut self.members)
    }

    /// Goes on with these members, and by these rules. What is known of them is in `known`.
    pub fn adopt(
        &mut self,
        detection: &OutlierDetection,
        members: impl IntoIterator<Item = (Member, Reading)>,
        known: &mut BTreeMap<u64, State>,
        now: Instant,
    ) -> Vec<Change> {
        self.detection = detection.clone();
        if !detection.is_enabled {
            self.course = Course::Usual;
        }
        let mut changes = Vec::new();
        for (member, reading) in members {
            let known = known.remove(&member.id);
            let mut state = known.unwrap_or_else(|| State::new(&member, &reading, now));
            if !member.is_probed && state.condition.probed() != Health::Healthy {
                // Who is not probed is healthy; who is, is what it was held for.
                state.probes_say(Health::Healthy, now);
            }
            if !detection.is_enabled {
                state.condition.pardon(now);
            }
            let health = state.condition.health();
            let held_for_out = matches!(member.health, Health::Ejected | Health::HalfOpen);
            if health != member.health && (held_for_out || health != Health::Healthy) {
                changes.push(Change {
                    id: member.id,
                    health,
                    why: "the configuration has changed".to_owned(),
                    ejection: state.ejection(),
                });
            }
            self.members.insert(member.id, state);
        }
        let mut look = Look {
            changes,
            ..Look::default()
        };
        self.give_way(now, &mut look);
        look.changes
    }

    /// Whether nothing is ejected since many fail.
    pub fn is_suspended(&self) -> bool {
        self.fails_since().is_some() && self.most_out() > 0
    }

    /// Since when many fail together, if they do. Of one or two endpoints, that is all.
    pub fn fails_since(&self) -> Option<Instant> {
        self.course.shared_since()
    }

    /// Whether an endpoint has had requests lately.
    pub fn is_active(&self) -> bool {
        let mut states = self.members.values();
        states.any(|state| state.window.all().requests > 0)
    }

    /// Its endpoints, if any of them may be ejected at all.
    pub fn may_be_ejected(&self) -> usize {
        let may_be = self.detection.is_enabled && self.most_out() > 0;
        if may_be { self.members.len() } else { 0 }
    }

    /// Looks at all members. `turns`: an interval is over. `may_eject`: nothing that goes beyond
    /// this group forbids it.
    pub fn look(
        &mut self,
        mut read: impl FnMut(u64) -> Seen,
        (turns, may_eject): (bool, bool),
        now: Instant,
        random: &mut Rng,
    ) -> Look {
        for (id, state) in &mut self.members {
            state.take(&read(*id));
        }
        let mut look = Look::default();
        if turns {
            self.usual = self.find_usual();
        }
        if self.detection.is_enabled {
            self.pass_time(now, &mut look);
            let extent = self.extent(now);
            look.notice = self.course.observe(extent, turns, now);
            if self.fails_since().is_some() {
                let (failing, active) = (extent.failing, extent.active);
                let why = format!("it is not alone: {failing} of {active} endpoints fail");
                let changes = self.pardon(&why, now);
                if let Some(Notice::Suspended { pardoned, .. }) = &mut look.notice {
                    *pardoned = changes.len();
                }
                look.changes.extend(changes);
            } else if may_eject {
                self.eject_outliers(turns, now, random, &mut look);
            }
        }
        for state in self.members.values_mut() {
            // Who may not be ejected for it now is not ejected for it later: it is tried again.
            state.trial = None;
            if turns {
                state.window.turn();
            }
        }
        look
    }

    /// Probes say something else of an endpoint. What it is held for then, and what comes of that
    /// for others.
    pub fn probes_say(&mut self, id: u64, health: Health, now: Instant) -> (Held, Vec<Change>) {
        let Some(state) = self.members.get_mut(&id) else {
            return ((health, None), Vec::new());
        };
        state.probes_say(health, now);
        let held_for = (state.condition.health(), state.ejection());
        let mut look = Look::default();
        self.give_way(now, &mut look);
        (held_for, look.changes)
    }

    /// A probe of an endpoint has passed, on the address that requests use.
    pub fn probe_passed(&mut self, id: u64, now: Instant) -> Option<Change> {
        let state = self.members.get_mut(&id)?;
        let before = state.condition.health();
        state.condition.probe_passed(now);
        let health = state.condition.health();
        (health != before).then(|| Change {
            id,
            health,
            why: "a probe could connect: one request at a time tries it".to_owned(),
            ejection: None,
        })
    }

    /// What time and trials bring.
    fn pass_time(&mut self, now: Instant, look: &mut Look) {
        let (terms, usual) = (self.detection.terms, self.usual);
        for (id, state) in &mut self.members {
            let before = state.condition.health();
            let was_half_open = state.condition.is_half_open();
            state.condition.tick(terms, now);
            if state.trial == Some(Trial::Passed) && late_trial(state, usual).is_none() {
                state.trial = None;
                state.condition.tried(Trial::Passed, now);
            }
            let health = state.condition.health();
            if health == before {
                continue;
            }
            state.start_anew();
            let why = if was_half_open {
                "a request that tried it did not fail"
            } else {
                "its ejection is over: one request at a time tries it"
            };
            look.changes.push(Change {
                id: *id,
                health,
                why: why.to_owned(),
                ejection: None,
            });
        }
        self.give_way(now, look);
    }

    /// Ejections give way to what probes have found, the oldest first.
    fn give_way(&mut self, now: Instant, look: &mut Look) {
        let most = self.most_out();
        let too_many = self.room(now).too_many();
        if too_many == 0 {
            return;
        }
        let states = self.members.iter_mut();
        let ejected = states.filter(|(_, state)| state.condition.health() == Health::Ejected);
        let mut ejected: Vec<(&u64, &mut State)> = ejected.collect();
        ejected.sort_by_key(|(_, state)| state.condition.ejected_since());
        for (id, state) in ejected.into_iter().take(too_many) {
            state.condition.release(now);
            state.start_anew();
            look.changes.push(Change {
                id: *id,
                health: state.condition.health(),
                why: format!("more than {most} would be out: one request at a time tries it"),
                ejection: None,
            });
        }
    }

    fn most_out(&self) -> usize {
        self.detection.most_out(self.members.len())
    }

    fn room(&self, now: Instant) -> Room {
        let patience = self.detection.terms.eject_for;
        let is_tried = |state: &State| state.condition.is_tried_within(patience, now);
        let states = self.members.values();
        let healths = states.map(|state| (state.condition.health(), is_tried(state)));
        Room::of(healths, self.most_out())
    }

    fn extent(&self, now: Instant) -> Extent {
        let mut extent = Extent {
            failing: 0,
            active: 0,
            most: self.most_out(),
            lost: 0,
        };
        let since = self.fails_since().unwrap_or(now);
        for state in self.members.values() {
            if state.condition.probed() == Health::Unhealthy {
                extent.lost += usize::from(state.is_lost_since(since));
                continue;
            }
            let is_fresh = state.is_freshly_ejected(now);
            let counts = state.window.all();
            let is_failing = state.condition.ejected_since().is_none()
                && self.detection.is_failing(state.row, counts);
            extent.active += usize::from(is_fresh || counts.requests > 0);
            extent.failing += usize::from(is_fresh || is_failing);
        }
        extent
    }

    /// Brings back what was ejected in the last seconds, since it was nothing of its own.
    pub fn pardon(&mut self, why: &str, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for (id, state) in &mut self.members {
            if state.is_freshly_ejected(now) {
                state.condition.pardon(now);
                changes.push(Change {
                    id: *id,
                    health: state.condition.health(),
                    why: why.to_owned(),
                    ejection: None,
                });
            }
        }
        changes
    }

    /// What there is to tell if many fail together.
    pub fn suspended(&self, now: Instant) -> Option<Notice> {
        self.is_suspended().then(|| self.extent(now).suspended(0))
    }

    /// What there is to tell once nothing is suspended any more, whatever fails.
    pub fn not_suspended(&self, since: Instant, now: Instant) -> Notice {
        let lasted = now.saturating_duration_since(since);
        self.extent(now).resumed(lasted)
    }

    /// Those that should be out, the worst first.
    fn outliers(&mut self, turns: bool) -> Vec<(u64, Cause)> {
        let mut found: Vec<(u64, Cause)> = Vec::new();
        for (id, state) in &mut self.members {
            let cause = match state
                .trial
                .take()
                .filter(|_| state.condition.is_half_open())
            {
                Some(Trial::Failed) => Some(Cause::Trial),
                Some(Trial::Passed) => late_trial(state, self.usual),
                None => None,
            };
            found.extend(cause.map(|cause| (*id, cause)));
        }
        let is_judged = |state: &State| state.condition.health() == Health::Healthy;
        for (id, state) in self.members.iter().filter(|(_, state)| is_judged(state)) {
            let cause = self.detection.by_itself(state.row, state.window.all());
            found.extend(cause.map(|cause| (*id, cause)));
        }
        found.sort_by(|(_, one), (_, other)| other.severity().total_cmp(&one.severity()));
        if !turns {
            return found;
        }
        let judged: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, state)| is_judged(state))
            .map(|(id, _)| *id)
            .collect();
        let state = |id: &u64| &self.members[id];
        let counts: Vec<Counts> = judged.iter().map(|id| state(id).window.all()).collect();
        let rows = judged
            .iter()
            .map(|id| state(id).row_of_requests())
            .zip(counts.iter().copied());
        let by_row = self.detection.by_short_row(&rows.collect::<Vec<_>>());
        let by_rate = self.detection.by_success_rate(&counts);
        let compared = by_row.into_iter().chain(by_rate);
        found.extend(compared.map(|(place, cause)| (judged[place], cause)));
        found.extend(self.by_latency(&judged));
        found
    }

    /// Ejects those that should be out, as far as may be.
    fn eject_outliers(&mut self, turns: bool, now: Instant, random: &mut Rng, look: &mut Look) {
        let mut room = self.room(now);
        for (id, cause) in self.outliers(turns) {
            let is_again = cause.is_of_trial();
            if !room.takes(is_again) {
                continue;
            }
            let Some(state) = self.members.get_mut(&id) else {
                continue;
            };
            if state.condition.health().is_out() {
                continue; // for another cause
            }
            room.take(is_again);
            let chance = random.f64() * 2.0 - 1.0;
            look.changes.push(Change {
                id,
                health: Health::Ejected,
                why: state.in_words(cause),
                ejection: Some(state.eject(cause, self.detection.terms, now, chance)),
            });
        }
    }
}
