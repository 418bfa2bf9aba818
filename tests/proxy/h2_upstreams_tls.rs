//! Endpoints within TLS, where what is spoken is agreed on in the handshake.

use crate::support::evenkeel::Evenkeel;
use crate::support::h2::endpoint::H2Endpoint;
use crate::support::h2::frame::{Frame, code};
use crate::support::look::cause;
use crate::support::tls::{Authority, Certified};
use crate::support::tls_endpoint::{Shown, TlsEndpoint};

struct Named {
    authority: Authority,
    certified: Certified,
}

impl Named {
    fn new() -> Self {
        let authority = Authority::new();
        let certified = authority.certify(&["api.test"]);
        Self {
            authority,
            certified,
        }
    }

    fn before(&self, address: std::net::SocketAddr, protocol: &str) -> Evenkeel {
        let written = format!(
            "[listener.web]\nbind = \"@web\"\nupstream = \"api\"\n\
             trusted_proxies = [\"127.0.0.1/32\"]\n\
             [upstream.api]\nprotocol = \"{protocol}\"\nendpoints = [\"{address}\"]\n\
             [upstream.api.tls]\nca = \"ca.pem\"\nserver_name = \"api.test\"\n"
        );
        let ca = vec![("ca.pem".to_owned(), self.authority.pem())];
        Evenkeel::start_among(&ca, &written)
    }
}

#[test]
fn http_2_is_agreed_on_and_shared() {
    let named = Named::new();
    for protocol in ["h2", "auto"] {
        let endpoint = H2Endpoint::says_within_tls(&named.certified, "hello");
        let proxy = named.before(endpoint.address(), protocol);
        for _ in 0..3 {
            let response = proxy.client().get("/");
            assert_eq!(
                (response.status, response.body.text()),
                (200, "hello".to_owned())
            );
        }
        assert_eq!(endpoint.connections(), 1, "{protocol}");
        assert_eq!(endpoint.requests()[0].field(":scheme"), Some("https"));
    }
}

#[test]
fn an_endpoint_that_chooses_http_1_1_is_spoken_to_in_it() {
    let named = Named::new();
    let endpoint = TlsEndpoint::start(&Shown::by(&named.certified));
    let proxy = named.before(endpoint.address(), "auto");
    for _ in 0..3 {
        let response = proxy.client().get("/");
        assert_eq!(response.status, 200, "{response:?}");
        assert!(
            response
                .head
                .list("via")
                .contains(&"1.1 evenkeel".to_owned())
        );
    }
}

#[test]
fn an_endpoint_that_does_not_agree_on_http_2_is_not_spoken_to() {
    let named = Named::new();
    // One that chooses nothing, and one that refuses.
    for (protocols, word) in [
        (&[][..], "tls_protocol_error"),
        (&["http/1.1"][..], "tls_alert_received"),
    ] {
        let endpoint = TlsEndpoint::start(&Shown {
            protocols,
            ..Shown::by(&named.certified)
        });
        let proxy = named.before(endpoint.address(), "h2");
        let response = proxy.client().get("/");
        assert_eq!((response.status, cause(&response)), (502, word.to_owned()));
    }
}

#[test]
fn a_websocket_gets_http_1_1_where_the_endpoint_may_choose() {
    let named = Named::new();
    let endpoint = TlsEndpoint::start(&Shown {
        protocols: &["h2", "http/1.1"],
        ..Shown::by(&named.certified)
    });
    let proxy = named.before(endpoint.address(), "auto");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let response = client.response();
    // It would rather not, in HTTP/1.1.
    assert_eq!(response.status, 200, "{response:?}");
    assert!(
        response
            .head
            .list("via")
            .contains(&"1.1 evenkeel".to_owned())
    );
}

