//! Outlier detection: endpoints whose requests fail are taken out, and come back by a trial. Every
//! step is told, with the numbers that led to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::h2::client::request_with;
use crate::support::h2::endpoint::H2Endpoint;
use crate::support::h2::frame::Frame;

/// An endpoint whose answers the test decides.
struct Patient {
    endpoint: Endpoint,
    status: Arc<AtomicU16>,
}

impl Patient {
    fn with(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let told = Arc::clone(&status);
        let endpoint = Endpoint::start(move |peer| {
            while peer.request().is_some() {
                let status = told.load(Ordering::Acquire);
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

    fn asked(&self) -> usize {
        self.endpoint.requests().len()
    }
}

fn patients<const N: usize>(status: u16) -> [Patient; N] {
    [(); N].map(|()| Patient::with(status))
}

/// An upstream of these endpoints, whose outlier detection has these settings.
fn config<'a>(patients: impl IntoIterator<Item = &'a Patient>, outlier: &str) -> String {
    let quoted: Vec<String> = patients
        .into_iter()
        .map(|patient| format!("\"{}\"", patient.address()))
        .collect();
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = [{}]\n\
         [upstream.app.outlier]\n{outlier}\n",
        quoted.join(", ")
    )
}

/// Sends requests until something has happened; returns how many failed.
fn ask_until(proxy: &Evenkeel, what: &str, mut has_happened: impl FnMut() -> bool) -> usize {
    let mut client = proxy.client();
    let mut failed = 0;
    eventually(what, || {
        failed += usize::from(client.get("/").status >= 500);
        has_happened().then_some(())
    });
    failed
}

fn ask(proxy: &Evenkeel, count: usize) -> Vec<u16> {
    let mut client = proxy.client();
    (0..count).map(|_| client.get("/").status).collect()
}

fn state(proxy: &Evenkeel, patient: &Patient) -> String {
    let state = &proxy.endpoint("app", &patient.address())["state"];
    state.as_str().expect("a word").to_owned()
}

fn count_in(proxy: &Evenkeel, state: &str) -> u64 {
    let state = format!("state=\"{state}\"");
    proxy.metric("evenkeel_upstream_endpoints", &["upstream=\"app\"", &state])
}

#[test]
fn a_bad_version_on_a_third_is_ejected() {
    let all: [Patient; 9] = patients(200);
    let proxy = Evenkeel::start(&config(&all, ""));
    assert_eq!(ask(&proxy, 18), [200; 18]);
    let (bad, good) = all.split_at(3);
    for patient in bad {
        patient.set(500);
    }
    let failed = ask_until(&proxy, "all three are ejected", || {
        proxy.events("endpoint_ejected").len() == 3
    });
    // Five each, or less at the end of an interval; the control plane may take a moment while
    // others go there.
    assert!((6..=150).contains(&failed), "{failed} failed");
    for patient in bad {
        let event = proxy.event("endpoint_ejected", &patient.address());
        assert_eq!(event["cause"], "consecutive_failures");
        assert_eq!(event["in_a_row"], "1");
        let why = event["why"].as_str().expect("words");
        assert!(
            why.ends_with("failures in a row, the last with status 500"),
            "{why}"
        );
        assert_eq!(state(&proxy, patient), "ejected");
    }
    let before: Vec<usize> = bad.iter().map(Patient::asked).collect();
    assert_eq!(ask(&proxy, 60), [200; 60]);
    assert_eq!(bad.iter().map(Patient::asked).collect::<Vec<_>>(), before);
    assert!(
        good.iter()
            .all(|patient| state(&proxy, patient) == "healthy")
    );
    let states = ["ejected", "healthy", "half_open", "warming"];
    assert_eq!(states.map(|state| count_in(&proxy, state)), [3, 6, 0, 0]);
    let cause = "cause=\"consecutive_failures\"";
    assert_eq!(
        proxy.metric("evenkeel_upstream_ejections_total", &[cause]),
        3
    );
    let by = ["to=\"ejected\"", "by=\"passive\""];
    assert_eq!(proxy.metric("evenkeel_endpoint_transitions_total", &by), 3);
    let why = proxy.command(&["status"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("3 of 9 endpoints are ejected"), "{why}");
    assert!(
        why.contains("the last with status 500; ejected for "),
        "{why}"
    );
}

#[test]
fn when_all_fail_nobody_stays_out_and_one_event_tells() {
    let all: [Patient; 6] = patients(200);
    let proxy = Evenkeel::start(&config(&all, ""));
    assert_eq!(ask(&proxy, 12), [200; 12]);
    for patient in &all {
        patient.set(503);
    }
    ask_until(&proxy, "that is noticed", || {
        !proxy.events("outlier_suspended").is_empty()
    });
    let event = proxy.event("outlier_suspended", "app");
    let why = event["why"].as_str().expect("words");
    assert!(
        why.contains("of 6 endpoints with requests fail at once"),
        "{why}"
    );
    assert_eq!(ask(&proxy, 60), [503; 60], "nobody answers in their place");
    assert!(
        all.iter()
            .all(|patient| state(&proxy, patient) == "healthy")
    );
    let suspended = "evenkeel_upstream_ejections_suspended";
    assert_eq!(proxy.metric(suspended, &["upstream=\"app\""]), 1);
    for patient in &all {
        patient.set(200);
    }
    ask_until(&proxy, "that it is over is noticed", || {
        !proxy.events("outlier_resumed").is_empty()
    });
    assert_eq!(proxy.events("outlier_suspended").len(), 1);
    assert_eq!(proxy.metric(suspended, &["upstream=\"app\""]), 0);
}

#[test]
fn one_request_at_a_time_tries_what_was_ejected() {
    let all: [Patient; 3] = patients(200);
    let quick = "eject_for = \"1s\"\ninterval = \"100ms\"";
    let proxy = Evenkeel::start(&config(&all, quick));
    let bad = &all[1];
    let address = bad.address();
    bad.set(500);
    ask_until(&proxy, "it is ejected", || {
        !proxy.events("endpoint_ejected").is_empty()
    });
    proxy.event("endpoint_half_open", &address);
    assert_eq!(count_in(&proxy, "half_open"), 1);
    // The trial fails: it is out once more, for longer.
    let before = bad.asked();
    let failed = ask_until(&proxy, "it is ejected again", || {
        proxy.events("endpoint_ejected").len() == 2
    });
    assert!((1..=2).contains(&failed), "{failed} failed");
    assert!(bad.asked() - before <= 2);
    let again = proxy.events("endpoint_ejected").pop().expect("two");
    assert_eq!(
        (&again["cause"], &again["in_a_row"]),
        (&"trial_failed".into(), &"2".into())
    );
    bad.set(200);
    ask_until(&proxy, "it is back", || {
        !proxy.events("endpoint_up").is_empty()
    });
    let up = proxy.event("endpoint_up", &address);
    assert_eq!(
        (&up["from"], &up["by"]),
        (&"half_open".into(), &"passive".into())
    );
    assert_eq!(up["why"], "a request that tried it did not fail");
    assert_eq!(
        count_in(&proxy, "warming"),
        1,
        "by and by it gets its share"
    );
    let before = bad.asked();
    assert_eq!(ask(&proxy, 30), [200; 30]);
    assert!(bad.asked() > before, "it has its share again");
}

#[test]
fn of_two_none_is_ejected_unless_that_is_written() {
    let all = [Patient::with(200), Patient::with(500)];
    let mut proxy = Evenkeel::start(&config(&all, "interval = \"100ms\""));
    ask(&proxy, 60);
    assert!(proxy.events("endpoint_ejected").is_empty());
    // What is written takes effect at once, and for what has been counted since.
    proxy.reload(&config(&all, "max_ejected = \"50%\""));
    ask_until(&proxy, "it is ejected", || {
        !proxy.events("endpoint_ejected").is_empty()
    });
    eventually("the other one has all", || {
        (ask(&proxy, 10) == [200; 10]).then_some(())
    });
}

#[test]
fn a_reload_keeps_an_ejection_and_switching_off_ends_it() {
    let all: [Patient; 4] = patients(200);
    let three = config(&all[..3], "");
    let mut proxy = Evenkeel::start(&three);
    all[0].set(500);
    ask_until(&proxy, "it is ejected", || {
        !proxy.events("endpoint_ejected").is_empty()
    });
    let since = proxy.endpoint("app", &all[0].address())["why"].clone();
    let before = all[0].asked();
    proxy.reload(&config(&all, "eject_for = \"60s\""));
    assert_eq!(ask(&proxy, 40), [200; 40]);
    let view = proxy.endpoint("app", &all[0].address());
    assert_eq!((&view["state"], &view["why"]), (&"ejected".into(), &since));
    assert!(view["ejected_for_s"].is_u64(), "{view}");
    assert_eq!(all[0].asked(), before);
    all[0].set(200);
    proxy.reload(&config(&all, "enabled = false"));
    proxy.event("endpoint_up", &all[0].address());
    assert_eq!(ask(&proxy, 40), [200; 40]);
    assert!(all[0].asked() > before);
    all[0].set(500);
    ask(&proxy, 80);
    assert_eq!(state(&proxy, &all[0]), "healthy");
}

#[test]
fn what_breaks_off_counts_and_what_says_when_to_come_again_does_not() {
    let cut = Endpoint::answers_and_closes("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nonly");
    let sheds = Endpoint::answers("HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
    let well = [(); 4].map(|()| Patient::with(200));
    let mut all: Vec<String> = well.iter().map(Patient::address).collect();
    all.extend([cut.address().to_string(), sheds.address().to_string()]);
    let all: Vec<String> = all.iter().map(|address| format!("\"{address}\"")).collect();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = [{}]\n",
        all.join(", ")
    ));
    eventually("what cuts its answers short is ejected", || {
        // Its client's connection ends with each.
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        drop(client.try_response_to("GET"));
        (!proxy.events("endpoint_ejected").is_empty()).then_some(())
    });
    let event = proxy.event("endpoint_ejected", &cut.address().to_string());
    let why = event["why"].as_str().expect("words");
    assert!(
        why.ends_with("the last with a response that broke off"),
        "{why}"
    );
    ask(&proxy, 60);
    let view = proxy.endpoint("app", &sheds.address().to_string());
    assert_eq!(view["state"], "healthy");
}

/// Answers calls with a code, in a head that is all or in trailers behind a message.
fn answers_calls(is_bad: Arc<AtomicBool>, in_trailers: bool) -> H2Endpoint {
    let kind = ("content-type", "application/grpc");
    H2Endpoint::start(&[], move |peer| {
        while let Some(request) = peer.request() {
            let codes = ["0", "14"];
            let code = codes[usize::from(is_bad.load(Ordering::Acquire))];
            if in_trailers {
                peer.begin_answer(request.id, 200, &[kind], false);
                peer.send(&Frame::data(request.id, [0; 5], false));
                peer.send(&Frame::headers(request.id, &[("grpc-status", code)], true));
            } else {
                peer.answer(request.id, 200, &[kind, ("grpc-status", code)], "");
            }
        }
    })
}

#[test]
fn calls_of_grpc_are_judged_by_how_they_end() {
    for in_trailers in [false, true] {
        let is_bad = Arc::new(AtomicBool::new(true));
        let bad = answers_calls(Arc::clone(&is_bad), in_trailers);
        let good = [(); 2].map(|()| answers_calls(Arc::default(), in_trailers));
        let proxy = Evenkeel::start(&format!(
            "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nupstream = \"app\"\n\
             [upstream.app]\nprotocol = \"h2c\"\nbalance = \"round_robin\"\n\
             endpoints = [\"{}\", \"{}\", \"{}\"]\n\
             [upstream.app.outlier]\neject_for = \"1s\"\ninterval = \"100ms\"\n",
            bad.address(),
            good[0].address(),
            good[1].address()
        ));
        let mut client = H2::connect(proxy.address("web"));
        let fields = [("content-type", "application/grpc"), ("te", "trailers")];
        let mut call = || {
            let id = client.open(&request_with("POST", "/a.B/C", &fields), true);
            let answer = client.message(id);
            assert_eq!(answer.field(":status"), Some("200"));
        };
        eventually("it is ejected", || {
            call();
            (!proxy.events("endpoint_ejected").is_empty()).then_some(())
        });
        let event = proxy.event("endpoint_ejected", &bad.address().to_string());
        let why = event["why"].as_str().expect("words");
        assert!(why.ends_with("the last with gRPC status 14"), "{why}");
        is_bad.store(false, Ordering::Release);
        eventually("it is back", || {
            call();
            (!proxy.events("endpoint_up").is_empty()).then_some(())
        });
    }
}

#[test]
fn probes_that_pass_do_not_bring_back_what_dies_at_requests() {
    let probed = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&probed);
    let bad = Endpoint::start(move |peer| {
        while let Some(request) = peer.request()
            && request.target() == "/healthz"
        {
            counting.fetch_add(1, Ordering::AcqRel);
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let well: [Patient; 3] = patients(200);
    let all = [&well[0], &well[1], &well[2]].map(Patient::address);
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\n\
         endpoints = [\"{}\", \"{}\", \"{}\", \"{}\"]\n\
         health = {{ http = {{ path = \"/healthz\" }}, interval = \"500ms\", timeout = \"400ms\" }}\n\
         [upstream.app.outlier]\nconsecutive_failures = 2\n",
        bad.address(),
        all[0],
        all[1],
        all[2],
    ));
    let failed = ask_until(&proxy, "it is ejected", || {
        !proxy.events("endpoint_ejected").is_empty()
    });
    assert_eq!(failed, 0, "others answer in its place");
    let event = proxy.event("endpoint_ejected", &bad.address().to_string());
    let why = event["why"].as_str().expect("words");
    assert!(
        why.ends_with("the last with connection_terminated"),
        "{why}"
    );
    let before = probed.load(Ordering::Acquire);
    eventually("probes have passed", || {
        (probed.load(Ordering::Acquire) >= before + 5).then_some(())
    });
    assert!(proxy.events("endpoint_half_open").is_empty());
}

#[test]
fn sessions_of_tcp_are_judged_by_whether_they_can_be_had() {
    let gone = Endpoint::refuses();
    let well = [(); 2].map(|()| Endpoint::sends_back());
    let proxy = Evenkeel::relaying_to(
        &[&gone, &well[0], &well[1]],
        "[upstream.app.outlier]\nconsecutive_failures = 1\n",
    );
    eventually("it is ejected", || {
        let mut client = proxy.client();
        client.send("hello");
        client.bytes(5);
        (!proxy.events("endpoint_ejected").is_empty()).then_some(())
    });
    let event = proxy.event("endpoint_ejected", &gone.address().to_string());
    assert_eq!(
        event["why"],
        "1 failure in a row, the last with connection_refused"
    );
}

#[test]
fn sessions_of_before_do_not_bring_an_endpoint_back() {
    const SERVES: u16 = 0;
    const RESETS: u16 = 1;
    const WAITS: u16 = 2;
    let (mode, tried) = (
        Arc::new(AtomicU16::new(SERVES)),
        Arc::<AtomicUsize>::default(),
    );
    let sick = {
        let (mode, tried) = (Arc::clone(&mode), Arc::clone(&tried));
        Endpoint::start(move |peer| match mode.load(Ordering::Acquire) {
            SERVES => peer.send_all_back(),
            RESETS => peer.reset(),
            _ => {
                tried.fetch_add(1, Ordering::AcqRel);
                eventually("it serves again", || {
                    (mode.load(Ordering::Acquire) == SERVES).then_some(())
                });
                peer.send_all_back();
            }
        })
    };
    let well = [(); 2].map(|()| Endpoint::sends_back());
    let proxy = Evenkeel::relaying_to(
        &[&sick, &well[0], &well[1]],
        "[upstream.app.outlier]\nconsecutive_failures = 1\neject_for = \"1s\"\n\
         interval = \"100ms\"\n",
    );
    let name = sick.address().to_string();
    let mut said_something = proxy.client();
    said_something.send("hello");
    assert_eq!(said_something.bytes(5), b"hello");
    let mut said_nothing = proxy.client();
    let open = || proxy.endpoint("app", &name)["in_flight"] == 2;
    eventually("both are there", || open().then_some(()));
    mode.store(RESETS, Ordering::Release);
    eventually("it is ejected", || {
        drop(proxy.client().send("hello").try_bytes(5));
        (!proxy.events("endpoint_ejected").is_empty()).then_some(())
    });
    mode.store(WAITS, Ordering::Release);
    proxy.event("endpoint_half_open", &name);
    let mut clients = Vec::new();
    eventually("it is tried", || {
        let mut client = proxy.client();
        client.send("hello");
        clients.push(client);
        (tried.load(Ordering::Acquire) > 0).then_some(())
    });
    // One says its first word now, the other one comes to a good end.
    said_nothing.send("hello");
    assert_eq!(said_nothing.bytes(5), b"hello");
    for mut old in [said_something, said_nothing] {
        old.finish();
        assert!(old.is_closed());
    }
    eventually("they have ended", || {
        let labels = [&*format!("endpoint=\"{name}\""), "result=\"ended\""];
        (proxy.metric("evenkeel_endpoint_sessions_total", &labels) == 2).then_some(())
    });
    for _ in 0..5 {
        let mut client = proxy.client();
        client.send("hello");
        assert_eq!(client.bytes(5), b"hello", "from another one");
    }
    assert!(proxy.events("endpoint_up").is_empty());
    assert_eq!(proxy.endpoint("app", &name)["state"], "half_open");
    mode.store(SERVES, Ordering::Release);
    proxy.event("endpoint_up", &name);
    for mut client in clients {
        assert_eq!(client.bytes(5), b"hello");
    }
}
