//! Further attempts at a request: where one could go, and where none goes.

use super::*;

fn elsewhere(upstream: &Upstream, tried: &[u64]) -> Elsewhere {
    upstream.elsewhere(tried, Instant::now(), 0)
}

fn sheds(upstream: &Upstream, place: usize) {
    let endpoint = &upstream.endpoints()[place];
    let time = Duration::from_secs(30);
    endpoint.live.sheds_for(time, Instant::now());
}

/// All places that so many picks after the first attempt lead to.
fn places(upstream: &Upstream, tried: &[u64]) -> BTreeSet<usize> {
    let mut random = Rng::with_seed(1);
    let now = Instant::now();
    let picks = (0..50).filter_map(|_| upstream.pick(tried, &mut random, now).ok());
    picks.map(|pick| place(upstream, &pick)).collect()
}

#[test]
fn what_sheds_load_gets_first_attempts_only() {
    let upstream = running(&world(), &unchecked(), all(3), None);
    let tried = [id(&upstream, 0)];
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Another);
    sheds(&upstream, 1);
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Another);
    assert_eq!(places(&upstream, &tried), BTreeSet::from([2]));
    sheds(&upstream, 2);
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Again);
    assert_eq!(places(&upstream, &tried), BTreeSet::from([0]));
    sheds(&upstream, 0);
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Nowhere);
    // Nor does it wait for them, in front of those that need not.
    assert_eq!(pick(&upstream, &tried).err(), Some(PickError::NoEndpoints));
    assert_eq!(reached(&upstream), BTreeSet::from([0, 1, 2]));
}

#[test]
fn what_may_not_be_picked_is_no_other_one() {
    let upstream = running(&world(), &checked(), all(2), None);
    judge_all(&upstream, &[Healthy, Unhealthy]);
    sheds(&upstream, 0);
    let tried = [id(&upstream, 0)];
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Nowhere);
    assert_eq!(pick(&upstream, &tried).err(), Some(PickError::NoEndpoints));
}

#[test]
fn one_that_lately_failed_is_no_other_one_but_its_backup_is() {
    let mut endpoints = all(3);
    endpoints[2].backup = true;
    let upstream = running(&world(), &unchecked(), endpoints.clone(), None);
    upstream.endpoints()[1].learn(REFUSED, Instant::now());
    let tried = [id(&upstream, 0)];
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Another);
    assert_eq!(places(&upstream, &tried), BTreeSet::from([2]));
    endpoints.truncate(2);
    let upstream = running(&world(), &unchecked(), endpoints, None);
    upstream.endpoints()[1].learn(REFUSED, Instant::now());
    let tried = [id(&upstream, 0)];
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Again);
}

#[test]
fn at_its_limits_an_upstream_has_no_other_one() {
    let mut endpoints = all(2);
    endpoints[1].max_in_flight = Some(1);
    let upstream = running(&world(), &unchecked(), endpoints, None);
    let tried = [id(&upstream, 0)];
    let held = pick(&upstream, &tried).expect("the other one");
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Full);
    drop(held);
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Another);

    let written = config::Upstream {
        max_in_flight: Some(1),
        ..unchecked()
    };
    let upstream = running(&world(), &written, all(2), None);
    let tried = [id(&upstream, 0)];
    let _held = pick(&upstream, &[]).expect("there is room for one");
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Full);
    // But for the one that makes room.
    let own = upstream.elsewhere(&tried, Instant::now(), 1);
    assert_eq!(own, Elsewhere::Another);
}

/// The room of an endpoint that is new is what the pick says, and not what its limit says.
#[tokio::test(start_paused = true)]
async fn one_that_is_new_has_the_room_of_a_new_one() {
    let written = config::Upstream {
        max_in_flight_per_endpoint: Some(10),
        ..checked()
    };
    let upstream = running(&world(), &written, all(2), None);
    judge_all(&upstream, &[Healthy, Unhealthy]);
    tokio::time::advance(Duration::from_mins(1)).await;
    judge(&upstream, 1, Healthy);
    let tried = [id(&upstream, 0)];
    let _held = pick(&upstream, &tried).expect("a tenth of ten");
    assert_eq!(elsewhere(&upstream, &tried), Elsewhere::Full);
}

#[test]
fn one_without_a_zone_says_nothing_of_the_others() {
    let mut endpoints = all(4);
    endpoints[0].zone = "".into();
    endpoints[1].zone = "".into();
    endpoints[3].zone = "eu-1b".into();
    let upstream = running(&world(), &unchecked(), endpoints, None);
    let tried = [id(&upstream, 0), id(&upstream, 2)];
    assert_eq!(places(&upstream, &tried), BTreeSet::from([1, 3]));
}
