use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::{Shared, spawn};
use crate::config::Config;
use crate::drain::{self, Trigger};
use crate::listener::{Accepted, Acceptor, Balance, Guard, Stop};
use crate::net::{Address, Sockets, Transport};
use crate::protocol::{http, tcp};
use crate::snapshot::{Handle, Ingredients, Listener, Snapshot, build};
use crate::telemetry::access::{Settings, Sink, Writer};
use crate::telemetry::beats::Beats;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::{Format, Registry};
use crate::telemetry::panics;
use crate::upstream::{ResolvedEndpoint, World};

mod relaying;
mod sessions;

/// Workers that serve listeners of TCP or UDP, all to the upstream `u`.
struct Rig {
    handle: Handle,
    trigger: Trigger,
    shared: Shared,
    world: World,
    threads: Vec<JoinHandle<()>>,
    log: PathBuf,
    sink: Sink,
}

/// A listener of a configuration, with the sockets that it has.
type Bound = (&'static str, Arc<Sockets>, u32);

impl Rig {
    fn start(workers: usize, listeners: &[Bound], endpoints: &[SocketAddr]) -> Self {
        let registry = Registry::new(workers + 1);
        let log = log_path();
        let settings = Settings::new(&crate::config::Log {
            output: Some(log.display().to_string()),
            ..Default::default()
        });
        let sink = Writer::spawn(&settings, &registry).expect("a log");
        let events = Events::default();
        let world = World::new(registry.clone(), events.clone());
        let handle = Handle::new(snapshot(&world, None, listeners, endpoints));
        let (trigger, watcher) = drain::channel();
        let (balance, inboxes) = Balance::new(workers);
        let shared = Shared {
            handle: handle.clone(),
            drain: watcher.into(),
            balance,
            idle_requests: world.live.idle_requests().clone(),
            sink: sink.clone(),
            events,
            registry,
            beats: Beats::new(workers),
            seed: 1,
        };
        let threads = inboxes
            .into_iter()
            .enumerate()
            .map(|(index, inbox)| spawn(index, shared.clone(), inbox).expect("a thread"))
            .collect();
        Self {
            handle,
            trigger,
            shared,
            world,
            threads,
            log,
            sink,
        }
    }

    fn reload(&self, listeners: &[Bound], endpoints: &[SocketAddr]) {
        let next = snapshot(&self.world, Some(&self.handle.load()), listeners, endpoints);
        drop(self.handle.replace(next));
    }

    fn metric(&self, series: &str) -> i64 {
        let mut text = String::new();
        self.world.registry.encode(Format::Text, &mut text);
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series))
            .unwrap_or_else(|| panic!("{series} is missing in {text}"));
        value.trim().parse().expect("a whole number")
    }

    /// Ends the workers and returns what they logged.
    fn end(self) -> String {
        self.trigger.cut();
        for thread in self.threads {
            thread.join().expect("a worker panicked");
        }
        assert!(self.sink.finish(LONG), "the log is not written");
        let text = std::fs::read_to_string(&self.log).expect("the log");
        std::fs::remove_file(&self.log).expect("the log");
        text
    }
}

fn snapshot(
    world: &World,
    previous: Option<&Snapshot>,
    listeners: &[Bound],
    endpoints: &[SocketAddr],
) -> Snapshot {
    let mut text = String::from(
        "[upstream.u]\nbalance = \"first_healthy\"\ntimeouts = { connect = \"1s\" }\n",
    );
    for (name, sockets, max_connections) in listeners {
        let limit = format!("max_connections = {max_connections}");
        let protocol = match sockets.transport {
            Transport::Udp => "protocols = [\"udp\"]",
            Transport::Tcp | Transport::Unix => "protocols = [\"tcp\"]",
        };
        let lines = ["bind = \":0\"", protocol, "upstream = \"u\"", &limit];
        text.push_str(&["[listener.", name, "]\n", &lines.join("\n"), "\n"].concat());
    }
    let config: Config = toml::from_str(&text).expect("a configuration");
    let endpoints = endpoints
        .iter()
        .map(|address| ResolvedEndpoint::at(Address::Ip(*address)));
    build(Ingredients {
        generation: previous.map_or(1, |snapshot| snapshot.generation + 1),
        sha256: "".into(),
        config: Arc::new(config),
        endpoints: BTreeMap::from([("u".to_owned(), endpoints.collect())]),
        certificates: BTreeMap::new(),
        materials: BTreeMap::new(),
        sockets: listeners
            .iter()
            .map(|(name, sockets, _)| ((*name).to_owned(), Arc::clone(sockets)))
            .collect(),
        world,
        previous,
        seed: 1,
    })
    .expect("a snapshot")
}

