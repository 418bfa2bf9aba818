//! To be seen: probes, metrics, state, logs, and that none of them holds traffic up.

use std::process::Stdio;

use crate::cases::get;
use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

#[test]
fn probes_answer() {
    let proxy = Evenkeel::forwarding_to(&Endpoint::refuses());
    for path in ["/livez", "/readyz", "/startupz"] {
        // An endpoint that is down is not our own outage.
        let response = proxy.admin(path);
        assert_eq!(
            (response.status, response.body.text().as_str()),
            (200, "ok\n"),
            "{path}"
        );
        let verbose = proxy.admin(&format!("{path}?verbose")).body.text();
        assert!(verbose.starts_with("[+]"), "{verbose}");
        let mut client = Client::connect(proxy.address("admin"));
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response_to("HEAD").status, 200);
    }
    assert_eq!(proxy.admin("/nowhere").status, 404);
}

#[test]
fn the_address_only_reads() {
    let proxy = Evenkeel::forwarding_to(&Endpoint::echo());
    let before = proxy.generation();
    for (method, path) in [
        ("POST", "/v1/reload"),
        ("PUT", "/v1/config"),
        ("DELETE", "/v1/status"),
    ] {
        let mut client = Client::connect(proxy.address("admin"));
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        ));
        let status = client.response().status;
        assert!([403, 405].contains(&status), "{method} {path}: {status}");
    }
    assert_eq!(proxy.generation(), before);
}

#[test]
fn requests_are_counted_and_measured() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    for _ in 0..7 {
        client.send(get(""));
        assert_eq!(client.response().status, 200);
    }
    let sum = |metrics: &str, name: &str| -> f64 {
        let series = |line: &&str| line.split([' ', '{']).next() == Some(name);
        let values = metrics
            .lines()
            .filter(series)
            .filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    };
    // A request is counted when its response has left, which its client may see earlier.
    let metrics = eventually("the requests are counted", || {
        let metrics = proxy.admin("/metrics").body.text();
        (sum(&metrics, "evenkeel_http_requests_total") >= 7.0).then_some(metrics)
    });
    let value = |name: &str| sum(&metrics, name);
    assert!(value("evenkeel_http_request_duration_seconds_count") >= 7.0);
    assert!(value("evenkeel_endpoint_requests_total") >= 7.0);
    assert!(value("evenkeel_connections_accepted_total") >= 1.0);
    assert!(value("evenkeel_connections") >= 1.0);
    for name in [
        "evenkeel_proxy_overhead_seconds_count",
        "evenkeel_http_endpoint_duration_seconds_count",
        "evenkeel_http_requests_in_flight",
        "evenkeel_endpoint_connections",
        "evenkeel_upstream_endpoints",
        "evenkeel_upstream_panic",
        "evenkeel_config_info",
        "evenkeel_config_reloads_total",
        "evenkeel_log_dropped_total",
        "evenkeel_build_info",
        "process_open_fds",
    ] {
        assert!(
            metrics.contains(&format!("\n{name}")),
            "{name} is missing:\n{metrics}"
        );
    }
}

#[test]
fn the_access_log_has_a_line_for_each_request() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("GET /a%22b?secret=1 HTTP/1.1\r\nHost: h\r\nUser-Agent: \"t\"\\\r\n\r\n");
    let response = client.response();
    let id = response
        .head
        .value("x-request-id")
        .expect("an id")
        .to_owned();
    let line = eventually("the line is written", || {
        proxy
            .log()
            .lines()
            .find(|line| line.contains(&id))
            .map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    for (name, value) in [
        ("kind", "access"),
        ("listener", "web"),
        ("http.request.method", "GET"),
        ("url.path", "/a%22b"),
        ("server.address", "h"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "\"t\"\\"),
        ("end", "ok"),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert_eq!(line["http.response.status_code"], 200);
    assert_eq!(line["attempts"], 1);
    // Queries carry secrets.
    assert!(!line.to_string().contains("secret"), "{line}");
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let endpoint = Endpoint::says("ok");
    let proxy = Evenkeel::start_with_output(
        &format!(
            "[listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n",
            endpoint.address()
        ),
        Stdio::piped(),
    );
    // Far more lines than the pipe and the queue hold.
    let mut client = proxy.client();
    let agent = "x".repeat(4_000);
    eventually("lines are dropped, and counted", || {
        for _ in 0..500 {
            client.send(get(format!("User-Agent: {agent}")));
            assert_eq!(client.response().status, 200);
        }
        let metrics = proxy.admin("/metrics").body.text();
        let dropped = metrics
            .lines()
            .filter(|line| line.starts_with("evenkeel_log_dropped_total"));
        dropped
            .into_iter()
            .any(|line| !line.ends_with(" 0"))
            .then_some(())
    });
}

#[test]
fn state_is_shown_to_people_and_programs() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let address = endpoint.address().to_string();
    let status = proxy.admin_json("/v1/status");
    assert!(
        status["ready"] == true && status["configuration"]["generation"].is_u64(),
        "{status}"
    );
    assert!(
        proxy
            .admin_json("/v1/upstreams")
            .to_string()
            .contains(&address)
    );
    assert!(
        proxy.admin_json("/v1/config")["toml"]
            .as_str()
            .is_some_and(|text| text.contains(&address))
    );
    let shown = proxy.command(&["status"]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("evenkeel"),
        "{shown:?}"
    );
    let shown = proxy.command(&["status", "--json"]);
    assert!(
        serde_json::from_slice::<serde_json::Value>(&shown.stdout).is_ok(),
        "{shown:?}"
    );
    assert!(proxy.command(&["status", "--ready"]).status.success());
    let shown = proxy.command(&["config", "show"]);
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains(&address),
        "{shown:?}"
    );
}

#[test]
fn secrets_are_not_shown() {
    let proxy = Evenkeel::start(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         request_headers = { set = { authorization = \"Bearer hunter2\" } }\n\
         [upstream.app]\nendpoints = [\"127.0.0.1:1\"]\n",
    );
    for shown in [
        proxy.admin("/v1/config").body.text(),
        String::from_utf8_lossy(&proxy.command(&["config", "show"]).stdout).into_owned(),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
