//! What becomes of the answers of endpoints, on real sockets.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{health, prober, tcp, upstream, world};
use crate::config::Time;
use crate::config::{self, StatusPattern};
use crate::endpoint::{By, ConnectFailure, Health, Outcome};
use crate::net::Address;
use crate::telemetry::metrics::Format;

/// An endpoint on a port of its own, until it is dropped.
struct Peer {
    address: Address,
    /// What was asked, one head an item.
    heads: Arc<Mutex<Vec<String>>>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Peer {
    /// Answers every request with whatever `answer` gives, and closes.
    async fn says(answer: impl Fn() -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = Address::Ip(listener.local_addr().expect("bound"));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4_096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                head.truncate(read);
                kept.lock()
                    .expect("not poisoned")
                    .push(String::from_utf8_lossy(&head).into());
                drop(stream.write_all(answer().as_bytes()).await);
            }
        });
        Self {
            address,
            heads,
            task: Some(task),
        }
    }

    async fn answers(status: u16) -> Self {
        Self::says(move || response(status)).await
    }

    /// Answers with the status that stands in `status` at the time.
    async fn flaps(status: &Arc<AtomicU16>) -> Self {
        let status = Arc::clone(status);
        Self::says(move || response(status.load(Ordering::Relaxed))).await
    }

    /// Nobody listens there.
    async fn refuses() -> Self {
        let mut peer = Self::answers(200).await;
        if let Some(task) = peer.task.take() {
            task.abort();
            drop(task.await);
        }
        peer
    }

    /// Accepts and says nothing.
    async fn never_answers() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = Address::Ip(listener.local_addr().expect("bound"));
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        Self {
            address,
            heads: Arc::default(),
            task: Some(task),
        }
    }

    fn head(&self) -> String {
        self.heads
            .lock()
            .expect("not poisoned")
            .first()
            .cloned()
            .unwrap_or_default()
    }
}

fn response(status: u16) -> String {
    format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")
}

