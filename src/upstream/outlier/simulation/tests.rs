//! What is found, how soon, and for what.

use super::*;

#[test]
fn a_bad_version_on_a_third_is_out_within_a_moment() {
    for seed in 0..20 {
        let mut behaviours = many(6, well);
        behaviours.extend((0..3).map(|_| Box::new(between(5_000, 200_000, 1.0)) as Behaviour));
        let mut simulation = Simulation::new(seed, behaviours);
        simulation.run(5);
        assert_eq!(simulation.ejections(), []);
        simulation.run(60);
        let first: Vec<_> = simulation.ejections().into_iter().take(3).collect();
        let ids: Vec<u64> = first.iter().map(|(_, id, _)| *id).collect();
        assert!(ids.iter().all(|id| *id >= 6), "seed {seed}: {first:?}");
        assert!(first.iter().all(|(at, _, _)| *at < 7_000), "{first:?}");
        assert!(
            simulation.share_failed() < 0.01,
            "{}",
            simulation.share_failed()
        );
        assert_eq!(simulation.outcome.most_out, 3);
        assert_eq!(simulation.outcome.notices, [], "it is no outage of all");
        // The good version comes: at the next trial each is back, and stays.
        simulation.run(600);
        assert_eq!(simulation.count(Health::Healthy), 9, "seed {seed}");
        let last = simulation.ejections().pop().expect("there were some");
        assert!(last.0 < 205_000, "{last:?}");
    }
}

#[test]
fn what_all_fail_of_ejects_nobody_and_is_told_once() {
    for seed in 0..20 {
        for share in [1.0, 0.7] {
            let mut simulation = Simulation::new(seed, many(9, between(5_000, 65_000, share)));
            simulation.run(90);
            assert_eq!(simulation.count(Health::Healthy), 9);
            let notices = &simulation.outcome.notices;
            assert!(
                matches!(
                    notices[..],
                    [(_, Notice::Suspended { .. }), (_, Notice::Resumed { .. })]
                ),
                "seed {seed}, {share}: {notices:?}"
            );
            assert!((5_000..11_000).contains(&notices[0].0), "{notices:?}");
            assert!((65_000..80_000).contains(&notices[1].0), "{notices:?}");
            // What was ejected before it was clear came back at once.
            let ejected = simulation.ejections().len();
            assert!(ejected <= 3, "seed {seed}, {share}: {ejected}");
        }
    }
}

#[test]
fn nothing_is_ejected_from_two_unless_that_is_written() {
    let bad = || -> Vec<Behaviour> { vec![Box::new(well), Box::new(fails(1.0))] };
    let mut simulation = Simulation::new(1, bad());
    simulation.run(60);
    assert_eq!(simulation.outcome.changes, []);
    let written = config::Outlier {
        max_ejected: Some(config::Ratio(0.5)),
        ..config::Outlier::default()
    };
    let mut simulation = Simulation::with(1, bad(), &written);
    simulation.run(60);
    assert_eq!(simulation.ejections()[0].1, 1);
    assert_eq!(simulation.outcome.most_out, 1);
}

/// One request of so many fails, in turn, from five seconds on, where one comes each `step`.
fn one_of(every: u64, step: u64) -> impl Fn(u64) -> Answer + Copy {
    move |now| {
        let is_it = now >= 5_000 && (now / step).is_multiple_of(every);
        fails(if is_it { 1.0 } else { 0.0 })(now)
    }
}

/// What is ejected within a minute where the last of so many is like that.
fn ejections_of(
    seed: u64,
    (count, last): (usize, Behaviour),
    written: &config::Outlier,
) -> Vec<(u64, u64, &'static str)> {
    let mut behaviours = many(count - 1, well);
    behaviours.push(last);
    let mut simulation = Simulation::with(seed, behaviours, written);
    simulation.load = 4;
    simulation.run(60);
    simulation.ejections()
}

