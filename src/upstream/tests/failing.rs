//! Endpoints that lately failed, beside others that are full, and backups for them.

use super::wish::{Takes, Wish};
use super::*;

const LATE: Outcome = Outcome::NoConnection(ConnectFailure::TimedOut);

#[test]
fn after_a_backoff_a_single_request_tries() {
    let upstream = running(&world(), &unchecked(), all(2), None);
    let now = Instant::now();
    upstream.endpoints()[0].learn(REFUSED, now);
    let later = now + Duration::from_millis(1_001);
    let mut random = Rng::with_seed(1);
    let tries = (0..100)
        .filter_map(|_| upstream.pick(&[], &mut random, later).ok())
        .filter(|pick| place(&upstream, pick) == 0)
        .count();
    assert_eq!(tries, 1);
}

#[test]
fn backups_stand_in_for_failures_but_not_for_limits() {
    let mut endpoints = all(2);
    endpoints[0].max_in_flight = Some(1);
    endpoints[1].backup = true;
    let upstream = running(&world(), &unchecked(), endpoints, None);
    let held = pick(&upstream, &[]).expect("a pick");
    assert_eq!(place(&upstream, &held), 0);
    assert_eq!(pick(&upstream, &[]).err(), Some(PickError::AllAtLimit));
    drop(held);
    let retry = pick(&upstream, &[id(&upstream, 0)]).expect("the backup");
    assert_eq!(place(&upstream, &retry), 1);
    upstream.endpoints()[0].learn(LATE, Instant::now());
    assert_eq!(reached(&upstream), BTreeSet::from([1]));
}

/// One fails, one is full: nobody is held up by the one, and the backup is there for it.
#[test]
fn what_fails_beside_one_that_is_full_is_left_alone() {
    let mut endpoints = all(3);
    endpoints[1].max_in_flight = Some(1);
    endpoints[2].backup = true;
    let upstream = running(&world(), &unchecked(), endpoints.clone(), None);
    let id = id(&upstream, 0);
    let held = pick(&upstream, &[id]).expect("the second");
    assert_eq!(place(&upstream, &held), 1);
    upstream.endpoints()[0].learn(LATE, Instant::now());
    for tried in [&[][..], &[id]] {
        for haste in [Haste::MayWait, Haste::Now] {
            let when = (Instant::now(), haste);
            let pick = upstream.pick_by(None, tried, when, &mut Rng::with_seed(1));
            let pick = pick.expect("the backup");
            assert_eq!(place(&upstream, &pick), 2, "{tried:?}, {haste:?}");
        }
    }
    drop(held);

    endpoints.truncate(2);
    let upstream = running(&world(), &unchecked(), endpoints, None);
    let _held = pick(&upstream, &[self::id(&upstream, 0)]).expect("the second");
    let now = Instant::now();
    upstream.endpoints()[0].learn(LATE, now);
    assert_eq!(pick(&upstream, &[]).err(), Some(PickError::AllAtLimit));
    // But for the one who tries whether it is back.
    let later = now + Duration::from_millis(1_001);
    let mut random = Rng::with_seed(1);
    let trial = upstream.pick(&[], &mut random, later).expect("the trial");
    assert_eq!(place(&upstream, &trial), 0);
    let next = upstream.pick(&[], &mut random, later);
    assert_eq!(next.err(), Some(PickError::AllAtLimit));
}

#[test]
fn who_sheds_load_has_not_proved_to_be_well() {
    let upstream = running(&world(), &unchecked(), all(2), None);
    let endpoint = &upstream.endpoints()[0];
    let now = Instant::now();
    let status = |status| Outcome::Answered {
        status: http::StatusCode::from_u16(status).expect("a status"),
        took: Some(Duration::ZERO),
        retry_after: Some(Duration::from_secs(1)).filter(|_| status != 500),
        is_whole: true,
    };
    for _ in 0..3 {
        assert!(endpoint.learn(status(500), now));
        for outcome in [status(503), status(429), Outcome::GrpcEnded(8)] {
            assert!(!endpoint.learn(outcome, now));
        }
        assert!(!endpoint.learn(Outcome::Abandoned, now), "by a client");
    }
    assert_eq!(endpoint.live.read().row, 3);
    endpoint.learn(Outcome::Ended, now);
    assert_eq!(endpoint.live.read().row, 0);
}

