//! Who shares which connection, and who waits for what.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::body::{Body, Keeping};
use crate::endpoint::{Health, IdleRequest};
use crate::http2::Opening;
use crate::message::{Fields, RequestParts};
use crate::proxy_protocol::{Addresses, Introduction, Transport, Version};

impl Peer {
    /// One that speaks HTTP/2, with so many connections and streams on each.
    async fn of_http2(max_connections: u32, max_streams: u32) -> Self {
        let mut peer = Self::with_connections(max_connections).await;
        let mut endpoint = endpoint(&peer.states, peer.endpoint.address.clone(), max_connections);
        endpoint.protocol = Protocol::Http2;
        endpoint.http2.max_streams = max_streams;
        peer.endpoint = Arc::new(endpoint);
        peer
    }

    /// Hears everything, says how many streams it allows, and closes what our side has closed.
    async fn hears(&self) {
        while let Ok((mut stream, _)) = self.listener.accept().await {
            drop(spawn_local(async move {
                drop(stream.write_all(SETTINGS).await);
                closed(&mut stream).await;
            }));
        }
    }

    /// The same, as a task of its own.
    async fn heard(max_connections: u32, max_streams: u32) -> Rc<Self> {
        let peer = Rc::new(Self::of_http2(max_connections, max_streams).await);
        let hears = Rc::clone(&peer);
        drop(spawn_local(async move { hears.hears().await }));
        peer
    }

    /// The same endpoint, where nobody listens any more.
    async fn deaf(self) -> Self {
        drop(self.listener);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let elsewhere = TcpListener::bind(any).await.expect("a free port");
        Self {
            listener: elsewhere,
            endpoint: self.endpoint,
            states: self.states,
        }
    }

    /// Waits for a connection with room, as a request does.
    async fn carrier(&self, pool: &Pool) -> Result<Rc<Shared>, ConnectError> {
        if let Some(Carrier::Shared(shared)) =
            pool.share(&self.endpoint, Wanted::ANY, Instant::now(), &[])
        {
            return Ok(shared);
        }
        let times = (Instant::now(), SECOND * 3, [].as_slice());
        let progress = Progress::default();
        let opening = pool.open(&self.endpoint, Wanted::ANY, Purpose::Http, times, &progress);
        match opening.await? {
            Carrier::Shared(shared) => Ok(shared),
            Carrier::Own(_) => panic!("it speaks HTTP/2"),
        }
    }

    async fn call(&self, pool: &Pool) -> Call {
        let shared = self.carrier(pool).await.expect("it listens");
        call(&shared)
    }
}

fn call(shared: &Rc<Shared>) -> Call {
    let parts = RequestParts {
        method: Method::GET,
        uri: "/".parse().expect("a path"),
        version: http::Version::HTTP_11,
        headers: Fields::new(),
    };
    let opening = Opening {
        is_https: false,
        ends: true,
        length: None,
        te_trailers: false,
        protocol: None,
    };
    let called = Call::share(
        shared,
        &parts,
        opening,
        (Body::empty(), Keeping::default()),
        keep(SECOND * 60, 10),
    );
    called.expect("there is room").0
}

/// Whether a future is ready after everything that can happen has happened.
async fn ready<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    for _ in 0..20 {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        settle().await;
    }
    None
}

