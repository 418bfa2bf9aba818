//! Health: probes decide who gets traffic, and every change is told with its reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::look::cause;

/// An endpoint whose health the test decides. It serves whatever its probes are told.
struct Patient {
    endpoint: Endpoint,
    status: Arc<AtomicU16>,
}

impl Patient {
    /// Answers probes with this status; with 0, not before another one is set.
    fn with(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let told = Arc::clone(&status);
        let endpoint = Endpoint::start(move |peer| {
            while let Some(request) = peer.request() {
                let is_probe = request.target() == "/healthz";
                let status = if is_probe { answer(&told) } else { 200 };
                peer.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
            }
        });
        Self { endpoint, status }
    }

    fn set(&self, status: u16) {
        self.status.store(status, Ordering::Release);
    }

    fn address(&self) -> String {
        self.endpoint.address().to_string()
    }

    /// Requests that were no probes.
    fn asked(&self) -> usize {
        let requests = self.endpoint.requests();
        let asked = requests.iter().filter(|request| request.target() == "/");
        asked.count()
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.set(503); // whoever waits for a status is let go
    }
}

fn answer(told: &AtomicU16) -> u16 {
    eventually("the test sets a status", || {
        let status = told.load(Ordering::Acquire);
        (status != 0).then_some(status)
    })
}

/// An upstream of these endpoints, written as TOML; lines of its own, and lines of
/// its health checks.
fn checked(endpoints: &str, upstream: &str, health: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = [{endpoints}]\n{upstream}\n\
         [upstream.app.health]\nhttp.path = \"/healthz\"\n{health}\n"
    )
}

fn quoted(patients: &[&Patient]) -> String {
    let quoted: Vec<String> = patients
        .iter()
        .map(|patient| format!("\"{}\"", patient.address()))
        .collect();
    quoted.join(", ")
}

/// Sends so many GETs; all must succeed.
fn ask(proxy: &Evenkeel, times: usize) {
    let mut client = proxy.client();
    for _ in 0..times {
        let response = client.get("/");
        assert_eq!(response.status, 200, "{response:?}");
    }
}

fn state(proxy: &Evenkeel, patient: &Patient) -> String {
    let state = &proxy.endpoint("app", &patient.address())["state"];
    state.as_str().expect("a word").to_owned()
}

#[test]
fn a_new_endpoint_waits_for_its_first_probe() {
    let (old, new) = (Patient::with(200), Patient::with(0));
    let config = |patients: &[&Patient]| checked(&quoted(patients), "", PATIENT);
    let mut proxy = Evenkeel::start(&config(&[&old]));
    proxy.event("endpoint_up", &old.address());
    proxy.reload(&config(&[&old, &new]));
    ask(&proxy, 10);
    assert_eq!((state(&proxy, &new).as_str(), new.asked()), ("unknown", 0));
    // One good probe is enough the first time.
    new.set(200);
    let up = proxy.event("endpoint_up", &new.address());
    assert_eq!(up["from"], "unknown");
    assert!(
        up["why"]
            .as_str()
            .is_some_and(|why| why.starts_with("the first probe passed"))
    );
    ask(&proxy, 10);
    assert_eq!(new.asked(), 5);
}

#[test]
fn a_new_endpoint_that_fails_its_first_probe_stays_out() {
    let (old, new) = (Patient::with(200), Patient::with(404));
    let mut proxy = Evenkeel::start(&checked(&quoted(&[&old]), "", QUICK));
    proxy.event("endpoint_up", &old.address());
    proxy.reload(&checked(&quoted(&[&old, &new]), "", QUICK));
    let down = proxy.event("endpoint_down", &new.address());
    let why = "the first probe failed: GET /healthz answered 404, expected 200–399";
    assert_eq!(down["why"], why);
    assert_eq!(
        (&down["from"], &down["to"]),
        (&"unknown".into(), &"unhealthy".into())
    );
    ask(&proxy, 10);
    assert_eq!(new.asked(), 0);
    // The status says the same, for whoever comes later.
    assert_eq!(proxy.endpoint("app", &new.address())["why"], why);
}

#[test]
fn unproven_endpoints_serve_when_there_are_no_others() {
    let patient = Patient::with(0);
    let proxy = Evenkeel::start(&checked(&quoted(&[&patient]), "", PATIENT));
    assert_eq!(proxy.standing("app"), "unproven");
    ask(&proxy, 5);
    assert_eq!(patient.asked(), 5);
}

