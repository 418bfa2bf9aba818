//! Who may be picked, by health alone: a pure function of the healths and the panic threshold.

use crate::endpoint::Health;

/// How an upstream stands: which of its endpoints get the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The healthy ones.
    Healthy,
    /// Healthy backups: no other is healthy.
    Backup,
    /// Those that no probe has judged yet: none is healthy.
    Unproven,
    /// All, whatever their health: too few are healthy to carry the load.
    Panic,
    /// None: no endpoint is healthy, and health is never to be ignored.
    Down,
    /// None: there are no endpoints.
    Empty,
}

/// Who gets the traffic, as indices in ascending order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    pub(super) standing: Standing,
    pub(super) first: Vec<u32>,
    /// Healthy backups for the case that every one of the first fails at this moment.
    pub(super) reserve: Vec<u32>,
}

/// What counts about one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) health: Health,
    pub(super) backup: bool,
}

impl Standing {
    /// The word in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Backup => "backup",
            Self::Unproven => "unproven",
            Self::Panic => "panic",
            Self::Down => "down",
            Self::Empty => "empty",
        }
    }
}

/// Chooses who may be picked. Below `panic_threshold` (a share of those that have been judged) the
/// health of the primaries is ignored; a new endpoint still waits for its first probe as long as any
/// is healthy.
pub(super) fn choose(members: &[Member], panic_threshold: f64) -> Candidates {
    let select = |wanted: &dyn Fn(Member) -> bool| -> Vec<u32> {
        (0_u32..)
            .zip(members)
            .filter_map(|(index, &member)| wanted(member).then_some(index))
            .collect()
    };
    let of = |backup: bool, health: Health| {
        select(&move |member| member.backup == backup && member.health == health)
    };
    let healthy = of(false, Health::Healthy);
    if !healthy.is_empty() {
        let judged = select(&|member| !member.backup && member.health != Health::Unknown);
        let suffices = share(healthy.len(), judged.len()) >= panic_threshold;
        return Candidates {
            standing: if suffices {
                Standing::Healthy
            } else {
                Standing::Panic
            },
            first: if suffices { healthy } else { judged },
            reserve: of(true, Health::Healthy),
        };
    }
    let backups = of(true, Health::Healthy);
    if !backups.is_empty() {
        return Candidates::of(Standing::Backup, backups);
    }
    for backup in [false, true] {
        let unproven = of(backup, Health::Unknown);
        if !unproven.is_empty() {
            return Candidates::of(Standing::Unproven, unproven);
        }
    }
    none_is_healthy(members, panic_threshold, &select)
}

/// Every endpoint has been judged, and none is healthy.
fn none_is_healthy(
    members: &[Member],
    panic_threshold: f64,
    select: &dyn Fn(&dyn Fn(Member) -> bool) -> Vec<u32>,
) -> Candidates {
    if members.is_empty() {
        return Candidates::of(Standing::Empty, Vec::new());
    }
    if panic_threshold <= 0.0 {
        return Candidates::of(Standing::Down, Vec::new());
    }
    let primaries = select(&|member| !member.backup);
    if primaries.is_empty() {
        return Candidates::of(Standing::Panic, select(&|_| true));
    }
    Candidates::of(Standing::Panic, primaries)
}

