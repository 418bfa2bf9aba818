//! How long relayed connections may last, and what becomes of those to an endpoint that is taken
//! out.

use std::time::Duration;

use rustix::process::Signal;

use crate::cases::get;
use crate::support::client::Client;
use crate::support::clock::{eventually, pause, timed};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::tcp_ends::{assert_counted, greeted, value};

/// A TCP listener in front of these endpoints, with these lines behind its upstream's settings.
fn relay(endpoints: &[&Endpoint], lines: &str) -> String {
    let addresses: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("\"{}\"", endpoint.address()))
        .collect();
    format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = [{}]\n{lines}",
        addresses.join(", ")
    )
}

/// Sends a word and has it back, again and again, until the connection ends.
fn talk(client: &mut Client) {
    loop {
        client.send("again");
        if client.try_bytes(5).is_err() {
            return;
        }
        pause(Duration::from_millis(20));
    }
}

/// A client that is connected to this endpoint. The others get its neighbours.
fn at(proxy: &Evenkeel, endpoint: &Endpoint) -> Client {
    loop {
        let before = endpoint.connections();
        let client = greeted(proxy);
        if endpoint.connections() > before {
            return client;
        }
    }
}

#[test]
fn a_session_ends_by_its_age_whatever_moves() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&endpoint], "timeouts = { tunnel_max_age = \"500ms\" }\n");
    let mut client = greeted(&proxy);
    let ((), lasted) = timed(|| talk(&mut client));
    assert!(
        lasted >= Duration::from_millis(400),
        "a tenth earlier at most: {lasted:?}"
    );
    assert_counted(&proxy, "max_age");
    let line = &proxy.access_lines(1)[0];
    assert_eq!(
        (&line["end"], &line["error.type"]),
        (&"timeout".into(), &"tunnel_max_age".into())
    );
}

#[test]
fn a_websocket_ends_by_its_age() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n\
         [route.all]\nupstream = \"app\"\ntimeouts = {{ tunnel_max_age = \"300ms\" }}\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let mut client = proxy.client();
    client.send(get("Connection: Upgrade\r\nUpgrade: websocket"));
    assert_eq!(client.response().status, 101);
    talk(&mut client);
    endpoint.wait_for_end();
}