#[test]
fn what_fails_in_part_is_found() {
    let usual = config::Outlier::default();
    for seed in 0..20 {
        for (share, within) in [(0.65, 2_000), (0.25, 5_000)] {
            let last: Behaviour = Box::new(between(5_000, u64::MAX, share));
            let ejections = ejections_of(seed, (8, last), &usual);
            let (at, id, cause) = *ejections.first().expect("it is ejected");
            assert_eq!(id, 7, "seed {seed}, {share}");
            // By chance one of these comes first.
            assert!(
                ["consecutive_failures", "success_rate"].contains(&cause),
                "{cause}"
            );
            assert!(at <= 5_000 + within, "{ejections:?}");
        }
    }
}

/// Where no row ever tells, since no failure follows another.
#[test]
fn a_share_tells_where_no_row_does() {
    let usual = config::Outlier::default();
    let blind = config::Outlier {
        failure_ratio: Some(config::Ratio(0.0)),
        success_rate_deviation: Some(0),
        ..config::Outlier::default()
    };
    // Of four, too few to compare their rates, each is asked every 10 ms; of eight every 20 ms.
    for (count, every, cause) in [(4, 2, "failure_ratio"), (8, 4, "success_rate")] {
        for seed in 0..20 {
            let last = || Box::new(one_of(every, 10 * count as u64 / 4)) as Behaviour;
            let ejections = ejections_of(seed, (count, last()), &usual);
            let (at, id, found) = *ejections.first().expect("it is ejected");
            assert_eq!((id, found), (count as u64 - 1, cause), "seed {seed}");
            // When the seconds before, in which it was well, weigh little enough.
            assert!((6_000..=16_000).contains(&at), "{ejections:?}");
            assert_eq!(ejections_of(seed, (count, last()), &blind), []);
        }
    }
}

#[test]
fn what_answers_far_more_slowly_is_found() {
    let slow = |now: u64| Answer {
        failing: 0.0,
        slot: if now < 5_000 { 3 } else { 9 },
    };
    let mut behaviours = many(3, well);
    behaviours.push(Box::new(slow));
    let mut simulation = Simulation::new(1, behaviours);
    simulation.run(30);
    let (at, id, cause) = simulation.ejections()[0];
    assert_eq!((id, cause), (3, "latency"));
    assert!((9_000..11_000).contains(&at), "{at}");
    // Whoever answers his trial as slowly is out again, and for longer.
    simulation.run(60);
    let ejections = simulation.ejections();
    assert_eq!(ejections.len(), 2, "{ejections:?}");
    let back = simulation.outcome.changes.iter();
    let back = back.filter(|(_, change)| change.health == Health::Healthy);
    assert_eq!(back.count(), 0);
    assert!(simulation.outcome.changes.iter().any(|(_, change)| {
        change
            .why
            .contains("request that tried it took 134 ms at least")
    }));
    // Twice as slow is no illness, and neither is what takes no time to speak of.
    let twice = |_| Answer {
        failing: 0.0,
        slot: 4,
    };
    let mut behaviours = many(3, well);
    behaviours.push(Box::new(twice));
    let mut simulation = Simulation::new(1, behaviours);
    simulation.run(300);
    assert_eq!(simulation.outcome.changes, []);
}

#[test]
fn chance_alone_ejects_nobody() {
    let mut simulation = Simulation::new(7, many(10, between(0, u64::MAX, 0.02)));
    simulation.run(600);
    assert_eq!(simulation.outcome.changes, []);
}

#[test]
fn what_comes_and_goes_is_out_for_longer_each_time() {
    // It is well for a moment whenever it is tried.
    let mut behaviours = many(3, well);
    behaviours.push(Box::new(|now| {
        fails(if now % 3_000 < 1_500 { 1.0 } else { 0.0 })(now)
    }));
    let mut simulation = Simulation::new(3, behaviours);
    simulation.run(1_800);
    let lengths: Vec<u64> = simulation
        .outcome
        .changes
        .iter()
        .filter_map(|(_, change)| Some(change.ejection?.0.count.into()))
        .collect();
    assert!(lengths.len() >= 5, "{lengths:?}");
    assert!(
        lengths.windows(2).all(|two| two[1] >= two[0]),
        "{lengths:?}"
    );
    assert!(simulation.share_failed() < 0.03);
}