/// The first verdict about a peer, and its reason.
async fn verdict(health: config::Health, peer: &Peer) -> (Health, String) {
    let world = world();
    let upstream = upstream(&world, health, &[&peer.address], None);
    let prober = prober(&world);
    prober.apply([&upstream]);
    timeout(PATIENCE, prober.first_verdicts())
        .await
        .expect("a verdict in time");
    let live = Arc::clone(&upstream.endpoints()[0].live);
    let why = live.verdict().expect("a verdict").why.to_string();
    (live.health(), why)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_good_answer_is_healthy() {
    let peer = Peer::answers(204).await;
    let (health, why) = verdict(health(), &peer).await;
    assert_eq!(health, Health::Healthy);
    assert_eq!(why, "the first probe passed: GET /healthz answered 204");
}

#[tokio::test]
async fn the_request_says_who_asks() {
    let peer = Peer::answers(200).await;
    let mut health = health();
    if let Some(http) = &mut health.http {
        http.host = Some("api.example.com".into());
        http.method = Some("HEAD".into());
        http.headers = BTreeMap::from([("X-Token".to_owned(), "secret".to_owned())]);
    }
    verdict(health, &peer).await;
    let head = peer.head().to_ascii_lowercase();
    for part in [
        "head /healthz http/1.1\r\n",
        "\r\nhost: api.example.com\r\n",
        "\r\nuser-agent: evenkeel-health\r\n",
        "\r\nconnection: close\r\n",
        "\r\nx-token: secret\r\n",
    ] {
        assert!(head.contains(part), "{part:?} is missing in {head:?}");
    }
}

#[tokio::test]
async fn the_host_is_the_endpoints_name_unless_set() {
    let peer = Peer::answers(200).await;
    verdict(health(), &peer).await;
    let host = format!("host: {}\r\n", peer.address);
    assert!(
        peer.head().to_ascii_lowercase().contains(&host),
        "{:?}",
        peer.head()
    );
}

#[tokio::test]
async fn a_status_that_is_not_expected_is_unhealthy() {
    let peer = Peer::answers(503).await;
    let (health, why) = verdict(health(), &peer).await;
    assert_eq!(health, Health::Unhealthy);
    assert_eq!(
        why,
        "the first probe failed: GET /healthz answered 503, expected 200–399"
    );
}

#[tokio::test]
async fn expected_statuses_can_be_chosen() {
    let peer = Peer::answers(503).await;
    let mut health = health();
    if let Some(http) = &mut health.http {
        http.status = vec![StatusPattern::Range("5xx".into())];
    }
    assert_eq!(verdict(health, &peer).await.0, Health::Healthy);
}

#[tokio::test]
async fn a_refused_connection_is_unhealthy() {
    let peer = Peer::refuses().await;
    for check in [health(), tcp()] {
        let (health, why) = verdict(check, &peer).await;
        assert_eq!(health, Health::Unhealthy);
        assert_eq!(why, "the first probe failed: connection refused");
    }
}

#[tokio::test]
async fn silence_is_unhealthy_for_http_and_enough_for_tcp() {
    let peer = Peer::never_answers().await;
    let (http, why) = verdict(health(), &peer).await;
    assert_eq!(http, Health::Unhealthy);
    assert_eq!(why, "the first probe failed: no answer within 150ms");
    let (tcp, why) = verdict(tcp(), &peer).await;
    assert_eq!(tcp, Health::Healthy);
    assert_eq!(why, "the first probe passed: a connection was accepted");
}

#[tokio::test]
async fn what_is_not_http_is_unhealthy() {
    let peer = Peer::says(|| "SSH-2.0-OpenSSH_9.6\r\n".to_owned()).await;
    let (health_of, why) = verdict(health(), &peer).await;
    assert_eq!(health_of, Health::Unhealthy);
    assert!(why.contains("no answer: it is not HTTP/1"), "{why}");
    let mute = Peer::says(String::new).await;
    let (health_of, why) = verdict(health(), &mute).await;
    assert_eq!(health_of, Health::Unhealthy);
    assert!(
        why.contains("no answer: the connection was closed"),
        "{why}"
    );
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let peer = Peer::says(|| format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20))).await;
    let (health, why) = verdict(health(), &peer).await;
    assert_eq!(health, Health::Unhealthy);
    assert!(why.contains("no answer"), "{why}");
}

#[tokio::test]
async fn another_port_can_be_probed() {
    let (peer, other) = (Peer::answers(200).await, Peer::answers(503).await);
    let Address::Ip(address) = &other.address else {
        unreachable!("peers listen on TCP")
    };
    let check = config::Health {
        port: Some(address.port()),
        ..health()
    };
    let (health, why) = verdict(check, &peer).await;
    assert_eq!(health, Health::Unhealthy, "{why}");
}

#[tokio::test]
async fn unix_sockets_are_probed_too() {
    let path = std::env::temp_dir().join(format!("evenkeel-probe-{}.sock", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).expect("a socket");
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a probe");
        let mut head = [0; 1_024];
        drop(stream.read(&mut head).await);
        drop(stream.write_all(response(200).as_bytes()).await);
    });
    let peer = Peer {
        address: Address::Unix(Arc::new(path.clone())),
        heads: Arc::default(),
        task: Some(task),
    };
    let (health, why) = verdict(health(), &peer).await;
    std::fs::remove_file(&path).expect("it was there");
    assert_eq!(health, Health::Healthy, "{why}");
}

