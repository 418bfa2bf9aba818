//! What one exchange allocates: the whole engine between a client and an endpoint, on one thread.
//!
//! Look at `alloc`, which is for [`EXCHANGES`] exchanges: four each, for the two futures of an
//! exchange, its target and its small body, and it should not become more than five. Client and
//! endpoint use memory that they had before. The times are those of a loopback, and of the three
//! together.
//!
//! `cargo bench --bench exchange`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use evenkeel::config::{self, Nothing};
use evenkeel::context::ConnectionFacts;
use evenkeel::drain;
use evenkeel::net::{Address, Sockets, Stream};
use evenkeel::protocol::http::serve;
use evenkeel::protocol::local::Local;
use evenkeel::snapshot::{Handle, Ingredients, Kind, build};
use evenkeel::telemetry::access::{Settings, Writer};
use evenkeel::telemetry::events::Events;
use evenkeel::telemetry::metrics::{Registry, set_worker_shard};
use evenkeel::upstream::{ResolvedEndpoint, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench]
fn small_get(bencher: Bencher<'_, '_>) {
    set_worker_shard(0);
    let runtime = Builder::new_current_thread().enable_all().build();
    let (runtime, tasks) = (runtime.expect("a runtime"), LocalSet::new());
    let mut client = tasks.block_on(&runtime, start());
    exchange(&runtime, &tasks, &mut client); // connects, and makes what is made once
    bencher
        .counter(ItemsCount::new(EXCHANGES))
        .bench_local(|| exchange(&runtime, &tasks, &mut client));
}

fn exchange(runtime: &Runtime, tasks: &LocalSet, client: &mut TcpStream) {
    tasks.block_on(runtime, async {
        let mut bytes = [0; 2048];
        for _ in 0..EXCHANGES {
            client.write_all(REQUEST).await.expect("open");
            let count = client.read(&mut bytes).await.expect("open");
            assert!(bytes[..count].starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    });
}

/// A client of an engine that forwards to an endpoint.
async fn start() -> TcpStream {
    let endpoint = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = endpoint.local_addr().expect("a bound port");
    spawn_local(answer(endpoint));

    let loaded = config::load_text("bench.toml", CONFIG, &Nothing);
    let config = loaded.config.expect("a configuration");
    let registry = Registry::new(1);
    let sink = Writer::spawn(&Settings::new(&config.log), &registry).expect("a thread");
    let world = World::new(registry, Events::default());
    let sockets = Arc::new(Sockets::bind("127.0.0.1:0", 1).expect("a port"));
    let socket = sockets.take(0).expect("a socket").expect("a socket");
    let snapshot = build(Ingredients {
        generation: 1,
        sha256: "".into(),
        endpoints: BTreeMap::from([("endpoint".into(), vec![resolved(address)])]),
        certificates: BTreeMap::new(),
        materials: BTreeMap::new(),
        sockets: BTreeMap::from([("web".into(), Arc::clone(&sockets))]),
        config: Arc::new(config),
        world: &world,
        previous: None,
        seed: 1,
    });
    let handle = Handle::new(snapshot.expect("a snapshot"));

    let (_, watcher) = drain::channel();
    let local = Local::new(handle.cache(), sink.access_log(), watcher, 1);
    let listener = TcpListener::from_std(socket).expect("a runtime");
    let client = TcpStream::connect(sockets.local).await.expect("it listens");
    let (stream, peer) = listener.accept().await.expect("a connection");
    let facts = ConnectionFacts {
        listener: "web".into(),
        peer,
        sockets: Arc::clone(&sockets),
        brought: None,
        proxied: None,
    };
    let Kind::Http(http) = handle.load().listeners[0].kind.clone() else {
        unreachable!("its protocol is HTTP");
    };
    // What names lead to, and where lines would go, is held with the connection.
    let held = (world, sink, handle);
    let serving = serve(Stream::from(stream), facts, http, Rc::clone(&local), ());
    spawn_local(async move {
        serving.await;
        drop(held);
    });
    client
}

/// Answers each request, which is taken for whole as it is read.
async fn answer(listener: TcpListener) {
    let (mut peer, _) = listener.accept().await.expect("a connection");
    let mut bytes = [0; 2048];
    while peer.read(&mut bytes).await.is_ok_and(|count| count > 0) {
        peer.write_all(RESPONSE).await.expect("open");
    }
}

fn resolved(address: SocketAddr) -> ResolvedEndpoint {
    ResolvedEndpoint {
        name: "endpoint".into(),
        ..ResolvedEndpoint::at(Address::Ip(address))
    }
}

/// Exchanges of one iteration.
const EXCHANGES: usize = 100;

const CONFIG: &str = "version = 1\n[log]\naccess = false\n[listener.web]\nbind = \"127.0.0.1:0\"\n\
    [upstream.endpoint]\nendpoints = [\"127.0.0.1:1\"]\n[route.all]\nupstream = \"endpoint\"\n";

const REQUEST: &[u8] = b"GET /products/list?page=2 HTTP/1.1\r\nHost: shop.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nCookie: session=4f1c2d3e4b5a6978; theme=dark\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Length: 5\r\n\r\nhello";
