//! A thousand routes with ten endpoints each, and routes that come and go: what is measured stays.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::cases::get;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::Authority;

/// This many routes, each with an upstream of its own, whose first endpoint answers; then those on
/// which something goes wrong.
fn config(prefix: &str, [up, stalled, one, other]: [&Endpoint; 4]) -> String {
    let mut config = "[listener.web]\nbind = \"@web\"\n".to_owned();
    let first = up.address();
    let rest = (1..10).map(|host| format!(", \"10.0.0.{host}:80\""));
    let rest: String = rest.collect();
    for number in 0..ROUTES {
        let name = format!("{prefix}{number:04}");
        write!(
            config,
            "[route.{name}]\npath = \"/{name}\"\nupstream = \"{name}\"\n\
             [upstream.{name}]\nbalance = \"first_healthy\"\nendpoints = [\"{first}\"{rest}]\n"
        )
        .expect("room");
    }
    let (stalled, one, other) = (stalled.address(), one.address(), other.address());
    config
        + &format!(
            "[route.stalled]\npath = \"/stalled\"\nupstream = \"stalled\"\n\
             [upstream.stalled]\nendpoints = [\"{stalled}\"]\nmax_in_flight_per_endpoint = 1\n\
             [route.down]\npath = \"/down\"\nupstream = \"down\"\n\
             [upstream.down]\nendpoints = [\"{one}\", \"{other}\"]\n\
             [upstream.down.health]\ntcp = {{}}\ninterval = \"100ms\"\n\
             timeout = \"50ms\"\n"
        )
}

/// What the alert rules ask for, but for calls of gRPC, of which there are none here.
fn asked_by_alerts() -> BTreeSet<&'static str> {
    let rules = include_str!("../../deploy/alerts.yaml");
    let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("evenkeel_") || word.starts_with("process_"))
        .filter(|word| !word.starts_with("evenkeel_grpc_"))
        .collect()
}

/// What is missing on the page of metrics.
fn missing(proxy: &Evenkeel, prefix: &str) -> Vec<String> {
    let metrics = proxy.admin("/metrics").body.text();
    let there: BTreeSet<&str> = metrics.lines().flat_map(beginnings).collect();
    let mut wanted: Vec<String> = asked_by_alerts().into_iter().map(str::to_owned).collect();
    for number in USED {
        let labels = format!("{{listener=\"web\",route=\"{prefix}{number:04}\"");
        for name in ["requests_total", "request_duration_seconds_count"] {
            wanted.push(format!("evenkeel_http_{name}{labels}"));
        }
    }
    for number in 0..ROUTES {
        let upstream = format!("{{upstream=\"{prefix}{number:04}\"");
        for name in ["evenkeel_upstream_endpoints", "evenkeel_upstream_panic"] {
            wanted.push(format!("{name}{upstream}"));
        }
    }
    wanted.retain(|wanted| !there.contains(wanted.as_str()));
    wanted
}

/// The name of a line's series, then with one label, then with two.
fn beginnings(line: &str) -> impl Iterator<Item = &str> {
    let ends = line.match_indices(['{', ',', '}', ' ']).take(3);
    ends.map(|(end, _)| &line[..end])
}

fn use_routes(proxy: &Evenkeel, prefix: &str) {
    let mut client = proxy.client();
    for number in USED {
        assert_eq!(client.get(&format!("/{prefix}{number:04}")).status, 200);
    }
}

fn assert_nothing_is_missing(proxy: &Evenkeel, prefix: &str) {
    let mut last = Vec::new();
    let mut tries = 0;
    // Some are counted after their cause can be seen, and probes take their time.
    eventually("all have been looked at", || {
        last = missing(proxy, prefix);
        tries += 1;
        (last.is_empty() || tries > 40).then_some(())
    });
    assert!(last.is_empty(), "{} are missing: {:?}", last.len(), last);
}

#[test]
fn a_thousand_routes_leave_room_for_what_alerts_ask_for() {
    let endpoints = [
        &Endpoint::echo(),
        &Endpoint::stalls_after(""),
        &Endpoint::refuses(),
        &Endpoint::refuses(),
    ];
    let certificate = Authority::new().certify(&["a"]).files("a");
    let secure = "[listener.secure]\nbind = \"@secure\"\nupstream = \"down\"\n\
                  tls = { certificates = [{ cert = \"a.pem\", key = \"a.key\" }] }\n";
    let config = |prefix| [config(prefix, endpoints).as_str(), secure].concat();
    let mut proxy = Evenkeel::start_among(&certificate, &config("old"));
    use_routes(&proxy, "old");
    let mut first = proxy.client();
    first.send("GET /stalled HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the first is on its way", || {
        let requests = endpoints[1].requests();
        let mut targets = requests.iter().map(|request| request.head.start.clone());
        targets.any(|start| start.contains("stalled")).then_some(())
    });
    assert_eq!(proxy.client().get("/stalled").status, 503);
    assert_eq!(proxy.client().get("/down").status, 502);
    assert_nothing_is_missing(&proxy, "old");
    // While the old ones are still there, as many new ones come.
    proxy.reload(&config("new"));
    use_routes(&proxy, "new");
    assert_nothing_is_missing(&proxy, "new");
    let metrics = proxy.admin("/metrics").body.text();
    assert!(metrics.contains("evenkeel_config_info{generation=\"2\""));
    assert!(metrics.contains("evenkeel_config_last_reload_success 1"));
}

/// A tunnel may last for days, and the configuration change every minute.
#[test]
fn a_tunnel_keeps_no_series_of_what_was_removed() {
    let (sockets, plain) = (Endpoint::upgrades_to("websocket"), Endpoint::echo());
    let config = |route: &str| {
        format!(
            "[listener.web]\nbind = \"@web\"\n[route.{route}]\nupstream = \"{route}\"\n\
             [upstream.{route}]\nendpoints = [\"{}\"]\n\
             [route.sockets]\npath = \"/sockets\"\nupstream = \"sockets\"\n\
             [upstream.sockets]\nendpoints = [\"{}\"]\n",
            plain.address(),
            sockets.address()
        )
    };
    let mut proxy = Evenkeel::start(&config("removed"));
    let lists = |proxy: &Evenkeel, text: &str| proxy.admin("/metrics").body.text().contains(text);
    let mut tunnel = proxy.client();
    tunnel.send(
        "GET /sockets HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(tunnel.response().status, 101);
    let mut client = proxy.client();
    client.send(get("X-A: b"));
    assert_eq!(client.response().status, 200);
    eventually("it is counted", || {
        lists(
            &proxy,
            "evenkeel_http_requests_total{listener=\"web\",route=\"removed\"",
        )
        .then_some(())
    });
    proxy.reload(&config("kept"));
    client.send(get("X-A: b"));
    assert_eq!(client.response().status, 200);
    eventually("its series are gone", || {
        (!lists(&proxy, "=\"removed\"")).then_some(())
    });
    tunnel.send("still there");
    assert_eq!(tunnel.bytes(11), b"still there");
}

const ROUTES: usize = 1_000;

/// First ones, some in the middle, and the last.
const USED: [usize; 6] = [0, 1, 499, 500, 998, ROUTES - 1];
