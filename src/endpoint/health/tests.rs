//! The machine against a reading of all results so far.

use proptest::prelude::*;

use super::*;

fn result(passed: bool) -> ProbeResult {
    if passed {
        ProbeResult::Passed
    } else {
        ProbeResult::Failed
    }
}

#[test]
fn the_first_probe_decides() {
    for (passed, health) in [(true, Health::Healthy), (false, Health::Unhealthy)] {
        let mut machine = Machine::new(2, 3);
        let transition = machine.observe(result(passed)).expect("a first verdict");
        assert_eq!((transition.from, transition.to), (Health::Unknown, health));
        assert!(!machine.is_changing());
    }
}

#[test]
fn a_broken_row_starts_again() {
    let mut machine = Machine::resume(Health::Healthy, 2, 3);
    for passed in [false, false, true, false, false] {
        assert_eq!(machine.observe(result(passed)), None);
    }
    assert!(machine.is_changing());
    assert_eq!(
        machine
            .observe(ProbeResult::Failed)
            .map(|change| (change.to, change.after)),
        Some((Health::Unhealthy, 3))
    );
}

#[test]
fn new_thresholds_keep_the_count() {
    let mut machine = Machine::resume(Health::Healthy, 2, 5);
    assert_eq!(machine.observe(ProbeResult::Failed), None);
    machine.set_thresholds(2, 2);
    assert!(machine.observe(ProbeResult::Failed).is_some());
}

proptest! {
    /// The verdict is a function of the results alone: the last row that was long enough.
    #[test]
    fn the_verdict_follows_the_last_long_row(
        results in prop::collection::vec(any::<bool>(), 1..200),
        rise in 1_u32..6,
        fall in 1_u32..6,
    ) {
        let mut machine = Machine::new(rise, fall);
        let mut expected = results[0];
        for end in 0..results.len() {
            machine.observe(result(results[end]));
            let row = results[..=end].iter().rev().take_while(|&&r| r == results[end]).count();
            let needed = if results[end] { rise } else { fall };
            if row >= needed as usize {
                expected = results[end];
            }
            prop_assert_eq!(machine.health() == Health::Healthy, expected);
            prop_assert_eq!(machine.is_changing(), results[end] != expected);
        }
    }
}
