//! Reload: a new configuration without a request noticing, or no change at all.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;
use crate::support::look::cause;
use crate::support::message::Broken;

/// One listener, one route that marks its responses, one upstream with these endpoints.
fn config(mark: &str, endpoints: &[&Endpoint]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|endpoint| endpoint.address().to_string())
        .collect();
    format!(
        "[listener.web]\nbind = \"@web\"\n\
         [route.all]\nupstream = \"app\"\nresponse_headers.set = {{ x-mark = \"{mark}\" }}\n\
         [upstream.app]\nendpoints = {endpoints:?}\n"
    )
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let endpoint = Endpoint::echo();
    let good = config("first", &[&endpoint]);
    let foreign = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let taken = foreign.local_addr().expect("a bound address");
    let mut proxy = Evenkeel::start(&good);
    let mut client = proxy.client();
    assert_eq!(client.get("/").head.value("x-mark"), Some("first"));
    let before = proxy.admin_json("/v1/config");
    let bad = good.replace("first", "second");
    let refusals = [
        (bad.replace("endpoints", "endpoint"), "evenkeel.toml:9:1"),
        (bad.replace("\"app\"", "\"apq\""), "error[E0201]"),
        (format!("{bad}[listener"), "error["),
        (
            bad.replace("\"@web\"", "\"@web\"\nmax_head_size = \"1\""),
            "max_head_size",
        ),
        (
            format!("{bad}[[test]]\nrequest = \"GET http://a/\"\nexpect = {{ status = 404 }}\n"),
            "GET http://a/",
        ),
        (
            format!("{bad}[listener.other]\nbind = \"{taken}\"\nupstream = \"app\"\n"),
            "listener `other`",
        ),
        (
            format!("{bad}[log]\noutput = \"/dev/null/log\"\n"),
            "the log cannot be written to",
        ),
        // It is for the next start, which would end with it.
        (format!("user = \"no-such-user\"\n{bad}"), "no-such-user"),
        // Cut off as it was written, or a disk that is full.
        (String::new(), "no listener"),
    ];
    for (text, said) in &refusals {
        proxy.write_config(text);
        let output = proxy.command(&["reload"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}: {error}");
        assert!(error.contains(said), "{said}: {error}");
        assert!(
            error.contains("configuration 1 goes on unchanged"),
            "{error}"
        );
        assert_eq!(proxy.admin_json("/v1/config"), before, "{said}");
        // The connection, the route and the connection to the endpoint: all as they were.
        assert_eq!(
            client.get("/").head.value("x-mark"),
            Some("first"),
            "{said}"
        );
    }
    assert_eq!(endpoint.connections(), 1);
    assert_eq!(proxy.events("config_rejected").len(), refusals.len());
    assert_eq!(proxy.metric("evenkeel_config_last_reload_success", &[]), 0);
    proxy.reload(&bad);
    assert_eq!(client.get("/").head.value("x-mark"), Some("second"));
    assert_eq!(proxy.generation(), 2);
    assert_eq!(proxy.metric("evenkeel_config_last_reload_success", &[]), 1);
}

#[test]
fn sighup_reloads() {
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("first", &[&endpoint]));
    proxy.write_config("[listener");
    proxy.signal(Signal::HUP);
    let refused = eventually("the event of the refusal", || {
        proxy.events("config_rejected").pop()
    });
    assert_eq!(refused["by"], "SIGHUP");
    assert_eq!(proxy.generation(), 1);
    proxy.write_config(&config("second", &[&endpoint]));
    proxy.signal(Signal::HUP);
    let applied = eventually("the event of the reload", || {
        proxy.events("config_applied").pop()
    });
    assert_eq!(applied["by"], "SIGHUP");
    assert_eq!(applied["why"], "route all changed");
    assert_eq!(proxy.client().get("/").head.value("x-mark"), Some("second"));
}

#[test]
fn connections_on_both_sides_and_counters_are_kept() {
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("0", &[&endpoint]));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    for generation in 1..=5 {
        let mark = generation.to_string();
        proxy.reload(&config(&mark, &[&endpoint]));
        // The next request of a connection that was open before meets the new route.
        let response = client.get("/");
        assert_eq!(response.head.value("x-mark"), Some(mark.as_str()));
    }
    assert_eq!(endpoint.connections(), 1, "the warm pool was lost");
    for (family, labels, count) in [
        ("evenkeel_http_requests_total", &[][..], 6),
        ("evenkeel_endpoint_requests_total", &[], 6),
        ("evenkeel_connections_accepted_total", &[], 1),
        ("evenkeel_connections", &[], 1),
        ("evenkeel_config_reloads_total", &["result=\"applied\""], 5),
    ] {
        // A request counts once its answer has been sent.
        eventually(&format!("{family} is {count}"), || {
            (proxy.metric(family, labels) == count).then_some(())
        });
    }
}