#[test]
fn an_endpoint_leaves_and_returns() {
    let (well, sick) = (Patient::with(200), Patient::with(200));
    let proxy = Evenkeel::start(&checked(&quoted(&[&well, &sick]), "", QUICK));
    proxy.event("endpoint_up", &sick.address());
    proxy.event("endpoint_up", &well.address());
    sick.set(503);
    let down = proxy.event("endpoint_down", &sick.address());
    assert_eq!(
        down["why"],
        "3 probes in a row failed: GET /healthz answered 503, expected 200–399"
    );
    assert_eq!(
        (&down["from"], &down["by"]),
        (&"healthy".into(), &"active".into())
    );
    assert_eq!(
        (&down["healthy"], &down["endpoints"]),
        (&"1".into(), &"2".into())
    );
    let before = sick.asked();
    ask(&proxy, 10);
    assert_eq!(sick.asked(), before);
    let labels = [
        &*format!("endpoint=\"{}\"", sick.address()),
        "state=\"unhealthy\"",
    ];
    assert_eq!(proxy.metric("evenkeel_endpoint_state", &labels), 1);
    sick.set(200);
    let up = eventually("it is back", || {
        let mut events = proxy.events("endpoint_up").into_iter();
        events.find(|event| event["from"] == "unhealthy")
    });
    assert_eq!(up["endpoint"], sick.address());
    let why = "2 probes in a row passed: GET /healthz answered 200";
    assert_eq!(up["why"], why);
    ask(&proxy, 10);
    assert_eq!(sick.asked(), before + 5);
    // What the API tells, the log tells too.
    let logged = eventually("the events are logged", || {
        let lines = proxy.log_lines("event");
        (lines.iter().any(|line| line["why"] == why)).then_some(lines)
    });
    assert!(
        logged
            .iter()
            .any(|line| line["event"] == "endpoint_down" && line["why"] == down["why"])
    );
}

#[test]
fn the_counts_are_those_of_the_configuration() {
    let (other, patient) = (Patient::with(200), Patient::with(200));
    let counts = format!("{QUICK}\nhealthy_after = 4\nunhealthy_after = 1");
    let proxy = Evenkeel::start(&checked(&quoted(&[&other, &patient]), "", &counts));
    proxy.event("endpoint_up", &patient.address());
    patient.set(500);
    let down = proxy.event("endpoint_down", &patient.address());
    assert!(
        down["why"]
            .as_str()
            .is_some_and(|why| why.starts_with("a probe failed"))
    );
    patient.set(200);
    eventually("it is back", || {
        let events = proxy.events("endpoint_up");
        let whys = events.iter().filter_map(|event| event["why"].as_str());
        whys.into_iter()
            .any(|why| why.starts_with("4 probes in a row passed"))
            .then_some(())
    });
}

#[test]
fn a_request_that_fails_has_its_endpoint_probed_at_once() {
    let (well, dying) = (Patient::with(200), Patient::with(200));
    let address = dying.address();
    let seldom = "interval = \"1h\"\nunhealthy_after = 1";
    let proxy = Evenkeel::start(&checked(&quoted(&[&well, &dying]), "", seldom));
    proxy.event("endpoint_up", &address);
    proxy.event("endpoint_up", &well.address());
    drop(dying);
    // Nobody waits for the next probe, which is an hour away; and no request is lost meanwhile.
    eventually("its end is noticed", || {
        ask(&proxy, 2);
        proxy.events("endpoint_down").pop()
    });
}

#[test]
fn probes_ask_as_they_are_told() {
    let endpoint = Endpoint::answers("HTTP/1.1 204 X\r\n\r\n");
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n[upstream.app.health]\ninterval = \"1h\"\n\
         [upstream.app.health.http]\npath = \"/ready?deep=1\"\nmethod = \"HEAD\"\n\
         host = \"inner.example\"\nstatus = [204, \"3xx\"]\nheaders = {{ x-probe = \"yes\" }}\n"
    ));
    proxy.event("endpoint_up", &address.to_string());
    let probe = endpoint.request();
    assert_eq!((probe.method(), probe.target()), ("HEAD", "/ready?deep=1"));
    assert_eq!(probe.head.value("host"), Some("inner.example"));
    assert_eq!(probe.head.value("x-probe"), Some("yes"));
    assert!(
        probe
            .head
            .value("user-agent")
            .is_some_and(|agent| agent.contains("evenkeel"))
    );
}

#[test]
fn expected_statuses_decide() {
    for (status, expected, verdict) in [
        (200, "", "healthy"),
        (302, "", "healthy"),
        (404, "", "unhealthy"),
        (500, "", "unhealthy"),
        (404, "[404]", "healthy"),
        (200, "[404]", "unhealthy"),
        (503, "[\"2xx\", \"500-504\"]", "healthy"),
        (505, "[\"2xx\", \"500-504\"]", "unhealthy"),
    ] {
        let patient = Patient::with(status);
        let health = if expected.is_empty() {
            QUICK.to_owned()
        } else {
            format!("{QUICK}\nhttp.status = {expected}")
        };
        let proxy = Evenkeel::start(&checked(&quoted(&[&patient]), "", &health));
        eventually("the verdict", || {
            (state(&proxy, &patient) != "unknown").then_some(())
        });
        assert_eq!(
            state(&proxy, &patient),
            verdict,
            "{status} with {expected:?}"
        );
    }
}

#[test]
fn a_probe_fails_for_every_reason() {
    for (endpoint, why) in [
        (Endpoint::refuses(), "connection refused"),
        (Endpoint::never_reads(), "no answer within 300ms"),
        (Endpoint::closes_unanswered(), "no answer: "),
        (Endpoint::answers("nonsense\r\n\r\n"), "no answer: "),
    ] {
        let address = format!("\"{}\"", endpoint.address());
        let proxy = Evenkeel::start(&checked(&address, "", QUICK));
        let down = proxy.event("endpoint_down", &endpoint.address().to_string());
        let told = down["why"].as_str().unwrap_or_default();
        assert!(told.contains(why), "{told}, not {why}");
    }
}

