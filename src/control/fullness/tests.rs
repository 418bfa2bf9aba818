//! What is counted of a route that several listeners have.

use std::collections::BTreeMap;

use super::*;
use crate::config::{Config, Nothing, load_text};
use crate::net::Sockets;
use crate::snapshot::{Ingredients, build};
use crate::upstream::World;

const TEXT: &str = "\
    [listener.web]\nbind = '127.0.0.1:0'\n[listener.other]\nbind = '127.0.0.1:0'\n\
    [route.api]\nupstream = 'app'\nmax_in_flight = 2\n\
    [upstream.app]\nendpoints = ['10.0.0.1:1']\n";

fn snapshot(world: &World) -> Snapshot {
    let outcome = load_text("evenkeel.toml", TEXT, &Nothing);
    let config: Config = outcome.config.expect("a good one");
    let sockets = config.listener.iter().map(|(name, listener)| {
        let sockets = Sockets::bind(&listener.bind, 1).expect("a free port");
        (name.clone(), Arc::new(sockets))
    });
    build(Ingredients {
        generation: 1,
        sha256: "".into(),
        endpoints: BTreeMap::from([("app".to_owned(), Vec::new())]),
        certificates: BTreeMap::new(),
        materials: BTreeMap::new(),
        sockets: sockets.collect(),
        config: Arc::new(config),
        world,
        seed: 1,
        previous: None,
    })
    .expect("a snapshot")
}

#[test]
fn who_was_turned_away_counts_once_at_however_many_listeners() {
    let world = World::new(Registry::new(1), Events::default());
    let snapshot = snapshot(&world);
    let turn_away = |listener: usize| {
        let Kind::Http(http) = &snapshot.listeners[listener].kind else {
            panic!("a listener of HTTP");
        };
        let route = http.all_routes().find(|route| &*route.name == "api");
        let metrics = &route.expect("it is there").metrics;
        metrics.count_error(&"app".into(), "limit", Some(Shed::Concurrency));
    };
    let parts = parts(&snapshot);
    let turned_away = || seen(&parts[&Key::Route("api".into())]).turned_away;
    assert_eq!(turned_away(), 0);
    for count in 1..=3 {
        turn_away(0);
        assert_eq!(turned_away(), count);
    }
    turn_away(1);
    assert_eq!(turned_away(), 4, "and not all that the first has counted");
}
