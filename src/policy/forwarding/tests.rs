use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::config::Listener;

const PROXY: &str = "10.0.0.7:4711";
const STRANGER: &str = "203.0.113.9:4711";

fn forwarding(forwarded: bool) -> Forwarding {
    let written = Listener {
        direction: None,
        proxy_protocol: None,
        bind: ":80".to_owned(),
        protocols: None,
        http2: config::ListenerHttp2::default(),
        limits: config::ListenerLimits::default(),
        socket: config::ListenerSocket::default(),
        to: Vec::new(),
        upstream: None,
        intercept: None,
        trusted_proxies: ["10.0.0.0/8", "2001:db8::/32"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        max_connections: None,
        responses: None,
        max_head_size: None,
        max_fields: None,
        forwarded: Some(forwarded),
        redirect_to_https: None,
        https_port: None,
        tls: None,
        timeouts: config::Timeouts::default(),
    };
    Forwarding::new(&written)
}

fn fields(lines: &[(&'static str, &str)]) -> Fields {
    let field = |&(name, value): &(&'static str, &str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )
    };
    lines.iter().map(field).collect()
}

fn arrival(peer: &str) -> Arrival<'static> {
    Arrival {
        peer: peer.parse().unwrap(),
        may_be_believed: true,
        scheme: "http",
        id: None,
    }
}

fn apply(forwarded: bool, peer: &str, headers: &mut Fields) -> Identity {
    arrive(forwarded, arrival(peer), headers)
}

fn arrive(forwarded: bool, arrival: Arrival<'_>, headers: &mut Fields) -> Identity {
    forwarding(forwarded).apply(headers, arrival, &mut fastrand::Rng::with_seed(7))
}

fn names(headers: &Fields) -> Vec<&str> {
    headers
        .iter()
        .map(|(name, _)| std::str::from_utf8(name).unwrap())
        .collect()
}

fn values(headers: &Fields, name: &str) -> Vec<String> {
    let lines = headers.get_all(name);
    lines
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect()
}

fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
    apply(false, peer, &mut fields(lines)).client.to_string()
}

#[test]
fn a_strangers_fields_are_removed_and_written_afresh() {
    let mut headers = fields(&[
        ("host", "shop.example:8080"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "443"),
        ("x-forwarded", "for=127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-client-ip", "127.0.0.1"),
        ("x-cluster-client-ip", "127.0.0.1"),
        ("true-client-ip", "127.0.0.1"),
        ("x-request-id", "mine"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("x-forwardedness", "of no meaning"),
        ("tracestate", "a=b"),
    ]);
    let identity = apply(false, STRANGER, &mut headers);
    assert_eq!(identity.client.to_string(), "203.0.113.9");
    assert!(!identity.peer_is_trusted);
    assert_eq!(identity.scheme, "http");
    let mut names = names(&headers);
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "host",
            "traceparent",
            "tracestate",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwardedness",
            "x-request-id",
        ]
    );
    assert_eq!(values(&headers, "x-forwarded-for"), ["203.0.113.9"]);
    assert_eq!(values(&headers, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&headers, "x-forwarded-host"), ["shop.example:8080"]);
    assert_ne!(values(&headers, "x-request-id"), ["mine"]);
}

#[test]
fn twins_are_removed_whoever_sends_them() {
    for peer in [STRANGER, PROXY] {
        let mut headers = fields(&[
            ("x_forwarded_for", "127.0.0.1"),
            ("x-forwarded_for", "127.0.0.1"),
            ("x.forwarded.proto", "https"),
            ("x_real_ip", "127.0.0.1"),
            ("true_client-ip", "127.0.0.1"),
            ("x_request_id", "mine"),
            ("x_forwarded", "x"),
            ("some_field", "stays"),
            ("x_other", "stays"),
        ]);
        apply(false, peer, &mut headers);
        let mut left = names(&headers);
        left.retain(|name| name.contains(['_', '.']));
        left.sort_unstable();
        assert_eq!(left, ["some_field", "x_other"], "{peer}");
    }
}