#[test]
fn another_port_may_be_probed() {
    let (service, probed) = (Endpoint::says("service"), Endpoint::says("probed"));
    let (address, port) = (service.address(), probed.address().port());
    let health = format!("{QUICK}\nport = {port}");
    let proxy = Evenkeel::start(&checked(&format!("\"{address}\""), "", &health));
    proxy.event("endpoint_up", &address.to_string());
    assert_eq!(proxy.client().get("/").body.text(), "service");
    assert!(
        probed
            .requests()
            .iter()
            .all(|request| request.target() == "/healthz")
    );
    assert_eq!(service.requests().len(), 1);
}

#[test]
fn a_backup_serves_while_no_other_is_healthy() {
    let (primary, backup) = (Patient::with(200), Patient::with(200));
    let endpoints = format!(
        "\"{}\", {{ address = \"{}\", backup = true }}",
        primary.address(),
        backup.address()
    );
    let proxy = Evenkeel::start(&checked(&endpoints, "", QUICK));
    let wait_for = |standing: &str| {
        eventually(standing, || {
            (proxy.standing("app") == standing).then_some(())
        });
    };
    proxy.event("endpoint_up", &backup.address());
    proxy.event("endpoint_up", &primary.address());
    ask(&proxy, 10);
    assert_eq!((primary.asked(), backup.asked()), (10, 0));
    primary.set(503);
    wait_for("backup");
    ask(&proxy, 10);
    assert_eq!((primary.asked(), backup.asked()), (10, 10));
    primary.set(200);
    wait_for("healthy");
    ask(&proxy, 10);
    assert_eq!((primary.asked(), backup.asked()), (20, 10));
}

#[test]
fn panic_begins_and_ends_at_the_threshold() {
    let patients = [(); 3].map(|()| Patient::with(200));
    let [first, second, third] = &patients;
    let all = quoted(&[first, second, third]);
    let proxy = Evenkeel::start(&checked(&all, "panic_threshold = \"50%\"", QUICK));
    for patient in &patients {
        proxy.event("endpoint_up", &patient.address());
    }
    first.set(503);
    proxy.event("endpoint_down", &first.address());
    assert_eq!(proxy.standing("app"), "healthy", "two of three are enough");
    second.set(503);
    let panic = proxy.event("panic_on", "app");
    assert_eq!(
        panic["why"],
        "1 of 3 endpoints are healthy, the threshold is 50%"
    );
    assert_eq!(
        proxy.metric("evenkeel_upstream_panic", &["upstream=\"app\""]),
        1
    );
    let before = patients.each_ref().map(Patient::asked);
    ask(&proxy, 12);
    let after = patients.each_ref().map(Patient::asked);
    let shares: Vec<usize> = before
        .iter()
        .zip(after)
        .map(|(before, after)| after - before)
        .collect();
    assert_eq!(shares, [4, 4, 4]);
    second.set(200);
    proxy.event("panic_off", "app");
    let before = first.asked();
    ask(&proxy, 12);
    assert_eq!(first.asked(), before);
    assert_eq!(
        proxy.metric("evenkeel_upstream_panic", &["upstream=\"app\""]),
        0
    );
}

#[test]
fn with_a_threshold_of_zero_nobody_is_asked_who_is_not_healthy() {
    let patient = Patient::with(503);
    let proxy = Evenkeel::start(&checked(
        &quoted(&[&patient]),
        "panic_threshold = \"0%\"",
        QUICK,
    ));
    proxy.event("endpoint_down", &patient.address());
    let response = proxy.client().get("/");
    assert_eq!(
        (response.status, cause(&response).as_str()),
        (503, "destination_unavailable")
    );
    assert!(response.head.value("retry-after").is_some(), "{response:?}");
    assert_eq!(patient.asked(), 0);
    // Of this, readiness says nothing: an outage of endpoints must not become ours.
    assert_eq!(proxy.admin("/readyz").status, 200);
}

#[test]
fn probes_keep_their_interval() {
    let patient = Patient::with(200);
    let proxy = Evenkeel::start(&checked(&quoted(&[&patient]), "", QUICK));
    proxy.event("endpoint_up", &patient.address());
    let before = patient.endpoint.requests().len();
    pause(Duration::from_secs(3));
    // Ten, give or take the jitter of a fifth and a slow machine; never a storm.
    let probes = patient.endpoint.requests().len() - before;
    assert!((3..=14).contains(&probes), "{probes} probes in 3 s");
}

/// For tests that wait for probes. The limit is no shorter than a stall of a busy machine.
const QUICK: &str = "interval = \"300ms\"\ntimeout = \"300ms\"";

/// For tests in which probes wait for the test.
const PATIENT: &str = "interval = \"20s\"\ntimeout = \"15s\"";