impl Candidates {
    fn of(standing: Standing, first: Vec<u32>) -> Self {
        Self {
            standing,
            first,
            reserve: Vec::new(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the share of a number of endpoints, far below 2^52"
)]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;
    use Health::{Healthy, Unhealthy, Unknown};

    fn primaries(healths: &[Health]) -> Vec<Member> {
        let member = |&health| Member {
            health,
            backup: false,
        };
        healths.iter().map(member).collect()
    }

    fn with_backup(healths: &[Health], backup: Health) -> Vec<Member> {
        let mut members = primaries(healths);
        members.push(Member {
            health: backup,
            backup: true,
        });
        members
    }

    #[track_caller]
    fn assert_first(members: &[Member], standing: Standing, first: &[u32]) {
        let candidates = choose(members, 0.5);
        assert_eq!((candidates.standing, &*candidates.first), (standing, first));
    }

    #[test]
    fn the_healthy_ones_get_the_traffic() {
        assert_first(
            &primaries(&[Healthy, Unhealthy, Healthy]),
            Standing::Healthy,
            &[0, 2],
        );
    }

    #[test]
    fn half_healthy_is_enough_and_less_is_panic() {
        assert_first(&primaries(&[Healthy, Unhealthy]), Standing::Healthy, &[0]);
        let third = primaries(&[Healthy, Unhealthy, Unhealthy]);
        assert_first(&third, Standing::Panic, &[0, 1, 2]);
    }

    #[test]
    fn a_new_endpoint_waits_for_its_first_probe() {
        assert_first(&primaries(&[Healthy, Unknown]), Standing::Healthy, &[0]);
        let panic = primaries(&[Healthy, Unhealthy, Unhealthy, Unknown]);
        assert_first(&panic, Standing::Panic, &[0, 1, 2]);
    }

    #[test]
    fn new_endpoints_do_not_count_into_the_share() {
        let growing = primaries(&[Healthy, Unknown, Unknown, Unknown]);
        assert_first(&growing, Standing::Healthy, &[0]);
    }

    #[test]
    fn the_unproven_get_traffic_when_none_is_healthy() {
        assert_first(&primaries(&[Unhealthy, Unknown]), Standing::Unproven, &[1]);
        assert_first(
            &with_backup(&[Unhealthy], Unknown),
            Standing::Unproven,
            &[1],
        );
    }

    #[test]
    fn a_backup_stands_in_only_when_no_primary_is_healthy() {
        assert_first(
            &with_backup(&[Healthy, Unhealthy], Healthy),
            Standing::Healthy,
            &[0],
        );
        assert_first(
            &with_backup(&[Unhealthy, Unknown], Healthy),
            Standing::Backup,
            &[2],
        );
    }

    #[test]
    fn healthy_backups_are_the_reserve() {
        let candidates = choose(&with_backup(&[Healthy], Healthy), 0.5);
        assert_eq!(candidates.reserve, [1]);
        assert!(
            choose(&with_backup(&[Healthy], Unhealthy), 0.5)
                .reserve
                .is_empty()
        );
    }

    #[test]
    fn when_all_are_down_all_primaries_are_tried() {
        assert_first(
            &with_backup(&[Unhealthy, Unhealthy], Unhealthy),
            Standing::Panic,
            &[0, 1],
        );
        assert_first(&with_backup(&[], Unhealthy), Standing::Panic, &[0]);
    }

    #[test]
    fn a_threshold_of_nothing_never_panics() {
        let candidates = choose(&primaries(&[Unhealthy]), 0.0);
        assert_eq!(
            (candidates.standing, candidates.first.len()),
            (Standing::Down, 0)
        );
        assert_eq!(
            choose(&primaries(&[Healthy, Unhealthy, Unhealthy]), 0.0).first,
            [0]
        );
    }

    #[test]
    fn nothing_to_pick_from_is_empty() {
        assert_first(&[], Standing::Empty, &[]);
    }

    proptest! {
        /// As long as panic is allowed somebody gets the traffic; outside of panic never one that is
        /// known to be unhealthy, and never an unproven or a backup beside a healthy primary.
        #[test]
        fn who_is_picked_is_the_best_there_is(
            members in prop::collection::vec(
                (prop::sample::select(vec![Healthy, Unhealthy, Unknown]), any::<bool>())
                    .prop_map(|(health, backup)| Member { health, backup }),
                1..20,
            ),
            threshold in 0.01_f64..1.0,
        ) {
            let Candidates { standing, first, reserve } = choose(&members, threshold);
            prop_assert!(!first.is_empty());
            let picked: Vec<Member> = first.iter().map(|&index| members[index as usize]).collect();
            let has = |backup, health| members.contains(&Member { health, backup });
            if standing != Standing::Panic {
                prop_assert!(picked.iter().all(|member| member.health != Unhealthy));
            }
            if has(false, Healthy) {
                prop_assert!(picked.iter().all(|m| !m.backup && m.health != Unknown));
            } else if has(true, Healthy) {
                prop_assert_eq!(standing, Standing::Backup);
            }
            for index in reserve {
                prop_assert!(!first.contains(&index));
                prop_assert_eq!(members[index as usize].health, Healthy);
            }
        }
    }
}
