//! Beside an application: configured by one variable, ready when the application is, and never in
//! its way when both end.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cases::get;
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::port::Port;
use crate::support::python::python;

/// Often enough for a test.
const PROBED: &str =
    "interval = \"50ms\", timeout = \"40ms\", healthy_after = 1, unhealthy_after = 2";

/// A process that is ended with its value.
struct Process(Child);

impl Process {
    fn signal(&self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), Signal::TERM).expect("a running program");
    }

    fn wait_for_exit(&mut self) -> bool {
        let ended = || self.0.try_wait().expect("our own child");
        eventually("the program ends", ended).success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An application that says whether it is well.
fn application(is_well: &Arc<AtomicBool>) -> Endpoint {
    let is_well = Arc::clone(is_well);
    Endpoint::start(move |peer| {
        while peer.request().is_some() {
            let status = if is_well.load(Ordering::Relaxed) {
                200
            } else {
                503
            };
            peer.send(format!("HTTP/1.1 {status} It\r\nContent-Length: 0\r\n\r\n"));
        }
    })
}

fn status(address: SocketAddr, path: &str) -> Option<u16> {
    std::net::TcpStream::connect(address).ok()?;
    let mut client = Client::connect(address);
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    Some(client.try_response_to("GET").ok()?.status)
}

#[test]
fn one_variable_makes_a_sidecar() {
    let [web, app, admin] = [(); 3].map(|()| Port::reserve());
    let here = |port: &Port| port.address().to_string();
    let ports = format!("{}:{}", web.address().port(), app.address().port());
    let files = Files::new(&[]);
    let mut command = files.command(&["run"]);
    command.env("EVENKEEL_INBOUND", &ports);
    // What follows `__` is a setting like any other; a test must not listen everywhere.
    command.env("EVENKEEL__LISTENER__INBOUND__BIND", here(&web));
    command.env("EVENKEEL__ADMIN__HTTP", here(&admin));
    command.env("EVENKEEL__UPSTREAM__APP__HEALTH__INTERVAL", "50ms");
    command.env("EVENKEEL__UPSTREAM__APP__HEALTH__TIMEOUT", "40ms");
    command.env("EVENKEEL__SHUTDOWN__GRACE", "0s");
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut proxy = Process(child.expect("the program was built"));
    eventually("it lives", || {
        (status(admin.address(), "/livez")? == 200).then_some(())
    });
    assert_eq!(status(admin.address(), "/startupz"), Some(200));
    assert_eq!(status(admin.address(), "/readyz"), Some(503));
    assert_eq!(
        status(admin.address(), "/readyz?exclude=upstreams"),
        Some(200)
    );

    let application = Endpoint::start_at(app.address(), |peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    eventually("it is ready when the application is", || {
        (status(admin.address(), "/readyz")? == 200).then_some(())
    });
    assert_eq!(Client::connect(web.address()).get("/a").status, 200);
    assert_eq!(application.request().target(), "/a");

    let shown = files
        .command(&["config", "show"])
        .env("EVENKEEL_ADMIN", here(&admin))
        .output()
        .expect("the program was built");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for line in [
        "ready_when = [\"app\"]",
        "[listener.inbound]",
        "[upstream.app.health.tcp]",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    proxy.signal();
    assert!(proxy.wait_for_exit());
}

#[test]
fn a_variable_that_says_nothing_is_told_of() {
    let files = Files::new(&[]);
    let check = |ports: &str, more: &[(&str, &str)]| {
        let mut command = files.command(&["check"]);
        command.env("EVENKEEL_INBOUND", ports);
        command.envs(more.iter().copied());
        let output = command.output().expect("the program was built");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (code, said) = check("3000", &[]);
    assert!(
        code == Some(0) && said.contains("EVENKEEL_INBOUND: fine"),
        "{said}"
    );
    for (wrong, told) in [
        ("app:3000", "give the application's port (3000)"),
        ("", "give the application's port (3000)"),
        ("8080", "8000:8080"),
    ] {
        let (code, said) = check(wrong, &[]);
        assert!(code == Some(1) && said.contains(told), "{wrong}: {said}");
    }
    let misspelt = [("EVENKEEL__LISTENER__INBOND__BIND", ":1")];
    let (code, said) = check("3000", &misspelt);
    assert!(
        code == Some(1) && said.contains("did you mean `INBOUND`"),
        "{said}"
    );
    let check_by_path = [("EVENKEEL__UPSTREAM__APP__HEALTH__HTTP__PATH", "/healthz")];
    let (code, said) = check("3000", &check_by_path);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn readiness_follows_the_upstreams_that_are_named_and_liveness_none() {
    let is_well = Arc::new(AtomicBool::new(true));
    let application = application(&is_well);
    let down = Endpoint::refuses();
    let config = |ready_when: &str| {
        let (app, other) = (application.address(), down.address());
        format!(
            "[admin]\nhttp = \"@admin\"\nready_when = [{ready_when}]\n\
             [listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
             [route.other]\npath = \"/other\"\nupstream = \"other\"\n\
             [upstream.app]\nendpoints = [\"{app}\"]\n\
             health = {{ http = {{ path = \"/\" }}, {PROBED} }}\n\
             [upstream.other]\nendpoints = [\"{other}\"]\n\
             health = {{ tcp = {{}}, {PROBED} }}\n"
        )
    };
    // Nobody is named: an outage of others is none of ours.
    let proxy = Evenkeel::start(&config(""));
    drop(proxy);
    let proxy = Evenkeel::start(&config("\"app\""));
    let readyz = |query: &str| proxy.admin(&format!("/readyz{query}"));
    assert!(
        readyz("?verbose")
            .body
            .text()
            .contains("[+]upstream-app ok\n")
    );
    is_well.store(false, Ordering::Relaxed);
    eventually("it is not ready", || {
        (readyz("").status == 503).then_some(())
    });
    assert!(readyz("").body.text().contains("[-]upstream-app failed\n"));
    assert_eq!(proxy.admin("/livez").status, 200);
    assert_eq!(proxy.admin("/startupz").status, 200);
    assert_eq!(readyz("?exclude=upstreams").status, 200);
    assert_eq!(readyz("?exclude=upstream-app").status, 200);
    assert_eq!(proxy.admin_json("/v1/status")["ready"], false);
    is_well.store(true, Ordering::Relaxed);
    eventually("it is ready again", || {
        (readyz("").status == 200).then_some(())
    });
}

#[test]
fn what_readiness_follows_is_changed_by_a_reload() {
    let down = Endpoint::refuses();
    let config = |ready_when: &str| {
        let down = down.address();
        format!(
            "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
             [upstream.app]\nendpoints = [\"{down}\"]\n\
             health = {{ tcp = {{}}, {PROBED} }}\n{ready_when}"
        )
    };
    let mut proxy = Evenkeel::start(&config(""));
    let socket = proxy.socket().display().to_string();
    let admin =
        format!("[admin]\nsocket = \"{socket}\"\nhttp = \"@admin\"\nready_when = [\"app\"]\n");
    proxy.reload(&config(&admin));
    assert_eq!(proxy.admin("/readyz").status, 503);
    let ready = proxy.command(&["status", "--ready"]);
    assert!(
        ready.status.success(),
        "it is about this instance alone: {ready:?}"
    );
    proxy.reload(&config(""));
    assert_eq!(proxy.admin("/readyz").status, 200);
}

#[test]
fn outbound_listeners_go_on_until_no_inbound_request_runs() {
    let (application, other) = (Gated::answering("done"), Endpoint::echo());
    let mut proxy = Evenkeel::start(&format!(
        "[shutdown]\ngrace = \"0s\"\nwait_for = \"inbound_idle\"\n\
         [listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n\
         [listener.out]\nbind = \"@out\"\ndirection = \"outbound\"\nto = [\"{}\"]\n",
        application.address(),
        other.address()
    ));
    let mut client = proxy.client();
    client.send(get(""));
    application.wait_for(1);
    let mut kept = Client::connect(proxy.address("out"));
    kept.send(get(""));
    assert_eq!(kept.response().status, 200);
    proxy.signal(Signal::TERM);
    eventually("nobody is let in", || {
        std::net::TcpStream::connect(proxy.address("web"))
            .is_err()
            .then_some(())
    });
    // The application may still call others, on connections that it has, and on new ones.
    for calls in [&mut kept, &mut Client::connect(proxy.address("out"))] {
        calls.send(get(""));
        let answer = calls.response();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.head.list("connection"), Vec::<String>::new());
    }
    application.open();
    assert_eq!(client.response().status, 200);
    // For what it does afterwards, it has a moment.
    kept.send(get(""));
    assert_eq!(kept.response().status, 200);
    assert!(kept.is_closed());
    assert!(proxy.wait_for_exit().success());
    let log = proxy.log();
    assert!(log.contains("nothing was cut"), "{log}");
}

/// Who is asked to end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// As Kubernetes does with native sidecars: the proxy once the application has ended.
    Application,
    /// As with containers whose order nobody said, at worst.
    Proxy,
    /// As with ordinary containers.
    Both,
}

#[test]
fn no_request_fails_when_the_application_ends_first() {
    no_request_fails(First::Application);
}

#[test]
fn no_request_fails_when_the_proxy_ends_first() {
    no_request_fails(First::Proxy);
}

#[test]
fn no_request_fails_when_both_end_at_once() {
    no_request_fails(First::Both);
}

/// Clients send until they have learnt that the pod ends; what is on its way then needs calls to
/// others for longer than the proxy's grace.
fn no_request_fails(first: First) {
    let (other, port) = (Endpoint::echo(), Port::reserve());
    let mut proxy = Evenkeel::start(&format!(
        "[shutdown]\ngrace = \"1s\"\nwait_for = \"inbound_idle\"\n\
         [listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [listener.out]\nbind = \"@out\"\ndirection = \"outbound\"\nto = [\"{}\"]\n\
         [upstream.app]\nendpoints = [\"{}\"]\n\
         health = {{ http = {{ path = \"/healthz\" }}, {PROBED} }}\n",
        other.address(),
        port.address()
    ));
    let child = Command::new(python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/sidecar_app.py"
        ))
        .args([port.address().port(), proxy.address("out").port()].map(|port| port.to_string()))
        .spawn();
    let mut application = Process(child.expect("there is a Python"));
    let web = proxy.address("web");
    eventually("the application serves", || {
        (status(web, "/")? == 200).then_some(())
    });

    let (done, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    assert_eq!(status(web, "/"), Some(200), "after {done:?} requests");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("requests are served", || {
            (done.load(Ordering::Relaxed) >= 8).then_some(())
        });
        let long = scope.spawn(|| status(web, "/long"));
        eventually("the long one is under way", || {
            (proxy.metric("evenkeel_http_requests_in_flight", &[]) >= 5).then_some(())
        });
        match first {
            First::Application => application.signal(),
            First::Proxy => proxy.signal(Signal::TERM),
            First::Both => {
                application.signal();
                proxy.signal(Signal::TERM);
            }
        }
        // That long it takes until the others know.
        pause(Duration::from_millis(500));
        ends.store(true, Ordering::Relaxed);
        assert_eq!(long.join().ok().flatten(), Some(200), "what ran for long");
    });
    end(first, &mut application, &mut proxy);
    let log = proxy.log();
    assert!(log.contains("nothing was cut"), "{log}");
}

/// Has both end, in an order that has begun.
fn end(first: First, application: &mut Process, proxy: &mut Evenkeel) {
    match first {
        First::Application => {
            assert!(
                application.wait_for_exit(),
                "a call of the application failed"
            );
            proxy.signal(Signal::TERM);
            assert!(proxy.wait_for_exit().success());
        }
        First::Proxy => {
            assert!(proxy.wait_for_exit().success());
            application.signal();
            assert!(
                application.wait_for_exit(),
                "a call of the application failed"
            );
        }
        First::Both => {
            assert!(
                application.wait_for_exit(),
                "a call of the application failed"
            );
            assert!(proxy.wait_for_exit().success());
        }
    }
}