#[test]
fn a_trusted_peers_fields_are_kept_and_continued_on_one_line() {
    let mut headers = fields(&[
        ("host", "inner"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-for", "203.0.113.5"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "203.0.113.5"),
        ("forwarded", "for=203.0.113.5"),
    ]);
    let identity = apply(false, PROXY, &mut headers);
    assert!(identity.peer_is_trusted);
    assert_eq!(identity.client.to_string(), "203.0.113.5");
    assert_eq!(identity.scheme, "https");
    assert_eq!(
        values(&headers, "x-forwarded-for"),
        ["198.51.100.1, 203.0.113.5, 10.0.0.7"]
    );
    assert_eq!(values(&headers, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&headers, "x-forwarded-host"), ["shop.example"]);
    assert_eq!(values(&headers, "x-forwarded-port"), ["443"]);
    assert_eq!(values(&headers, "x-real-ip"), ["203.0.113.5"]);
    assert_eq!(values(&headers, "forwarded"), ["for=203.0.113.5"]);
}

#[test]
fn the_client_is_the_first_untrusted_address_from_the_right() {
    let chain = |value| client(PROXY, &[("x-forwarded-for", value)]);
    assert_eq!(chain("127.0.0.1, 198.51.100.1, 10.1.1.1"), "198.51.100.1");
    assert_eq!(
        chain("10.9.9.9, 10.1.1.1"),
        "10.9.9.9",
        "all trusted: the farthest"
    );
    assert_eq!(chain("198.51.100.1:5555"), "198.51.100.1");
    assert_eq!(chain("[2001:db9::1]:5555"), "2001:db9::1");
    assert_eq!(chain("[2001:db9::1]"), "2001:db9::1");
    assert_eq!(chain("2001:db9::1,,[2001:db8::5] ,"), "2001:db9::1");
    assert_eq!(chain("::ffff:198.51.100.1"), "198.51.100.1");
    assert_eq!(
        chain("198.51.100.1, unknown, 10.1.1.1"),
        "10.1.1.1",
        "nothing beyond a gap"
    );
    assert_eq!(chain("nonsense"), "10.0.0.7");
    assert_eq!(chain(""), "10.0.0.7");
    let lines = [
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-for", "10.1.1.1"),
    ];
    assert_eq!(client(PROXY, &lines), "198.51.100.1", "over several lines");
    assert_eq!(client(STRANGER, &lines), "203.0.113.9");
    assert_eq!(
        client("[::ffff:10.0.0.7]:1", &lines),
        "198.51.100.1",
        "a mapped peer is trusted"
    );
    let both = [
        ("x-forwarded-for", "198.51.100.1"),
        ("forwarded", "for=192.0.2.1"),
    ];
    assert_eq!(client(PROXY, &both), "198.51.100.1");
}

#[test]
fn forwarded_is_read_where_it_stands_alone() {
    // RFC 7239 §4, §6.
    let chain = |value| client(PROXY, &[("forwarded", value)]);
    assert_eq!(
        chain("for=192.0.2.43, for=\"[2001:db8:cafe::17]:4711\""),
        "192.0.2.43"
    );
    assert_eq!(
        chain("For=\"[2001:db9::1]\";proto=https;by=10.0.0.1"),
        "2001:db9::1"
    );
    assert_eq!(
        chain("host=\"a,b;for=1.1.1.1\";for=192.0.2.60"),
        "192.0.2.60"
    );
    assert_eq!(
        chain("host=\"a\\\",for=1.1.1.1\";for=192.0.2.60"),
        "192.0.2.60"
    );
    assert_eq!(chain("for=192.0.2.43, for=unknown"), "10.0.0.7");
    assert_eq!(chain("for=_hidden;proto=http"), "10.0.0.7");
    assert_eq!(chain("proto=http"), "10.0.0.7");
    assert_eq!(
        chain("for=\"evil, for=192.0.2.60"),
        "10.0.0.7",
        "a string that never ends"
    );
    let mut headers = fields(&[("x-forwarded-for", "")]);
    apply(false, PROXY, &mut headers);
    assert_eq!(values(&headers, "x-forwarded-for"), ["10.0.0.7"]);
    let mut headers = fields(&[("forwarded", "for=192.0.2.43")]);
    apply(false, PROXY, &mut headers);
    assert_eq!(
        values(&headers, "x-forwarded-for"),
        ["192.0.2.43, 10.0.0.7"]
    );
}

#[test]
fn forwarded_is_written_by_option() {
    let mut headers = fields(&[("host", "a.example"), ("forwarded", "for=1.1.1.1")]);
    apply(true, STRANGER, &mut headers);
    assert_eq!(
        values(&headers, "forwarded"),
        ["for=203.0.113.9;host=a.example;proto=http"]
    );

    let mut headers = fields(&[("host", "a.example:80"), ("forwarded", "for=192.0.2.1")]);
    apply(true, "[2001:db8::7]:1", &mut headers);
    let expected = "for=192.0.2.1, for=\"[2001:db8::7]\";host=\"a.example:80\";proto=http";
    assert_eq!(values(&headers, "forwarded"), [expected]);

    let mut headers = fields(&[("host", "a\"b\\c")]);
    apply(true, STRANGER, &mut headers);
    let expected = "for=203.0.113.9;host=\"a\\\"b\\\\c\";proto=http";
    assert_eq!(values(&headers, "forwarded"), [expected]);

    let mut headers = Fields::new();
    apply(true, STRANGER, &mut headers);
    assert_eq!(
        values(&headers, "forwarded"),
        ["for=203.0.113.9;proto=http"]
    );
    assert!(
        !headers.contains_key("x-forwarded-host"),
        "there was no host"
    );
}

#[test]
fn only_a_well_formed_request_id_of_a_trusted_peer_is_kept() {
    let id_after = |peer, lines: &[(&'static str, &str)]| {
        let mut headers = fields(lines);
        let identity = apply(false, peer, &mut headers);
        let sent = values(&headers, "x-request-id");
        assert_eq!(
            sent,
            [identity.request_id.as_str()],
            "what is told is what is sent"
        );
        sent[0].clone()
    };
    let longest = "x".repeat(128);
    for good in [
        "f9ed4675f1c53513c61a3b3b4e25b4c0",
        "a/b=c;\"~",
        longest.as_str(),
    ] {
        assert_eq!(id_after(PROXY, &[("x-request-id", good)]), good);
    }
    let is_new = |id: &str| {
        id.len() == 32
            && id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let too_long = "x".repeat(129);
    for bad in ["", "a b", "é", too_long.as_str()] {
        assert!(is_new(&id_after(PROXY, &[("x-request-id", bad)])), "{bad}");
    }
    assert!(is_new(&id_after(
        PROXY,
        &[("x-request-id", "a"), ("x-request-id", "b")]
    )));
    assert!(is_new(&id_after(PROXY, &[])));
    assert!(is_new(&id_after(STRANGER, &[("x-request-id", "mine")])));
}

#[test]
fn request_ids_differ() {
    let mut random = fastrand::Rng::with_seed(1);
    let arrival = arrival(STRANGER);
    let ids: std::collections::HashSet<_> = (0..1000)
        .map(|_| {
            forwarding(false)
                .apply(&mut Fields::new(), arrival, &mut random)
                .request_id
        })
        .collect();
    assert_eq!(ids.len(), 1000);
}

proptest! {
    #[test]
    fn nothing_a_stranger_writes_reaches_the_endpoint_as_identity(
        lines in proptest::collection::vec(
            ("(x[-_]forwarded([-_](for|host|proto|port|[a-z]{1,4}))?|forwarded|x[-_]real[-_]ip|x[-_]request[-_]id)", "[!-~]{0,20}"),
            0..12,
        ),
        forwarded: bool,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("h"));
        for (name, value) in &lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let mut headers = Fields::from(&headers);
        let identity = apply(forwarded, STRANGER, &mut headers);
        let count = if forwarded { 6 } else { 5 };
        prop_assert_eq!(headers.len(), count);
        prop_assert_eq!(identity.client.to_string(), "203.0.113.9");
        prop_assert_eq!(values(&headers, "x-forwarded-for"), ["203.0.113.9"]);
        prop_assert_eq!(values(&headers, "x-forwarded-host"), ["h"]);
        prop_assert_eq!(values(&headers, "x-forwarded-proto"), ["http"]);
    }

    #[test]
    fn no_chain_makes_it_panic_or_leaves_the_peer_out(
        chain in proptest::collection::vec(any::<u8>().prop_map(|byte| byte % 0x5f + 0x20), 0..60),
    ) {
        for name in ["x-forwarded-for", "forwarded"] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_bytes(&chain).unwrap());
            let mut headers = Fields::from(&headers);
            apply(true, PROXY, &mut headers);
            prop_assert!(values(&headers, "x-forwarded-for")[0].ends_with("10.0.0.7"));
            prop_assert!(values(&headers, "forwarded")[0].ends_with("for=10.0.0.7;proto=http"));
        }
    }
}

