//! Metrics: a list of names that dashboards rest on, in formats that scrapers read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cases::get;
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::h2::client::request_with;
use crate::support::udp::{UdpClient, UdpEndpoint};

/// Families by name.
type Families = BTreeMap<String, Family>;

/// A family as it was scraped.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// Sets of label names, without a histogram's `le`.
    labels: BTreeSet<Vec<String>>,
    samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<Label>,
    value: f64,
}

/// Name and value.
type Label = (String, String);

/// Reads a scrape as strictly as its format is written.
fn parse(text: &str, open_metrics: bool) -> Families {
    let mut families = Families::new();
    let mut current = String::new();
    let mut helped = String::new();
    assert!(text.ends_with('\n'), "the last line does not end");
    for line in text.lines() {
        if line == "# EOF" {
            assert!(open_metrics && text.ends_with("# EOF\n"), "an early end");
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(words.ends_with('.'), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a kind");
            assert_eq!(name, helped, "a kind without a help text");
            let kinds = ["counter", "gauge", "histogram", "unknown"];
            assert!(kinds.contains(&kind), "{line}");
            assert!(open_metrics || kind != "unknown", "{line}");
            let family = Family {
                kind: kind.to_owned(),
                ..Family::default()
            };
            let double = families.insert(name.to_owned(), family);
            assert!(double.is_none(), "{name} stands twice");
            name.clone_into(&mut current);
        } else {
            let sample = sample(line);
            let name = &sample.name;
            let family = families.get_mut(&current).expect("a kind comes first");
            let suffixes: &[&str] = match (family.kind.as_str(), open_metrics) {
                ("histogram", _) => &["_bucket", "_sum", "_count"],
                ("counter", true) => &["_total"],
                _ => &[""],
            };
            let fits = suffixes
                .iter()
                .any(|suffix| *name == format!("{current}{suffix}"));
            assert!(fits, "{name} stands below {current}");
            let names = sample.labels.iter().map(|(name, _)| name.clone());
            family
                .labels
                .insert(names.filter(|name| name != "le").collect());
            family.samples.push(sample);
        }
    }
    families
}

/// `name{label="value",…} 1`
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value = match value {
        "+Inf" => f64::INFINITY,
        value => value.parse().unwrap_or_else(|_| panic!("{line}")),
    };
    let (name, mut rest) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closed brace")),
        None => (series, ""),
    };
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").expect("a label");
        let end = (0..value.len())
            .find(|at| value[*at..].starts_with('"') && !value[..*at].ends_with('\\'))
            .expect("a closed quote");
        labels.push((name.to_owned(), value[..end].to_owned()));
        rest = value[end + 1..].trim_start_matches(',');
    }
    Sample {
        name: name.to_owned(),
        labels,
        value,
    }
}

