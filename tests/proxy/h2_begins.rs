//! Which version of HTTP a connection speaks, and who decides that.

use crate::cases::get;
use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::h2::client::request;
use crate::support::h2::frame::{Frame, PREFACE, code};
use crate::support::tls::{Authority, Hello, listener};

/// A listener without TLS that speaks these protocols.
fn plain(endpoint: &Endpoint, protocols: &str) -> Evenkeel {
    let address = endpoint.address();
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [{protocols}]\nto = [\"{address}\"]\n"
    ))
}

/// A listener with TLS, and whoever certified it.
fn secured(endpoint: &Endpoint, lines: &str) -> (Evenkeel, Authority) {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let config = listener(endpoint.address(), &["a"], "");
    let config = config.replacen("[listener.web]\n", &["[listener.web]\n", lines].concat(), 1);
    (Evenkeel::start_among(&files, &config), authority)
}

#[test]
fn within_tls_the_ends_agree() {
    let endpoint = Endpoint::says("hello");
    let (proxy, authority) = secured(&endpoint, "");
    let address = proxy.address("web");
    let hello = Hello::to("shop.test", &authority);
    let mut client = H2::begin(&hello, address);
    assert_eq!(client.get("/").text(), "hello");
    let lines = proxy.access_lines(1);
    assert_eq!(lines[0]["network.protocol.version"], "2");
    assert_eq!(lines[0]["url.scheme"], "https");
    // Ours come first, whatever the client likes best; who offers nothing gets HTTP/1.1.
    for (protocols, agreed) in [
        (&["http/1.1", "h2"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let hello = Hello {
            protocols,
            ..hello.clone()
        };
        let mut client = hello.begin(address);
        assert_eq!(client.protocol().as_deref(), agreed);
        if agreed != Some("h2") {
            assert_eq!(client.get("/").body.text(), "hello", "{protocols:?}");
        }
    }
}

#[test]
fn a_resumed_session_agrees_anew() {
    let endpoint = Endpoint::says("hello");
    let (proxy, authority) = secured(&endpoint, "");
    let hello = Hello {
        protocols: &["h2"],
        ..Hello::to("shop.test", &authority)
    };
    let caller = hello.caller();
    for is_resumed in [false, true] {
        let client = caller.begin(proxy.address("web"));
        assert_eq!(client.protocol().as_deref(), Some("h2"));
        assert_eq!(client.is_resumed(), is_resumed);
        let mut client = H2::client(client.into_stream());
        assert_eq!(client.get("/").text(), "hello");
    }
}

#[test]
fn where_only_one_is_spoken_nobody_gets_the_other() {
    let endpoint = Endpoint::says("hello");
    let (proxy, authority) = secured(&endpoint, "protocols = [\"h2\"]\n");
    let address = proxy.address("web");
    let hello = Hello::to("shop.test", &authority);
    assert_eq!(H2::begin(&hello, address).get("/").status, 200);
    let silent = Hello {
        protocols: &[],
        ..hello.clone()
    };
    let mut client = silent.begin(address);
    client.send(get(""));
    assert!(client.try_response_to("GET").is_err(), "it offered nothing");
    let old = Hello {
        protocols: &["http/1.1"],
        ..hello.clone()
    };
    old.refusal(address);
    let (proxy, authority) = secured(&endpoint, "protocols = [\"http/1.1\"]\n");
    let hello = Hello {
        protocols: &["h2", "http/1.1"],
        ..Hello::to("shop.test", &authority)
    };
    let client = hello.begin(proxy.address("web"));
    assert_eq!(client.protocol().as_deref(), Some("http/1.1"));
}

#[test]
fn without_tls_the_first_bytes_tell() {
    let endpoint = Endpoint::says("hello");
    let proxy = plain(&endpoint, "\"h2c\", \"http/1.1\"");
    let address = proxy.address("web");
    let mut client = H2::connect(address);
    assert_eq!(client.get("/").text(), "hello");
    let mut client = proxy.client();
    assert_eq!(client.get("/").body.text(), "hello");
    assert_eq!(client.get("/").body.text(), "hello", "once more");
    // Methods that begin like the preface.
    for method in ["P", "PRI", "PROPFIND", "PRI2"] {
        let mut client = proxy.client();
        for byte in format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n").bytes() {
            client.send([byte]);
        }
        assert_eq!(client.response().status, 200, "{method}");
    }
    // The preface of another version is no request of any.
    let mut client = proxy.client();
    client.send("PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status, 505);
    // Nor is this one, in whatever case: HTTP/1.1 refuses it.
    let mut client = proxy.client();
    client.send("GET / http/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 400);
    // What is of neither is taken for a broken preface.
    for bytes in ["INVALID CONNECTION PREFACE\r\n\r\n", "GET /\r\n\r\n"] {
        let mut client = H2::over(Client::connect(address).into_stream());
        client.send_bytes(bytes);
        client.expect_goaway(code::PROTOCOL_ERROR);
        assert!(client.is_closed());
    }
    let lines = proxy.access_lines(11);
    let of_http2 = lines
        .iter()
        .filter(|line| line["network.protocol.version"] == "2");
    let statuses = of_http2.map(|line| &line["http.response.status_code"]);
    assert_eq!(statuses.collect::<Vec<_>>(), [200, 400, 400]);
    assert_eq!(refused(&proxy, "400"), 3, "one in HTTP/1.1");
}

/// Requests that were counted as refused with this status.
fn refused(proxy: &Evenkeel, code: &str) -> u64 {
    let late = code == "408";
    let word = if late {
        "request_head_timeout"
    } else {
        "http_request_error"
    };
    let errors = [&*format!("reason=\"{word}\"")];
    let errors = proxy.metric("evenkeel_http_errors_total", &errors);
    let labels = [&*format!("code=\"{code}\""), "method=\"_OTHER\""];
    let requests = proxy.metric("evenkeel_http_requests_total", &labels);
    assert!(requests <= errors, "{requests} of {errors}");
    requests
}

/// Who begins and does not go on is told of as who begins a request; who says nothing is not.
#[test]
fn a_beginning_that_does_not_end_is_logged() {
    let endpoint = Endpoint::says("hello");
    let lines = "timeouts = { request_head = \"300ms\" }\n";
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nto = [\"{address}\"]\n{lines}"
    ));
    for bytes in [&PREFACE[..10], PREFACE] {
        let mut client = H2::over(Client::connect(proxy.address("web")).into_stream());
        client.is_polite = false; // or it would acknowledge SETTINGS before its own
        client.send_bytes(bytes);
        assert!(client.is_closed());
    }
    let logged = proxy.access_lines(2);
    for line in &logged {
        assert_eq!(line["http.response.status_code"], 408);
        assert_eq!(line["end"], "timeout");
    }
    assert_eq!(refused(&proxy, "408"), 2);
    let (proxy, authority) = secured(&endpoint, &["protocols = [\"h2\"]\n", lines].concat());
    let hello = Hello {
        protocols: &["h2"],
        ..Hello::to("shop.test", &authority)
    };
    let mut silent = H2::over(hello.begin(proxy.address("web")).into_stream());
    silent.is_polite = false;
    assert!(silent.is_closed());
    assert_eq!(refused(&proxy, "408"), 0);
    // It has time to be wrong.
    let (proxy, authority) = secured(&endpoint, "protocols = [\"h2\"]\n");
    let hello = Hello {
        protocols: &["h2"],
        ..Hello::to("shop.test", &authority)
    };
    let mut wrong = H2::over(hello.begin(proxy.address("web")).into_stream());
    wrong.send_bytes("GET / HTTP/1.1\r\n\r\n");
    wrong.expect_goaway(code::PROTOCOL_ERROR);
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["http.response.status_code"], 400);
    assert_eq!(refused(&proxy, "408"), 0);
}

/// The admin API says what is spoken, in the words of the configuration.
#[test]
fn it_is_said_what_is_spoken() {
    let endpoint = Endpoint::says("hello");
    let says = |proxy: &Evenkeel, expected: &str| {
        assert_eq!(proxy.admin_json("/v1/listeners")[0]["protocol"], expected);
        let status = String::from_utf8_lossy(&proxy.command(&["status"]).stdout).into_owned();
        assert!(status.contains(&format!("  {expected}  ")), "{status}");
    };
    for (protocols, expected) in [
        ("\"http/1.1\", \"h2c\"", "h2c, http/1.1"),
        ("\"h2c\"", "h2c"),
        ("\"http/1.1\"", "http/1.1"),
    ] {
        says(&plain(&endpoint, protocols), expected);
    }
    says(&secured(&endpoint, "").0, "h2, http/1.1");
    says(&secured(&endpoint, "protocols = [\"h2\"]\n").0, "h2");
}

#[test]
fn a_preface_may_come_in_pieces() {
    let endpoint = Endpoint::says("hello");
    let proxy = plain(&endpoint, "\"http/1.1\", \"h2c\"");
    let mut bytes = PREFACE.to_vec();
    bytes.extend(Frame::settings_of(&[]).bytes());
    bytes.extend(Frame::headers(1, &request("GET", "/"), true).bytes());
    for size in [1, 3, 23, 24, 25, bytes.len()] {
        let mut client = H2::over(Client::connect(proxy.address("web")).into_stream());
        for piece in bytes.chunks(size) {
            client.send_bytes(piece);
        }
        assert_eq!(client.message(1).text(), "hello", "{size}");
    }
}

#[test]
fn what_is_not_spoken_is_refused() {
    let endpoint = Endpoint::says("hello");
    let proxy = plain(&endpoint, "\"h2c\"");
    let mut client = H2::over(Client::connect(proxy.address("web")).into_stream());
    client.send_bytes(get(""));
    client.expect_goaway(code::PROTOCOL_ERROR);
    assert!(client.is_closed());
    assert!(endpoint.requests().is_empty());
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["http.response.status_code"], 400);
    assert_eq!(line["error.type"], "http_request_error");
    assert_eq!(refused(&proxy, "400"), 1);

    let proxy = plain(&endpoint, "\"http/1.1\"");
    let mut client = Client::connect(proxy.address("web"));
    client.send(PREFACE);
    assert_eq!(client.response().status, 505);
    // RFC 9113 §3.1: nobody upgrades to it any more.
    let mut client = Client::connect(proxy.address("web"));
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    assert_eq!(endpoint.request().head.value("upgrade"), None);
}
