//! `evenkeel demo`: what it invites to can be done, and nothing is left of it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::client::{Client, Response};
use crate::support::clock::eventually;
use crate::support::command::{Done, Files};

/// A running demo, killed when this goes.
struct Demo {
    child: Child,
    files: Files,
}

impl Demo {
    /// Starts one on free ports and waits for its page.
    fn start() -> Self {
        let files = Files::new(&[("told", "")]);
        let folder = files.path("tmp");
        fs::create_dir(&folder).expect("a writable directory");
        let told = File::create(files.path("told")).expect("a writable directory");
        let child = files
            .command(&["demo", "--port", "0"])
            .env("TMPDIR", &folder)
            .stderr(told.try_clone().expect("a spare descriptor"))
            .stdout(told)
            .spawn()
            .expect("the program was built");
        let mut demo = Self { child, files };
        eventually("the page is there", || {
            let ended = demo.child.try_wait().expect("our own child");
            assert!(ended.is_none(), "it ended: {}", demo.told());
            demo.told().contains("Ctrl-C ends it").then_some(())
        });
        demo
    }

    /// Everything that it has printed so far.
    fn told(&self) -> String {
        fs::read_to_string(self.files.path("told")).expect("its output")
    }

    /// Waits until it has told of an event.
    fn tells(&self, event: &str, about: &str) {
        eventually(event, || {
            let told = self.told();
            let mut lines = told.lines();
            lines
                .any(|line| line.contains(event) && line.contains(about))
                .then_some(())
        });
    }

    /// The line of the page that holds this, without its margin.
    fn invitation(&self, part: &str) -> String {
        let told = self.told();
        let line = told.lines().find(|line| line.contains(part));
        line.expect(part).trim().to_owned()
    }

    /// Does what a line of the page says, as a shell does it.
    fn follow(&self, part: &str) -> Done {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(self.invitation(part));
        shell.stdin(Stdio::null());
        shell.output().map(Done::from).expect("a shell")
    }

    fn address(&self) -> SocketAddr {
        address_in(&self.invitation("  balances four sample endpoints"))
    }

    fn ask(&self, method: &str, path: &str) -> Response {
        let mut client = Client::connect(self.address());
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: demo\r\n\r\n"));
        client.response_to(method)
    }

    /// The names of the endpoints that answer some requests, none of which may fail.
    fn who_answers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..12 {
            let response = self.ask("GET", "/");
            assert_eq!(response.status, 200, "{response:?}");
            let text = response.body.text();
            let name = text.strip_prefix("hello from ").expect("a greeting");
            names.push(name.split(' ').next().expect("a name").to_owned());
        }
        names.sort();
        names.dedup();
        names
    }

    fn config_file(&self) -> PathBuf {
        let command = self.invitation("$EDITOR");
        PathBuf::from(command.split(' ').next_back().expect("a path"))
    }

    /// Sends a signal, and returns the exit code and everything that it has printed.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process has an id"), signal).expect("it runs");
        let ended = eventually("it ends", || self.child.try_wait().expect("our own child"));
        let told = self.told();
        let left = fs::read_dir(self.files.path("tmp")).expect("its place");
        let left: Vec<_> = left.collect();
        assert!(left.is_empty(), "{left:?} is left over");
        for line in told.lines().filter(|line| line.starts_with("    eu-1")) {
            for address in line
                .split("   ")
                .filter_map(|word| word.split(' ').next_back())
            {
                if let Ok(address) = address.parse::<SocketAddr>() {
                    let error = std::net::TcpStream::connect(address).expect_err("it is gone");
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                }
            }
        }
        (ended.code(), told)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The address of the first URL in a line.
fn address_in(line: &str) -> SocketAddr {
    let (_, url) = line.split_once("http://").expect("a URL");
    let end = url.find(['/', ' ']).unwrap_or(url.len());
    url[..end].parse().expect("an address")
}

#[test]
fn what_it_invites_to_costs_no_request() {
    let demo = Demo::start();
    assert_eq!(demo.who_answers(), ["a1", "a2", "b1", "b2"]);

    // An endpoint goes, then a zone, and comes back.
    assert_eq!(demo.ask("POST", "/-/stop/a1").status, 200);
    assert_eq!(demo.who_answers(), ["a2", "b1", "b2"]);
    assert_eq!(demo.ask("POST", "/-/stop/eu-1b").status, 200);
    assert_eq!(demo.who_answers(), ["a2"]);
    demo.tells("endpoint_down", "b2 in eu-1b");
    assert_eq!(demo.ask("POST", "/-/start/eu-1b").status, 200);
    eventually("the zone is back", || {
        (demo.who_answers() == ["a2", "b1", "b2"]).then_some(())
    });

    // A route is added, by either way to reload.
    let file = demo.config_file();
    let before = fs::read_to_string(&file).expect("the configuration");
    let lines = before.lines().map(|line| {
        let is_example = ["#[route.hello]", "#path", "#respond"]
            .iter()
            .any(|start| line.starts_with(start));
        if is_example { &line[1..] } else { line }
    });
    let after: Vec<&str> = lines.collect();
    fs::write(&file, after.join("\n") + "\n").expect("it can be written");
    let reload = demo.follow(" reload -c ");
    assert_eq!(reload.code, 0, "{reload:?}");
    let hello = demo.ask("GET", "/hello");
    assert_eq!(hello.body.text(), "hello from the configuration\n");
    fs::write(&file, before).expect("it can be written");
    assert_eq!(demo.follow("kill -HUP ").code, 0);
    eventually("the route is gone", || {
        let text = demo.ask("GET", "/hello").body.text();
        (!text.contains("configuration")).then_some(())
    });
    demo.tells("config_applied", "route hello removed");

    // A mistake changes nothing.
    assert_eq!(demo.follow("sed -i ").code, 0);
    let reload = demo.follow(" reload -c ");
    assert_eq!(reload.code, 1, "{reload:?}");
    assert!(reload.err.contains("E0102"), "{reload:?}");
    assert_eq!(demo.who_answers(), ["a2", "b1", "b2"]);
    demo.tells("config_rejected", "balnce");

    // It can be looked at.
    let status = demo.follow(" status -c ");
    assert_eq!(status.code, 0, "{status:?}");
    assert!(status.out.contains("shop"), "{status:?}");
    let mut metrics = Client::connect(address_in(&demo.invitation("/metrics")));
    let metrics = metrics.get("/metrics").body.text();
    assert!(
        metrics.contains("evenkeel_http_requests_total"),
        "{metrics}"
    );

    let (code, told) = demo.end(Signal::TERM);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("The temporary directory is gone."), "{told}");
}

#[test]
fn ctrl_c_ends_it_at_once() {
    let demo = Demo::start();
    assert_eq!(demo.ask("GET", "/").status, 200);
    let (code, told) = demo.end(Signal::INT);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("The temporary directory is gone."), "{told}");
}
