//! Which idle connections are taken again, which are closed, and what is learned from them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::advance;

use super::*;
use crate::endpoint::Health;
use crate::http1::Amount;
use crate::proxy_protocol::{Addresses, Transport, Version};

#[tokio::test(start_paused = true)]
async fn the_connection_used_last_is_taken_first() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let mut ports = Vec::new();
    let mut others = Vec::new();
    for _ in 0..3 {
        let (connection, other) = peer.open().await;
        ports.push(port(&connection));
        others.push(other);
        pool.checkin(connection, keep(SECOND, 10), Instant::now());
    }
    assert_eq!((pool.len(), pool.is_empty()), (3, false));
    while let Some(expected) = ports.pop() {
        let taken = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
        assert_eq!(taken.map(|taken| port(&taken)), Some(expected));
    }
    assert!(
        pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false)
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_too_many_is_closed() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (first, _first_other) = peer.open().await;
    let (second, mut second_other) = peer.open().await;
    let first_port = port(&first);
    pool.checkin(first, keep(SECOND, 1), Instant::now());
    pool.checkin(second, keep(SECOND, 1), Instant::now());
    closed(&mut second_other).await;
    assert_eq!((pool.len(), peer.endpoint.live.connections()), (1, 1));
    let left = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
    assert_eq!(left.map(|left| port(&left)), Some(first_port));
    let (none, mut other) = peer.open().await;
    pool.checkin(none, keep(SECOND, 0), Instant::now());
    closed(&mut other).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_closed_is_passed_over() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (below, _below_other) = peer.open().await;
    let (above, above_other) = peer.open().await;
    let below_port = port(&below);
    pool.checkin(below, keep(SECOND, 10), Instant::now());
    pool.checkin(above, keep(SECOND, 10), Instant::now());
    drop(above_other);
    settle().await;
    let taken = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
    assert_eq!(taken.map(|taken| port(&taken)), Some(below_port));
    assert!(
        pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false)
            .is_none()
    );
    assert_eq!(peer.endpoint.live.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_spoke_unasked_is_closed() {
    // Whatever it said would be taken for the answer to the next request.
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (connection, mut other) = peer.open().await;
    pool.checkin(connection, keep(SECOND, 10), Instant::now());
    other
        .write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        .await
        .expect("it is open");
    settle().await;
    assert!(
        pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false)
            .is_none()
    );
    closed(&mut other).await;

    // The sweep finds it too.
    let (connection, mut other) = peer.open().await;
    pool.checkin(connection, keep(SECOND, 10), Instant::now());
    other.write_all(b"x").await.expect("it is open");
    settle().await;
    pool.sweep(Instant::now());
    assert!(pool.is_empty());
    closed(&mut other).await;
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_a_response_keep_its_connection_out() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (mut connection, mut other) = peer.open().await;
    other.write_all(b"more").await.expect("it is open");
    settle().await;
    assert_eq!(connection.state(), State::Dirty);
    assert_eq!(connection.state(), State::Dirty, "it does not become clean");
    let Connection {
        stream, received, ..
    } = &mut *connection;
    received
        .try_fill(stream, Amount::Usual)
        .expect("it was sent");
    assert_eq!(connection.state(), State::Dirty, "read or not");
    pool.checkin(connection, keep(SECOND, 10), Instant::now());
    assert!(pool.is_empty());
    closed(&mut other).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rested_too_long_takes_those_below_along() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (below, mut below_other) = peer.open().await;
    let (above, mut above_other) = peer.open().await;
    pool.checkin(below, keep(SECOND, 10), Instant::now());
    pool.checkin(above, keep(SECOND, 10), Instant::now());
    advance(SECOND).await;
    assert!(
        pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false)
            .is_none()
    );
    assert_eq!(pool.len(), 0);
    closed(&mut below_other).await;
    closed(&mut above_other).await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_repeated_wants_a_fresh_connection() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (connection, _other) = peer.open().await;
    pool.checkin(connection, keep(SECOND * 2, 10), Instant::now());
    advance(SECOND).await;
    assert!(
        pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), true)
            .is_none()
    );
    // It is still good for others, and once it has been used for the first kind again.
    let taken = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
    pool.checkin(
        taken.expect("it stays"),
        keep(SECOND * 2, 10),
        Instant::now(),
    );
    advance(Duration::from_millis(999)).await;
    assert!(
        pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), true)
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn the_sweep_closes_what_is_of_no_use() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (old, mut old_other) = peer.open().await;
    pool.checkin(old, keep(SECOND, 10), Instant::now());
    let (cut, cut_other) = peer.open().await;
    pool.checkin(cut, keep(SECOND * 5, 10), Instant::now());
    let (good, _good_other) = peer.open().await;
    let good_port = port(&good);
    pool.checkin(good, keep(SECOND * 5, 10), Instant::now());
    drop(cut_other);
    settle().await;
    advance(SECOND).await;
    pool.sweep(Instant::now());
    assert_eq!((pool.len(), peer.endpoint.live.connections()), (1, 1));
    closed(&mut old_other).await;
    let left = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
    assert_eq!(left.map(|left| port(&left)), Some(good_port));
}

