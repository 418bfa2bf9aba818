//! What is known goes on over a restart: who is out and for how much longer, what was counted. A
//! process that is killed at any moment leaves nothing that keeps the next one from starting.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::clock::{eventually, pause};
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// An instance of two endpoints, of which one fails when it is told to, and where its state is.
struct Scene {
    proxy: Evenkeel,
    good: Endpoint,
    bad: Endpoint,
    status: Arc<AtomicU16>,
    files: Files,
}

impl Scene {
    fn new() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let told = Arc::clone(&status);
        let bad = Endpoint::start(move |peer| {
            while peer.request().is_some() {
                let status = told.load(Ordering::Acquire);
                peer.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
            }
        });
        let good = Endpoint::echo();
        let files = Files::new(&[]);
        let proxy = Evenkeel::start(&config(&files.path("state"), &[&good, &bad]));
        Self {
            proxy,
            good,
            bad,
            status,
            files,
        }
    }

    fn kept(&self, name: &str) -> PathBuf {
        self.files.path("state").join(name)
    }

    fn ask(&self) -> u16 {
        let mut client = self.proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.response().status
    }

    fn state_of_bad(&self) -> String {
        let address = self.bad.address().to_string();
        let endpoint = self.proxy.endpoint("app", &address);
        endpoint["state"].as_str().expect("a word").to_owned()
    }

    /// Has the bad one ejected, and waits until that is written down.
    fn eject(&self) {
        self.status.store(503, Ordering::Release);
        eventually("it is ejected", || {
            self.ask();
            (self.state_of_bad() == "ejected").then_some(())
        });
        eventually("that is kept", || {
            let state = fs::read_to_string(self.kept("state")).ok()?;
            state.contains("\"ejected\"").then_some(())
        });
    }

    fn stop(&mut self) {
        self.proxy.signal(Signal::TERM);
        assert!(self.proxy.wait_for_exit().success());
    }

    fn restored(&self) -> String {
        let events = self.proxy.events("state_restored");
        let event = events.first().expect("an event");
        event["why"].as_str().expect("words").to_owned()
    }
}

fn config(directory: &std::path::Path, endpoints: &[&Endpoint]) -> String {
    let quoted: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("\"{}\"", endpoint.address()))
        .collect();
    format!(
        "state_dir = \"{}\"\n[shutdown]\ngrace = \"0s\"\n\
         [listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = [{}]\n\
         [upstream.app.outlier]\nmax_ejected = \"50%\"\neject_for = \"10m\"\neject_at_most = \"1h\"\n",
        directory.display(),
        quoted.join(", "),
    )
}

#[test]
fn an_ejection_goes_on_after_a_restart_and_what_was_counted() {
    let mut scene = Scene::new();
    scene.eject();
    let requests = scene.proxy.metric("evenkeel_http_requests_total", &[]);
    assert!(requests > 0);
    scene.stop();
    scene.proxy.restart();
    assert_eq!(scene.state_of_bad(), "ejected");
    let why = scene.restored();
    assert!(
        why.contains("2 endpoints go on") && why.contains("1 of them out"),
        "{why}"
    );
    let asked = scene.bad.requests().len();
    assert!(
        (0..6).all(|_| scene.ask() == 200),
        "the other one has it all"
    );
    assert_eq!(scene.bad.requests().len(), asked);
    // Counters do not begin anew: nobody's graph falls.
    eventually("the requests are counted", || {
        let now = scene
            .proxy
            .metric("evenkeel_http_requests_total", &["code=\"200\""]);
        (now >= 6).then_some(())
    });
    let now = scene
        .proxy
        .metric("evenkeel_http_requests_total", &["code=\"200\""]);
    assert!(now > 6, "{now}: they go on from those before");
}

#[test]
fn after_a_kill_ejections_go_on_and_counters_begin_at_nothing() {
    let mut scene = Scene::new();
    scene.eject();
    let before = scene.proxy.metric("evenkeel_http_requests_total", &[]);
    assert!(before > 1);
    scene.proxy.kill();
    scene.proxy.restart();
    assert_eq!(scene.state_of_bad(), "ejected");
    assert_eq!(scene.ask(), 200);
    eventually("the request is counted", || {
        let now = scene.proxy.metric("evenkeel_http_requests_total", &[]);
        (now > 0).then(|| assert_eq!(now, 1, "some counts were lost: none go on"))
    });
}

#[test]
fn what_is_torn_is_set_aside_and_told() {
    let mut scene = Scene::new();
    scene.eject();
    scene.proxy.kill();
    let bytes = fs::read(scene.kept("state")).expect("it was kept");
    for end in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        fs::write(scene.kept("state"), &bytes[..end]).expect("writable");
        scene.proxy.restart();
        assert_eq!(scene.state_of_bad(), "healthy");
        let events = scene.proxy.events("state_ignored");
        let why = events[0]["why"].as_str().expect("words");
        assert!(why.contains("state.unreadable"), "{why}");
        let aside = fs::read(scene.kept("state.unreadable")).expect("it is set aside");
        assert_eq!(aside, bytes[..end]);
        assert!([200, 503].contains(&scene.ask()), "it serves");
        scene.proxy.kill();
    }
}

#[test]
fn killed_at_any_moment_it_starts_again_from_something_whole() {
    let mut scene = Scene::new();
    let mut restored = 0;
    for round in 0..16_u64 {
        // What it is held for changes all the time, so that something is written all the time.
        let status = if round % 2 == 0 { 503 } else { 200 };
        scene.status.store(status, Ordering::Release);
        (0..8).for_each(|_| assert!([200, 503].contains(&scene.ask())));
        // No multiple of anything that the program does.
        pause(Duration::from_millis(round * 137 % 1_400));
        scene.proxy.kill();
        scene.proxy.restart();
        assert!(
            scene.proxy.events("state_ignored").is_empty(),
            "round {round}"
        );
        restored += usize::from(!scene.proxy.events("state_restored").is_empty());
    }
    assert!(restored > 0, "nothing was ever kept");
    assert!(!scene.good.requests().is_empty());
    let left = fs::read_dir(scene.files.path("state")).expect("it is there");
    let left = left
        .flatten()
        .filter(|one| one.file_name().to_string_lossy().ends_with(".new"));
    assert!(left.count() <= 1, "what kills have left behind is removed");
}

#[test]
fn a_directory_that_cannot_be_written_is_told_once_and_hurts_nobody() {
    let endpoint = Endpoint::echo();
    let files = Files::new(&[("state", "a file")]);
    let proxy = Evenkeel::start(&config(&files.path("state"), &[&endpoint]));
    eventually("it is told", || {
        let told = proxy.events("state_not_saved");
        let of_state = told.iter().any(|event| event["why"] != "");
        of_state.then_some(())
    });
    eventually("it is counted", || {
        let failed = proxy.metric("evenkeel_state_saves_total", &["result=\"failed\""]);
        (failed > 0).then_some(())
    });
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
}