/// RFC 9113 §7: what an endpoint wants to hear in HTTP/1.1 it has not acted on.
#[test]
fn a_stream_that_needs_http_1_1_is_asked_for_in_it() {
    let named = Named::new();
    let endpoint = H2Endpoint::start_in_either(&named.certified, "in the old one", |peer| {
        while let Some(request) = peer.request() {
            if request.field(":path") == Some("/old") {
                peer.send(&Frame::reset(request.id, code::HTTP_1_1_REQUIRED));
            } else {
                peer.answer(request.id, 200, &[], "in the new one");
            }
        }
    });
    let proxy = named.before(endpoint.address(), "auto");
    assert_eq!(proxy.client().get("/").body.text(), "in the new one");
    let response = proxy.client().get("/old");
    assert_eq!(
        (response.status, response.body.text()),
        (200, "in the old one".to_owned())
    );
    let mut client = proxy.client();
    client.send("POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let response = client.response();
    assert_eq!(
        (response.status, response.body.text()),
        (200, "in the old one".to_owned())
    );
    let asked = endpoint.old_requests();
    let starts: Vec<&str> = asked.iter().map(|(head, _)| head.start.as_str()).collect();
    assert_eq!(starts, ["GET /old HTTP/1.1", "POST /old HTTP/1.1"]);
    assert_eq!(asked[1].1.text(), "hello");
    assert_eq!(endpoint.protocols(), ["h2", "http/1.1"]);
    // It was no failure of anybody.
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
}

/// RFC 9113 §6.8: what is above the number has not been acted on, so any method may come again.
#[test]
fn a_connection_that_needs_http_1_1_is_replaced_by_one() {
    let named = Named::new();
    let endpoint = H2Endpoint::start_in_either(&named.certified, "in the old one", |peer| {
        peer.request();
        peer.send(&Frame::goaway(0, code::HTTP_1_1_REQUIRED, "not so"));
        peer.stream().close();
    });
    let proxy = named.before(endpoint.address(), "auto");
    for method in ["GET", "POST"] {
        let mut client = proxy.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        ));
        let response = client.response();
        assert_eq!(
            (response.status, response.body.text()),
            (200, "in the old one".to_owned()),
            "{method}"
        );
    }
    let asked = endpoint.old_requests();
    let bodies: Vec<String> = asked.iter().map(|(_, body)| body.text()).collect();
    assert_eq!(bodies, ["hello", "hello"]);
    assert_eq!(proxy.metric("evenkeel_retries_total", &[]), 0);
}

/// An endpoint that wants to hear things in HTTP/1.1 is not asked over HTTP/2 again: once it has
/// said so of a connection, or of three requests in a row.
#[test]
fn who_wants_http_1_1_is_asked_in_it_at_once() {
    let named = Named::new();
    for (by_goaway, times) in [(false, 3), (true, 1)] {
        let endpoint = H2Endpoint::start_in_either(&named.certified, "old", move |peer| {
            while let Some(request) = peer.request() {
                if by_goaway {
                    peer.send(&Frame::goaway(0, code::HTTP_1_1_REQUIRED, "not so"));
                    return peer.stream().close();
                }
                peer.send(&Frame::reset(request.id, code::HTTP_1_1_REQUIRED));
            }
        });
        let proxy = named.before(endpoint.address(), "auto");
        for _ in 0..5 {
            assert_eq!(proxy.client().get("/").body.text(), "old", "{by_goaway}");
        }
        assert_eq!(endpoint.requests().len(), times, "{by_goaway}");
        assert_eq!(endpoint.old_requests().len(), 5, "{by_goaway}");
        assert_eq!(endpoint.protocols(), ["h2", "http/1.1"], "{by_goaway}");
    }
}

/// It may have acted on the request, and has said what it wants of those to come.
#[test]
fn an_endpoint_that_ends_a_connection_for_http_1_1_gets_the_next_request_in_it() {
    let named = Named::new();
    let endpoint = H2Endpoint::start_in_either(&named.certified, "in the old one", |peer| {
        let request = peer.request().expect("a request");
        peer.send(&Frame::goaway(request.id, code::HTTP_1_1_REQUIRED, ""));
    });
    let proxy = named.before(endpoint.address(), "auto");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status, 502);
    let response = proxy.client().get("/");
    assert_eq!(response.body.text(), "in the old one");
    assert_eq!(endpoint.protocols(), ["h2", "http/1.1"]);
}
