//! Connections over loopback, with time standing still until a test moves it.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;
use crate::endpoint::{Blame, Flow, Http2, Limits, LiveStates, Metrics, Names, Protocol};
use crate::net::Address;
use crate::telemetry::metrics::Registry;

mod body;
mod calls;
mod idle;
mod limit;
mod pipe;
mod shared;

/// An endpoint whose side of each connection is in the hands of the test.
struct Peer {
    listener: TcpListener,
    states: LiveStates,
    endpoint: Arc<Endpoint>,
}

impl Peer {
    async fn new() -> Self {
        Self::with_connections(u32::MAX).await
    }

    /// One that takes so many connections at most.
    async fn with_connections(max_connections: u32) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.expect("a free port");
        let address = Address::Ip(listener.local_addr().expect("a bound address"));
        let states = LiveStates::new();
        let endpoint = Arc::new(endpoint(&states, address, max_connections));
        Self {
            listener,
            states,
            endpoint,
        }
    }

    /// Another limit, as by a reload.
    fn limit(&mut self, max_connections: u32) {
        let address = self.endpoint.address.clone();
        self.endpoint = Arc::new(endpoint(&self.states, address, max_connections));
    }

    /// A connection, and the endpoint's side of it.
    async fn open(&self) -> (Box<Connection>, TcpStream) {
        let open = Pool::default().may_open(&self.endpoint).await;
        let opened = Connection::open(
            &self.endpoint,
            Wanted::ANY,
            Purpose::Http,
            (open, &Progress::default()),
        )
        .await;
        let connection = opened.expect("it listens");
        let (stream, _) = self.listener.accept().await.expect("it was opened");
        (connection, stream)
    }
}

fn endpoint(states: &LiveStates, address: Address, max_connections: u32) -> Endpoint {
    let names = Names {
        upstream: "api".into(),
        own_zone: "".into(),
        zone: "".into(),
        endpoint: "one".into(),
    };
    let registry = Registry::new(1);
    let flow = Flow::new(&registry, "api".into(), "".into(), "".into());
    Endpoint {
        live: states.get_or_create("api", &address),
        address,
        socket: None,
        tls: None,
        proxy_protocol: None,
        protocol: Protocol::Http1,
        http2: Http2::default(),
        name: "one".into(),
        zone: "".into(),
        weight: 1,
        backup: false,
        limits: Limits {
            max_together: u32::MAX,
            max_connections,
            ..Limits::NONE
        },
        blame: Arc::new(Blame::usual(u32::MAX)),
        learns_latency: false,
        metrics: Arc::new(Metrics::new(&registry, names, Arc::new(flow))),
        logged: OnceLock::new(),
    }
}

/// Which connection this is.
fn port(connection: &Connection) -> u16 {
    connection
        .stream
        .local_address()
        .expect("it is open")
        .port()
}

/// The other side's name of the same.
fn peer_port(stream: &TcpStream) -> u16 {
    stream.peer_addr().expect("it is open").port()
}

fn keep(idle: Duration, count: usize) -> Keep {
    Keep { idle, count }
}

fn home(pool: &Rc<Pool>) -> Return {
    Return {
        pool: Rc::clone(pool),
        keep: keep(SECOND * 10, 10),
    }
}

/// Lets the runtime hear what the kernel knows: what is sent over loopback has arrived by then.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Waits until our side has closed the connection, orderly or by a reset (of one with bytes that
/// nobody read). One that stays open never comes back from here.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
}

const SECOND: Duration = Duration::from_secs(1);