#[test]
fn who_is_back_has_not_asked_to_be_left_alone() {
    let upstream = running(&world(), &unchecked(), all(2), None);
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    let now = Instant::now();
    endpoint.live.sheds_for(Duration::from_mins(1), now);
    upstream.set_health(&endpoint, Unhealthy, By::Active, String::new());
    assert!(endpoint.live.is_shedding(now));
    upstream.set_health(&endpoint, Healthy, By::Active, String::new());
    assert!(!endpoint.live.is_shedding(now));
}

/// Where packets vanish on the way to all of them, one request at a time finds out whether that is
/// so still. A refusal costs nothing, so anybody may get one.
#[test]
fn where_nothing_is_heard_of_any_one_at_a_time_waits_in_vain() {
    let upstream = running(&world(), &unchecked(), all(2), None);
    let endpoints = upstream.endpoints();
    let now = Instant::now();
    let fail = |failure, now| {
        for endpoint in endpoints.iter() {
            endpoint.learn(Outcome::NoConnection(failure), now);
        }
    };
    let tries = |now| {
        let mut random = Rng::with_seed(1);
        let pick = |_| upstream.pick(&[], &mut random, now);
        let (found, not): (Vec<_>, Vec<_>) = (0..5).map(pick).partition(Result::is_ok);
        let error = |it: Result<_, PickError>| it.err() == Some(PickError::NoEndpoints);
        assert!(not.into_iter().all(error));
        found.len()
    };
    fail(ConnectFailure::TimedOut, now);
    assert_eq!(tries(now), 5, "a burst");
    let now = now + Duration::from_secs(1);
    fail(ConnectFailure::TimedOut, now);
    assert_eq!(tries(now), 2, "one at each");
    assert_eq!(tries(now + Duration::from_millis(900)), 0);
    fail(ConnectFailure::TimedOut, now + Duration::from_millis(950));
    assert_eq!(
        tries(now + Duration::from_millis(950)),
        2,
        "those have ended"
    );
    // Who is back is asked by all, also where each was asked for this request before.
    for endpoint in endpoints.iter() {
        endpoint.learn(Outcome::answered(http::StatusCode::OK), now);
    }
    let asked = [0, 1].map(|place| id(&upstream, place));
    let mut random = Rng::with_seed(1);
    let later = now + Duration::from_secs(9);
    let mut again = (0..5).map(|_| upstream.pick(&asked, &mut random, later));
    assert!(again.all(|found| found.is_ok()));
    fail(ConnectFailure::TimedOut, later);
    assert_eq!(tries(later), 5, "another burst");
    fail(ConnectFailure::Refused, later);
    assert_eq!(tries(later), 5);
}

/// As where another worker takes the last place after it was looked for.
#[test]
fn no_trial_is_used_up_by_who_has_no_room() {
    let written = config::Upstream {
        max_in_flight: Some(1),
        ..unchecked()
    };
    let upstream = running(&world(), &written, all(2), None);
    let held = pick(&upstream, &[]).expect("a pick");
    let now = Instant::now();
    for endpoint in upstream.endpoints().iter() {
        endpoint.learn(LATE, now);
    }
    let wish = Wish {
        tried: &[],
        known: &[],
        far_from: &[],
        spares_shedding: false,
        now: now + Duration::from_millis(1_001),
        key: None,
        tie: None,
        haste: Haste::Now,
        takes: Takes::Request,
    };
    let table = upstream.table.load_full();
    assert!(table.pick(wish, &mut Rng::with_seed(1)).is_err());
    drop(held);
    for endpoint in upstream.endpoints().iter() {
        assert!(!endpoint.live.is_backing_off(wish.now));
    }
    let found = table.pick(wish, &mut Rng::with_seed(1)).expect("a trial");
    assert!(found.held().live.is_backing_off(wish.now));
}

