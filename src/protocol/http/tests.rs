//! What a connection is told in moments that cannot be hit from outside.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Uri, Version, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use super::connection::Connection;
use super::terms::Terms;
use super::{exchange, forward};
use crate::config::Config;
use crate::context::ConnectionFacts;
use crate::drain;
use crate::http2::{self, ErrorCode, StreamError};
use crate::message::{Fields, RequestParts, Value};
use crate::net::{Address, Sockets, Stream};
use crate::protocol::local::Local;
use crate::snapshot::{
    Action, CallTimeouts, Choice, Handle, Ingredients, Kind, Snapshot, Split, build,
};
use crate::telemetry::access::{Settings, Sink, Writer};
use crate::telemetry::events::Events;
use crate::telemetry::metrics::{Format, Registry};
use crate::telemetry::panics;
use crate::upstream::{ResolvedEndpoint, World};

/// One client of the listener `web`, and the thread's data plane.
struct Rig {
    world: World,
    handle: Handle,
    sockets: Arc<Sockets>,
    listener: TcpListener,
    local: Rc<Local>,
    _sink: Sink,
}

impl Rig {
    fn new(routes: &str) -> Self {
        Self::with(routes, |_| {})
    }

    /// With something changed that no configuration can say.
    fn with(routes: &str, change: impl FnOnce(&mut Snapshot)) -> Self {
        let registry = Registry::new(1);
        let settings = Settings::new(&crate::config::Log::default());
        let sink = Writer::spawn(&settings, &registry).expect("a log");
        let world = World::new(registry, Events::default());
        let sockets = Arc::new(Sockets::bind("127.0.0.1:0", 1).expect("a port"));
        let socket = sockets.take(0).expect("a socket").expect("a socket");
        let config = ["[listener.web]\nbind = \":0\"\n", routes].concat();
        let mut snapshot = snapshot(&world, None, &config, &sockets);
        change(&mut snapshot);
        let handle = Handle::new(snapshot);
        let (_, watcher) = drain::channel();
        Self {
            local: Local::new(handle.cache(), sink.access_log(), watcher, 1),
            listener: TcpListener::from_std(socket).expect("a runtime"),
            world,
            handle,
            sockets,
            _sink: sink,
        }
    }

    /// A connection that is accepted, and how it will be served.
    async fn connect(&self) -> (TcpStream, impl FnOnce() -> JoinHandle<()> + use<>) {
        let client = TcpStream::connect(self.sockets.local);
        let client = client.await.expect("a connection");
        let (stream, peer) = self.listener.accept().await.expect("a connection");
        (client, self.server(stream.into(), peer))
    }

    /// A connection at rest, on which `hello` was the answer.
    async fn answered_once(&self) -> (TcpStream, JoinHandle<()>) {
        let (mut client, serve) = self.connect().await;
        let task = serve();
        client.write_all(GET).await.expect("sent");
        assert!(response(&mut client).await.ends_with("hello"));
        (client, task)
    }

    /// How a connection will be served.
    fn server(&self, stream: Stream, peer: SocketAddr) -> impl FnOnce() -> JoinHandle<()> + use<> {
        let facts = ConnectionFacts {
            listener: "web".into(),
            peer,
            sockets: Arc::clone(&self.sockets),
            brought: None,
            proxied: None,
        };
        let Kind::Http(listener) = self.handle.load().listeners[0].kind.clone() else {
            panic!("it speaks HTTP");
        };
        let local = Rc::clone(&self.local);
        move || spawn_local(super::serve(stream, facts, listener, local, ()))
    }

    /// Puts a configuration in force, without letting anybody else run.
    fn reload(&self, config: &str) {
        let next = snapshot(
            &self.world,
            Some(&self.handle.load()),
            config,
            &self.sockets,
        );
        drop(self.handle.replace(next));
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        self.world.registry.encode(Format::Text, &mut text);
        text
    }
}

