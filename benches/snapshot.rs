//! What a configuration of 1,000 routes to 10 endpoints each costs until it is in force: the start,
//! and the reload that keeps what was learned.
//!
//! `cargo bench --bench snapshot`. Looking names up and binding sockets is not part of it: how long
//! those take is up to others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use divan::{Bencher, black_box};
use evenkeel::config::{self, Config, Nothing};
use evenkeel::net::{Address, Sockets};
use evenkeel::snapshot::{Ingredients, Snapshot, build};
use evenkeel::telemetry::events::Events;
use evenkeel::telemetry::metrics::Registry;
use evenkeel::upstream::{ResolvedEndpoint, World};

fn main() {
    divan::main();
}

/// Text to a checked configuration.
#[divan::bench(args = [1, ROUTES], sample_count = 10)]
fn read(bencher: Bencher<'_, '_>, routes: usize) {
    let text = text(routes);
    bencher.bench_local(|| {
        config::load_text("bench", black_box(&text), &Nothing)
            .config
            .is_some()
    });
}

/// From a checked configuration to a snapshot, when nothing is there yet.
#[divan::bench(args = [1, ROUTES], sample_count = 10)]
fn first(bencher: Bencher<'_, '_>, routes: usize) {
    let given = Given::new(routes);
    bencher
        .with_inputs(world)
        .bench_local_values(|world| (given.snapshot(&world, None), world));
}

/// The same beside a snapshot of the same configuration: everything is found again.
#[divan::bench(args = [1, ROUTES], sample_count = 10)]
fn next(bencher: Bencher<'_, '_>, routes: usize) {
    let given = Given::new(routes);
    let world = world();
    let running = given.snapshot(&world, None);
    bencher.bench_local(|| given.snapshot(&world, Some(&running)));
}

/// What a snapshot is made of, but for what outlives it.
struct Given {
    config: Arc<Config>,
    endpoints: BTreeMap<String, Vec<ResolvedEndpoint>>,
    sockets: BTreeMap<String, Arc<Sockets>>,
}

impl Given {
    fn new(routes: usize) -> Self {
        let outcome = config::load_text("bench", &text(routes), &Nothing);
        let sockets = Sockets::bind("127.0.0.1:0", 1).expect("a free port");
        Self {
            config: Arc::new(outcome.config.expect("a configuration that is right")),
            endpoints: (0..routes)
                .map(|route| (format!("upstream-{route}"), endpoints(route)))
                .collect(),
            sockets: BTreeMap::from([("web".to_owned(), Arc::new(sockets))]),
        }
    }

    fn snapshot(&self, world: &World, previous: Option<&Snapshot>) -> Snapshot {
        let snapshot = build(Ingredients {
            generation: 1,
            sha256: "".into(),
            config: Arc::clone(&self.config),
            endpoints: self.endpoints.clone(),
            certificates: BTreeMap::new(),
            materials: BTreeMap::new(),
            sockets: self.sockets.clone(),
            world,
            seed: 1,
            previous,
        });
        snapshot.expect("a snapshot of what is right")
    }
}

fn world() -> World {
    World::new(Registry::new(WORKERS), Events::default())
}

fn text(routes: usize) -> String {
    let mut text = String::from("[listener.web]\nbind = \":8080\"\n");
    for route in 0..routes {
        let listed = (0..ENDPOINTS).map(|endpoint| format!("\"{}\"", address(route, endpoint)));
        let listed: Vec<String> = listed.collect();
        // Writing to a string cannot fail.
        _ = write!(
            text,
            "[route.route-{route}]\nhosts = [\"host-{route}.example.com\"]\n\
             upstream = \"upstream-{route}\"\n[upstream.upstream-{route}]\nendpoints = [{}]\n",
            listed.join(", ")
        );
    }
    text
}

fn endpoints(route: usize) -> Vec<ResolvedEndpoint> {
    let endpoint = |number| {
        let address = address(route, number);
        ResolvedEndpoint::at(Address::Ip(address.parse().expect("an address and a port")))
    };
    (0..ENDPOINTS).map(endpoint).collect()
}

fn address(route: usize, endpoint: usize) -> String {
    format!("10.{}.{}.{}:8080", route / 250, route % 250, endpoint + 1)
}

/// A large site's.
const ROUTES: usize = 1000;

/// Of each route.
const ENDPOINTS: usize = 10;

/// What a small machine runs; it only sizes the cells of the metrics.
const WORKERS: usize = 3;
