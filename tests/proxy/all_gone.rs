//! What clients are told when every endpoint is gone: refused, or with all packets dropped, and
//! what health checks make of it. In namespaces.

use std::thread;

use crate::support::client::Response;
use crate::support::clock::eventually;
use crate::support::endpoint::{Endpoint, Peer};
use crate::support::evenkeel::Evenkeel;
use crate::support::look::cause;
use crate::support::namespace::Namespace;

/// The proxy's network, and one with three endpoints.
struct Scene {
    near: Namespace,
    far: Namespace,
    _endpoints: [Endpoint; 3],
}

const ADDRESSES: [&str; 3] = ["10.9.4.2:8080", "10.9.4.3:8080", "10.9.4.4:8080"];
const CHECKS: &str = "health = { tcp = {}, interval = \"200ms\", timeout = \"100ms\" }";
const NO_PANIC: &str = "panic_threshold = \"0%\"";

impl Scene {
    /// `None` where there can be none.
    fn new() -> Option<Self> {
        let (near, far) = (Namespace::create()?, Namespace::create()?);
        near.join(&far, "near0", "far0");
        near.run("ip addr add 10.9.4.1/24 dev near0");
        for last in 2..=4 {
            far.run(&format!("ip addr add 10.9.4.{last}/24 dev far0"));
        }
        let endpoints = ADDRESSES.map(|address| {
            let address = address.parse().expect("an address");
            far.within(|| Endpoint::start_at(address, answers))
        });
        Some(Self {
            near,
            far,
            _endpoints: endpoints,
        })
    }

    /// From now on all that comes has this end.
    fn be_gone(&self, verdict: &str) {
        self.far.run(&format!(
            "nft add table ip hole && \
             nft add chain ip hole in '{{ type filter hook input priority 0; }}' && \
             nft add rule ip hole in tcp dport 8080 {verdict}"
        ));
    }

    fn be_back(&self) {
        self.far.run("nft delete table ip hole");
    }
}

fn answers(peer: &mut Peer) {
    while peer.request().is_some() {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

/// What so many clients are answered that ask at once: half of them GET, half of them POST.
fn ask(proxy: &Evenkeel, scene: &Scene) -> Vec<Response> {
    let one = |number: usize| {
        let method = ["GET", "POST"][number % 2];
        let mut client = scene.near.within(|| proxy.client());
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        ));
        client.response_to(method)
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..20)
            .map(|number| scope.spawn(move || one(number)))
            .collect();
        let all = all.into_iter().map(thread::ScopedJoinHandle::join);
        all.map(|answer| answer.expect("each is answered"))
            .collect()
    })
}

/// Every answer is this one, and says so in `Proxy-Status`.
fn are_all(answers: &[Response], status: u16, word: &str) {
    for answer in answers {
        assert_eq!(
            (answer.status, &*cause(answer)),
            (status, word),
            "{answer:?}"
        );
    }
}

/// From now on one at a time waits in vain at each, and the others are told at once. `before` were
/// on their way.
fn some_wait(proxy: &Evenkeel, scene: &Scene, before: &[Response], (status, word): (u16, &str)) {
    let is_told = |it: &&Response| cause(it) == "destination_unavailable";
    let (told, later) = eventually("most are told at once", || {
        let later = ask(proxy, scene);
        let told: Vec<Response> = later.iter().filter(is_told).cloned().collect();
        (told.len() >= 10).then_some((told, later))
    });
    are_all(&told, 503, "destination_unavailable");
    assert!(told.iter().all(says_when), "{told:?}");
    let waited = before.iter().chain(&later).filter(|it| !is_told(it));
    let waited: Vec<Response> = waited.cloned().collect();
    are_all(&waited, status, word);
}

fn says_when(answer: &Response) -> bool {
    answer.head.value("retry-after").is_some()
}

#[test]
fn what_is_refused_is_502_and_who_need_not_wait_is_told_503() {
    let Some(scene) = Scene::new() else { return };
    for (verdict, status, word) in [
        ("reject with tcp reset", 502, "connection_refused"),
        ("drop", 504, "connection_timeout"),
    ] {
        // With checks it is the same: where all fail they are not believed. Unless that is written.
        for (checks, standing) in [
            (String::new(), "healthy"),
            (CHECKS.to_owned(), "panic"),
            (format!("{CHECKS}\n{NO_PANIC}"), "down"),
        ] {
            let config = format!(
                "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
                 [upstream.app]\nendpoints = {ADDRESSES:?}\n\
                 timeouts.connect = \"300ms\"\n{checks}\n"
            );
            let proxy = scene.near.within(|| Evenkeel::start(&config));
            scene.near.within(|| {
                let is_well = || {
                    let response = proxy.client().get("/");
                    (response.status == 200).then_some(())
                };
                eventually("they answer", is_well);
                scene.be_gone(verdict);
                eventually("that is noticed", || {
                    (proxy.standing("app") == standing).then_some(())
                });
                // What is sent on the connection that was kept breaks off, which is another word.
                assert!(is_well().is_none());
                let answers = ask(&proxy, &scene);
                if standing == "down" {
                    are_all(&answers, 503, "destination_unavailable");
                    assert!(answers.iter().all(says_when), "{answers:?}");
                } else if status == 502 {
                    are_all(&answers, status, word);
                } else {
                    // Whoever was on his way has waited in vain.
                    some_wait(&proxy, &scene, &answers, (status, word));
                }
                scene.be_back();
                eventually("they answer again", is_well);
            });
        }
    }
}