/// An instance in which everything has happened that is counted.
fn eventful() -> (Evenkeel, Vec<Endpoint>) {
    let (up, down) = (Endpoint::echo(), [Endpoint::refuses(), Endpoint::refuses()]);
    let stalled = Endpoint::stalls_after("");
    let dns = UdpEndpoint::sends_back();
    let config = format!(
        "state_dir = \"/proc/none\"\n\
         [listener.web]\nbind = \"@web\"\nlimits = {{ wait = \"1s\" }}\n\
         [listener.db]\nbind = \"@db\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n\
         [listener.waits]\nbind = \"@waits\"\nprotocols = [\"tcp\"]\nupstream = \"full\"\n\
         [listener.brought]\nbind = \"@brought\"\nprotocols = [\"tcp\"]\n\
         intercept = \"redirect\"\nupstream = \"there\"\n\
         [upstream.there]\nendpoints = \"original_dst\"\nallowed = [\"192.0.2.0/24\"]\n\
         [listener.dns]\nbind = \"@dns\"\nprotocols = [\"udp\"]\nupstream = \"dns\"\n\
         [upstream.dns]\nendpoints = [\"{}\"]\n\
         [listener.inner]\nbind = \"@inner\"\nprotocols = [\"h2c\"]\n\
         proxy_protocol = \"accepted\"\ntrusted_proxies = [\"192.0.2.0/24\"]\n\
         [listener.safe]\nbind = \"@safe\"\n\
         tls = {{ certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}] }}\n\
         [route.named]\nlistener = \"safe\"\nserver_name = [\"a\"]\nupstream = \"app\"\n\
         [route.all]\nupstream = \"app\"\n[route.down]\npath = \"/down\"\nupstream = \"down\"\n\
         [route.full]\npath = \"/full\"\nupstream = \"full\"\n\
         [upstream.full]\nbalance = \"ring_hash\"\nendpoints = [\"{}\"]\nmax_in_flight_per_endpoint = 1\nmax_in_flight = 100\n\
         [route.hedged]\npath = \"/hedged\"\nupstream = \"slow\"\nhedge.after = \"10ms\"\n\
         [upstream.slow]\nbalance = \"first_healthy\"\nendpoints = [\"{}\", \"{}\"]\n\
         [upstream.app.zone.eu-1a]\nendpoints = [\"{}\"]\n\
         [upstream.app.health]\ntcp = {{}}\ninterval = \"100ms\"\ntimeout = \"50ms\"\n\
         [upstream.down]\nendpoints = [\"{}\", \"{}\"]\n\
         [route.flawed]\npath = \"/flawed\"\nupstream = \"flawed\"\n\
         [upstream.flawed]\nbalance = \"first_healthy\"\n\
         endpoints = [\"{}\", \"{}\", \"{}\"]\noutlier = {{ consecutive_failures = 1 }}\n",
        dns.address(),
        stalled.address(),
        stalled.address(),
        up.address(),
        up.address(),
        down[0].address(),
        down[1].address(),
        down[0].address(),
        up.address(),
        stalled.address()
    );
    let mut proxy = Evenkeel::start_among(&certificate(), &config);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.get("/down").status, 502);
    assert_eq!(client.get("/flawed").status, 200);
    let mut first = proxy.client();
    first.send("GET /full HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("it is full", || {
        (!stalled.requests().is_empty()).then_some(())
    });
    assert_eq!(client.get("/full").status, 503);
    assert_eq!(client.get("/hedged").status, 200);
    assert!(Client::connect(proxy.address("waits")).is_quiet());
    let mut caller = H2::connect(proxy.address("inner"));
    let grpc = [("content-type", "application/grpc")];
    let call = caller.open(&request_with("POST", "/down", &grpc), true);
    assert_eq!(caller.message(call).field("grpc-status"), Some("14"));
    let mut relayed = Client::connect(proxy.address("db"));
    relayed.send(get("X-A: b"));
    assert_eq!(relayed.response().status, 200);
    drop(relayed);
    assert_eq!(UdpClient::of(proxy.address("dns")).ask("hello"), "hello");
    proxy.reload(&config);
    proxy.write_config("nonsense");
    assert_eq!(proxy.command(&["reload"]).status.code(), Some(1));
    let [one, other] = down;
    (proxy, vec![up, stalled, one, other])
}

/// The files of a certificate.
fn certificate() -> [(String, String); 2] {
    let made = rcgen::generate_simple_self_signed(["shop.test".to_owned()]);
    let made = made.expect("a certificate");
    [
        ("a.pem".to_owned(), made.cert.pem()),
        ("a.key".to_owned(), made.signing_key.serialize_pem()),
    ]
}

fn scrape(proxy: &Evenkeel, accept: &str) -> (String, String) {
    let mut client = Client::connect(proxy.address("admin"));
    client.send(format!(
        "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n"
    ));
    let response = client.response();
    assert_eq!(response.status, 200);
    let media = response.head.value("content-type").unwrap_or_default();
    (media.to_owned(), response.body.text())
}

/// Names, kinds and labels, one family a line.
fn list(families: &Families) -> String {
    let mut text = String::new();
    for (name, family) in families {
        for labels in &family.labels {
            let (kind, labels) = (&family.kind, labels.join(", "));
            text.extend([name, " ", kind, " {", &labels, "}\n"]);
        }
    }
    text
}

/// Renaming any of these breaks somebody's dashboard: it wants a line in the changelog.
#[test]
fn the_names_are_those_that_dashboards_know() {
    let (proxy, _endpoints) = eventful();
    let expected = include_str!("metrics.txt");
    let mut seen = String::new();
    // Some are counted after their cause can be seen, and probes take their time.
    for _ in 0..100 {
        seen = list(&parse(&scrape(&proxy, "*/*").1, false));
        if seen == expected {
            break;
        }
        pause(Duration::from_millis(50));
    }
    assert!(seen == expected, "what is there:\n{seen}");
}

