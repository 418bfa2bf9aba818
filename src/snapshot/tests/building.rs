//! Snapshots: what they are made of, what a reload keeps, and how workers see the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Version;

use crate::message::{Fields, Value};

use super::{config, shared};
use crate::config::{Config, EndpointEntry};
use crate::context::ConnectionFacts;
use crate::net::{Address, Sockets};
use crate::policy::Via;
use crate::snapshot::{
    Action, BuildError, Handle, HttpListener, Ingredients, Kind, Listener, Snapshot, build,
    effective_upstreams,
};
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::upstream::{ResolvedEndpoint, World};

const TEXT: &str = r#"
    zone = "eu-1a"

    [listener.web]
    bind = "127.0.0.1:0"
    to = ["10.0.0.1:80"]

    [listener.api]
    bind = "127.0.0.1:0"
    max_head_size = "4KiB"
    max_fields = 7
    max_connections = 5

    [listener.db]
    bind = "127.0.0.1:0"
    protocols = ["tcp"]
    upstream = "postgres"
    timeouts = { tunnel_idle = "9s" }

    [route.site]
    listener = "api"
    hosts = ["site.example"]
    split = { postgres = 1, other = 0 }

    [upstream.postgres]
    endpoints = ["10.0.0.2:5432", "10.0.0.3:5432"]

    [upstream.other]
    endpoints = ["10.0.0.2:5432"]
"#;

/// What outlives snapshots, with the sockets that a control plane would have bound.
struct Stage {
    world: World,
    sockets: BTreeMap<String, Arc<Sockets>>,
}

impl Stage {
    fn new() -> Self {
        Self {
            world: World::new(Registry::new(1), Events::default()),
            sockets: BTreeMap::new(),
        }
    }

    fn try_build(
        &mut self,
        config: Arc<Config>,
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, BuildError> {
        for (name, listener) in &config.listener {
            let bind = || Sockets::bind(&listener.bind, 1).expect("a free port");
            self.sockets
                .entry(name.clone())
                .or_insert_with(|| Arc::new(bind()));
        }
        build(Ingredients {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            sha256: "digest".into(),
            endpoints: endpoints(&config),
            certificates: BTreeMap::new(),
            materials: BTreeMap::new(),
            sockets: self.sockets.clone(),
            config,
            world: &self.world,
            seed: 1,
            previous,
        })
    }

    #[track_caller]
    fn build(&mut self, text: &str, previous: Option<&Snapshot>) -> Snapshot {
        let built = self.try_build(shared(text), previous);
        built.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The endpoints as they are written, which are addresses here.
fn endpoints(config: &Config) -> BTreeMap<String, Vec<ResolvedEndpoint>> {
    let resolved = |entry: &EndpointEntry| {
        let EndpointEntry::Address(text) = entry else {
            panic!("only addresses are needed here")
        };
        ResolvedEndpoint::at(Address::Ip(text.parse().expect("an address")))
    };
    effective_upstreams(config)
        .into_iter()
        .map(|(name, upstream)| {
            (
                name,
                upstream.endpoints.listed().iter().map(resolved).collect(),
            )
        })
        .collect()
}

fn listener<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Arc<Listener> {
    snapshot.listener(name).expect("a listener of this name")
}

fn http<'a>(snapshot: &'a Snapshot, name: &str) -> &'a HttpListener {
    match &listener(snapshot, name).kind {
        Kind::Http(http) => http,
        Kind::Tcp(_) | Kind::Udp(_) => panic!("{name} relays"),
    }
}

/// What a listener leaves in `Via`.
fn mark(via: &Via) -> String {
    let mut headers = Fields::new();
    via.request(&mut headers, Version::HTTP_11)
        .expect("it was not here before");
    let via = headers.get("via").and_then(Value::to_str);
    via.expect("text").to_owned()
}

#[test]
fn a_snapshot_is_what_was_written() {
    let snapshot = Stage::new().build(TEXT, None);
    assert_eq!((snapshot.generation, &*snapshot.sha256), (1, "digest"));
    assert_eq!(&*snapshot.zone, "eu-1a");
    assert!(snapshot.access_log && !snapshot.log_query);
    let names: Vec<_> = snapshot.listeners.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["api", "db", "web"]);
    assert!(snapshot.listener("nobody").is_none());
    let names: Vec<_> = snapshot.upstreams.keys().map(|name| &**name).collect();
    assert_eq!(names, ["listener.web", "other", "postgres"]);

