//! Reload: a taken configuration costs nothing, a refused one changes nothing.

use rustix::process::Signal;

use crate::cases::get;
use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// A listener that sends everything to these endpoints, with more lines behind.
fn config(endpoints: &[&Endpoint], more: &str) -> String {
    let addresses: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("\"{}\"", endpoint.address()))
        .collect();
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n{more}\n\
         [upstream.app]\nendpoints = [{}]\n",
        addresses.join(", ")
    )
}

fn body(client: &mut Client) -> String {
    client.send(get(""));
    client.response().body.text()
}

#[test]
fn a_taken_configuration_is_in_force() {
    let (old, new) = (Endpoint::says("old"), Endpoint::says("new"));
    let mut proxy = Evenkeel::start(&config(&[&old], ""));
    let mut client = proxy.client();
    assert_eq!(body(&mut client), "old");
    let before = proxy.generation();
    proxy.reload(&config(&[&new], ""));
    assert_eq!(proxy.generation(), before + 1);
    // On the connection that was open, and on a new one.
    assert_eq!(body(&mut client), "new");
    assert_eq!(body(&mut proxy.client()), "new");
    // What is gone holds no connection.
    old.wait_for_end();
    let log = proxy.log();
    assert!(log.contains("config_applied"), "{log}");
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let (old, new) = (Endpoint::says("old"), Endpoint::says("new"));
    let good = config(&[&old], "");
    let mut proxy = Evenkeel::start(&good);
    let mut client = proxy.client();
    let before = proxy.generation();
    let taken = Endpoint::echo();
    let refused = [
        "[listener.web\n".to_owned(),
        config(&[&new], "").replace("endpoints", "endponts"),
        config(&[&new], "[route.a]\nupstream = \"nobody\""),
        config(
            &[&new],
            "[[test]]\nrequest = \"GET http://a/\"\nexpect = { route = \"other\" }",
        ),
        config(
            &[&new],
            &format!(
                "[listener.more]\nbind = \"{}\"\nupstream = \"app\"",
                taken.address()
            ),
        ),
        config(&[&new], "").replace("bind = \"@web\"", "bind = \"@web\"\nmax_head_size = \"1\""),
    ];
    for text in refused {
        proxy.write_config(&text);
        let output = proxy.command(&["reload"]);
        assert_eq!(output.status.code(), Some(1), "{text}: {output:?}");
        assert!(!output.stderr.is_empty(), "{text}");
        assert_eq!(proxy.generation(), before, "{text}");
        assert_eq!(body(&mut client), "old", "{text}");
    }
    assert!(proxy.log().contains("config_rejected"));
    let metrics = proxy.admin("/metrics").body.text();
    assert!(
        metrics.contains("\nevenkeel_config_last_reload_success 0\n"),
        "{metrics}"
    );
    proxy.reload(&good);
    let metrics = proxy.admin("/metrics").body.text();
    assert!(
        metrics.contains("\nevenkeel_config_last_reload_success 1\n"),
        "{metrics}"
    );
}

#[test]
fn a_hangup_is_a_reload() {
    let (old, new) = (Endpoint::says("old"), Endpoint::says("new"));
    let mut proxy = Evenkeel::start(&config(&[&old], ""));
    let mut client = proxy.client();
    proxy.write_config(&config(&[&new], ""));
    proxy.signal(Signal::HUP);
    eventually("the configuration is taken", || {
        (body(&mut client) == "new").then_some(())
    });
}

#[test]
fn listeners_come_and_go() {
    let endpoint = Endpoint::says("here");
    let more = "[listener.more]\nbind = \"@more\"\nupstream = \"app\"";
    let mut proxy = Evenkeel::start(&config(&[&endpoint], ""));
    proxy.reload(&config(&[&endpoint], more));
    let mut client = Client::connect(proxy.address("more"));
    assert_eq!(body(&mut client), "here");
    // A request that runs is served to its end; then the connection closes.
    proxy.reload(&config(&[&endpoint], ""));
    let refused = || {
        std::net::TcpStream::connect(proxy.address("more"))
            .is_err()
            .then_some(())
    };
    eventually("nobody listens any more", refused);
    assert!(client.is_closed());
    assert_eq!(body(&mut proxy.client()), "here");
}

#[test]
fn what_runs_goes_on() {
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
    let mut proxy = Evenkeel::start(&config(&[&slow], ""));
    let mut socket = proxy.client();
    socket.send(
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(socket.response().status, 101);
    let mut download = proxy.client();
    download.send(get(""));
    assert_eq!(download.head().and_then(|head| head.status()), Ok(200));
    assert_eq!(download.bytes(5), b"01234");
    // The endpoint is gone from the configuration, not from what it is doing.
    proxy.reload(&config(&[&other], ""));
    assert_eq!(body(&mut proxy.client()), "other");
    socket.send("hello");
    assert_eq!(socket.bytes(5), b"hello");
    slow.release("56789");
    assert_eq!(download.bytes(5), b"56789");
    assert_eq!(body(&mut download), "other");
}

#[test]
fn what_was_learned_is_kept() {
    let failing = Endpoint::answers("HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n");
    let good = Endpoint::echo();
    let health = "[upstream.app.health]\nhttp = {}\ninterval = \"100ms\"\ntimeout = \"50ms\"\n";
    let text = config(&[&failing, &good], "") + health;
    let mut proxy = Evenkeel::start(&text);
    eventually("it is seen", || {
        proxy.log().contains("endpoint_down").then_some(())
    });
    let count = |proxy: &Evenkeel| {
        let metrics = proxy.admin("/metrics").body.text();
        let line = |line: &&str| line.starts_with("evenkeel_http_requests_total{");
        let values = metrics
            .lines()
            .filter(line)
            .filter_map(|line| line.rsplit(' ').next());
        values
            .filter_map(|value| value.parse::<f64>().ok())
            .sum::<f64>()
    };
    let mut client = proxy.client();
    for _ in 0..10 {
        assert!(body(&mut client).contains("GET /"));
    }
    let connections = good.connections();
    // A request is counted when its response has left, which its client may see earlier.
    let before = eventually("the requests are counted", || {
        let count = count(&proxy);
        (count >= 10.0).then_some(count)
    });
    proxy.reload(&(text + "healthy_after = 3\n"));
    // Health at once, not only after the next probes.
    let upstreams = proxy.admin("/v1/upstreams").body.text();
    assert!(upstreams.contains("unhealthy"), "{upstreams}");
    // Counters go on, and so do warm connections.
    assert!(count(&proxy) >= before, "{before} before");
    for _ in 0..10 {
        assert!(body(&mut client).contains("GET /"));
    }
    // A probe has its own connection.
    let probes = good
        .requests()
        .iter()
        .filter(|request| request.target() == "/")
        .count();
    assert!(probes >= 20);
    let on_new: Vec<_> = good
        .requests()
        .into_iter()
        .filter(|request| request.connection >= connections)
        .filter(|request| request.head.value("via").is_some())
        .collect();
    assert!(
        on_new.is_empty(),
        "the pool was cold after the reload: {on_new:?}"
    );
}