/// Where a third has just begun to fail, only those that have answered since are known to be well.
#[test]
fn what_is_tried_again_goes_to_who_answered_lately() {
    for balance in [
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::PowerOfTwo,
        Balance::PeakEwma,
        Balance::Random,
        Balance::FirstHealthy,
        Balance::RingHash,
        Balance::Maglev,
    ] {
        let written = config::Upstream {
            balance: Some(balance),
            ..unchecked()
        };
        let upstream = running(&world(), &written, all(9), None);
        let ids: Vec<u64> = (0..9).map(|place| id(&upstream, place)).collect();
        let when = (Instant::now(), Haste::MayWait);
        let mut random = Rng::with_seed(1);
        let mut again = |known: &[u64]| {
            let ties = Some(random.u64(..));
            let pick = upstream.pick_again(ties, (&ids[..1], known), when, &mut random);
            pick.expect("there are some")
        };
        let picks = (0..50).map(|_| place(&upstream, &again(&[ids[0], 7_777, ids[4], ids[7]])));
        let places: BTreeSet<usize> = picks.collect();
        match balance {
            Balance::FirstHealthy => assert_eq!(places, BTreeSet::from([1])),
            Balance::RingHash | Balance::Maglev => assert!(places.len() > 4, "{places:?}"),
            Balance::RoundRobin
            | Balance::LeastConnections
            | Balance::PowerOfTwo
            | Balance::PeakEwma
            | Balance::Random => {
                assert_eq!(places, BTreeSet::from([4]), "the last one: {balance:?}");
                // What comes at once is shared out.
                let held = again(&[ids[4], ids[7]]);
                let other = again(&[ids[4], ids[7]]);
                let places = [&held, &other].map(|pick| place(&upstream, pick));
                assert_eq!(places, [4, 7], "{balance:?}");
                // One that failed since is no longer known to be well.
                upstream.endpoints()[4].live.penalize(when.0, None);
                let third = again(&[ids[4], ids[7]]);
                assert_eq!(place(&upstream, &third), 7, "{balance:?}");
            }
        }
    }
}

#[test]
fn what_hangs_at_one_that_is_out_lifts_no_bound() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let written = config::Upstream {
            balance: Some(balance),
            ..checked()
        };
        let upstream = running(&world(), &written, all(4), None);
        judge_all(&upstream, &[Healthy; 4]);
        let first = Arc::clone(&upstream.endpoints()[0].live);
        let _hang: Vec<_> = (0..500).map(|_| first.begin()).collect();
        judge(&upstream, 0, Health::Ejected);
        let mut random = Rng::with_seed(1);
        let now = Instant::now();
        let picks = (0..48).map(|_| upstream.pick_for(Some(7), &[], &mut random, now));
        let held: Vec<Pick> = picks.map(|pick| pick.expect("a pick")).collect();
        for place in 1..4 {
            let of = |pick: &&Pick| self::place(&upstream, pick) == place;
            let held = held.iter().filter(of).count();
            assert!(held <= 48 * 5 / 12 + 1, "{balance:?}: {held}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_stay_at_home_from_the_moment_at_which_all_fail() {
    let written = config::Upstream {
        balance: Some(Balance::RingHash),
        ..config::Upstream::default()
    };
    let upstream = running(&world(), &written, all(8), None);
    let homes = || -> Vec<u64> {
        let mut random = Rng::with_seed(1);
        let mut home = |key| {
            let pick = upstream.pick_for(Some(key), &[], &mut random, Instant::now());
            pick.expect("there are some").endpoint().live.id()
        };
        (0..200_u64)
            .map(|key| home(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect()
    };
    let before = homes();
    let penalize = |endpoints: &[Arc<Endpoint>], times| {
        for endpoint in endpoints {
            for _ in 0..times {
                endpoint.live.penalize(Instant::now(), None);
            }
        }
    };
    // One leads its keys elsewhere; what all carry has been looked at by then.
    penalize(&upstream.endpoints()[..1], 20);
    assert_ne!(homes(), before);
    tokio::time::advance(Duration::from_millis(10)).await;
    penalize(&upstream.endpoints()[1..], 20);
    assert_eq!(homes(), before);
}