#[test]
fn a_proxy_that_does_not_say_for_whom_lends_nobody_its_trust() {
    let lines = [
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "forged"),
        ("x-client-cert-subject", "CN=admin"),
    ];
    let mut headers = fields(&lines);
    let of_unknown = Arrival {
        may_be_believed: false,
        ..arrival(PROXY)
    };
    let identity = arrive(false, of_unknown, &mut headers);
    assert!(!identity.peer_is_trusted);
    assert_eq!(identity.client.to_string(), "10.0.0.7");
    assert_eq!(identity.scheme, "http");
    assert_ne!(identity.request_id.as_str(), "forged");
    assert!(!headers.contains_key("x-client-cert-subject"));
    assert_eq!(headers.get_all("x-forwarded-for").count(), 1);
}

#[test]
fn what_a_proxy_calls_a_connection_names_its_request() {
    let given = |peer, id: &'static [u8], lines: &[(&'static str, &str)]| {
        let arrival = Arrival {
            id: Some(id),
            ..arrival(peer)
        };
        let identity = arrive(false, arrival, &mut fields(lines));
        identity.request_id.as_str().to_owned()
    };
    let own = [("x-request-id", "own")];
    assert_eq!(given(STRANGER, b"front-1", &own), "front-1");
    assert_eq!(given(PROXY, b"front-1", &own), "own", "the request's own");
    for odd in [&b""[..], b"a b", b"\xff", &[b'x'; 129]] {
        assert_eq!(
            given(STRANGER, odd, &[]).len(),
            32,
            "{}",
            odd.escape_ascii()
        );
    }
}