    let api = listener(&snapshot, "api");
    assert_eq!((&*api.bind, api.max_connections), ("127.0.0.1:0", 5));
    let http = http(&snapshot, "api");
    assert_eq!((http.limits.head, http.limits.fields), (4096, 7));
    assert!(http.fallback.is_none());
    assert_eq!(&*http.unrouted.name, "");
    assert!(matches!(http.unrouted.action, Action::NotFound));
    let routes: Vec<_> = http.routes.targets().map(|route| &*route.name).collect();
    assert_eq!(routes, ["site"]);

    let Kind::Tcp(db) = &listener(&snapshot, "db").kind else {
        panic!("db speaks HTTP")
    };
    let [choice] = db.fallback.as_ref().expect("it has a target").choices() else {
        panic!("db has several targets")
    };
    assert_eq!(&*choice.upstream.name, "postgres");
    assert_eq!(choice.timeouts.tunnel_idle.as_secs(), 9);
}

#[test]
fn a_listener_for_datagrams_may_have_the_address_of_another() {
    let text = r#"
        defaults = { timeouts = { session_idle = "7s" } }
        [listener.a]
        bind = "127.0.0.1:0"
        protocols = ["udp"]
        to = ["10.0.0.1:53"]
        [listener.b]
        bind = "127.0.0.1:0"
        protocols = ["udp"]
        to = ["10.0.0.1:53"]
        timeouts = { session_idle = "9s" }
        [listener.web]
        bind = "127.0.0.1:0"
        to = ["10.0.0.1:80"]
    "#;
    let snapshot = Stage::new().build(text, None);
    for (name, seconds) in [("a", 7), ("b", 9)] {
        let udp = listener(&snapshot, name).udp().expect("datagrams");
        assert_eq!(udp.session_idle.as_secs(), seconds);
        assert_eq!(udp.route.choices().len(), 1);
    }
    let sockets = Arc::clone(&listener(&snapshot, "a").sockets);
    let facts = ConnectionFacts {
        listener: "web".into(),
        peer: sockets.local,
        sockets,
        brought: None,
        proxied: None,
    };
    let found = snapshot.listener_of(&facts).expect("by its name");
    assert_eq!(&*found.name, "web", "a connection came to no datagrams");
}

#[test]
fn a_listeners_own_upstream_is_its_last_resort() {
    let snapshot = Stage::new().build(TEXT, None);
    let web = http(&snapshot, "web");
    let fallback = web.fallback.as_ref().expect("it has endpoints");
    assert_eq!(&*fallback.name, "listener.web");
    let Action::Forward(split) = &fallback.action else {
        panic!("{fallback:?}")
    };
    let [choice] = split.choices() else {
        panic!("{split:?}")
    };
    assert!(Arc::ptr_eq(
        &choice.upstream,
        &snapshot.upstreams["listener.web"]
    ));
    // Routes that name another listener are not its own.
    assert_eq!(web.routes.targets().count(), 0);
}

#[test]
fn a_reload_keeps_what_a_listener_has() {
    let mut stage = Stage::new();
    let before = stage.build(TEXT, None);
    listener(&before, "api")
        .connections
        .store(3, Ordering::Relaxed);
    let after = stage.build(&TEXT.replace("= 5\n", "= 6\n"), Some(&before));
    assert_eq!(after.generation, 2);
    for name in ["api", "db", "web"] {
        let (old, new) = (listener(&before, name), listener(&after, name));
        assert!(Arc::ptr_eq(&old.sockets, &new.sockets), "{name}");
        assert!(Arc::ptr_eq(&old.connections, &new.connections), "{name}");
    }
    assert_eq!(listener(&after, "api").max_connections, 6);
    assert_eq!(
        listener(&after, "api").connections.load(Ordering::Relaxed),
        3
    );
}

#[test]
fn a_reload_keeps_the_mark_of_each_listener() {
    let mut stage = Stage::new();
    let before = stage.build(TEXT, None);
    let after = stage.build(TEXT, Some(&before));
    let (api, web) = (
        mark(&http(&before, "api").via),
        mark(&http(&before, "web").via),
    );
    assert_ne!(api, web, "a listener may forward to the other");
    assert_eq!(mark(&http(&after, "api").via), api);
    assert_eq!(mark(&http(&after, "web").via), web);
}

