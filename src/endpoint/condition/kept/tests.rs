//! What is kept of a condition is what it was, less the time gone by.

use super::*;

const TERMS: Terms = Terms {
    eject_for: Duration::from_secs(30),
    at_most: Duration::from_mins(5),
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_ejection_goes_on_for_what_is_left_of_it() {
    let start = Instant::now();
    let mut condition = Condition::new(Health::Healthy, start);
    condition.eject(true, TERMS, start, 0.0);
    let kept = condition.kept(start + secs(10));
    let text = serde_json::to_string(&kept).unwrap();
    let kept: KeptCondition = serde_json::from_str(&text).unwrap();
    let later = start + secs(100);
    let mut resumed = Condition::resume(&kept, TERMS, secs(5), later);
    let ejection = resumed.ejection().unwrap();
    assert_eq!(ejection.until - later, secs(15));
    assert_eq!((ejection.length, ejection.count), (secs(30), 1));
    assert_eq!(resumed.ejected_since(), Some(later - secs(15)));
    resumed.tick(TERMS, later + secs(15));
    assert!(resumed.is_half_open());
    let over = Condition::resume(&kept, TERMS, secs(60), later);
    assert_eq!(over.ejection().unwrap().until, later);
}

#[test]
fn the_row_is_forgotten_also_while_nothing_runs() {
    let start = Instant::now();
    let mut condition = Condition::new(Health::Healthy, start);
    condition.eject(false, TERMS, start, 0.0);
    condition.tick(TERMS, start + secs(30));
    condition.tried(crate::endpoint::Trial::Passed, start + secs(30));
    let kept = condition.kept(start + secs(40));
    let now = start + secs(1_000);
    let mut resumed = Condition::resume(&kept, TERMS, secs(10), now);
    resumed.tick(TERMS, now);
    assert_eq!(resumed.row(), 1);
    let mut resumed = Condition::resume(&kept, TERMS, secs(20), now);
    resumed.tick(TERMS, now);
    assert_eq!(resumed.row(), 0);
}

#[test]
fn no_number_of_a_file_makes_an_endless_ejection_or_a_panic() {
    let now = Instant::now();
    for number in [0, 1, u64::from(u32::MAX), u64::MAX] {
        let kept = KeptCondition {
            probed: Health::HalfOpen,
            trust: KeptTrust::Ejected {
                since_ms: number,
                left_ms: number,
                length_ms: number,
                count: u32::MAX,
                of_connections: false,
            },
            row: u32::MAX,
            calm_ms: 0,
        };
        let mut resumed = Condition::resume(&kept, TERMS, secs(0), now);
        resumed.tick(TERMS, now + TERMS.at_most * 2);
        assert!(resumed.is_half_open());
        resumed.eject(false, TERMS, now, 1.0);
        let again = resumed.kept(now);
        Condition::resume(&again, TERMS, Duration::MAX, now);
    }
}