#[test]
fn a_connect_tunnel_ends_by_its_age() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::start(&format!(
        "[defaults.timeouts]\ntunnel_max_age = \"300ms\"\n[listener.web]\nbind = \"@web\"\n\
         [route.all]\nupstream = \"app\"\nconnect = true\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let mut client = proxy.client();
    client.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    assert_eq!(client.response_to("CONNECT").status, 200);
    talk(&mut client);
    endpoint.wait_for_end();
}

#[test]
fn by_default_a_session_outlives_its_endpoints_removal() {
    let (gone, stays) = (Endpoint::sends_back(), Endpoint::sends_back());
    let mut proxy = Evenkeel::start(&relay(&[&gone, &stays], ""));
    let mut client = at(&proxy, &gone);
    proxy.reload(&relay(&[&stays], ""));
    assert!(client.is_quiet());
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    client.finish();
    assert!(client.is_closed());
}

#[test]
fn connections_to_a_removed_endpoint_can_be_closed_at_once() {
    let (gone, stays) = (Endpoint::sends_back(), Endpoint::sends_back());
    let lines = "on_removed = \"close\"\n";
    let mut proxy = Evenkeel::start(&relay(&[&gone, &stays], lines));
    let (mut cut, mut kept) = (at(&proxy, &gone), at(&proxy, &stays));
    proxy.reload(&relay(&[&stays], lines));
    assert!(cut.is_reset(), "an end that looks orderly");
    gone.wait_for_end();
    kept.send("hello");
    assert_eq!(kept.bytes(5), b"hello");
    eventually("it is counted as removed", || {
        let labels = "listener=\"web\",upstream=\"app\",result=\"removed\"";
        let count = value(&proxy, &format!("evenkeel_l4_sessions_total{{{labels}}}"));
        (count == Some(1)).then_some(())
    });
    eventually("the log tells it", || {
        let log = proxy.log();
        let line = log
            .lines()
            .find(|line| line.contains("destination_unavailable"))?;
        assert!(line.contains(r#""end":"shed""#), "{line}");
        Some(())
    });
}

#[test]
fn connections_to_a_removed_endpoint_may_go_on_for_a_while() {
    let (gone, stays) = (Endpoint::sends_back(), Endpoint::sends_back());
    let lines = "drain = \"600ms\"\n";
    let mut proxy = Evenkeel::start(&relay(&[&gone, &stays], lines));
    let mut client = at(&proxy, &gone);
    proxy.reload(&relay(&[&stays], lines));
    let ((), lasted) = timed(|| talk(&mut client));
    assert!(
        lasted >= Duration::from_millis(300),
        "{lasted:?} after the reload"
    );
    gone.wait_for_end();
}

#[test]
fn an_endpoint_that_comes_back_keeps_its_connections() {
    let (gone, stays) = (Endpoint::sends_back(), Endpoint::sends_back());
    let lines = "drain = \"700ms\"\n";
    let mut proxy = Evenkeel::start(&relay(&[&gone, &stays], lines));
    let mut client = at(&proxy, &gone);
    proxy.reload(&relay(&[&stays], lines));
    proxy.reload(&relay(&[&gone, &stays], lines));
    pause(Duration::from_millis(900));
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    // Nor does it live by what was said the first time: it may go on for ever now.
    proxy.reload(&relay(&[&stays], ""));
    pause(Duration::from_millis(900));
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
}

#[test]
fn a_removed_upstream_ends_the_tunnels_of_http_as_well() {
    let endpoint = Endpoint::upgrades_to("websocket");
    let config = |lines: &str| format!("[listener.web]\nbind = \"@web\"\n[route.all]\n{lines}");
    let with = format!(
        "upstream = \"app\"\n[upstream.app]\nendpoints = [\"{}\"]\non_removed = \"close\"\n",
        endpoint.address()
    );
    let mut proxy = Evenkeel::start(&config(&with));
    let mut client = proxy.client();
    client.send(get("Connection: Upgrade\r\nUpgrade: websocket"));
    assert_eq!(client.response().status, 101);
    proxy.reload(&config("respond = { status = 404 }\n"));
    assert!(client.is_reset());
    endpoint.wait_for_end();
}

#[test]
fn an_endpoint_that_resets_before_a_word_is_left_alone_and_counted() {
    let bad = Endpoint::start(|peer| {
        peer.bytes(5);
        peer.reset();
    });
    let good = Endpoint::sends_back();
    let proxy = Evenkeel::relaying_to(&[&bad, &good], "");
    let mut first = proxy.client();
    first.send("hello");
    assert!(first.is_reset());
    let counted = |endpoint: &Endpoint, result: &str| {
        let address = endpoint.address();
        let labels =
            format!("upstream=\"app\",zone=\"\",endpoint=\"{address}\",result=\"{result}\"");
        value(
            &proxy,
            &format!("evenkeel_endpoint_sessions_total{{{labels}}}"),
        )
    };
    eventually("the reset is counted", || {
        (counted(&bad, "reset_unanswered") == Some(1)).then_some(())
    });
    for _ in 0..3 {
        greeted(&proxy);
    }
    assert_eq!(bad.connections(), 1, "it is left alone");
    // It is tried again after a second. That it takes the connection is no proof: the rest
    // doubles, so that of three seconds it is left alone for two.
    eventually("it is tried again", || {
        greeted_or_reset(&proxy);
        (bad.connections() == 2).then_some(())
    });
    let ((), rest) = timed(|| {
        eventually("it is tried once more", || {
            greeted_or_reset(&proxy);
            (bad.connections() == 3).then_some(())
        });
    });
    assert!(
        rest >= Duration::from_millis(1_500),
        "tried again after {rest:?}"
    );
    eventually("good ends are counted as well", || {
        counted(&good, "ended")
            .is_some_and(|count| count >= 3)
            .then_some(())
    });
}

fn greeted_or_reset(proxy: &Evenkeel) {
    let mut client = proxy.client();
    client.send("hello");
    drop(client.try_bytes(5));
}

#[test]
fn connect_errors_are_counted_by_endpoint() {
    let (down, up) = (Endpoint::refuses(), Endpoint::sends_back());
    let proxy = Evenkeel::relaying_to(&[&down, &up], "");
    greeted(&proxy);
    let series = format!(
        "evenkeel_endpoint_sessions_total{{upstream=\"app\",zone=\"\",endpoint=\"{}\",\
         result=\"connect_failed\"}}",
        down.address()
    );
    assert_eq!(value(&proxy, &series), Some(1));
}

#[test]
fn who_finds_every_endpoint_full_waits_for_a_place() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::start(&relay(&[&endpoint], "max_connections_per_endpoint = 1\n"));
    let first = greeted(&proxy);
    let waiting: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = proxy.client();
            client.send("hello");
            client
        })
        .collect();
    let depth = || value(&proxy, "evenkeel_queue_depth{upstream=\"app\"}");
    eventually("three wait", || (depth() == Some(3)).then_some(()));
    assert_eq!(endpoint.connections(), 1);
    drop(first);
    for mut client in waiting {
        assert_eq!(client.bytes(5), b"hello");
    }
    eventually("nobody waits", || (depth() == Some(0)).then_some(()));
    let waited = value(
        &proxy,
        "evenkeel_queue_wait_seconds_count{upstream=\"app\"}",
    );
    assert_eq!(waited, Some(3));
    let mut lines = proxy.access_lines(4);
    lines.retain(|line| line["queue_s"].as_f64().is_some_and(|queued| queued > 0.0));
    assert_eq!(lines.len(), 3, "the first one did not wait");
}