#[test]
fn a_reload_keeps_what_is_known_of_endpoints() {
    let mut stage = Stage::new();
    let before = stage.build(TEXT, None);
    let ids = |snapshot: &Snapshot, upstream: &str| -> Vec<u64> {
        let endpoints = snapshot.upstreams[upstream].endpoints();
        endpoints.iter().map(|one| one.live.id()).collect()
    };
    let in_flight = before.upstreams["postgres"].endpoints()[0].live.begin();
    let text = TEXT.replace("\"10.0.0.3:5432\"", "\"10.0.0.4:5432\"");
    let after = stage.build(&text, Some(&before));
    let (old, new) = (ids(&before, "postgres"), ids(&after, "postgres"));
    assert_eq!(old[0], new[0]);
    assert_ne!(old[1], new[1], "another address is another endpoint");
    assert_eq!(
        after.upstreams["postgres"].endpoints()[0].live.in_flight(),
        1
    );
    // The same address in another upstream is an endpoint of its own.
    assert_ne!(ids(&after, "other")[0], new[0]);
    drop(in_flight);
}

#[test]
fn a_listener_that_changes_its_protocol_starts_afresh() {
    let mut stage = Stage::new();
    let web = "[listener.x]\nbind = '127.0.0.1:0'\nto = ['10.0.0.1:80']\n";
    let tcp = format!("{web}protocols = ['tcp']\n");
    let before = stage.build(web, None);
    let between = stage.build(&tcp, Some(&before));
    assert!(matches!(listener(&between, "x").kind, Kind::Tcp(_)));
    let after = stage.build(web, Some(&between));
    http(&after, "x");
    // Connections are counted on, whatever is spoken on them.
    assert!(Arc::ptr_eq(
        &listener(&before, "x").connections,
        &listener(&after, "x").connections
    ));
}

#[test]
fn what_cannot_be_built_is_returned() {
    let mut stage = Stage::new();
    // The checks of the configuration refuse all of these, so they are made behind its back.
    let build = |stage: &mut Stage, change: fn(&mut Config)| {
        let mut config = config(TEXT);
        change(&mut config);
        let error = stage.try_build(Arc::new(config), None).expect_err("wrong");
        error.to_string()
    };
    let unknown = build(&mut stage, |config| {
        config.upstream.remove("postgres");
    });
    assert!(
        unknown.contains("names upstream `postgres`, which does not exist"),
        "{unknown}"
    );
    let idle = build(&mut stage, |config| {
        if let Some(route) = config.route.get_mut("site") {
            route.split.clear();
        }
    });
    assert_eq!(idle, "site: it has no action");
    let nowhere = build(&mut stage, |config| {
        if let Some(listener) = config.listener.get_mut("db") {
            listener.upstream = None;
        }
    });
    assert!(nowhere.starts_with("db: a listener with"), "{nowhere}");
    let refused = build(&mut stage, |config| {
        if let Some(route) = config.route.get_mut("site") {
            route.path = Some("~(".to_owned());
        }
    });
    assert!(refused.starts_with("site: "), "{refused}");
    let unbound = build_without_sockets();
    assert_eq!(unbound, "api: its address is not bound");
}

fn build_without_sockets() -> String {
    let stage = Stage::new();
    let config = shared(TEXT);
    let error = build(Ingredients {
        generation: 1,
        sha256: "".into(),
        endpoints: endpoints(&config),
        certificates: BTreeMap::new(),
        materials: BTreeMap::new(),
        sockets: BTreeMap::new(),
        config,
        world: &stage.world,
        seed: 1,
        previous: None,
    });
    error.expect_err("no sockets").to_string()
}