fn log_path() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!(
        "evenkeel-worker-{}-{number}.log",
        std::process::id()
    ))
}

fn bound(workers: usize) -> Arc<Sockets> {
    Arc::new(Sockets::bind("127.0.0.1:0", workers).expect("bind"))
}

/// An endpoint that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                drop(tokio::io::copy(&mut reader, &mut writer).await);
            });
        }
    });
    address
}

/// An address that refuses.
async fn dead() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("address")
}

/// An endpoint whose accept queue is full, so that it answers no further SYN.
struct Silent {
    address: SocketAddr,
    _listener: std::net::TcpListener,
    _waiting: Vec<std::net::TcpStream>,
}

fn silent() -> Silent {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("bind");
    socket.listen(0).expect("listen");
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr().expect("address");
    let patience = Duration::from_millis(100);
    let next = || std::net::TcpStream::connect_timeout(&address, patience).ok();
    Silent {
        address,
        _waiting: std::iter::from_fn(next).collect(),
        _listener: listener,
    }
}

async fn connect(sockets: &Sockets) -> TcpStream {
    TcpStream::connect(sockets.local).await.expect("connect")
}

/// Whether a connection carries a byte there and back.
async fn echoes(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    stream.write_all(b"x").await.is_ok()
        && timeout(LONG, stream.read_exact(&mut byte))
            .await
            .is_ok_and(|read| read.is_ok())
}