#[tokio::test(start_paused = true)]
async fn connections_to_a_removed_endpoint_are_closed() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (idle, mut idle_other) = peer.open().await;
    let (busy, mut busy_other) = peer.open().await;
    pool.checkin(idle, keep(SECOND, 10), Instant::now());
    peer.endpoint.live.set_retired(true);
    pool.sweep(Instant::now());
    closed(&mut idle_other).await;
    pool.checkin(busy, keep(SECOND, 10), Instant::now());
    closed(&mut busy_other).await;
    assert!(pool.is_empty());
    assert_eq!(peer.endpoint.live.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_changes_the_protocol_holds_at_once() {
    let mut peer = Peer::new().await;
    let pool = Pool::default();
    let (connection, _stream) = peer.open().await;
    pool.checkin(connection, keep(SECOND * 10, 10), Instant::now());
    let mut changed = endpoint(&peer.states, peer.endpoint.address.clone(), u32::MAX);
    changed.protocol = Protocol::Http2;
    peer.endpoint = Arc::new(changed);
    let taken = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
    assert!(taken.is_none(), "it speaks HTTP/1.1");
    assert!(pool.is_empty());
}

#[tokio::test(start_paused = true)]
async fn endpoints_have_a_stack_each() {
    let states = LiveStates::new();
    let pool = Pool::default();
    let mut peers = [Peer::new().await, Peer::new().await];
    let mut others = Vec::new();
    let mut ports = Vec::new();
    for peer in &mut peers {
        // From one place, as in the program, so that their numbers differ.
        let live = states.get_or_create("api", &peer.endpoint.address);
        let endpoint = Arc::get_mut(&mut peer.endpoint).expect("nobody else has it");
        endpoint.live = live;
        let (connection, other) = peer.open().await;
        ports.push(port(&connection));
        others.push(other);
        pool.checkin(connection, keep(SECOND, 10), Instant::now());
    }
    for (peer, expected) in peers.iter().zip(ports) {
        let taken = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
        assert_eq!(taken.map(|taken| port(&taken)), Some(expected));
        assert!(
            pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false)
                .is_none()
        );
    }
}

/// The endpoint closes a connection that has been idle for so long; looked at every second.
async fn closes_after(peer: &Peer, pool: &Pool, idle: Duration) {
    let (connection, other) = peer.open().await;
    pool.checkin(connection, keep(SECOND * 60, 10), Instant::now());
    let mut left = idle;
    while left > SECOND {
        advance(SECOND).await;
        pool.sweep(Instant::now());
        assert_eq!(pool.len(), 1);
        left -= SECOND;
    }
    advance(left).await;
    drop(other);
    settle().await;
    pool.sweep(Instant::now());
    assert!(pool.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_idle_time_of_an_endpoint_is_learned_and_kept_under() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    closes_after(&peer, &pool, Duration::from_millis(2500)).await;
    // Seen open after 2 s, closed at the next look.
    let limit = peer.endpoint.live.idle_limit().expect("it was learned");
    assert!(limit < SECOND * 2 && limit > SECOND, "{limit:?}");
    let (connection, _other) = peer.open().await;
    pool.checkin(connection, keep(SECOND * 60, 10), Instant::now());
    advance(limit).await;
    assert!(
        pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false)
            .is_none()
    );
    assert!(pool.is_empty(), "it was closed before the endpoint would");
}