#[test]
fn verdicts_about_endpoints_are_kept() {
    let (good, bad) = (Endpoint::echo(), Endpoint::refuses());
    let checked = |mark: &str| {
        let config = config(mark, &[&good, &bad]);
        format!("{config}health = {{ http = {{}}, interval = \"100ms\", timeout = \"100ms\" }}\n")
    };
    let mut proxy = Evenkeel::start(&checked("first"));
    proxy.event("endpoint_up", &good.address().to_string());
    proxy.event("endpoint_down", &bad.address().to_string());
    for mark in ["second", "third"] {
        proxy.reload(&checked(mark));
        let state = |endpoint: &Endpoint| {
            let address = endpoint.address().to_string();
            proxy.endpoint("app", &address)["state"].clone()
        };
        assert_eq!(
            (state(&good), state(&bad)),
            ("healthy".into(), "unhealthy".into())
        );
    }
    assert_eq!(proxy.events("endpoint_up").len(), 1);
    assert_eq!(proxy.events("endpoint_down").len(), 1);
}

#[test]
fn requests_in_flight_go_on_counting() {
    let slow = Gated::answering("late");
    let limited = |mark: &str| {
        let config = config(mark, &[slow.endpoint()]);
        format!("{config}max_in_flight_per_endpoint = 1\nqueue.size = 0\n")
    };
    let mut proxy = Evenkeel::start(&limited("first"));
    let mut first = proxy.client();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.wait_for(1);
    proxy.reload(&limited("second"));
    let refused = proxy.client().get("/");
    assert_eq!(
        (refused.status, cause(&refused).as_str()),
        (503, "overload")
    );
    slow.open();
    // What was under way ends as it began.
    let response = first.response();
    assert_eq!(response.body.text(), "late");
    assert_eq!(response.head.value("x-mark"), Some("first"));
    assert_eq!(first.get("/").head.value("x-mark"), Some("second"));
}

#[test]
fn a_new_listener_accepts_and_a_removed_one_ends() {
    let slow = Gated::answering("late");
    let base = config("x", &[slow.endpoint()]);
    let mut proxy = Evenkeel::start(&base);
    proxy.reload(&format!("{base}[listener.extra]\nbind = \"@extra\"\n"));
    let extra = proxy.address("extra");
    let mut busy = Client::connect(extra);
    let mut resting = Client::connect(extra);
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    slow.wait_for(1);
    proxy.reload(&base);
    eventually("the removed listener refuses", || {
        TcpStream::connect(extra).is_err().then_some(())
    });
    assert!(resting.is_closed(), "nothing more can be served there");
    slow.open();
    assert_eq!(busy.response().body.text(), "late");
    assert!(busy.is_closed());
    assert_eq!(proxy.client().get("/").status, 200);
}

#[test]
fn a_listener_may_change_in_all_but_its_connections() {
    let endpoint = Endpoint::echo();
    let base = config("x", &[&endpoint]);
    let with = |setting: &str| base.replace("\"@web\"\n", &format!("\"@web\"\n{setting}\n"));
    let mut proxy = Evenkeel::start(&base);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    // A limit below what is there already: the connection stays, no other is let in.
    proxy.reload(&with("max_connections = 1"));
    assert!(proxy.client().is_closed());
    assert_eq!(client.get("/").status, 200);
    proxy.reload(&with("max_head_size = \"1KiB\"\nforwarded = true"));
    assert_eq!(proxy.client().get("/").status, 200);
    client.get("/");
    assert!(
        endpoint
            .requests()
            .pop()
            .is_some_and(|request| { request.head.value("forwarded").is_some() })
    );
    let long = "a".repeat(1024);
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"
    ));
    assert_eq!(client.response().status, 431);
}

#[test]
fn a_listener_may_move() {
    let endpoint = Endpoint::echo();
    let base = config("x", &[&endpoint]);
    let mut proxy = Evenkeel::start(&base);
    let before = proxy.address("web");
    assert_eq!(proxy.client().get("/").status, 200);
    proxy.reload(&base.replace("@web", "@elsewhere"));
    let after = proxy.address("elsewhere");
    let mut client = Client::connect(after);
    assert_eq!(client.get("/").status, 200);
    eventually("the old address refuses", || {
        TcpStream::connect(before).is_err().then_some(())
    });
    assert_eq!(endpoint.connections(), 1, "the warm pool was lost");
}

#[test]
fn a_renamed_listener_goes_on_accepting() {
    let endpoint = Endpoint::echo();
    let base = config("x", &[&endpoint]);
    let mut proxy = Evenkeel::start(&base);
    for name in ["one", "two", "three"] {
        proxy.reload(&base.replace("listener.web", &format!("listener.{name}")));
        assert_eq!(proxy.client().get("/").status, 200, "{name}");
    }
}