async fn within<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn those_who_come_at_once_open_one_connection() {
    within(async {
        let (peer, pool) = (Peer::heard(u32::MAX, 100).await, Pool::default());
        let mut first = pin!(peer.carrier(&pool));
        let mut second = pin!(peer.carrier(&pool));
        let first_poll = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx))).await;
        assert!(first_poll.is_pending(), "it waits for the opening");
        let second = ready(second.as_mut())
            .await
            .expect("opened")
            .expect("it listens");
        let first = ready(first.as_mut())
            .await
            .expect("opened")
            .expect("it listens");
        assert!(Rc::ptr_eq(&first, &second));
        assert_eq!(peer.endpoint.live.connections(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_oldest_with_room_is_taken_and_another_opened_beyond() {
    within(async {
        let (peer, pool) = (Peer::heard(u32::MAX, 2).await, Pool::default());
        let (first, _second) = (peer.call(&pool).await, peer.call(&pool).await);
        assert_eq!(peer.endpoint.live.connections(), 1);
        let _third = peer.call(&pool).await;
        assert_eq!(peer.endpoint.live.connections(), 2);
        drop(first);
        let _fourth = peer.call(&pool).await;
        settle().await; // the second's endpoint says how much it allows
        let Some(Carrier::Shared(next)) =
            pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[])
        else {
            panic!("the second has room");
        };
        assert_eq!(next.room(2), 1, "the first one is full again");
        assert_eq!(peer.endpoint.live.connections(), 2);
    })
    .await;
}

#[tokio::test]
async fn at_the_limit_of_connections_a_stream_is_waited_for() {
    within(async {
        let (peer, pool) = (Peer::heard(1, 1).await, Pool::default());
        let call = peer.call(&pool).await;
        let mut waits = pin!(peer.carrier(&pool));
        assert!(ready(waits.as_mut()).await.is_none(), "there is no room");
        drop(call);
        let carried = ready(waits.as_mut()).await;
        assert!(carried.expect("a stream has ended").is_ok());
        assert_eq!(peer.endpoint.live.connections(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_told_once_and_all_who_wait_hear_of_it() {
    within(async {
        let (peer, pool) = (Peer::of_http2(u32::MAX, 100).await, Pool::default());
        let peer = peer.deaf().await;
        let mut first = pin!(peer.carrier(&pool));
        let pending = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx))).await;
        assert!(pending.is_pending(), "it has not been told yet");
        let mut second = pin!(peer.carrier(&pool));
        let second = ready(second.as_mut()).await.expect("told").map(drop);
        let first = ready(first.as_mut()).await.expect("told").map(drop);
        assert!(matches!(first, Err(ConnectError::Refused(_))), "{first:?}");
        assert!(
            matches!(
                second,
                Err(ConnectError::Joined {
                    failure: ConnectFailure::Refused,
                    ..
                })
            ),
            "{second:?}"
        );
    })
    .await;
}

/// An endpoint with as many connections as it takes refuses another one, and goes on with those.
#[tokio::test]
async fn who_may_get_room_is_not_told_that_no_other_connection_could_be_opened() {
    within(async {
        let (peer, pool) = (Peer::of_http2(u32::MAX, 1).await, Pool::default());
        let mut first = peer.call(&pool).await;
        let (mut stream, _) = peer.listener.accept().await.expect("it was opened");
        stream.write_all(SETTINGS).await.expect("it is open");
        stream.write_all(&answer(1)).await.expect("it is open");
        let event = poll_fn(|cx| first.poll_event(cx)).await;
        assert!(matches!(event, Ok(Event::Response(_))), "{event:?}");
        drop(first);
        let second = peer.call(&pool).await;
        let peer = peer.deaf().await;
        {
            let mut waits = pin!(peer.carrier(&pool));
            assert!(ready(waits.as_mut()).await.is_none(), "it is refused");
            drop(second);
            let carried = ready(waits.as_mut()).await.expect("a stream has ended");
            assert!(carried.is_ok());
        }
        let _third = peer.call(&pool).await;
        let told = peer.carrier(&pool).await.map(drop);
        assert!(matches!(told, Err(ConnectError::Refused(_))), "{told:?}");
    })
    .await;
}

/// Whoever asked may have got room elsewhere meanwhile: if each opening ended with that, none would
/// ever stand where handshakes are slow.
#[tokio::test]
async fn what_is_being_opened_for_nobody_any_more_rests() {
    within(async {
        let (peer, pool) = (Peer::of_http2(u32::MAX, 100).await, Pool::default());
        {
            let mut waits = pin!(peer.carrier(&pool));
            let polled = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            assert_eq!(peer.endpoint.live.connections(), 1, "it is being opened");
        }
        settle().await;
        assert_eq!((peer.endpoint.live.connections(), pool.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_the_place_of_a_connection_that_nobody_wants() {
    within(async {
        let (peer, other) = (Peer::heard(1, 100).await, Pool::default());
        let call = peer.call(&other).await;
        let pool = Pool::default();
        {
            let mut waits = pin!(peer.carrier(&pool));
            assert!(ready(waits.as_mut()).await.is_none());
        }
        drop(call);
        other.sweep(Instant::now());
        settle().await;
        assert_eq!(pool.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_busy_connection_makes_room_for_another_worker() {
    within(async {
        let peer = Rc::new(Peer::of_http2(1, 100).await);
        let pool = Pool::default();
        let hears = Rc::clone(&peer);
        let _hears = spawn_local(async move { hears.hears().await });
        let call = peer.call(&pool).await;
        let other = Pool::default();
        let mut waits = pin!(peer.carrier(&other));
        assert!(
            ready(waits.as_mut()).await.is_none(),
            "the other worker has the one"
        );
        pool.make_room(IdleRequest::For(peer.endpoint.live.id()));
        assert!(
            pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[])
                .is_none(),
            "it takes no more"
        );
        drop(call);
        let carried = ready(waits.as_mut()).await;
        assert!(carried.expect("it has ended").is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_rests_for_too_long_or_leads_nowhere_is_closed() {
    within(async {
        let peer = Rc::new(Peer::of_http2(u32::MAX, 100).await);
        let pool = Pool::default();
        let hears = Rc::clone(&peer);
        let _hears = spawn_local(async move { hears.hears().await });
        drop(peer.call(&pool).await);
        tokio::time::advance(SECOND * 59).await;
        pool.sweep(Instant::now());
        settle().await;
        assert_eq!(peer.endpoint.live.connections(), 1, "it may rest");
        let call = peer.call(&pool).await;
        peer.endpoint.live.set_retired(true);
        pool.sweep(Instant::now());
        assert!(
            pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[])
                .is_none(),
            "it takes no more"
        );
        settle().await;
        assert_eq!(peer.endpoint.live.connections(), 1, "its request goes on");
        drop(call);
        settle().await;
        assert_eq!(peer.endpoint.live.connections(), 0);
        peer.endpoint.live.set_retired(false);
        drop(peer.call(&pool).await);
        tokio::time::advance(SECOND * 61).await;
        pool.sweep(Instant::now());
        settle().await;
        assert_eq!(peer.endpoint.live.connections(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_gives_no_sign_loses_its_connection() {
    within(async {
        let (peer, pool) = (Peer::of_http2(u32::MAX, 100).await, Pool::default());
        let mut call = peer.call(&pool).await;
        let http2 = peer.endpoint.http2;
        pool.sweep(Instant::now());
        tokio::time::advance(http2.keepalive_interval).await;
        pool.sweep(Instant::now());
        tokio::time::advance(SECOND).await;
        pool.sweep(Instant::now());
        assert!(
            pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[])
                .is_none(),
            "it is in doubt"
        );
        tokio::time::advance(http2.keepalive_timeout).await;
        pool.sweep(Instant::now());
        for _ in 0..2 {
            settle().await;
            pool.sweep(Instant::now());
            tokio::time::advance(SECOND).await;
        }
        pool.sweep(Instant::now());
        settle().await;
        let live = &peer.endpoint.live;
        assert_eq!(live.connections(), 0);
        live.set_health(Health::HalfOpen, None);
        let _trial = live.begin().let_through();
        let lost = poll_fn(|cx| call.poll_event(cx)).await;
        assert!(matches!(lost, Err(CallError::Lost { .. })), "{lost:?}");
        assert!(live.is_backing_off(Instant::now()));
        assert_eq!(live.take_trial(), None, "it began before");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_had_no_time_is_no_reason_to_leave_its_connection() {
    within(async {
        let (peer, pool) = (Peer::of_http2(u32::MAX, 100).await, Pool::default());
        let has_room = || {
            let shared = pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[]);
            shared.is_some()
        };
        for _ in 0..4 {
            let call = peer.call(&pool).await;
            assert!(matches!(call.overdue(false, false), CallError::TimedOut));
        }
        assert_eq!(peer.endpoint.live.connections(), 1);
        assert!(has_room(), "any client may set a short limit");
        // But it is asked for a sign.
        tokio::time::advance(SECOND).await;
        pool.sweep(Instant::now());
        assert!(!has_room(), "it gave none");

        let (peer, pool) = (Peer::of_http2(u32::MAX, 100).await, Pool::default());
        let call = peer.call(&pool).await;
        assert!(matches!(call.overdue(true, false), CallError::TimedOut));
        drop(call);
        let shared = pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[]);
        assert!(shared.is_none(), "it had its time");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_take_long_are_no_reason_to_leave_their_connection() {
    within(async {
        let (peer, pool) = (Peer::of_http2(u32::MAX, 100).await, Pool::default());
        // More than there are signs to be asked for.
        for _ in 0..5 {
            let call = peer.call(&pool).await;
            assert!(call.looked_after().is_ok());
            assert!(matches!(call.overdue(false, false), CallError::TimedOut));
        }
        let has_room = || {
            let shared = pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[]);
            shared.is_some()
        };
        assert_eq!(peer.endpoint.live.connections(), 1);
        assert!(has_room(), "it has not had the time for a sign");
        tokio::time::advance(SECOND).await;
        pool.sweep(Instant::now());
        assert!(!has_room(), "it gave none");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_was_asked_too_often_is_asked_half_as_often() {
    within(async {
        let (peer, pool) = (Peer::of_http2(u32::MAX, 100).await, Pool::default());
        let interval = peer.endpoint.http2.keepalive_interval;
        let first = peer.call(&pool).await;
        let (mut stream, _) = peer.listener.accept().await.expect("it was opened");
        stream.write_all(SETTINGS).await.expect("it is open");
        stream.write_all(&calm()).await.expect("it is open");
        settle().await;
        drop((first, stream));
        tokio::time::advance(SECOND).await;
        pool.sweep(Instant::now());
        let _second = peer.call(&pool).await;
        assert_eq!(pool.len(), 1, "the first one has ended");
        let (mut stream, _) = peer.listener.accept().await.expect("it was opened");
        stream.write_all(SETTINGS).await.expect("it is open");
        settle().await;
        let is_in_doubt = async || {
            pool.sweep(Instant::now());
            tokio::time::advance(SECOND).await;
            pool.sweep(Instant::now());
            pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[])
                .is_none()
        };
        pool.sweep(Instant::now());
        tokio::time::advance(interval + SECOND).await;
        assert!(!is_in_doubt().await, "it is not asked yet");
        tokio::time::advance(interval).await;
        assert!(is_in_doubt().await, "it is asked, and says nothing");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_only_connection_gives_way_for_a_moment() {
    within(async {
        let (peer, pool) = (Peer::heard(1, 100).await, Pool::default());
        let _endless = peer.call(&pool).await;
        let other = Pool::default();
        let mut waits = pin!(peer.carrier(&other));
        assert!(ready(waits.as_mut()).await.is_none());
        pool.make_room(IdleRequest::For(peer.endpoint.live.id()));
        let share = || pool.share(&peer.endpoint, Wanted::ANY, Instant::now(), &[]);
        assert!(share().is_none(), "it gives way");
        tokio::time::advance(SECOND).await;
        assert!(share().is_some(), "what runs on it does not end");
        assert_eq!(pool.len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_quiet_is_not_asked_as_often_as_servers_of_grpc_forbid() {
    assert!(Http2::default().keepalive_interval > SECOND * 300);
}

/// A client by its port, as an endpoint is told.
fn client(port: u16) -> Introduction {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let addresses = Addresses {
        source: at(port),
        destination: at(80),
        transport: Transport::Stream,
    };
    Introduction::of_addresses(Version::V2, addresses)
}

fn of(client: &Introduction) -> Wanted<'_> {
    Wanted {
        host: None,
        client: Some(client),
    }
}

/// An endpoint that may choose what it speaks, and is told whom a connection is for.
async fn told() -> Peer {
    let mut peer = Peer::new().await;
    let mut endpoint = endpoint(&peer.states, peer.endpoint.address.clone(), u32::MAX);
    endpoint.protocol = Protocol::Either;
    endpoint.proxy_protocol = Some(Version::V2);
    peer.endpoint = Arc::new(endpoint);
    peer
}

#[tokio::test(start_paused = true)]
async fn who_wants_http_1_1_gets_it_for_minutes_whatever_a_connection_depends_on() {
    within(async {
        let (peer, pool) = (told().await, Pool::default());
        let (one, other) = (client(1), client(2));
        for _ in 0..3 {
            pool.wants_http1(&peer.endpoint, of(&one), Instant::now());
        }
        let requires = |client| pool.requires_http1(&peer.endpoint, of(client), Instant::now());
        tokio::time::advance(SECOND * 299).await;
        pool.sweep(Instant::now());
        assert!(requires(&one));
        assert!(!requires(&other));
        tokio::time::advance(SECOND).await;
        pool.sweep(Instant::now());
        assert!(!requires(&one));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_clients_that_have_gone_is_taken_out_before_there_is_much() {
    within(async {
        let (peer, pool) = (told().await, Pool::default());
        let groups: Vec<_> = (1..=1000)
            .map(|port| {
                let client = client(port);
                let group = pool.groups.group(&peer.endpoint, of(&client));
                assert!(Rc::ptr_eq(
                    &group,
                    &pool.groups.group(&peer.endpoint, of(&client))
                ));
                Rc::downgrade(&group)
            })
            .collect();
        let left = groups.iter().filter(|group| group.strong_count() > 0);
        assert!(left.count() <= 64);
    })
    .await;
}

/// Clients bring hosts and ports as many as they like.
#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_many_is_bounded() {
    within(async {
        let (peer, pool) = (told().await, Pool::default());
        for port in 1..=1000 {
            let client = client(port);
            for _ in 0..3 {
                pool.wants_http1(&peer.endpoint, of(&client), Instant::now());
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        pool.sweep(Instant::now());
        let remembered: Vec<u16> = (1..=1000)
            .filter(|port| {
                let client = client(*port);
                pool.requires_http1(&peer.endpoint, of(&client), Instant::now())
            })
            .collect();
        let latest: Vec<u16> = (1000 - 255..=1000).collect();
        assert_eq!(remembered, latest);
    })
    .await;
}

/// A response without a body on a stream: HEADERS with `:status: 200`, and the end.
fn answer(stream: u8) -> [u8; 10] {
    [0, 0, 1, 1, 5, 0, 0, 0, stream, 0x88]
}

/// GOAWAY that leaves everything out: `ENHANCE_YOUR_CALM`, as servers of gRPC say it.
fn calm() -> Vec<u8> {
    let why = b"too_many_pings";
    let mut frame = vec![0, 0, 8 + 14, 7, 0, 0, 0, 0, 0];
    frame.extend([0, 0, 0, 0, 0, 0, 0, 11]);
    frame.extend(why);
    frame
}

/// SETTINGS that say nothing: all is as it is by default.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
