//! Our engine, as a worker runs it: a snapshot of a configuration, and connections that it serves.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use evenkeel::config::{self, Nothing};
use evenkeel::context::ConnectionFacts;
use evenkeel::drain;
use evenkeel::net::{Address, Sockets, Stream};
use evenkeel::protocol::http::serve;
use evenkeel::protocol::local::Local;
use evenkeel::snapshot::{Handle, Ingredients, Kind, build};
use evenkeel::telemetry::access::{Settings, Sink, Writer};
use evenkeel::telemetry::events::Events;
use evenkeel::telemetry::metrics::Registry;
use evenkeel::upstream::{ResolvedEndpoint, World};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, spawn_local};

use crate::run::Proxy;

/// The data plane of one listener with one endpoint.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    sockets: Arc<Sockets>,
    sink: Sink,
    /// Names in it lead to live state.
    _world: World,
}

impl Engine {
    /// Forwards everything to the endpoint at `path`.
    pub fn new(path: &Path) -> Self {
        let loaded = config::load_text("fuzz.toml", CONFIG, &Nothing);
        let config = loaded.config.expect("a configuration");
        let registry = Registry::new(1);
        let sink = Writer::spawn(&Settings::new(&config.log), &registry).expect("a thread");
        let world = World::new(registry, Events::default());
        // It is only asked for its address.
        let sockets = Arc::new(Sockets::bind("127.0.0.1:0", 1).expect("a port"));
        let endpoint = ResolvedEndpoint {
            name: "endpoint".into(),
            ..ResolvedEndpoint::at(Address::Unix(Arc::new(path.to_owned())))
        };
        let snapshot = build(Ingredients {
            generation: 1,
            sha256: "".into(),
            endpoints: BTreeMap::from([("endpoint".into(), vec![endpoint])]),
            sockets: BTreeMap::from([("web".into(), Arc::clone(&sockets))]),
            certificates: BTreeMap::new(),
            materials: BTreeMap::new(),
            config: Arc::new(config),
            world: &world,
            previous: None,
            seed: 1,
        });
        Self {
            handle: Handle::new(snapshot.expect("a snapshot")),
            sockets,
            sink,
            _world: world,
        }
    }
}

impl Proxy for Engine {
    /// Serves a client as a worker that has just begun: without connections from another run.
    fn serve(&self, stream: UnixStream) -> JoinHandle<()> {
        let facts = ConnectionFacts {
            listener: "web".into(),
            peer: self.sockets.local,
            sockets: Arc::clone(&self.sockets),
            brought: None,
            proxied: None,
        };
        let Kind::Http(listener) = self.handle.load().listeners[0].kind.clone() else {
            unreachable!("its protocol is HTTP");
        };
        let (_, watcher) = drain::channel();
        let local = Local::new(self.handle.cache(), self.sink.access_log(), watcher, 1);
        spawn_local(serve(
            Stream::Unix(stream),
            facts,
            listener,
            Rc::clone(&local),
            (),
        ))
    }
}

/// One attempt: what a retry does is not compared. The path of the endpoint is put in where names
/// are resolved.
const CONFIG: &str = r#"
version = 1

[log]
access = false
level = "error"

[listener.web]
bind = "127.0.0.1:0"

[upstream.endpoint]
endpoints = ["127.0.0.1:1"]

[route.all]
upstream = "endpoint"
retry = { attempts = 1 }
"#;