#[test]
fn both_formats_are_well_formed_and_agree() {
    let (proxy, _endpoints) = eventful();
    let (media, text) = scrape(&proxy, "text/plain");
    assert_eq!(media, "text/plain; version=0.0.4; charset=utf-8");
    let open = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (media, open) = scrape(&proxy, open);
    assert_eq!(
        media,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.ends_with("# EOF\n"));
    let (_, later) = scrape(&proxy, "text/plain");
    let (text, open) = (parse(&text, false), parse(&open, true));
    // However families are named, their series are the same; new ones may come at any time.
    let series = |families: &Families| -> BTreeSet<String> {
        let samples = families.values().flat_map(|family| &family.samples);
        samples
            .map(|sample| {
                let plain = sample.labels.iter().filter(|(name, _)| name != "le");
                format!("{} {:?}", sample.name, plain.collect::<Vec<_>>())
            })
            .collect()
    };
    assert!(series(&text).is_subset(&series(&open)));
    assert!(series(&open).is_subset(&series(&parse(&later, false))));
    for (name, family) in text.iter().chain(&open) {
        assert!(!family.samples.is_empty(), "{name} has no samples");
        let series: BTreeSet<_> = family
            .samples
            .iter()
            .map(|sample| (&sample.name, &sample.labels))
            .collect();
        assert_eq!(series.len(), family.samples.len(), "{name}: a series twice");
        if family.kind == "histogram" {
            assert_cumulative(name, family);
        }
        if family.kind == "counter" {
            assert!(
                family.samples.iter().all(|sample| sample.value >= 0.0),
                "{name}"
            );
        }
    }
}

/// Buckets grow, the last one is infinite and equals the count.
fn assert_cumulative(name: &str, family: &Family) {
    let mut last = (f64::NEG_INFINITY, 0.0);
    for sample in &family.samples {
        let value = sample.value;
        if let Some((_, bound)) = sample.labels.iter().find(|(name, _)| name == "le") {
            let bound = bound.parse().unwrap_or(f64::INFINITY);
            assert!(bound > last.0 && value >= last.1, "{name}: {family:?}");
            last = (bound, value);
        } else if sample.name.ends_with("_count") {
            assert!(last.0.is_infinite(), "{name} has no +Inf: {family:?}");
            assert!((last.1 - value).abs() < 0.5, "{name}: {family:?}");
            last = (f64::NEG_INFINITY, 0.0);
        }
    }
}

#[test]
fn what_was_removed_is_no_longer_listed() {
    let (up, gone) = (Endpoint::echo(), Endpoint::echo());
    let config = |endpoints: &str| {
        format!(
            "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
             [upstream.app]\nbalance = \"round_robin\"\nendpoints = [{endpoints}]\n"
        )
    };
    let (first, second) = (up.address(), gone.address());
    let mut proxy = Evenkeel::start(&config(&format!("\"{first}\", \"{second}\"")));
    let mut client = proxy.client();
    for _ in 0..4 {
        client.send(get("X-A: b"));
        assert_eq!(client.response().status, 200);
    }
    let lists = |proxy: &Evenkeel, text: &str| scrape(proxy, "*/*").1.contains(text);
    assert!(lists(&proxy, &second.to_string()));
    let total = |proxy: &Evenkeel| {
        let families = parse(&scrape(proxy, "*/*").1, false);
        let family = families.get("evenkeel_http_requests_total");
        let samples = family.into_iter().flat_map(|family| &family.samples);
        samples.map(|sample| sample.value).sum::<f64>()
    };
    eventually("all are counted", || (total(&proxy) > 3.5).then_some(()));
    proxy.reload(&config(&format!("\"{first}\"")));
    // As soon as its idle connections are swept.
    eventually("its series are gone", || {
        (!lists(&proxy, &second.to_string())).then_some(())
    });
    assert!(lists(&proxy, &first.to_string()));
    // What stays does not start at zero.
    assert!(total(&proxy) > 3.5);
}

#[test]
fn what_is_turned_away_for_lack_of_room_is_shed() {
    let stalled = Endpoint::stalls_after("");
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\nmax_in_flight_per_endpoint = 1\nqueue.size = 0\n",
        stalled.address()
    ));
    let labels = [("route", "all"), ("reason", "overload")];
    let shed = |proxy: &Evenkeel| value(proxy, "evenkeel_shed_total", &labels);
    let mut first = proxy.client();
    first.send(get("X-A: b"));
    eventually("the first is on its way", || {
        (!stalled.requests().is_empty()).then_some(())
    });
    let mut second = proxy.client();
    second.send(get("X-A: b"));
    assert_eq!(second.response().status, 503);
    eventually("it is counted", || (shed(&proxy) == Some(1)).then_some(()));
}