#[test]
fn a_renamed_listener_keeps_its_connections() {
    let endpoint = Endpoint::echo();
    let base = config("x", &[&endpoint]);
    let mut proxy = Evenkeel::start(&base);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    proxy.reload(&base.replace("listener.web", "listener.other"));
    assert!(client.is_quiet(), "it was closed");
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_removed_endpoint_drains() {
    let (leaving, staying) = (Gated::answering("leaving"), Endpoint::says("staying"));
    let mut proxy = Evenkeel::start(&config("x", &[leaving.endpoint()]));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    leaving.wait_for(1);
    proxy.reload(&config("x", &[&staying]));
    for _ in 0..5 {
        assert_eq!(proxy.client().get("/").body.text(), "staying");
    }
    leaving.open();
    let response = client.response();
    assert_eq!(
        (response.status, response.body.text().as_str()),
        (200, "leaving")
    );
    assert_eq!(client.get("/").body.text(), "staying");
    // Its connections are not kept for a return that may never come.
    assert_eq!(leaving.endpoint().wait_for_end(), Broken::Closed);
    assert_eq!(leaving.count(), 1);
    // If it does come back, it is as good as any.
    proxy.reload(&config("x", &[leaving.endpoint()]));
    assert_eq!(client.get("/").body.text(), "leaving");
}

#[test]
fn streams_outlive_the_place_of_their_endpoint() {
    let slow = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/socket" {
                peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
                return peer.send_all_back();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234");
            // The second half when the next request has arrived elsewhere.
            let go: Vec<u8> = peer.wait_for_release();
            peer.send(go);
        }
    });
    let other = Endpoint::says("other");
    let mut proxy = Evenkeel::start(&config("x", &[&slow]));
    let mut socket = proxy.client();
    socket.send(
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(socket.response().status, 101);
    let mut download = proxy.client();
    download.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(download.head().and_then(|head| head.status()), Ok(200));
    assert_eq!(download.bytes(5), b"01234");
    // The endpoint is gone from the configuration, not from what it is doing.
    proxy.reload(&config("x", &[&other]));
    assert_eq!(proxy.client().get("/").body.text(), "other");
    socket.send("hello");
    assert_eq!(socket.bytes(5), b"hello");
    slow.release("56789");
    assert_eq!(download.bytes(5), b"56789");
    assert_eq!(download.get("/").body.text(), "other");
}

#[test]
fn idle_connections_to_a_removed_endpoint_are_closed() {
    let (leaving, staying) = (Endpoint::says("leaving"), Endpoint::says("staying"));
    let mut proxy = Evenkeel::start(&config("x", &[&leaving]));
    assert_eq!(proxy.client().get("/").body.text(), "leaving");
    proxy.reload(&config("x", &[&staying]));
    assert_eq!(leaving.wait_for_end(), Broken::Closed);
}

#[test]
fn a_changed_endpoint_keeps_its_connections() {
    let endpoint = Endpoint::echo();
    let base = config("x", &[&endpoint]);
    let address = format!("\"{}\"", endpoint.address());
    let mut proxy = Evenkeel::start(&base);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    for entry in ["weight = 7", "max_in_flight = 3", "backup = true"] {
        proxy.reload(&base.replace(&address, &format!("{{ address = {address}, {entry} }}")));
        assert_eq!(client.get("/").status, 200, "{entry}");
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn what_needs_a_start_is_said() {
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start(&config("x", &[&endpoint]));
    proxy.write_config(&format!("workers = 2\n{}", config("x", &[&endpoint])));
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("`workers` is taken at the next start"),
        "{said}"
    );
    // For as long as it waits for one, whatever else is reloaded.
    let status = |proxy: &Evenkeel| {
        let output = proxy.command(&["status"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    proxy.reload(&format!("workers = 2\n{}", config("y", &[&endpoint])));
    let screen = status(&proxy);
    let waits = "configuration: a change of `workers` is taken at the next start";
    assert!(screen.contains(waits), "{screen}");
    proxy.reload(&config("y", &[&endpoint]));
    let screen = status(&proxy);
    assert!(!screen.contains("next start"), "{screen}");
}

#[test]
fn a_slow_endpoint_does_not_hold_a_reload_up() {
    // A first probe that takes its whole limit: the reload does not wait for the verdict.
    let (good, silent) = (Endpoint::says("good"), Endpoint::never_reads());
    let health = "health = { http = {}, interval = \"20s\", timeout = \"15s\" }\n";
    let mut proxy = Evenkeel::start(&format!("{}{health}", config("x", &[&good])));
    proxy.event("endpoint_up", &good.address().to_string());
    proxy.reload(&format!("{}{health}", config("y", &[&good, &silent])));
    let address = silent.address().to_string();
    assert_eq!(proxy.endpoint("app", &address)["state"], "unknown");
    for _ in 0..10 {
        assert_eq!(proxy.client().get("/").body.text(), "good");
    }
}
