//! Connections of HTTP/2 that are opened for one name and asked for others (RFC 9110 §15.5.20):
//! what has another rule for its clients is not served there, and nothing else suffers.

use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::frame::{Frame, code, kind};
use crate::support::h2::{H2, StreamEnd};
use crate::support::tls::{Authority, Certified, Hello, Session, listener};

struct World {
    servers: Authority,
    client: Certified,
    endpoint: Endpoint,
    proxy: Evenkeel,
    config: String,
}

impl World {
    /// Hosts of which two ask for a certificate, by the same rule.
    fn new() -> Self {
        let (servers, clients) = (Authority::new(), Authority::named("clients"));
        let endpoint = Endpoint::says("hello");
        let rules = "client_certificates = [\
                     { hosts = [\"closed.test\", \"*.closed.test\"], ca = \"clients.pem\" }, \
                     { hosts = [\"twin.test\"], ca = \"clients.pem\" }]";
        let config = listener(endpoint.address(), &["a"], rules);
        let names = ["open.test", "other.test", "closed.test", "twin.test"];
        let mut files = servers.certify(&names).files("a").to_vec();
        files.push(("clients.pem".to_owned(), clients.pem()));
        Self {
            client: clients.certify(&["client.test"]),
            proxy: Evenkeel::start_among(&files, &config),
            servers,
            endpoint,
            config,
        }
    }

    /// A client that has shown its certificate, if it was asked for one.
    fn begin(&self, name: &str) -> H2<Session> {
        let hello = Hello {
            certificate: Some(&self.client),
            ..Hello::to(name, &self.servers)
        };
        H2::begin(&hello, self.proxy.address("web"))
    }

    fn asked(&self) -> usize {
        self.endpoint.requests().len()
    }
}

fn head<'a>(method: &'a str, host: &'a str) -> [(&'static str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", host),
        (":path", "/"),
    ]
}

#[test]
fn a_stream_for_a_host_with_another_rule_is_misdirected_and_no_other() {
    let world = World::new();
    for (name, host, status) in [
        ("open.test", "open.test", 200),
        ("open.test", "other.test", 200),
        ("open.test", "unknown.test", 200),
        ("open.test", "closed.test", 421),
        ("open.test", "CLOSED.test.:443", 421),
        ("open.test", "a.b.closed.test", 421),
        ("closed.test", "closed.test:8443", 200),
        ("closed.test", "twin.test", 200),
        ("closed.test", "open.test", 421),
        ("closed.test", "unknown.test", 421),
        ("twin.test", "x.closed.test", 200),
    ] {
        let mut client = world.begin(name);
        // Two streams are open while the third is asked for, and one comes behind it.
        let before: Vec<u32> = (0..2)
            .map(|_| client.open(&head("POST", name), false))
            .collect();
        let asked = world.asked();
        let id = client.open(&head("GET", host), true);
        let answer = client.message(id);
        assert_eq!(
            (answer.status, answer.end),
            (status, StreamEnd::Whole),
            "{name} {host}"
        );
        if status == 421 {
            let cause = answer.field("proxy-status");
            assert_eq!(cause, Some("evenkeel; error=http_request_error"), "{host}");
            assert_eq!(world.asked(), asked, "nobody was asked for {host}");
        }
        for id in before {
            client.send(&Frame::data(id, "x", true));
            assert_eq!(client.message(id).text(), "hello", "{name} {host}");
        }
        let id = client.open(&head("GET", name), true);
        assert_eq!(client.message(id).text(), "hello", "{name} {host}");
        client.sync();
        assert_eq!(client.take_kept(kind::GOAWAY, 0), None, "{name} {host}");
    }
}

/// Its body is not waited for, and no budget of malformed streams is spent on it.
#[test]
fn misdirected_streams_cost_a_connection_nothing() {
    let world = World::new();
    let mut client = world.begin("open.test");
    for _ in 0..300 {
        let id = client.open(&head("POST", "closed.test"), false);
        client.send(&Frame::data(id, "the body", true));
        let answer = client.message(id);
        assert_eq!((answer.status, answer.end), (421, StreamEnd::Whole));
    }
    let id = client.open(&head("GET", "open.test"), true);
    assert_eq!(client.message(id).text(), "hello");
    assert_eq!(world.asked(), 1);
    assert_eq!(world.proxy.metric("evenkeel_http2_abuse_total", &[]), 0);
}

/// A client may call its host by `Host` alone; by two names it calls none (RFC 9113 §8.3.1).
#[test]
fn a_host_field_does_not_hide_the_host() {
    let world = World::new();
    let mut client = world.begin("open.test");
    let mut by_field = head("GET", "closed.test").to_vec();
    by_field[2].0 = "host";
    by_field.swap(2, 3);
    let id = client.open(&by_field, true);
    assert_eq!(client.message(id).status, 421);
    for (authority, host) in [("open.test", "closed.test"), ("closed.test", "open.test")] {
        let fields = [&head("GET", authority)[..], &[("host", host)]].concat();
        let id = client.open(&fields, true);
        client.expect_reset(id, code::PROTOCOL_ERROR);
    }
    assert_eq!(world.asked(), 0);
    let id = client.open(&head("GET", "open.test"), true);
    assert_eq!(client.message(id).text(), "hello");
}

#[test]
fn a_rule_that_a_reload_brings_holds_for_the_next_stream() {
    let mut world = World::new();
    let mut client = world.begin("open.test");
    let id = client.open(&head("GET", "open.test"), true);
    assert_eq!(client.message(id).status, 200);
    let under_way = client.open(&head("POST", "open.test"), false);
    client.sync();
    world
        .proxy
        .reload(&world.config.replace("twin.test", "open.test"));
    let id = client.open(&head("GET", "open.test"), true);
    assert_eq!(client.message(id).status, 421);
    client.send(&Frame::data(under_way, "x", true));
    assert_eq!(client.message(under_way).text(), "hello");
}