#[test]
fn a_route_may_have_the_name_of_its_listener() {
    let (routed, rest) = (Endpoint::says("routed"), Endpoint::says("rest"));
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n\
         [route.web]\npath = \"/v1/\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        rest.address(),
        routed.address()
    ));
    let mut client = proxy.client();
    for (path, body) in [("/v1/a", "routed"), ("/", "rest"), ("/b", "rest")] {
        assert_eq!(client.get(path).body.text(), body);
    }
    for (route, count) in [("web", 1), ("listener.web", 2)] {
        let labels = [("listener", "web"), ("route", route)];
        let counted = || value(&proxy, "evenkeel_http_requests_total", &labels);
        eventually(route, || (counted() == Some(count)).then_some(()));
    }
}

#[test]
fn traffic_between_zones_is_seen() {
    let (near, far) = (Endpoint::echo(), Endpoint::echo());
    let mut proxy = Evenkeel::start(&zoned("eu-1a", &near, &far));
    let flow = |proxy: &Evenkeel, from: &str, to: &str| {
        let labels = [("upstream", "app"), ("from_zone", from), ("to_zone", to)];
        value(proxy, "evenkeel_zone_requests_total", &labels)
    };
    let mut client = proxy.client();
    for _ in 0..4 {
        client.send(get("X-A: b"));
        assert_eq!(client.response().status, 200);
    }
    for to in ["eu-1a", "eu-1b"] {
        eventually("half of them", || {
            (flow(&proxy, "eu-1a", to) == Some(2)).then_some(())
        });
    }
    // An instance that is told to stand elsewhere counts from there.
    proxy.reload(&zoned("eu-1c", &near, &far));
    eventually("it starts anew", || {
        (flow(&proxy, "eu-1a", "eu-1a").is_none()).then_some(())
    });
    client.send(get("X-A: b"));
    assert_eq!(client.response().status, 200);
    eventually("from there", || {
        let zones = ["eu-1a", "eu-1b"];
        let counts = zones.map(|to| flow(&proxy, "eu-1c", to).unwrap_or(0));
        (counts.iter().sum::<i64>() == 1).then_some(())
    });
}

/// An instance in this zone, with an endpoint in each of two.
fn zoned(own: &str, near: &Endpoint, far: &Endpoint) -> String {
    format!(
        "zone = \"{own}\"\n[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\n\
         [upstream.app.zone.eu-1a]\nendpoints = [\"{}\"]\n\
         [upstream.app.zone.eu-1b]\nendpoints = [\"{}\"]\n",
        near.address(),
        far.address()
    )
}

/// The value of the first series with these labels, rounded.
#[expect(clippy::cast_possible_truncation, reason = "counts of a few")]
fn value(proxy: &Evenkeel, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
    let families = parse(&scrape(proxy, "*/*").1, false);
    let fits = |sample: &&Sample| {
        labels.iter().all(|(name, value)| {
            let mut own = sample.labels.iter();
            own.any(|label| (label.0.as_str(), label.1.as_str()) == (*name, *value))
        })
    };
    let found = families.get(name)?.samples.iter().find(fits)?;
    Some(found.value.round() as i64)
}

#[test]
fn no_client_makes_series() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    let ask = |client: &mut Client, start: &str| {
        client.send(format!(
            "{start} HTTP/1.1\r\nHost: unheard-of\r\nUser-Agent: unheard-of\r\n\r\n"
        ));
        assert_eq!(client.response().status, 200);
    };
    ask(&mut client, "BREW /a");
    let count = |proxy: &Evenkeel| {
        let families = parse(&scrape(proxy, "*/*").1, false);
        families
            .values()
            .map(|family| family.samples.len())
            .sum::<usize>()
    };
    let before = eventually("the request is counted", || {
        scrape(&proxy, "*/*")
            .1
            .contains("_OTHER")
            .then(|| count(&proxy))
    });
    for number in 0..50 {
        ask(
            &mut client,
            &format!("METHOD{number} /path/{number}?query={number}"),
        );
    }
    assert_eq!(count(&proxy), before);
    assert!(!scrape(&proxy, "*/*").1.contains("unheard-of"));
}
