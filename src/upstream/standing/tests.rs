//! Who gets the traffic in every mix of healths.

use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::*;
use Health::{Ejected, HalfOpen, Healthy, Unhealthy, Unknown};

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
fn what_is_ejected_is_out_and_what_is_half_open_can_be_tried() {
    let members = primaries(&[Healthy, Healthy, HalfOpen, Ejected]);
    assert_first(&members, Standing::Healthy, &[0, 1, 2]);
    // It carries no load yet: that does not keep health from being ignored.
    let members = primaries(&[Healthy, HalfOpen, Unhealthy]);
    assert_first(&members, Standing::Panic, &[0, 1, 2]);
    let members = primaries(&[Ejected, Unhealthy]);
    assert_first(&members, Standing::Panic, &[0, 1]);
}

#[test]
fn primaries_that_are_half_open_are_tried_beside_backups() {
    let members = with_backup(&[HalfOpen, Unhealthy, Ejected], Healthy);
    assert_first(&members, Standing::Backup, &[0, 3]);
    let down = choose(&primaries(&[HalfOpen, Unhealthy]), 0.0);
    assert_eq!((down.standing, &*down.first), (Standing::Down, &[0][..]));
    let reserve = choose(&with_backup(&[Healthy], HalfOpen), 0.5).reserve;
    assert_eq!(reserve, [1], "it is tried when it is needed");
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
    // One that is half-open may be the only one that works, and has to be tried.
    assert_first(
        &with_backup(&[Unhealthy, Unhealthy], HalfOpen),
        Standing::Panic,
        &[0, 1, 2],
    );
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
