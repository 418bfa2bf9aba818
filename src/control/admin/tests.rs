use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::status::Status;
use super::*;
use crate::config;
use crate::control::health::Prober;
use crate::control::inherited::Inherited;
use crate::control::last_good::Copies;
use crate::control::prepare::{Candidate, Workshop};
use crate::control::privileges::confined::Confined;
use crate::control::reload::{self, Log, Reloader};
use crate::control::upgrade::{self, Upgrader};
use crate::net::Stream;
use crate::telemetry::access::{Output, Settings, Writer};
use crate::telemetry::events::Event;
use crate::upstream::World;

/// An instance with an admin API and nothing else that runs.
struct Instance {
    directory: PathBuf,
    http: std::net::SocketAddr,
    events: Events,
    readiness: Readiness,
    tasks: Vec<JoinHandle<()>>,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

const CONFIG: &str = r#"
zone = "eu-1a"

[listener.web]
bind = "127.0.0.1:0"

[route.api]
hosts = ["api.example.com"]
upstream = "api"
request_headers = { set = { authorization = "Bearer hush" } }

[route.old]
path = "/old"
redirect = { status = 301, path = "/new" }

[upstream.api.zone.eu-1a]
endpoints = ["127.0.0.1:9", "127.0.0.2:9"]

[upstream.api.zone.eu-1b]
endpoints = ["127.0.0.3:9"]

[upstream.api.health]
tcp = {}
"#;

impl Instance {
    async fn start(name: &str) -> Self {
        let directory = format!("evenkeel-admin-{}-{name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        drop(std::fs::remove_dir_all(&directory));
        std::fs::create_dir(&directory).unwrap();
        let file = directory.join("evenkeel.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let registry = Registry::new(1);
        let events = Events::default();
        let workshop = workshop(&registry, &events);
        let outcome = config::load(&file, &config::System);
        let candidate = Candidate::new(&outcome, 1).map_err(|error| {
            let findings = outcome.diagnostics.iter();
            let findings = findings.map(|finding| finding.one_line(&outcome.sources));
            format!("{error}: {:?}", findings.collect::<Vec<_>>())
        });
        let candidate = candidate.unwrap();
        let snapshot = workshop.prepare(candidate, None).await.unwrap();
        workshop.world.install(snapshot.upstreams.values());
        let handle = Handle::new(snapshot);
        let log = log(&directory, &registry);
        let readiness = Readiness::new();
        let random = fastrand::Rng::with_seed(1);
        let prober = Prober::start(&workshop.world.live, random);
        let entrances = Entrances::bind(&written(&directory)).unwrap();
        let world = (&registry, &events);
        let parts = upgrade_parts(&handle, &prober, world, (&readiness, entrances.gates()));
        let (driving, upgrades, _) = Upgrader::new(parts);
        let (reloader, reload) = Reloader::new(reload::Parts {
            file: Some(file),
            workshop,
            handle: handle.clone(),
            prober,
            log,
            readiness: readiness.clone(),
            copies: Copies::new(),
            read: tokio::sync::watch::Sender::default(),
            one_change: Arc::default(),
        });
        let admin = Admin::new(Parts {
            snapshot: handle,
            refusals: Refusals::new(&registry),
            registry,
            events: events.clone(),
            readiness: readiness.clone(),
            reload,
            upgrades,
            workers: 1,
        });
        let http = entrances.http_address().unwrap();
        let serve = tokio::spawn(async move {
            admin.serve(entrances).await;
        });
        let tasks = vec![
            serve,
            tokio::spawn(reloader.run()),
            tokio::spawn(driving.run()),
        ];
        Self {
            directory,
            http,
            events,
            readiness,
            tasks,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("admin.sock")
    }

    /// A request through the socket.
    async fn ask(&self, method: &str, target: &str) -> Reply {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        exchange(Stream::Unix(stream), &request(method, target, "")).await
    }

    /// A request through the TCP address.
    async fn look(&self, method: &str, target: &str, fields: &str) -> Reply {
        let stream = TcpStream::connect(self.http).await.unwrap();
        exchange(stream.into(), &request(method, target, fields)).await
    }

    async fn json(&self, target: &str) -> Value {
        let reply = self.ask("GET", target).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_str(&reply.body).unwrap()
    }

    /// The endpoints, once the checks have found that nobody is there.
    async fn judged_endpoints(&self) -> Value {
        let judge = async {
            loop {
                let endpoints = self.json("/v1/upstreams/api/endpoints").await;
                let mut states = endpoints.as_array().unwrap().iter();
                if states.all(|endpoint| endpoint["state"] == "unhealthy") {
                    return endpoints;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, judge).await.unwrap()
    }

    fn rewrite(&self, from: &str, to: &str) {
        let text = CONFIG.replace(from, to);
        assert_ne!(text, CONFIG);
        std::fs::write(self.directory.join("evenkeel.toml"), text).unwrap();
    }
}

fn written(directory: &Path) -> config::Admin {
    config::Admin {
        socket: Some(directory.join("admin.sock")),
        http: Some("127.0.0.1:0".into()),
        ..config::Admin::default()
    }
}

fn workshop(registry: &Registry, events: &Events) -> Workshop {
    Workshop {
        world: World::new(registry.clone(), events.clone()),
        workers: 1,
        seed: 1,
        datagrams: crate::control::Bound::default(),
        inherited: Inherited::default(),
        confined: Confined::default(),
    }
}

/// What an upgrade acts on that can never come about.
fn upgrade_parts(
    handle: &Handle,
    prober: &Prober,
    (registry, events): (&Registry, &Events),
    (readiness, gates): (&Readiness, Gates),
) -> upgrade::Parts {
    upgrade::Parts {
        program: None,
        handle: handle.clone(),
        prober: prober.asking(),
        inherited: Inherited::default(),
        gates,
        one_change: Arc::default(),
        drain: crate::drain::channel().1,
        readiness: readiness.clone(),
        events: events.clone(),
        registry: registry.clone(),
        workers: 1,
        caretaker: None,
        confined: Confined::default(),
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn log(directory: &Path, registry: &Registry) -> Log {
    let written = config::Log {
        output: Some(directory.join("log").display().to_string()),
        ..config::Log::default()
    };
    let settings = Settings::new(&written);
    assert!(matches!(settings.output, Output::File(_)));
    Log {
        sink: Writer::spawn(&settings, registry).unwrap(),
        level: None,
    }
}

fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: evenkeel\r\nConnection: close\r\n{fields}\r\n")
}

async fn exchange(mut stream: Stream, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Reply {
        status: head[9..12].parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn probes_follow_readiness() {
    let instance = Instance::start("probes").await;
    assert_eq!(instance.look("GET", "/livez", "").await.body, "ok\n");
    let starting = instance.look("GET", "/readyz", "").await;
    assert_eq!(starting.status, 503);
    assert!(
        starting.body.contains("[-]listeners failed\n"),
        "{starting:?}"
    );
    instance.readiness.listening();
    instance.readiness.configured();
    assert_eq!(instance.look("GET", "/readyz", "").await.body, "ok\n");
    let verbose = instance.look("GET", "/readyz?verbose", "").await;
    assert!(verbose.body.starts_with("[+]listeners ok\n"), "{verbose:?}");
    let head = instance.look("HEAD", "/readyz", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-length: 3"), "{head:?}");
    instance.readiness.draining();
    assert_eq!(instance.look("GET", "/readyz", "").await.status, 503);
    assert_eq!(instance.look("GET", "/startupz", "").await.status, 200);
    assert_eq!(instance.look("GET", "/livez", "").await.status, 200);
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let instance = Instance::start("metrics").await;
    let plain = instance.look("GET", "/metrics", "").await;
    assert!(
        plain
            .head
            .contains("content-type: text/plain; version=0.0.4")
    );
    assert!(
        plain
            .body
            .contains("\nevenkeel_config_info{generation=\"1\",")
    );
    let open = "Accept: application/openmetrics-text\r\n";
    let open = instance.look("GET", "/metrics", open).await;
    assert!(
        open.head
            .contains("application/openmetrics-text; version=1.0.0")
    );
    assert!(open.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_status_is_typed_and_tells_what_is_wrong() {
    let instance = Instance::start("status").await;
    instance.readiness.listening();
    instance.readiness.configured();
    instance.judged_endpoints().await;
    let reply = instance.ask("GET", "/v1/status").await;
    let status: Status = serde_json::from_str(&reply.body).unwrap();
    assert!(status.ready && !status.draining);
    assert_eq!((status.zone.as_str(), status.workers), ("eu-1a", 1));
    assert_eq!(status.configuration.generation, 1);
    assert_eq!(status.listeners[0].name, "web");
    assert_ne!(status.listeners[0].address, "127.0.0.1:0");
    let routes: Vec<_> = status
        .routes
        .iter()
        .map(|route| route.action.as_str())
        .collect();
    assert_eq!(routes, ["forward", "redirect", "not_found"]);
    let upstream = &status.upstreams[0];
    assert_eq!((upstream.healthy, upstream.standing.as_str()), (0, "panic"));
    assert_eq!(upstream.endpoints[2].zone, "eu-1b");
    let warning = &status.warnings[0];
    assert_eq!(warning.about, "upstream api");
    assert!(
        warning.what.starts_with("ignores health: only 0 of 3"),
        "{warning:?}"
    );
    assert!(warning.why[0].starts_with("127.0.0.1:9: "), "{warning:?}");
    assert_eq!((warning.why.len(), warning.for_s.is_some()), (3, true));
}

#[tokio::test]
async fn each_part_can_be_looked_at_alone() {
    let instance = Instance::start("parts").await;
    assert_eq!(
        instance.json("/v1/listeners").await[0]["protocol"],
        "http/1.1"
    );
    assert_eq!(instance.json("/v1/upstreams").await[0]["name"], "api");
    let endpoints = instance.judged_endpoints().await;
    assert_eq!(endpoints[1]["name"], "127.0.0.2:9");
    assert_eq!(endpoints[1]["zone"], "eu-1a");
    assert_ne!(endpoints[1]["why"], "");
    assert_eq!(instance.json("/v1/routes").await[0]["upstreams"][0], "api");
    let info = instance.json("/v1/info").await;
    assert_eq!(info["pid"], std::process::id());
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    let missing = instance.ask("GET", "/v1/upstreams/nobody/endpoints").await;
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("no upstream `nobody`"));
}

#[tokio::test]
async fn the_configuration_shows_no_secrets() {
    let instance = Instance::start("config").await;
    for target in ["/v1/config", "/v1/config?effective"] {
        let view = instance.json(target).await;
        assert_eq!(view["generation"], 1);
        assert_eq!(view["sha256"].as_str().unwrap().len(), 64);
        let text = view["toml"].as_str().unwrap();
        assert!(text.contains("api.example.com"), "{text}");
        assert!(text.contains("***") && !text.contains("hush"), "{text}");
    }
}

#[tokio::test]
async fn events_are_listed_from_a_number_on() {
    let instance = Instance::start("events").await;
    // The checks make events of their own.
    instance.judged_endpoints().await;
    let before = instance.json("/v1/events").await["last"].as_u64().unwrap();
    for number in 1..=3 {
        instance.events.publish(Event {
            kind: "endpoint_up",
            why: format!("reason {number}"),
            fields: vec![("upstream", "api".into())],
        });
    }
    let newer = instance.json(&format!("/v1/events?since={before}")).await;
    assert_eq!(newer["last"], before + 3);
    assert_eq!(newer["events"].as_array().unwrap().len(), 3);
    assert_eq!(newer["events"][0]["why"], "reason 1");
    assert_eq!(newer["events"][0]["upstream"], "api");
    let none = instance
        .json(&format!("/v1/events?since={}", before + 3))
        .await;
    assert_eq!(
        (&none["last"], none["events"].as_array().unwrap().len()),
        (&(before + 3).into(), 0)
    );
    assert_eq!(instance.ask("GET", "/v1/events?since=x").await.status, 400);
}

#[tokio::test]
async fn a_route_is_explained() {
    let instance = Instance::start("route").await;
    let url = "/v1/route?url=http%3A%2F%2Fapi.example.com%2Fv1%3Fa%3D1&header=accept:%20*/*";
    let view = instance.json(url).await;
    assert_eq!(view["route"], "api");
    assert_eq!(view["upstreams"][0][0], "api");
    assert_eq!(view["lost"][0]["route"], "old");
    let moved = instance
        .json("/v1/route?url=http://x/old&method=POST")
        .await;
    assert_eq!(
        (&moved["status"], &moved["route"]),
        (&301.into(), &"old".into())
    );
    assert_eq!(moved["location"], "http://x/new");
    for wrong in [
        "",
        "?url=/x",
        "?url=http://x/&header=x",
        "?url=http://x/&listener=no",
    ] {
        let reply = instance.ask("GET", &format!("/v1/route{wrong}")).await;
        assert_eq!(reply.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_reload_is_waited_for_and_told() {
    let instance = Instance::start("reload").await;
    instance.readiness.listening();
    instance.readiness.configured();
    instance.rewrite("127.0.0.3:9", "127.0.0.4:9");
    let applied = instance.ask("POST", "/v1/reload").await;
    assert_eq!(applied.status, 200, "{applied:?}");
    let report: Value = serde_json::from_str(&applied.body).unwrap();
    assert_eq!(
        (&report["result"], &report["generation"]),
        (&"applied".into(), &2.into())
    );
    let endpoints = instance.json("/v1/upstreams/api/endpoints").await;
    assert_eq!(endpoints[2]["name"], "127.0.0.4:9");

    instance.rewrite("[route.old]", "[rout.old]");
    let refused = instance.ask("POST", "/v1/reload").await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let report: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(
        (&report["result"], &report["generation"]),
        (&"rejected".into(), &2.into())
    );
    assert!(
        report["text"].as_str().unwrap().contains("rout"),
        "{report}"
    );
    let status = instance.json("/v1/status").await;
    assert_eq!(status["configuration"]["generation"], 2);
    let warnings = status["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning["about"] == "configuration"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn only_the_socket_changes_anything() {
    let instance = Instance::start("entrances").await;
    instance.rewrite("127.0.0.3:9", "127.0.0.4:9");
    let refused = instance
        .look("POST", "/v1/reload", "Content-Length: 0\r\n")
        .await;
    assert_eq!(refused.status, 403);
    assert!(
        refused
            .head
            .contains("content-type: application/problem+json")
    );
    assert_eq!(
        instance.json("/v1/status").await["configuration"]["generation"],
        1
    );
}

#[tokio::test]
async fn what_does_not_exist_or_does_not_fit_is_a_problem() {
    let instance = Instance::start("problems").await;
    for path in ["/", "/v1", "/v2/status", "/livez/", "/metrics/../v1/status"] {
        let reply = instance.ask("GET", path).await;
        assert_eq!(reply.status, 404, "{path}");
        let problem: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(
            (&problem["status"], &problem["title"]),
            (&404.into(), &"Not Found".into())
        );
    }
    let wrong = instance.look("DELETE", "/v1/status", "").await;
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("allow: get, head"), "{wrong:?}");
    let wrong = instance.ask("GET", "/v1/reload").await;
    assert!(
        wrong.status == 405 && wrong.head.contains("allow: post"),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn an_oversized_head_is_refused() {
    let instance = Instance::start("head").await;
    let long = format!("/v1/route?url=http://x/{}", "a".repeat(64 * 1024));
    let reply = instance.look("GET", &long, "").await;
    assert!([414, 431].contains(&reply.status), "{}", reply.status);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    let instance = Instance::start("slow").await;
    let mut stream = TcpStream::connect(instance.http).await.unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let before = tokio::time::Instant::now();
    stream.read_to_end(&mut rest).await.unwrap();
    let waited = before.elapsed();
    assert!((9..=11).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test]
async fn a_full_entrance_has_room_for_who_asks_something() {
    let instance = Instance::start("full").await;
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(TcpStream::connect(instance.http).await.unwrap());
    }
    // The server keeps 64, so the first ones had to go.
    let mut rest = Vec::new();
    let ended = idle[0].read_to_end(&mut rest);
    assert!(timeout(Duration::from_secs(20), ended).await.is_ok());
    for _ in 0..3 {
        assert_eq!(instance.look("GET", "/livez", "").await.status, 200);
        assert_eq!(instance.ask("GET", "/livez").await.status, 200);
    }
    // Who has come last has not been in the way.
    let last = idle.last_mut().unwrap();
    let request = request("GET", "/livez", "");
    last.write_all(request.as_bytes()).await.unwrap();
    last.read_to_end(&mut rest).await.unwrap();
    assert!(rest.starts_with(b"HTTP/1.1 200 "));
}