/// The endpoint of every upstream is the listener itself, where only the test accepts.
fn snapshot(
    world: &World,
    previous: Option<&Snapshot>,
    config: &str,
    sockets: &Arc<Sockets>,
) -> Snapshot {
    let config: Config = toml::from_str(config).expect("a configuration");
    let itself = ResolvedEndpoint {
        name: "itself".into(),
        ..ResolvedEndpoint::at(Address::Ip(sockets.local))
    };
    build(Ingredients {
        generation: previous.map_or(1, |snapshot| snapshot.generation + 1),
        sha256: "".into(),
        endpoints: config
            .upstream
            .keys()
            .map(|name| (name.clone(), vec![itself.clone()]))
            .collect(),
        certificates: BTreeMap::new(),
        materials: BTreeMap::new(),
        sockets: config
            .listener
            .keys()
            .map(|name| (name.clone(), Arc::clone(sockets)))
            .collect::<BTreeMap<_, _>>(),
        config: Arc::new(config),
        world,
        previous,
        seed: 1,
    })
    .expect("a snapshot")
}

/// What a client receives until its connection ends.
async fn rest(client: &mut TcpStream) -> String {
    let mut text = String::new();
    let read = timeout(LONG, client.read_to_string(&mut text)).await;
    read.expect("an end").expect("an orderly end");
    text
}

/// A response of ours: short, so that it comes at once.
async fn response(client: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = timeout(LONG, client.read(&mut bytes)).await;
    let count = read.expect("an answer").expect("an answer");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test]
async fn the_first_request_is_answered_although_its_listener_has_gone() {
    LocalSet::new()
        .run_until(async {
            let rig = Rig::new(HELLO);
            let (mut client, serve) = rig.connect().await;
            client.write_all(GET).await.expect("sent");
            rig.reload("");
            let task = serve();
            let text = rest(&mut client).await;
            assert!(text.starts_with("HTTP/1.1 200 OK"), "{text:?}");
            assert!(text.contains("\r\nConnection: close\r\n"), "{text:?}");
            assert!(text.ends_with("hello"), "{text:?}");
            task.await.expect("no panic");
        })
        .await;
}

#[tokio::test]
async fn a_request_that_comes_together_with_a_reload_is_answered() {
    // Without the listener, and with another protocol in its place.
    let instead = "[upstream.u]\nendpoints = [\"127.0.0.1:1\"]\n\
                   [listener.other]\nbind = \":0\"\nprotocols = [\"tcp\"]\nupstream = \"u\"\n";
    for next in ["", instead] {
        LocalSet::new()
            .run_until(async {
                let rig = Rig::new(HELLO);
                let (mut client, serve) = rig.connect().await;
                let task = serve();
                client.write_all(GET).await.expect("sent");
                let text = response(&mut client).await;
                assert!(!text.contains("Connection: close"), "{text:?}");
                // The task cannot run between these two.
                assert_eq!(client.try_write(GET).expect("sent"), GET.len());
                rig.reload(next);
                let text = rest(&mut client).await;
                assert!(text.starts_with("HTTP/1.1 200 OK"), "{text:?}");
                assert!(text.contains("\r\nConnection: close\r\n"), "{text:?}");
                task.await.expect("no panic");
            })
            .await;
    }
}

#[tokio::test]
async fn a_request_that_is_cut_is_counted() {
    LocalSet::new()
        .run_until(async {
            let rig =
                Rig::new("[upstream.u]\nendpoints = [\"a:1\"]\n[route.all]\nupstream = \"u\"\n");
            let (mut client, serve) = rig.connect().await;
            let task = serve();
            client.write_all(GET).await.expect("sent");
            let (mut endpoint, _) = rig.listener.accept().await.expect("an attempt");
            let request = response(&mut endpoint).await;
            assert!(request.starts_with("GET / "), "{request:?}");
            task.abort();
            assert!(task.await.expect_err("aborted").is_cancelled());
            let metrics = rig.metrics();
            for line in [
                "requests_total{listener=\"web\",route=\"all\",method=\"GET\",code=\"503\"} 1\n",
                "errors_total{route=\"all\",upstream=\"u\",reason=\"draining\"} 1\n",
                "requests_in_flight{listener=\"web\",route=\"all\"} 0\n",
            ] {
                assert!(metrics.contains(line), "{line} is not in {metrics}");
            }
            let drain = rig.local.drain.of(drain::Direction::Inbound);
            assert_eq!(drain.cut_requests(), 1);
        })
        .await;
}

