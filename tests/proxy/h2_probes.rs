//! What endpoints that speak HTTP/2 are asked by health checks, field by field.

use std::collections::BTreeMap;

use crate::support::evenkeel::Evenkeel;
use crate::support::h2::endpoint::{H2Endpoint, H2Peer};
use crate::support::h2::frame::Frame;
use crate::support::h2::{Message, StreamEnd};
use crate::support::tls::Authority;

/// A health service where everything serves: SERVING, in one message.
fn serves(peer: &mut H2Peer) {
    while let Some(request) = peer.request() {
        let kind = [("content-type", "application/grpc")];
        peer.begin_answer(request.id, 200, &kind, false);
        peer.send(&Frame::data(request.id, b"\0\0\0\0\x02\x08\x01", false));
        peer.send(&Frame::headers(request.id, &[("grpc-status", "0")], true));
    }
}

/// The upstream `app` in front of this endpoint.
fn config(address: &str, upstream: &str, health: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n{upstream}\n\
         health = {{ {health}, interval = \"1h\", timeout = \"20s\" }}\n"
    )
}

/// The first question that this health check asks, and of whom.
fn asked(health: &str) -> (Message, String) {
    let endpoint = H2Endpoint::start(&[], serves);
    let address = endpoint.address().to_string();
    let health = health.replace("PORT", &endpoint.address().port().to_string());
    let proxy = Evenkeel::start(&config(&address, "protocol = \"h2c\"", &health));
    proxy.event("endpoint_up", &address);
    (endpoint.request(), address)
}

/// All of a head's fields, and that none is there twice.
fn fields(message: &Message) -> BTreeMap<&str, &str> {
    let pairs = message.fields.iter();
    let fields: BTreeMap<&str, &str> = pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(fields.len(), message.fields.len(), "{:?}", message.fields);
    fields
}

/// As `PROTOCOL-HTTP2.md` of gRPC has a request.
#[test]
fn a_call_of_the_health_service_is_one_of_grpc() {
    for (health, authority, body) in [
        ("grpc = {}", None, &b"\0\0\0\0\0"[..]),
        ("grpc = {}, port = PORT", None, b"\0\0\0\0\0"),
        (
            "grpc = { service = \"a.B\" }",
            None,
            b"\0\0\0\0\x05\x0a\x03a.B",
        ),
        (
            "grpc = { host = \"api.test\" }",
            Some("api.test"),
            b"\0\0\0\0\0",
        ),
        (
            "grpc = { service = \"a.B\", host = \"api.test:443\" }, port = PORT",
            Some("api.test:443"),
            b"\0\0\0\0\x05\x0a\x03a.B",
        ),
    ] {
        let (call, address) = asked(health);
        let mut fields = fields(&call);
        let left = fields.remove("grpc-timeout").expect("a deadline");
        let millis: u32 = left
            .strip_suffix('m')
            .and_then(|left| left.parse().ok())
            .expect("milliseconds");
        assert!((1..=20_000).contains(&millis), "{left}");
        let length = body.len().to_string();
        let expected = BTreeMap::from([
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", authority.unwrap_or(&address)),
            (":path", "/grpc.health.v1.Health/Check"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "evenkeel-health"),
            ("content-length", &length),
        ]);
        assert_eq!(fields, expected, "{health}");
        assert_eq!((&call.body[..], call.end), (body, StreamEnd::Whole));
        assert!(
            call.fields[..4]
                .iter()
                .all(|(name, _)| name.starts_with(':'))
        );
        assert!(call.trailers.is_empty());
    }
}

#[test]
fn a_probe_of_http_has_the_fields_of_http_2() {
    for (health, authority) in [
        ("http = { path = \"/a?b\" }", None),
        (
            "http = { path = \"/a?b\", host = \"api.test\" }",
            Some("api.test"),
        ),
    ] {
        let (request, address) = asked(health);
        let expected = BTreeMap::from([
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", authority.unwrap_or(&address)),
            (":path", "/a?b"),
            ("user-agent", "evenkeel-health"),
        ]);
        assert_eq!(fields(&request), expected, "{health}");
        assert_eq!((request.body.len(), request.end), (0, StreamEnd::Whole));
    }
}

/// Its certificate has the name that is asked for, and no address.
#[test]
fn within_tls_an_endpoint_is_asked_for_by_the_same_name() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    let ca = [("ca.pem".to_owned(), authority.pem())];
    for probe in ["grpc", "http"] {
        let endpoint = H2Endpoint::start_within_tls(&certified, &[], serves);
        let address = endpoint.address().to_string();
        let upstream = "protocol = \"h2\"\ntls = { ca = \"ca.pem\", server_name_from = \"host\" }";
        let health = format!("{probe} = {{ host = \"api.test\" }}");
        let proxy = Evenkeel::start_among(&ca, &config(&address, upstream, &health));
        proxy.event("endpoint_up", &address);
        let request = endpoint.request();
        assert_eq!(request.field(":authority"), Some("api.test"), "{probe}");
        assert_eq!(request.field(":scheme"), Some("https"), "{probe}");
    }
}
