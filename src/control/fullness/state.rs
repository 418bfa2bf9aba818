//! Whether one route or upstream is full, as a pure function of what was seen of it.

use std::time::Duration;

use tokio::time::Instant;

/// What is counted at one look.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Under way now.
    pub(super) in_flight: u32,
    /// How many may be, if there is a limit.
    pub(super) most: Option<u32>,
    /// Those that wait for room now.
    pub(super) waiting: usize,
    /// Those that were turned away, since the start.
    pub(super) turned_away: u64,
}

/// What is known of it.
#[derive(Debug)]
pub(super) struct State {
    /// Those that had been turned away by the last look.
    before: u64,
    /// Looks in a row at which it had no room.
    crowded: u32,
    full: Option<Full>,
}

/// Since it is full.
#[derive(Debug)]
struct Full {
    since: Instant,
    /// The last time that it was not well.
    last: Instant,
    /// Those that had been turned away before.
    before: u64,
}

/// It has become full, or is well again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) is_full: bool,
    /// With the numbers.
    pub(super) why: String,
}

impl State {
    /// Of something that is seen for the first time.
    pub(super) fn new(seen: &Seen) -> Self {
        Self {
            before: seen.turned_away,
            crowded: 0,
            full: None,
        }
    }

    /// Takes in a look.
    pub(super) fn look(&mut self, seen: &Seen, now: Instant) -> Option<Change> {
        // Less than before: what is counted has been made anew.
        let turned_away = seen.turned_away.saturating_sub(self.before);
        self.crowded = if seen.is_at_limit() || seen.waiting > 0 {
            self.crowded.saturating_add(1)
        } else {
            0
        };
        let before = std::mem::replace(&mut self.before, seen.turned_away);
        let Some(full) = &mut self.full else {
            let is_full = turned_away > 0 || self.crowded >= CROWDED;
            self.full = is_full.then_some(Full {
                since: now,
                last: now,
                before,
            });
            return is_full.then(|| Change {
                is_full: true,
                why: format!("{}; {turned_away} turned away just now", seen.load()),
            });
        };
        if turned_away > 0 || seen.waiting > 0 || seen.is_nearly_at_limit() {
            full.last = now;
        }
        if now.saturating_duration_since(full.last) < WELL_FOR {
            return None;
        }
        let change = Change {
            is_full: false,
            why: format!(
                "{}; {} turned away in {} s",
                seen.load(),
                seen.turned_away.saturating_sub(full.before),
                full.last
                    .saturating_duration_since(full.since)
                    .as_secs()
                    .max(1),
            ),
        };
        self.full = None;
        Some(change)
    }
}

impl Seen {
    fn is_at_limit(&self) -> bool {
        self.most.is_some_and(|most| self.in_flight >= most)
    }

    /// Whether it has more of its limit.
    pub(super) fn is_fuller_than(&self, other: &Self) -> bool {
        let (Some(most), Some(of_other)) = (self.most, other.most) else {
            return self.most.is_some();
        };
        let share = |in_flight: u32, most: u32| u64::from(in_flight) * u64::from(most);
        share(self.in_flight, of_other) > share(other.in_flight, most)
    }

    fn is_nearly_at_limit(&self) -> bool {
        self.most
            .is_some_and(|most| self.in_flight >= most - most / FREE)
    }

    fn load(&self) -> String {
        let in_flight = match self.most {
            Some(most) => format!("{} of {most} under way", self.in_flight),
            None => format!("{} under way", self.in_flight),
        };
        if self.waiting > 0 {
            format!("{in_flight}, {} waiting", self.waiting)
        } else {
            in_flight
        }
    }
}

/// Looks in a row without room that are no chance any more.
const CROWDED: u32 = 3;

/// For how long it must be well: whoever reads of it wants to know that it is over.
const WELL_FOR: Duration = Duration::from_secs(10);

/// The part of the room that is free where it is well.
const FREE: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(in_flight: u32, turned_away: u64) -> Seen {
        Seen {
            in_flight,
            most: Some(20),
            waiting: 0,
            turned_away,
        }
    }

    /// What is told, and at which look.
    fn told(looks: &[Seen]) -> Vec<(usize, Change)> {
        let start = Instant::now();
        let mut state = State::new(&looks[0]);
        let changes = looks
            .iter()
            .zip(0_u32..)
            .map(|(seen, number)| state.look(seen, start + SECOND * number));
        let changes = changes.enumerate();
        changes
            .filter_map(|(number, change)| Some((number, change?)))
            .collect()
    }

    fn full(number: usize, why: &str) -> (usize, Change) {
        let why = why.to_owned();
        (number, Change { is_full: true, why })
    }

    #[test]
    fn who_turns_somebody_away_is_full_at_once_and_is_told_of_once() {
        let looks = [at(3, 7), at(20, 12), at(20, 90), at(19, 90)];
        assert_eq!(
            told(&looks),
            [full(1, "20 of 20 under way; 5 turned away just now")]
        );
    }

    #[test]
    fn it_is_well_again_once_a_tenth_of_its_room_was_free_for_a_while() {
        let mut looks = vec![at(20, 0), at(20, 4)];
        // Just below the limit is not well, nor is a pause that is too short.
        looks.extend([at(19, 4); 20]);
        looks.extend([at(2, 4); 9]);
        looks.push(at(2, 5));
        looks.extend([at(2, 5); 10]);
        let told = told(&looks);
        assert_eq!(told.len(), 2, "{told:?}");
        let (number, well) = &told[1];
        assert_eq!((*number, well.is_full), (looks.len() - 1, false));
        assert_eq!(well.why, "2 of 20 under way; 5 turned away in 30 s");
    }

    #[test]
    fn of_several_limits_the_one_that_is_nearest_tells() {
        let [of_40, of_8] = [(29, 30), (6, 6)].map(|(in_flight, most)| Seen {
            in_flight,
            most: Some(most),
            ..Seen::default()
        });
        assert!(of_8.is_fuller_than(&of_40) && !of_40.is_fuller_than(&of_8));
        assert!(!of_8.is_fuller_than(&of_8));
    }

    #[test]
    fn who_is_at_its_limit_for_a_moment_is_not_full() {
        let mut looks = [[at(20, 0), at(20, 0), at(19, 0)]; 20].concat();
        assert_eq!(told(&looks), []);
        looks.extend([at(20, 0); 3]);
        assert_eq!(told(&looks).len(), 1);
    }

    #[test]
    fn who_lets_others_wait_is_full_without_a_limit_of_its_own() {
        let crowded = Seen {
            in_flight: 4,
            most: None,
            waiting: 9,
            turned_away: 0,
        };
        let told = told(&[crowded; 5]);
        assert_eq!(
            told,
            [full(2, "4 under way, 9 waiting; 0 turned away just now")]
        );
    }
}