#[tokio::test]
async fn an_endpoint_that_fails_goes_down_and_comes_back() {
    let world = world();
    let status = Arc::new(AtomicU16::new(200));
    let peer = Peer::flaps(&status).await;
    let upstream = upstream(&world, health(), &[&peer.address], None);
    let prober = prober(&world);
    prober.apply([&upstream]);
    let live = Arc::clone(&upstream.endpoints()[0].live);
    let is = |health| live.health() == health;
    until("it is up", || is(Health::Healthy)).await;
    status.store(500, Ordering::Relaxed);
    until("it is down", || is(Health::Unhealthy)).await;
    status.store(200, Ordering::Relaxed);
    until("it is up again", || is(Health::Healthy)).await;
    let events = world.events.list(0);
    let told: Vec<_> = events
        .iter()
        .map(|e| (e.event.kind, e.event.why.as_str()))
        .collect();
    assert!(told.contains(&(
        "endpoint_down",
        "3 probes in a row failed: GET /healthz answered 500, expected 200–399"
    )));
    assert!(
        told.contains(&(
            "endpoint_up",
            "2 probes in a row passed: GET /healthz answered 200"
        )),
        "{told:?}"
    );
    let mut text = String::new();
    world.registry.encode(Format::Text, &mut text);
    for result in ["passed", "bad_status"] {
        let series = format!(
            r#"evenkeel_health_checks_total{{upstream="api",endpoint="{}",result="{result}"}}"#,
            peer.address
        );
        assert!(text.contains(&series), "{series} is missing in\n{text}");
    }
}

#[tokio::test]
async fn a_worker_that_cannot_connect_brings_the_probe_forward() {
    let world = world();
    let peer = Peer::refuses().await;
    let slow = config::Health {
        interval: Some(Time(Duration::from_hours(1))),
        unhealthy_after: Some(1),
        ..tcp()
    };
    let upstream = upstream(&world, slow, &[&peer.address], None);
    let endpoint = Arc::clone(&upstream.endpoints()[0]);
    upstream.set_health(&endpoint, Health::Healthy, By::Active, "test".into());
    let prober = prober(&world);
    prober.apply([&upstream]);
    until("the first probe has failed", || {
        endpoint.live.health() == Health::Unhealthy
    })
    .await;
    upstream.set_health(&endpoint, Health::Healthy, By::Active, "test".into());
    let checks = || {
        let mut text = String::new();
        world.registry.encode(Format::Text, &mut text);
        let line = text
            .lines()
            .find(|line| line.starts_with("evenkeel_health_checks_total{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
            .unwrap_or(0)
    };
    assert_eq!(checks(), 1, "the next one is due in an hour");
    endpoint.learn(
        Outcome::NoConnection(ConnectFailure::Refused),
        Instant::now(),
    );
    until("a second probe has ended", || checks() >= 2).await;
}

#[tokio::test]
async fn a_reload_keeps_verdicts_and_probes_what_is_new() {
    let world = world();
    let (kept, added, gone) = (
        Peer::answers(200).await,
        Peer::answers(200).await,
        Peer::answers(200).await,
    );
    let old = upstream(&world, health(), &[&kept.address, &gone.address], None);
    let prober = prober(&world);
    prober.apply([&old]);
    timeout(PATIENCE, prober.first_verdicts())
        .await
        .expect("in time");
    let new = upstream(
        &world,
        health(),
        &[&kept.address, &added.address],
        Some(&old),
    );
    assert_eq!(new.endpoints()[0].live.health(), Health::Healthy);
    assert_eq!(new.endpoints()[1].live.health(), Health::Unknown);
    prober.apply([&new]);
    timeout(PATIENCE, prober.first_verdicts())
        .await
        .expect("in time");
    assert_eq!(new.endpoints()[1].live.health(), Health::Healthy);
    let before = gone.heads.lock().expect("not poisoned").len();
    sleep(Duration::from_millis(600)).await;
    assert!(
        gone.heads.lock().expect("not poisoned").len() <= before + 1,
        "it is left alone"
    );
}

#[tokio::test]
async fn a_dropped_prober_ends() {
    let world = world();
    let peer = Peer::answers(200).await;
    let upstream = upstream(&world, health(), &[&peer.address], None);
    let prober = prober(&world);
    prober.apply([&upstream]);
    timeout(PATIENCE, prober.first_verdicts())
        .await
        .expect("in time");
    drop(prober);
    sleep(Duration::from_millis(50)).await;
    let before = peer.heads.lock().expect("not poisoned").len();
    sleep(Duration::from_millis(600)).await;
    assert_eq!(peer.heads.lock().expect("not poisoned").len(), before);
}
