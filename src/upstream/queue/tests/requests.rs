//! Requests that wait: their clients take turns, and what is over is over soon.

use tokio::time::timeout;

use super::*;
use crate::config::{Time, UpstreamQueue};

/// An upstream with room for one, where so many requests may wait for so long.
fn with_queue(world: &World, (size, wait): (u32, Duration)) -> Arc<Upstream> {
    let queue = UpstreamQueue {
        size: Some(size),
        wait: Some(Time(wait)),
    };
    let written = config::Upstream {
        queue,
        max_in_flight: Some(1),
        ..config::Upstream::default()
    };
    installed(world, &written, endpoints(2), None)
}

/// Waits as a request of this client does.
async fn wait_as(upstream: &Upstream, client: u64) -> Result<Pick, &'static str> {
    let mut waited = Waited::default();
    let in_queue = match upstream.join_queue(client, &mut waited) {
        Ok(in_queue) => in_queue,
        Err(NotQueued::Full) => return Err("full"),
        Err(NotQueued::TimeOver) => return Err("its time is over"),
    };
    let look = || pick(upstream, &[]).ok();
    match timeout(in_queue.limit(), in_queue.turn(look)).await {
        Ok(Ok(pick)) => Ok(pick),
        Ok(Err(PushedOut)) => Err("pushed out"),
        Err(_) => {
            upstream.waited_in_vain();
            Err("timeout")
        }
    }
}

/// How each that waited ended, by name.
type Ends = Arc<Mutex<Vec<(u32, &'static str)>>>;

fn request(upstream: &Arc<Upstream>, ends: &Ends, (client, name): (u64, u32)) -> JoinHandle<()> {
    let (upstream, ends) = (Arc::clone(upstream), Arc::clone(ends));
    tokio::spawn(async move {
        let picked = wait_as(&upstream, client).await;
        let end = picked.as_ref().map_or_else(|why| *why, |_| "served");
        ends.lock().expect("no panic").push((name, end));
        yield_now().await;
        drop(picked);
    })
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_an_upstream_bounds_all_its_endpoints_and_builds() {
    let world = world();
    let upstream = with_queue(&world, (8, LONG));
    let held = pick(&upstream, &[]).expect("room");
    assert_eq!(pick(&upstream, &[]).err(), Some(PickError::AllAtLimit));
    let raised = config::Upstream {
        max_in_flight: Some(2),
        ..config::Upstream::default()
    };
    let raised = installed(&world, &raised, endpoints(3), Some(&upstream));
    let second = pick(&raised, &[]).expect("one more");
    assert_eq!(pick(&raised, &[]).err(), Some(PickError::AllAtLimit));
    assert_eq!(raised.in_flight(), 2, "what began before counts");
    assert_eq!(
        metric(&world, "evenkeel_upstream_in_flight{upstream=\"db\"}"),
        2
    );
    drop((held, second));
    assert_eq!(raised.in_flight(), 0);
    let empty = installed(&world, &taking(1), endpoints(0), None);
    assert_eq!(pick(&empty, &[]).err(), Some(PickError::NoEndpoints));
}

#[tokio::test(start_paused = true)]
async fn clients_take_turns_and_who_fills_the_queue_makes_room() {
    let world = world();
    let (upstream, ends) = (with_queue(&world, (6, LONG)), Ends::default());
    let held = pick(&upstream, &[]).expect("room");
    let mut requests = Vec::new();
    for name in 0..7 {
        requests.push(request(&upstream, &ends, (1, name)));
        yield_now().await;
    }
    for name in 10..12 {
        requests.push(request(&upstream, &ends, (2, name)));
        yield_now().await;
    }
    assert_eq!(metric(&world, "evenkeel_queue_depth{upstream=\"db\"}"), 6);
    assert_eq!(upstream.waiting(), 6);
    drop(held);
    for request in requests {
        request.await.expect("no panic");
    }
    let ends = ends.lock().expect("no panic").clone();
    let (refused, served) = ends.split_at(3);
    assert_eq!(refused, [(6, "full"), (5, "pushed out"), (4, "pushed out")]);
    let names: Vec<u32> = served.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [0, 10, 1, 11, 2, 3]);
    let counted = "evenkeel_queue_refused_total{upstream=\"db\",reason=\"full\"}";
    assert_eq!(metric(&world, counted), 3);
    assert_eq!(metric(&world, "evenkeel_queue_depth{upstream=\"db\"}"), 0);
}

#[tokio::test(start_paused = true)]
async fn once_one_has_waited_in_vain_the_newest_is_first() {
    let world = world();
    for (later, order) in [(420, vec![1, 2, 3, 4]), (530, vec![4, 3, 2])] {
        let (upstream, ends) = (
            with_queue(&world, (99, Duration::from_secs(1))),
            Ends::default(),
        );
        let held = pick(&upstream, &[]).expect("room");
        let mut requests = Vec::new();
        for (name, after) in [(1, 480), (2, later), (3, 0), (4, 0)] {
            requests.push(request(&upstream, &ends, (name.into(), name)));
            yield_now().await;
            tokio::time::sleep(Duration::from_millis(after)).await;
        }
        drop(held);
        for request in requests {
            request.await.expect("no panic");
        }
        let mut ends = ends.lock().expect("no panic").clone();
        let in_vain = (1, "timeout");
        assert_eq!(ends.contains(&in_vain), later == 530);
        ends.retain(|end| *end != in_vain);
        let served: Vec<u32> = ends.iter().map(|(name, _)| *name).collect();
        assert_eq!(served, order);
        // Who comes now has all his time.
        let _held = pick(&upstream, &[]).expect("room");
        let began = Instant::now();
        assert_eq!(wait_as(&upstream, 5).await.err(), Some("timeout"));
        assert_eq!(began.elapsed().as_millis(), 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_retry_has_waited_before_is_taken_off() {
    let upstream = with_queue(&world(), (2, Duration::from_secs(1)));
    let _held = pick(&upstream, &[]).expect("room");
    let mut waited = Waited::default();
    waited.add(Duration::from_millis(400));
    let in_queue = upstream.join_queue(1, &mut waited).expect("room");
    assert_eq!(in_queue.limit(), Duration::from_millis(600));
    drop(in_queue);
    waited.add(Duration::from_secs(3));
    // Who has no time left takes no other one's place.
    let mut others = [Waited::default(); 2];
    let others = others
        .each_mut()
        .map(|waited| upstream.join_queue(2, waited));
    let in_queue = upstream.join_queue(1, &mut waited);
    assert_eq!(in_queue.err(), Some(NotQueued::TimeOver));
    assert_eq!(upstream.waiting(), 2);
    drop(others);
}

#[test]
fn nobody_waits_where_nobody_may() {
    let world = world();
    for (size, wait) in [(0, LONG), (9, Duration::ZERO)] {
        assert!(!with_queue(&world, (size, wait)).lets_requests_wait());
    }
    assert!(running(&world, 1).lets_requests_wait(), "the default");
}
