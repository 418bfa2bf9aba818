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

#[test]
fn what_fails_in_part_is_found() {
    for seed in 0..20 {
        // One in two never fails five times in a row for long; the share tells.
        for (share, within) in [(0.65, 12_000), (0.25, 40_000)] {
            let mut behaviours = many(7, well);
            behaviours.push(Box::new(between(5_000, u64::MAX, share)));
            let mut simulation = Simulation::new(seed, behaviours);
            simulation.load = 4;
            simulation.run(60);
            let ejections = simulation.ejections();
            assert!(!ejections.is_empty(), "seed {seed}, {share}");
            assert_eq!(ejections[0].1, 7, "seed {seed}, {share}");
            assert!(ejections[0].0 <= 5_000 + within, "{ejections:?}");
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