async fn is_reset(mut stream: TcpStream) -> bool {
    let read = timeout(LONG, stream.read_u8())
        .await
        .expect("neither bytes nor an end");
    read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

/// Whether a connection is accepted and reset at once, which a client may see before or after its
/// connect returns.
async fn is_turned_away(sockets: &Sockets) -> bool {
    match TcpStream::connect(sockets.local).await {
        Ok(stream) => is_reset(stream).await,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// Waits for something that other threads bring about.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come to be");
}

#[tokio::test]
async fn a_session_is_relayed_counted_and_logged() {
    let sockets = bound(1);
    let endpoint = echo().await;
    let rig = Rig::start(1, &[("l", Arc::clone(&sockets), 10)], &[endpoint]);
    let mut client = connect(&sockets).await;
    client.write_all(b"hello").await.expect("write");
    client.shutdown().await.expect("shutdown");
    let mut text = String::new();
    client
        .read_to_string(&mut text)
        .await
        .expect("an orderly end");
    assert_eq!(text, "hello");
    let ended = "evenkeel_l4_sessions_total{listener=\"l\",upstream=\"u\",result=\"ok\"}";
    eventually("the end of the session", || rig.metric(ended) == 1).await;
    assert_eq!(
        rig.metric("evenkeel_l4_sessions{listener=\"l\",upstream=\"u\"}"),
        0
    );
    for direction in ["sent", "received"] {
        let labels = format!("{{listener=\"l\",upstream=\"u\",direction=\"{direction}\"}}");
        assert_eq!(rig.metric(&format!("evenkeel_l4_bytes_total{labels}")), 5);
    }
    let open = "evenkeel_connections{listener=\"l\",protocol=\"tcp\"}";
    eventually("the end of the connection", || rig.metric(open) == 0).await;
    let log = rig.end();
    for part in [
        "\"listener\":\"l\"",
        "\"upstream\":\"u\"",
        "\"end\":\"ok\"",
        "\"attempts\":1",
    ] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
    assert!(log.contains(&endpoint.to_string()), "{log}");
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let sockets = bound(1);
    let endpoints = [dead().await, dead().await, echo().await];
    let rig = Rig::start(1, &[("l", Arc::clone(&sockets), 10)], &endpoints);
    let mut client = connect(&sockets).await;
    assert!(echoes(&mut client).await, "a living endpoint was left");
    drop(client);
    let ended = "evenkeel_l4_sessions_total{listener=\"l\",upstream=\"u\",result=\"ok\"}";
    eventually("the end of the session", || rig.metric(ended) == 1).await;
    let log = rig.end();
    assert!(log.contains("\"attempts\":3"), "{log}");
}

#[tokio::test]
async fn with_no_endpoint_left_the_client_is_reset() {
    let sockets = bound(1);
    let rig = Rig::start(1, &[("l", Arc::clone(&sockets), 10)], &[dead().await]);
    assert!(
        is_turned_away(&sockets).await,
        "a refusal looks like an empty answer"
    );
    let ended =
        "evenkeel_l4_sessions_total{listener=\"l\",upstream=\"u\",result=\"connect_failed\"}";
    eventually("the end of the session", || rig.metric(ended) == 1).await;
    let log = rig.end();
    assert!(
        log.contains("\"error.type\":\"connection_refused\""),
        "{log}"
    );
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_passed_over_in_time() {
    let sockets = bound(1);
    let (silent, endpoint) = (silent(), echo().await);
    let rig = Rig::start(
        1,
        &[("l", Arc::clone(&sockets), 10)],
        &[silent.address, endpoint],
    );
    let mut client = connect(&sockets).await;
    assert!(
        echoes(&mut client).await,
        "what the client sent meanwhile is lost"
    );
    drop(client);
    drop(rig.end());
}

#[tokio::test]
async fn a_client_that_goes_during_the_connect_is_not_waited_for() {
    let sockets = bound(1);
    let silent = silent();
    let rig = Rig::start(1, &[("l", Arc::clone(&sockets), 10)], &[silent.address]);
    let client = connect(&sockets).await;
    let live = "evenkeel_l4_sessions{listener=\"l\",upstream=\"u\"}";
    eventually("the session", || rig.metric(live) == 1).await;
    client.set_zero_linger().expect("option");
    drop(client);
    eventually("its end", || rig.metric(live) == 0).await;
    let ended = "evenkeel_l4_sessions_total{listener=\"l\",upstream=\"u\",result=\"client_reset\"}";
    assert_eq!(rig.metric(ended), 1);
    drop(rig.end());
}

#[tokio::test]
async fn beyond_the_limit_connections_are_reset_at_once() {
    let sockets = bound(2);
    let endpoint = echo().await;
    let rig = Rig::start(2, &[("l", Arc::clone(&sockets), 3)], &[endpoint]);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect(&sockets).await;
        assert!(echoes(&mut client).await);
        clients.push(client);
    }
    for _ in 0..4 {
        assert!(is_turned_away(&sockets).await);
    }
    let refused = "evenkeel_connections_refused_total{listener=\"l\",reason=\"full\"}";
    assert_eq!(rig.metric(refused), 4);
    assert_eq!(
        rig.metric("evenkeel_connections{listener=\"l\",protocol=\"tcp\"}"),
        3
    );
    clients.pop();
    eventually("a free place", || {
        rig.metric("evenkeel_connections{listener=\"l\",protocol=\"tcp\"}") == 2
    })
    .await;
    assert!(
        echoes(&mut connect(&sockets).await).await,
        "the place is not given back"
    );
    drop(rig.end());
}

#[tokio::test]
async fn an_overloaded_worker_hands_connections_over() {
    // Only the first worker has a socket, so the kernel gives it everything.
    let sockets = bound(1);
    let endpoint = echo().await;
    let rig = Rig::start(2, &[("l", Arc::clone(&sockets), 100)], &[endpoint]);
    let mut clients = Vec::new();
    for _ in 0..60 {
        let mut client = connect(&sockets).await;
        assert!(
            echoes(&mut client).await,
            "lost on its way to another worker"
        );
        clients.push(client);
    }
    let (first, second) = (
        rig.shared.balance.connections(0),
        rig.shared.balance.connections(1),
    );
    assert_eq!(first + second, 60);
    assert!(first <= second + 9, "{first} and {second}");
    drop(clients);
    eventually("the end of all", || rig.shared.balance.total() == 0).await;
    drop(rig.end());
}

#[tokio::test]
async fn a_reload_keeps_what_stays_and_retires_what_goes() {
    let (first, second) = (bound(2), bound(2));
    let endpoint = echo().await;
    let rig = Rig::start(2, &[("a", Arc::clone(&first), 10)], &[endpoint]);
    let mut client = connect(&first).await;
    assert!(echoes(&mut client).await);
    rig.reload(
        &[("a", Arc::clone(&first), 1), ("b", Arc::clone(&second), 10)],
        &[endpoint],
    );
    assert!(echoes(&mut client).await, "a reload cut a connection");
    assert!(
        echoes(&mut connect(&second).await).await,
        "the new listener does not accept"
    );
    let refused = "evenkeel_connections_refused_total{listener=\"a\",reason=\"full\"}";
    let limit = async {
        while rig.metric(refused) == 0 {
            drop(TcpStream::connect(first.local).await);
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, limit)
        .await
        .expect("the new limit does not hold for the old connection");
    rig.reload(&[("b", Arc::clone(&second), 10)], &[endpoint]);
    eventually("the end of the listener", || {
        std::net::TcpStream::connect(first.local).is_err()
    })
    .await;
    assert!(!first.is_open());
    assert!(
        echoes(&mut client).await,
        "a connection was cut with its listener"
    );
    assert!(echoes(&mut connect(&second).await).await);
    drop(rig.end());
}

#[tokio::test]
async fn a_drain_accepts_then_waits_then_cuts() {
    let sockets = bound(2);
    let endpoint = echo().await;
    let rig = Rig::start(2, &[("l", Arc::clone(&sockets), 10)], &[endpoint]);
    rig.trigger.start();
    let mut client = connect(&sockets).await;
    assert!(
        echoes(&mut client).await,
        "not accepted in the time of grace"
    );
    rig.trigger.close();
    eventually("the end of accepting", || {
        std::net::TcpStream::connect(sockets.local).is_err()
    })
    .await;
    assert!(echoes(&mut client).await, "cut before its time");
    eventually("the end of the accept loops", || {
        rig.trigger.blockers() == 1
    })
    .await;
    let log = rig.end();
    assert!(is_reset(client).await, "a cut looks like an end");
    assert!(log.contains("\"end\":\"shed\""), "{log}");
}

#[tokio::test]
async fn connections_in_the_queue_are_served_although_the_listener_goes() {
    let bench = Bench::new();
    let clients: Vec<_> = (0..20)
        .map(|_| std::net::TcpStream::connect(bench.sockets.local).expect("connect"))
        .collect();
    let served = Rc::new(Cell::new(0));
    let counted = Rc::clone(&served);
    let serve = move |accepted| {
        counted.set(counted.get() + 1);
        drop(accepted);
    };
    bench
        .accepting(serve, async |stop| {
            // Before the loop has run at all.
            drop(stop);
            timeout(LONG, async {
                while bench.sockets.is_open() {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .expect("the socket stays open");
        })
        .await;
    assert_eq!(served.get(), clients.len());
    let error = std::net::TcpStream::connect(bench.sockets.local).expect_err("closed");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_is_counted_and_told() {
    let bench = Bench::new();
    let events = Events::default();
    panics::tell(&events);
    let serve = |accepted| {
        let connection = async move {
            let _held: Accepted = accepted;
            panic!("a fault of ours, for the test");
        };
        drop(tokio::task::spawn_local(connection));
    };
    bench
        .accepting(serve, async |_stop| {
            for _ in 0..2 {
                let mut client = connect(&bench.sockets).await;
                let end = timeout(LONG, client.read_u8()).await.expect("an end");
                assert!(end.is_err(), "it goes on after a panic");
            }
        })
        .await;
    assert_eq!(bench.listener.metrics.panicked.value(), 2);
    let told = events.list(0);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].event.why.contains("a fault of ours"), "{told:?}");
    assert_eq!(
        bench.listener.connections.load(Ordering::Relaxed),
        0,
        "a place is lost"
    );
}

#[test]
fn the_futures_of_connections_are_small() {
    fn size<A, B, C, D, E, F: Future>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }
    let http = size(http::serve::<Guard>);
    let tcp = size(tcp::serve::<Guard>);
    // An idle HTTP connection should cost 1.5 KiB in all, and its task 256 bytes, of which the
    // runtime has 96; a session carries both directions, and has its connection in a box.
    assert!(http <= 160, "{http} bytes for each idle HTTP connection");
    assert!(tcp <= 672, "{tcp} bytes for each TCP session");
}

/// One accept loop without a worker around it.
struct Bench {
    sockets: Arc<Sockets>,
    listener: Arc<Listener>,
}

impl Bench {
    fn new() -> Self {
        let sockets = bound(1);
        let world = World::new(Registry::new(1), Events::default());
        let snapshot = snapshot(&world, None, &[("l", Arc::clone(&sockets), 100)], &[]);
        let listener = Arc::clone(&snapshot.listeners[0]);
        Self { sockets, listener }
    }

    /// Runs the loop while the test does something with it.
    async fn accepting(&self, serve: impl Fn(Accepted) + 'static, test: impl AsyncFnOnce(Stop)) {
        let (_trigger, watcher) = drain::channel();
        let (balance, _inboxes) = Balance::new(1);
        let acceptor = Acceptor::new(0, balance, watcher, Events::default(), 1);
        LocalSet::new()
            .run_until(async {
                let (_current, stop) = acceptor.start(&self.listener, serve).expect("a socket");
                test(stop).await;
            })
            .await;
    }
}

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);