#[tokio::test]
async fn the_limits_of_a_request_hold_while_its_client_takes_no_interim_response() {
    LocalSet::new()
        .run_until(async {
            let rig = Rig::new(
                "[upstream.u]\nendpoints = [\"a:1\"]\n[route.all]\nupstream = \"u\"\n\
                 timeouts = { request = \"300ms\" }\n",
            );
            // What a Unix socket holds is little.
            let (mut client, stream) = UnixStream::pair().expect("a pair");
            let task = rig.server(Stream::Unix(stream), rig.sockets.local)();
            client.write_all(GET).await.expect("sent");
            let (mut endpoint, _) = rig.listener.accept().await.expect("an attempt");
            response(&mut endpoint).await;
            let hint = format!(
                "HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n",
                "x".repeat(30_000)
            );
            let hints = endpoint.write_all(hint.repeat(30).as_bytes()).await;
            hints.expect("the kernel takes it");
            timeout(LONG, task)
                .await
                .expect("an end")
                .expect("no panic");
        })
        .await;
}

#[tokio::test]
async fn a_connection_at_rest_follows_a_new_limit() {
    LocalSet::new()
        .run_until(async {
            let rig = Rig::new(HELLO);
            let (mut client, task) = rig.answered_once().await;
            let short = "timeouts = { client_idle = \"200ms\" }\n";
            rig.reload(&["[listener.web]\nbind = \":0\"\n", short, HELLO].concat());
            rig.local.resting.wake_all();
            assert_eq!(rest(&mut client).await, "");
            task.await.expect("no panic");
        })
        .await;
}

#[tokio::test]
async fn a_connection_at_rest_follows_reloads_and_keeps_nothing_old() {
    LocalSet::new()
        .run_until(async {
            let rig = Rig::new(HELLO);
            let (mut client, task) = rig.answered_once().await;
            let first = Arc::downgrade(&rig.handle.load());
            rig.reload(&["[listener.web]\nbind = \":0\"\n", BYE].concat());
            rig.local.resting.wake_all();
            tokio::task::yield_now().await;
            assert!(first.upgrade().is_none(), "an old snapshot is kept");
            client.write_all(GET).await.expect("sent");
            assert!(response(&mut client).await.ends_with("bye"));
            rig.reload("");
            rig.local.resting.wake_all();
            assert_eq!(rest(&mut client).await, "", "nobody asked");
            task.await.expect("no panic");
        })
        .await;
}

#[tokio::test]
async fn a_request_on_its_way_when_the_listener_goes_is_waited_for() {
    LocalSet::new()
        .run_until(async {
            let rig = Rig::new(HELLO);
            let (mut client, task) = rig.answered_once().await;
            rig.reload("");
            rig.local.resting.wake_all();
            tokio::task::yield_now().await;
            client.write_all(GET).await.expect("sent");
            let text = rest(&mut client).await;
            assert!(text.contains("\r\nConnection: close\r\n"), "{text:?}");
            assert!(text.ends_with("hello"), "{text:?}");
            task.await.expect("no panic");
        })
        .await;
}

/// Whatever no route takes is sent to this upstream within a time that no clock can tell.
fn break_unrouted(snapshot: &mut Snapshot) {
    let upstream = Arc::clone(&snapshot.upstreams["u"]);
    let nothing = crate::config::Timeouts::default();
    let choice = Choice {
        weight: 1,
        upstream,
        timeouts: CallTimeouts {
            request: Some(Duration::MAX),
            ..CallTimeouts::new(&nothing, &nothing, &nothing)
        },
        affinity: None,
    };
    let listener = Arc::get_mut(&mut snapshot.listeners[0]).expect("it is new");
    let Kind::Http(http) = &mut listener.kind else {
        panic!("it speaks HTTP");
    };
    let http = Arc::get_mut(http).expect("it is new");
    let unrouted = Arc::get_mut(&mut http.unrouted).expect("it is new");
    unrouted.action = Action::Forward(Split::new(vec![choice]).expect("a weight"));
}

/// A client of HTTP/2, which is driven as long as the test lasts.
async fn client_of_http2(rig: &Rig) -> (Rc<http2::Connection>, JoinHandle<()>) {
    let (client, serve) = rig.connect().await;
    let settings = http2::Settings {
        max_streams: 0,
        stream_window: 65_535,
        connection_window: 65_535,
        head: 4096,
        fields: 100,
        connect_protocol: false,
    };
    let client = http2::Connection::client(client.into(), settings, Instant::now());
    let driven = Rc::clone(&client);
    drop(spawn_local(async move {
        drop(poll_fn(|cx| driven.poll_drive(cx, Instant::now())).await);
    }));
    (client, serve())
}

