//! Which endpoints of a group are slow, and what is usual there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::detect::{Cause, LEAST_PEERS, SLOW_INTERVALS};
use super::group::Group;
use super::state::State;
use super::usual::Usual;
use super::window::Window;
use crate::endpoint::{SLOTS, TooSlow};

impl Group {
    /// From when on an answer comes too late, and how many in a row are no chance. `None` where
    /// that is not known, or is not looked at.
    pub fn too_slow(&self) -> Option<TooSlow> {
        self.usual?.noticed
    }

    /// What is usual by now. What those do that only answer late is not, unless most do.
    pub(super) fn find_usual(&self) -> Option<Usual> {
        if !self.detection.is_enabled {
            return None;
        }
        let (mut all, mut usual) = ([0.0; SLOTS], [0.0; SLOTS]);
        let (mut active, mut late) = (0, 0);
        for state in self.members.values() {
            let answers = state.window.answers();
            let is_active = state.window.all().requests > 0;
            let is_late = state.late_now >= SEVERAL;
            active += usize::from(is_active);
            late += usize::from(is_active && is_late);
            for (place, count) in answers.iter().enumerate() {
                all[place] += count;
                usual[place] += if is_late { 0.0 } else { *count };
            }
        }
        let answers = if 2 * late > active { all } else { usual };
        Usual::of(&answers, self.detection.slower)
    }

    /// Those that have been slow for long enough, of those that may be judged; an interval is over.
    pub(super) fn by_latency(&mut self, judged: &[u64]) -> Vec<(u64, Cause)> {
        let state = |id: &u64| &self.members[id];
        let medians: Vec<Option<Duration>> =
            judged.iter().map(|id| state(id).window.median()).collect();
        let peers = judged
            .iter()
            .filter(|id| state(id).window.all().requests > 0);
        let usual = self.usual.filter(|_| peers.count() > LEAST_PEERS);
        let slow: BTreeMap<usize, Cause> =
            self.detection.by_latency(&medians).into_iter().collect();
        let mut found = Vec::new();
        for (place, id) in judged.iter().enumerate() {
            let Some(state) = self.members.get_mut(id) else {
                continue;
            };
            if state.is_starting {
                continue; // it is still becoming warm
            }
            let answered = state.window.answered();
            let least = too_late(state.window.fastest(), usual);
            state.late = match least {
                Some(_) => state.late.saturating_add(answered),
                None if answered > 0 => 0,
                None => state.late,
            };
            let late = least.zip(usual).map(|(least, usual)| Cause::Late {
                row: state.late,
                least,
                usual: usual.median,
            });
            let is_chance = usual.and_then(|usual| usual.hurts);
            let is_chance = is_chance.is_none_or(|it| state.late < u32::from(it.row));
            match (late, slow.get(&place), medians[place]) {
                (Some(cause), _, _) => {
                    state.slow += 1;
                    if state.slow >= SLOW_INTERVALS && !is_chance {
                        found.push((*id, cause));
                    }
                }
                (None, Some(cause), _) => {
                    state.slow += 1;
                    if state.slow >= SLOW_INTERVALS {
                        found.push((*id, *cause));
                    }
                }
                (None, None, Some(_)) => state.slow = 0,
                (None, None, None) if answered > 0 => state.slow = 0,
                (None, None, None) => {}
            }
        }
        found
    }
}

/// Why one that was out for being slow, and whose trial did not fail, is to be out again.
pub(super) fn late_trial(state: &State, usual: Option<Usual>) -> Option<Cause> {
    let window: &Window = &state.window;
    let least = too_late(window.fastest_of_all().filter(|_| state.was_slow()), usual)?;
    let usual = usual?.median;
    Some(Cause::LateTrial { least, usual })
}

/// The least time that answers took, where that is so long that it hurts.
fn too_late(fastest: Option<(usize, Duration)>, usual: Option<Usual>) -> Option<Duration> {
    let (slot, least) = fastest?;
    let hurts = usual?.hurts?;
    (slot >= usize::from(hurts.slot)).then_some(least)
}

/// Answers in a row that all were too late, with which one is no longer asked what is usual: two of
/// them come by chance where some requests take long.
const SEVERAL: u32 = 3;