#[tokio::test(start_paused = true)]
async fn the_checkout_learns_as_well() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (connection, other) = peer.open().await;
    pool.checkin(connection, keep(SECOND * 60, 10), Instant::now());
    advance(SECOND * 3).await;
    pool.sweep(Instant::now());
    drop(other);
    settle().await;
    assert!(
        pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false)
            .is_none()
    );
    let limit = peer.endpoint.live.idle_limit().expect("it was learned");
    assert!(limit < SECOND * 3 && limit > SECOND * 2, "{limit:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_idle_time_is_learned_by_looking_often() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    for round in 0..2 {
        assert_eq!(peer.endpoint.live.idle_limit(), None, "round {round}");
        let (connection, other) = peer.open().await;
        pool.checkin(connection, keep(SECOND * 60, 10), Instant::now());
        for _ in 0..3 {
            advance(LOOK).await;
            pool.look(Instant::now());
            assert_eq!(pool.len(), 1);
        }
        drop(other);
        settle().await;
        advance(LOOK).await;
        pool.look(Instant::now());
        assert!(pool.is_empty());
        advance(SECOND).await;
    }
    let limit = peer.endpoint.live.idle_limit();
    assert_eq!(limit, Some(Duration::from_millis(540)));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_young_is_looked_at_often() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (old, old_other) = peer.open().await;
    pool.checkin(old, keep(SECOND * 60, 10), Instant::now());
    advance(SECOND * 5).await;
    let (young, young_other) = peer.open().await;
    pool.checkin(young, keep(SECOND * 60, 10), Instant::now());
    let (kept, kept_other) = peer.open().await;
    pool.checkin(kept, keep(SECOND * 60, 10), Instant::now());
    drop((old_other, young_other));
    settle().await;
    advance(LOOK).await;
    pool.look(Instant::now());
    assert_eq!(pool.len(), 2);
    pool.sweep(Instant::now());
    assert_eq!(pool.len(), 1);
    let left = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
    assert_eq!(left.map(|left| port(&left)), Some(peer_port(&kept_other)));
}