fn ask(client: &Rc<http2::Connection>, path: &'static str) -> http2::Stream {
    let mut headers = Fields::new();
    headers.append(&header::HOST, Value::of_ascii(b"a"));
    let parts = RequestParts {
        method: Method::GET,
        uri: Uri::from_static(path),
        version: Version::HTTP_2,
        headers,
    };
    let opening = http2::Opening {
        is_https: false,
        ends: true,
        length: None,
        te_trailers: false,
        protocol: None,
    };
    client.open(&parts, opening).expect("there is room")
}

async fn status(stream: &http2::Stream) -> Result<u16, StreamError> {
    let head = timeout(LONG, poll_fn(|cx| stream.poll_head(cx))).await;
    head.expect("an answer")
        .map(|head| head.parts.status.as_u16())
}

/// One of many requests on a connection meets a fault of ours: it is counted and told, and no other
/// one hears of it.
#[tokio::test]
async fn a_panic_ends_one_stream_and_is_counted_and_told() {
    LocalSet::new()
        .run_until(async {
            let routes = "protocols = [\"h2c\"]\n[upstream.u]\nendpoints = [\"a:1\"]\n\
                          [route.hello]\npath = \"/hello\"\nrespond = { body = \"hello\" }\n\
                          [route.wait]\npath = \"/wait\"\nupstream = \"u\"\n";
            let rig = Rig::with(routes, break_unrouted);
            let events = Events::default();
            panics::tell(&events);
            let (client, task) = client_of_http2(&rig).await;
            let waiting = ask(&client, "/wait");
            let (mut endpoint, _) = rig.listener.accept().await.expect("an attempt");
            response(&mut endpoint).await;
            for _ in 0..3 {
                let broken = status(&ask(&client, "/fault")).await;
                let expected = StreamError::Reset(ErrorCode::INTERNAL_ERROR);
                assert_eq!(broken, Err(expected));
                assert_eq!(status(&ask(&client, "/hello")).await, Ok(200));
            }
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            endpoint.write_all(answer).await.expect("sent");
            assert_eq!(status(&waiting).await, Ok(204), "it was under way");

            let Kind::Http(listener) = &rig.handle.load().listeners[0].kind else {
                panic!("it speaks HTTP");
            };
            let spoken = listener.http2.as_ref().expect("HTTP/2");
            assert_eq!(spoken.metrics.panicked.value(), 3);
            assert_eq!(spoken.metrics.reset_by_us.value(), 3);
            let told = events.list(0);
            assert_eq!(told.len(), 3, "{told:?}");
            assert!(told.iter().all(|told| told.event.kind == "fault"));
            // Nothing is held any more by those that have ended.
            let none = "requests_in_flight{listener=\"web\",route=\"\"} 0\n";
            let metrics = rig.metrics();
            assert!(metrics.contains(none), "{metrics}");
            drop(waiting);
            client.end_now(ErrorCode::NO_ERROR, "");
            let ended = timeout(LONG, task).await.expect("an end");
            ended.expect("its own task is none that panicked");
            assert_eq!(spoken.metrics.connections.value(), 0);
        })
        .await;
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const HELLO: &str = "[route.all]\nrespond = { body = \"hello\" }\n";

const BYE: &str = "[route.all]\nrespond = { body = \"bye\" }\n";

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);

/// What a request holds that waits for its endpoint: two boxes, and the allocator has no sizes
/// between these and a hundred bytes more.
#[test]
fn the_futures_of_requests_are_small() {
    fn of_two<'a, F: Future>(_: impl Fn(&'a Connection, &'a Terms) -> F) -> usize {
        size_of::<F>()
    }
    fn of_four<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
    let exchange = of_two(exchange::run);
    let forwarding = of_four(forward::forward);
    assert!(exchange <= 768, "{exchange} bytes for each exchange");
    assert!(
        forwarding <= 640,
        "{forwarding} bytes for each request on its way"
    );
}
