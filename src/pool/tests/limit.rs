//! The limit of connections, which is counted over the pools of all workers.

use tokio::time::timeout;

use super::*;
use crate::endpoint::{IdleInbox, IdleRequests};

/// Two workers' pools, and what the second one is asked for.
struct Workers {
    here: Pool,
    there: Pool,
    asked: IdleInbox,
}

impl Workers {
    fn new(requests: &IdleRequests) -> Self {
        Self {
            here: Pool::default(),
            there: Pool::default(),
            asked: requests.subscribe(),
        }
    }

    /// What the other worker does when it gets to it.
    async fn attend(&mut self) {
        let request = self.asked.next().await.expect("somebody can ask");
        self.there.make_room(request);
    }
}

/// An endpoint that takes so many connections, as both workers know it.
async fn limited(max_connections: u32) -> (Peer, Workers) {
    let peer = Peer::with_connections(max_connections).await;
    let workers = Workers::new(peer.states.idle_requests());
    (peer, workers)
}

#[tokio::test(start_paused = true)]
async fn what_rests_with_another_worker_makes_room() {
    let (peer, mut workers) = limited(2).await;
    let (first, mut first_other) = peer.open().await;
    let (second, _second_other) = peer.open().await;
    workers
        .there
        .checkin(first, keep(SECOND, 10), Instant::now());
    workers
        .there
        .checkin(second, keep(SECOND, 10), Instant::now());
    let pool = std::mem::take(&mut workers.here);
    let (open, ()) = tokio::join!(pool.may_open(&peer.endpoint), workers.attend());
    // The one that has rested longest, and no more than was needed.
    closed(&mut first_other).await;
    assert_eq!(workers.there.len(), 1);
    assert_eq!(peer.endpoint.live.connections(), 2);
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn what_rests_with_oneself_makes_room_first() {
    let (peer, mut workers) = limited(1).await;
    let (idle, mut other) = peer.open().await;
    workers.here.checkin(idle, keep(SECOND, 10), Instant::now());
    let open = workers.here.may_open(&peer.endpoint).await;
    closed(&mut other).await;
    let asked = timeout(SECOND, workers.attend()).await;
    assert!(asked.is_err(), "nobody else was asked");
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_to_rest_while_somebody_waits() {
    let (peer, workers) = limited(1).await;
    let (busy, mut other) = peer.open().await;
    let returns = async {
        settle().await; // by then the other one stands in line
        workers
            .there
            .checkin(busy, keep(SECOND, 10), Instant::now());
    };
    let (open, ()) = tokio::join!(workers.here.may_open(&peer.endpoint), returns);
    closed(&mut other).await;
    assert!(workers.there.is_empty());
    drop(open);
    let (again, _other) = peer.open().await;
    workers
        .there
        .checkin(again, keep(SECOND, 10), Instant::now());
    assert_eq!(workers.there.len(), 1, "nobody waits any more");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_held_up_makes_nobody_wait_for_ever() {
    let (peer, mut workers) = limited(1).await;
    let (idle, _other) = peer.open().await;
    workers
        .there
        .checkin(idle, keep(SECOND, 10), Instant::now());
    let waited = timeout(SECOND, workers.here.may_open(&peer.endpoint)).await;
    assert!(waited.is_err());
    // When it gets to it, nobody wants it any more.
    workers.attend().await;
    assert_eq!(workers.there.len(), 1);
    assert_eq!(peer.endpoint.live.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_missed_requests_looks_at_everything() {
    let (peer, mut workers) = limited(1).await;
    let (idle, _other) = peer.open().await;
    workers
        .there
        .checkin(idle, keep(SECOND, 10), Instant::now());
    for _ in 0..1_000 {
        let gave_up = timeout(SECOND, workers.here.may_open(&peer.endpoint)).await;
        assert!(gave_up.is_err());
    }
    let pool = std::mem::take(&mut workers.here);
    let (open, ()) = tokio::join!(pool.may_open(&peer.endpoint), workers.attend());
    assert!(workers.there.is_empty());
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn a_lower_limit_is_reached_by_closing_what_rests() {
    let (mut peer, mut workers) = limited(3).await;
    let mut others = Vec::new();
    let mut opened = Vec::new();
    for _ in 0..3 {
        let (connection, other) = peer.open().await;
        opened.push(connection);
        others.push(other);
    }
    for connection in opened {
        workers
            .there
            .checkin(connection, keep(SECOND, 10), Instant::now());
    }
    // A reload: another endpoint, the same live state.
    peer.limit(1);
    let pool = std::mem::take(&mut workers.here);
    let (open, ()) = tokio::join!(pool.may_open(&peer.endpoint), workers.attend());
    assert!(workers.there.is_empty());
    assert_eq!(peer.endpoint.live.connections(), 1);
    drop(open);
}