#[tokio::test(start_paused = true)]
async fn what_was_learned_keeps_nothing_for_longer() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    peer.endpoint.live.learn_idle_close(SECOND * 20);
    let (connection, _other) = peer.open().await;
    pool.checkin(connection, keep(SECOND * 4, 10), Instant::now());
    advance(SECOND * 4).await;
    pool.sweep(Instant::now());
    assert!(pool.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_says_nothing_about_the_idle_time_is_not_learned() {
    let early = Peer::new().await;
    closes_after(&early, &Pool::default(), SECOND / 2).await;
    assert_eq!(early.endpoint.live.idle_limit(), None, "it restarted");

    let unhealthy = Peer::new().await;
    unhealthy.endpoint.live.set_health(Health::Unhealthy, None);
    closes_after(&unhealthy, &Pool::default(), SECOND * 3).await;
    assert_eq!(unhealthy.endpoint.live.idle_limit(), None, "it is failing");

    let (gone, pool) = (Peer::new().await, Pool::default());
    let (connection, other) = gone.open().await;
    pool.checkin(connection, keep(SECOND * 60, 10), Instant::now());
    advance(SECOND * 3).await;
    pool.sweep(Instant::now());
    gone.endpoint.live.connect_failed(Instant::now());
    drop(other);
    settle().await;
    pool.sweep(Instant::now());
    assert_eq!(
        gone.endpoint.live.idle_limit(),
        None,
        "it cannot be reached"
    );
}

#[tokio::test(start_paused = true)]
async fn clearing_closes_everything() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (connection, mut other) = peer.open().await;
    pool.checkin(connection, keep(SECOND, 10), Instant::now());
    pool.clear();
    closed(&mut other).await;
    assert!(pool.is_empty());
    assert_eq!(peer.endpoint.live.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_connections_than_allowed_are_opened() {
    let peer = Peer::with_connections(1).await;
    let (first, _other) = peer.open().await;
    let pool = Pool::default();
    let more = tokio::time::timeout(SECOND, pool.may_open(&peer.endpoint)).await;
    assert!(more.is_err(), "one is open");
    drop(first);
    let (second, _other) = peer.open().await;
    drop(second);
    // One that failed is not counted.
    drop(peer.listener);
    for _ in 0..2 {
        let open = pool.may_open(&peer.endpoint).await;
        let refused = Connection::open(
            &peer.endpoint,
            Wanted::ANY,
            Purpose::Http,
            (open, &Progress::default()),
        )
        .await;
        assert!(refused.is_err());
    }
    assert_eq!(peer.endpoint.live.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_knows_that_it_was_used() {
    let (peer, pool) = (Peer::new().await, Pool::default());
    let (connection, other) = peer.open().await;
    assert_eq!(port(&connection), peer_port(&other));
    assert!(!connection.is_reused());
    pool.checkin(connection, keep(SECOND, 1), Instant::now());
    let again = pool.checkout(&peer.endpoint, Wanted::ANY, Instant::now(), false);
    assert!(again.expect("it is kept").is_reused());
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_used_again_by_whom_it_introduced() {
    let (mut peer, pool) = (Peer::new().await, Pool::default());
    let endpoint = Arc::get_mut(&mut peer.endpoint).expect("nobody else has it");
    endpoint.proxy_protocol = Some(Version::V1);
    let client = |port: u16| {
        let (source, destination) = (([192, 0, 2, 7], port), ([192, 0, 2, 1], 80));
        let stream = Transport::Stream;
        let addresses = Addresses::new(source.into(), destination.into(), stream);
        Introduction::of_addresses(Version::V1, addresses)
    };
    let (one, other) = (client(1), client(2));
    let mut ends = Vec::new();
    for client in [&one, &other] {
        let open = pool.may_open(&peer.endpoint).await;
        let opened = Connection::open(
            &peer.endpoint,
            wanted(client),
            Purpose::Http,
            (open, &Progress::default()),
        )
        .await;
        let (mut end, _) = peer.listener.accept().await.expect("it was opened");
        let mut header = client.finished();
        let expected = header.clone();
        header.fill(0);
        end.read_exact(&mut header)
            .await
            .expect("it is said at once");
        assert_eq!(header, expected);
        ends.push(end);
        let opened = opened.expect("it listens");
        pool.checkin(opened, keep(SECOND, 10), Instant::now());
    }
    let take = |client: &Introduction| {
        pool.checkout(&peer.endpoint, wanted(client), Instant::now(), false)
    };
    assert!(take(&client(3)).is_none(), "nobody knows him");
    let taken = take(&client(1)).expect("the same client, said anew");
    assert_eq!(
        port(&taken),
        peer_port(&ends[0]),
        "though another one was used last"
    );
    assert!(take(&one).is_none());
    // A reload may have it that nobody is introduced any more.
    let endpoint = Arc::new(endpoint_of(&peer));
    let now = Instant::now();
    assert!(pool.checkout(&endpoint, Wanted::ANY, now, false).is_none());
}

/// The same endpoint, which is told nothing.
fn endpoint_of(peer: &Peer) -> Endpoint {
    endpoint(&peer.states, peer.endpoint.address.clone(), u32::MAX)
}

/// A connection on which this client was introduced.
fn wanted(client: &Introduction) -> Wanted<'_> {
    Wanted {
        host: None,
        client: Some(client),
    }
}

/// How often a worker looks.
const LOOK: Duration = Duration::from_millis(200);
