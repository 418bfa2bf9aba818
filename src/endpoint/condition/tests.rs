//! No order of events loses a state, keeps an endpoint out for ever or lets it back untried.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::*;

const TERMS: Terms = Terms {
    eject_for: Duration::from_secs(30),
    at_most: Duration::from_mins(5),
};

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn each_ejection_in_a_row_is_longer_up_to_a_limit() {
    let start = Instant::now();
    let mut condition = Condition::new(Health::Healthy, start);
    let mut now = start;
    let lengths: Vec<u64> = (0..12)
        .map(|_| {
            let ejection = condition.eject(false, TERMS, now, 0.0);
            now = ejection.until;
            condition.tick(TERMS, now);
            assert!(condition.is_half_open());
            assert!(condition.tried(Trial::Failed, now));
            ejection.length.as_secs()
        })
        .collect();
    assert_eq!(lengths[..3], [30, 60, 90]);
    assert_eq!(lengths[9..], [300; 3]);
}

#[test]
fn a_row_is_forgotten_in_peace() {
    let start = Instant::now();
    let mut condition = Condition::new(Health::Healthy, start);
    condition.eject(false, TERMS, start, 0.0);
    condition.tick(TERMS, after(start, 30));
    assert!(condition.tried(Trial::Failed, after(start, 30)));
    condition.eject(false, TERMS, after(start, 30), 0.0);
    condition.tick(TERMS, after(start, 90));
    assert!(!condition.tried(Trial::Passed, after(start, 90)));
    assert_eq!((condition.health(), condition.row()), (Health::Healthy, 2));
    condition.tick(TERMS, after(start, 119));
    assert_eq!(condition.row(), 2);
    condition.tick(TERMS, after(start, 120));
    assert_eq!(condition.row(), 1);
    condition.tick(TERMS, after(start, 1_000));
    assert_eq!(condition.row(), 0);
}

#[test]
fn a_probe_refutes_only_what_it_tries() {
    let start = Instant::now();
    let mut of_statuses = Condition::new(Health::Healthy, start);
    of_statuses.eject(false, TERMS, start, 0.0);
    of_statuses.probe_passed(start);
    assert_eq!(of_statuses.health(), Health::Ejected);
    let mut of_connections = Condition::new(Health::Healthy, start);
    of_connections.eject(true, TERMS, start, 0.0);
    of_connections.probe_passed(start);
    assert_eq!(of_connections.health(), Health::HalfOpen);
}

#[test]
fn a_failing_probe_hides_an_ejection_and_does_not_end_it() {
    let start = Instant::now();
    let mut condition = Condition::new(Health::Healthy, start);
    condition.eject(false, TERMS, start, 0.0);
    condition.probes_say(Health::Unhealthy);
    assert_eq!(condition.health(), Health::Unhealthy);
    condition.probes_say(Health::Healthy);
    assert_eq!(condition.health(), Health::Ejected);
    condition.probes_say(Health::Unhealthy);
    condition.tick(TERMS, after(start, 31));
    condition.probes_say(Health::Healthy);
    assert_eq!(condition.health(), Health::HalfOpen);
}

#[test]
fn an_ejection_that_probes_have_hidden_is_the_same_one() {
    let start = Instant::now();
    let mut condition = Condition::new(Health::Healthy, start);
    let ejection = condition.eject(false, TERMS, start, 0.0);
    assert_eq!(condition.ejection(), Some(ejection));
    condition.probes_say(Health::Unhealthy);
    assert_eq!(condition.ejection(), None);
    condition.probes_say(Health::Healthy);
    assert_eq!(condition.ejection(), Some(ejection));
    condition.tick(TERMS, after(start, 40));
    assert_eq!(condition.ejection(), None);
    let is_tried = |seconds| condition.is_tried_within(TERMS.eject_for, after(start, seconds));
    assert!(is_tried(69) && !is_tried(70));
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Eject(bool, f64),
    Tick(u64),
    ProbesSay(Health),
    ProbePassed,
    Tried(Trial),
    Release,
    Pardon,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (any::<bool>(), -1.0..=1.0).prop_map(|(of, chance)| Happening::Eject(of, chance)),
        (0_u64..200).prop_map(Happening::Tick),
        prop_oneof![Just(Health::Healthy), Just(Health::Unhealthy)].prop_map(Happening::ProbesSay),
        Just(Happening::ProbePassed),
        prop_oneof![Just(Trial::Passed), Just(Trial::Failed)].prop_map(Happening::Tried),
        Just(Happening::Release),
        Just(Happening::Pardon),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_comes_back(happenings in prop::collection::vec(happening(), 0..60)) {
        let start = Instant::now();
        let mut condition = Condition::new(Health::Healthy, start);
        let mut now = start;
        for happening in happenings {
            let was = condition.clone();
            match happening {
                Happening::Eject(of_connections, chance) => {
                    let ejection = condition.eject(of_connections, TERMS, now, chance);
                    prop_assert!(ejection.length <= TERMS.at_most.mul_f64(1.0 + JITTER));
                    prop_assert!(ejection.length >= TERMS.eject_for.mul_f64(1.0 - JITTER));
                }
                Happening::Tick(seconds) => {
                    now += Duration::from_secs(seconds);
                    condition.tick(TERMS, now);
                }
                Happening::ProbesSay(health) => condition.probes_say(health),
                Happening::ProbePassed => condition.probe_passed(now),
                Happening::Tried(trial) => {
                    let again = condition.tried(trial, now);
                    prop_assert!(!again || was.is_half_open());
                }
                Happening::Release => condition.release(now),
                Happening::Pardon => condition.pardon(now),
            }
            // From an ejection there is no way back but by a trial or a pardon.
            if was.is_ejected() && !condition.is_ejected() && !condition.is_half_open() {
                prop_assert!(matches!(happening, Happening::Pardon));
            }
            // Probes have the last word, and requests never say what probes say.
            prop_assert_eq!(
                condition.health() == Health::Unhealthy,
                condition.probed() == Health::Unhealthy
            );
            if !matches!(happening, Happening::ProbesSay(_)) {
                prop_assert_eq!(was.probed(), condition.probed());
            }
        }
        // Every ejection ends: in time it is tried, and one trial that passes is enough.
        condition.tick(TERMS, now + TERMS.at_most * 2);
        condition.tried(Trial::Passed, now + TERMS.at_most * 2);
        condition.probes_say(Health::Healthy);
        prop_assert_eq!(condition.health(), Health::Healthy);
        condition.tick(TERMS, now + TERMS.eject_for * 1_000);
        prop_assert_eq!(condition.row(), 0);
    }
}