#[test]
fn who_finds_one_endpoint_dead_waits_for_the_other() {
    let (down, up) = (Endpoint::refuses(), Endpoint::sends_back());
    let proxy = Evenkeel::start(&relay(
        &[&down, &up],
        "max_connections_per_endpoint = 1\ntimeouts = { connect = \"60s\" }\n",
    ));
    let first = greeted(&proxy);
    let mut second = proxy.client();
    second.send("hello");
    eventually("it waits", || {
        let depth = value(&proxy, "evenkeel_queue_depth{upstream=\"app\"}");
        (depth == Some(1)).then_some(())
    });
    assert!(second.is_quiet());
    drop(first);
    assert_eq!(second.bytes(5), b"hello");
}

#[test]
fn who_finds_his_endpoint_dead_comes_back_to_where_he_stood() {
    let dying = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = dying.local_addr().expect("bound");
    let good = Endpoint::sends_back();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{address}\", \"{}\"]\n\
         max_connections_per_endpoint = 1\ntimeouts = {{ connect = \"60s\" }}\n",
        good.address()
    ));
    let at_dying = proxy.client();
    let kept = dying.accept().expect("a session");
    let at_good = greeted(&proxy);
    let waits = |depth| {
        eventually("it waits", || {
            let series = "evenkeel_queue_depth{upstream=\"app\"}";
            (value(&proxy, series) == Some(depth)).then_some(())
        });
    };
    let mut waiting = Vec::new();
    for depth in 1..=3 {
        let mut client = proxy.client();
        client.send("hello");
        waits(depth);
        waiting.push(client);
    }
    // The first gets the endpoint that is not there any more.
    drop(dying);
    drop((at_dying, kept));
    let failed = format!(
        "evenkeel_endpoint_sessions_total{{upstream=\"app\",zone=\"\",endpoint=\"{address}\",\
         result=\"connect_failed\"}}"
    );
    eventually("it fails there", || {
        value(&proxy, &failed)
            .is_some_and(|count| count >= 1)
            .then_some(())
    });
    waits(3);
    drop(at_good);
    for mut client in waiting {
        assert_eq!(client.bytes(5), b"hello");
        // Only now may the next one come in.
        drop(client);
    }
}

#[test]
fn who_waits_is_served_by_what_a_reload_brings() {
    let (gone, new) = (Endpoint::sends_back(), Endpoint::sends_back());
    let lines = "max_connections_per_endpoint = 1\ntimeouts = { connect = \"60s\" }\n";
    let mut proxy = Evenkeel::start(&relay(&[&gone], lines));
    let mut first = greeted(&proxy);
    let mut second = proxy.client();
    second.send("hello");
    eventually("it waits", || {
        let depth = value(&proxy, "evenkeel_queue_depth{upstream=\"app\"}");
        (depth == Some(1)).then_some(())
    });
    proxy.reload(&relay(&[&new], lines));
    assert_eq!(second.bytes(5), b"hello");
    assert_eq!((gone.connections(), new.connections()), (1, 1));
    first.send("hello");
    assert_eq!(first.bytes(5), b"hello");
}

#[test]
fn a_session_is_cut_at_the_end_of_a_drain() {
    let endpoint = Endpoint::sends_back();
    let mut proxy = Evenkeel::start(&format!(
        "[shutdown]\ngrace = \"0s\"\ndrain = \"300ms\"\n{}",
        relay(&[&endpoint], "")
    ));
    let mut client = greeted(&proxy);
    proxy.signal(Signal::TERM);
    client.send("again");
    assert_eq!(client.bytes(5), b"again");
    assert!(client.is_reset(), "an end that looks orderly");
    endpoint.wait_for_end();
    proxy.wait_for_exit();
    let log = proxy.log();
    assert!(log.contains(r#""end":"shed""#), "{log}");
}

#[test]
fn who_waits_for_too_long_is_turned_away() {
    let endpoint = Endpoint::sends_back();
    let proxy = Evenkeel::start(&relay(
        &[&endpoint],
        "max_connections_per_endpoint = 1\ntimeouts = { connect = \"300ms\" }\n",
    ));
    let mut first = greeted(&proxy);
    let mut second = proxy.client();
    second.send("hello");
    let (is_reset, waited) = timed(|| second.is_reset());
    assert!(
        is_reset && waited >= Duration::from_millis(200),
        "{waited:?}"
    );
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["error.type"], "connection_limit_reached");
    assert_eq!(line["end"], "shed");
    first.send("hello");
    assert_eq!(first.bytes(5), b"hello");
    // Who goes away while he waits takes no place with him.
    let third = proxy.client();
    pause(Duration::from_millis(50));
    third.abort();
    drop(first);
    greeted(&proxy);
}