#[test]
fn what_comes_to_this_instance_is_told_by_what_is_bound() {
    let mut stage = Stage::new();
    stage.world.admin = Some("[::]:9901".parse().expect("an address"));
    let text = "[listener.six]\nbind = '[::]:0'\nto = ['10.0.0.1:80']\n\
                [listener.every]\nbind = ':0'\nto = ['10.0.0.1:80']\n";
    let snapshot = stage.build(text, None);
    let port = |name: &str| snapshot.listener(name).expect("there").sockets.local.port();
    let (six, every) = (port("six"), port("every"));
    for (address, port, is_here) in [
        ("::1", six, true),
        ("127.0.0.1", six, false),
        ("::1", every, true),
        ("127.0.0.1", every, true),
        // For documentation (RFC 5737, RFC 3849).
        ("192.0.2.1", every, false),
        ("2001:db8::1", six, false),
        ("::1", 9901, true),
        ("127.0.0.1", 9901, false),
        ("::1", 9902, false),
    ] {
        let ip: std::net::IpAddr = address.parse().expect("an address");
        assert_eq!(
            snapshot.accepts_at((ip, port).into()),
            is_here,
            "{ip} {port}"
        );
    }
}

/// A listener of this name and address.
fn at(name: &str, bind: &str) -> String {
    format!("[listener.{name}]\nbind = '{bind}'\nto = ['10.0.0.1:80']\n")
}

#[test]
fn connections_stay_a_listeners_that_gets_other_sockets() {
    let mut stage = Stage::new();
    let first = stage.build(&(at("a", "127.0.0.1:0") + &at("b", "127.0.0.1:0")), None);
    let of = |snapshot: &Snapshot, name: &str| {
        let listener = snapshot.listener(name).expect("it is there");
        Arc::clone(&listener.connections)
    };
    let (a, b) = (of(&first, "a"), of(&first, "b"));
    // `a` gets new sockets; `b` is called `c`, and a new one `b`.
    let old = stage.sockets.remove("b").expect("it was bound");
    stage.sockets.insert("c".to_owned(), old);
    stage.sockets.remove("a");
    let text = ["a", "b", "c"].map(|name| at(name, "127.0.0.1:0")).concat();
    let second = stage.build(&text, Some(&first));
    assert!(Arc::ptr_eq(&of(&second, "a"), &a));
    assert!(Arc::ptr_eq(&of(&second, "c"), &b));
    assert!(!Arc::ptr_eq(&of(&second, "b"), &b), "nobody's but its own");
}

#[test]
fn workers_see_the_snapshot_in_force() {
    let mut stage = Stage::new();
    let first = stage.build(TEXT, None);
    let second = stage.build(TEXT, Some(&first));
    let handle = Handle::new(first);
    let mut cache = handle.cache();
    let mut told = handle.subscribe();
    assert_eq!(cache.load().generation, 1);
    assert!(!told.has_changed().expect("the handle is there"));

    let clone = handle.clone();
    let previous = clone.replace(second);
    assert_eq!(previous.generation, 1);
    assert!(told.has_changed().expect("the handle is there"));
    assert_eq!(*told.borrow_and_update(), 2);
    assert_eq!((cache.load().generation, handle.load().generation), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_done_when_all_have_done_it() {
    let mut stage = Stage::new();
    let first = stage.build(TEXT, None);
    let second = stage.build(TEXT, Some(&first));
    let handle = Handle::new(first);
    let behind = async || handle.followed(Duration::from_secs(1)).await;
    assert_eq!(behind().await, 0, "nobody has to do anything");
    let (mut one, two) = (handle.follower(), handle.follower());
    assert_eq!(behind().await, 0, "nothing has changed");
    drop(handle.replace(second));
    assert_eq!(behind().await, 2);
    let asked = handle.clone();
    let asked = tokio::spawn(async move { asked.followed(Duration::from_mins(1)).await });
    assert_eq!(one.changed().await, Some(2));
    one.done(2);
    assert_eq!(behind().await, 1);
    assert!(!asked.is_finished());
    drop(two);
    assert_eq!(asked.await.ok(), Some(0), "who has gone is not waited for");
}

#[test]
fn upstreams_without_a_name_get_one() {
    let config = config(TEXT);
    let upstreams = effective_upstreams(&config);
    let names: Vec<_> = upstreams.keys().map(String::as_str).collect();
    assert_eq!(names, ["listener.web", "other", "postgres"]);
    assert_eq!(
        upstreams["listener.web"].endpoints.listed(),
        [EndpointEntry::Address("10.0.0.1:80".to_owned())]
    );
    assert_eq!(upstreams["postgres"], config.upstream["postgres"]);
}
