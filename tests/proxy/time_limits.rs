//! Time limits of routes and upstreams: which one counts, and what a client is told when it passes.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::cases::get;
use crate::support::client::{Client, Response};
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// Answers after half a second: later than a short limit of these tests, earlier than a long one.
fn hesitant() -> Endpoint {
    Endpoint::start(|peer| {
        while peer.request().is_some() {
            pause(Duration::from_millis(500));
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    })
}

fn ask(proxy: &Evenkeel, path: &str) -> Response {
    let mut client = proxy.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.response()
}

/// The word of RFC 9209 for what went wrong.
fn reason(response: &Response) -> &str {
    let said = response.head.value("proxy-status").unwrap_or_default();
    let word = said.split("error=").nth(1).unwrap_or_default();
    word.split(';').next().unwrap_or_default().trim()
}

#[test]
fn the_nearest_limit_counts() {
    let endpoint = hesitant();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[defaults.timeouts]\nresponse_head = \"100ms\"\n[listener.web]\nbind = \"@web\"\n\
         [route.hasty]\npath = \"/hasty\"\nupstream = \"plain\"\n\
         [route.patient]\npath = \"/patient\"\nupstream = \"slow\"\n\
         [route.own]\npath = \"/own\"\nupstream = \"slow\"\n\
         timeouts = {{ response_head = \"100ms\" }}\n\
         [route.longer]\npath = \"/longer\"\nupstream = \"plain\"\n\
         timeouts = {{ response_head = \"20s\" }}\n\
         [upstream.plain]\nendpoints = [\"{address}\"]\n\
         [upstream.slow]\nendpoints = [\"{address}\"]\ntimeouts = {{ response_head = \"20s\" }}\n"
    ));
    for (path, status) in [
        ("/hasty", 504),
        ("/patient", 200),
        ("/own", 504),
        ("/longer", 200),
    ] {
        let response = ask(&proxy, path);
        assert_eq!(response.status, status, "{path}: {response:?}");
        if status == 504 {
            assert_eq!(reason(&response), "http_response_timeout", "{path}");
        }
    }
}

#[test]
fn a_late_head_is_not_asked_for_again() {
    // The endpoint has the request and may be working on it.
    let endpoint = hesitant();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         retry = {{ attempts = 3 }}\ntimeouts = {{ response_head = \"100ms\" }}\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    assert_eq!(ask(&proxy, "/").status, 504);
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn an_attempt_with_a_limit_of_its_own_is_made_elsewhere() {
    let (silent, quick) = (Endpoint::never_reads(), Endpoint::says("quick"));
    let (first, second) = (silent.address(), quick.address());
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         retry = {{ attempts = 2, per_try_timeout = \"100ms\" }}\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{first}\", \"{second}\"]\n"
    ));
    let response = ask(&proxy, "/");
    assert_eq!(
        (response.status, response.body.text().as_str()),
        (200, "quick")
    );
    assert_eq!(silent.connections(), 1);
    // What may not be repeated is not.
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 504, "{response:?}");
    assert_eq!(quick.requests().len(), 1);
}

#[test]
fn the_whole_request_has_a_limit() {
    // Progress keeps every other limit away, but not this one.
    let dripping = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_owned() + &"a".repeat(1000);
    let (in_head, in_body) = (
        Endpoint::answers_slowly(&dripping, Duration::from_millis(20)),
        Endpoint::start(move |peer| {
            if peer.request().is_some() {
                let (head, body) = dripping.split_at(dripping.find("aa").unwrap_or_default());
                peer.send(head);
                for byte in body.bytes() {
                    if !peer.try_send([byte]) {
                        break;
                    }
                    pause(Duration::from_millis(20));
                }
                peer.drain();
            }
        }),
    );
    let (head, body) = (in_head.address(), in_body.address());
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n\
         [route.head]\npath = \"/head\"\nupstream = \"head\"\ntimeouts = {{ request = \"300ms\" }}\n\
         [route.body]\npath = \"/body\"\nupstream = \"body\"\ntimeouts = {{ request = \"300ms\" }}\n\
         [upstream.head]\nendpoints = [\"{head}\"]\n[upstream.body]\nendpoints = [\"{body}\"]\n"
    ));
    let response = ask(&proxy, "/head");
    assert_eq!(response.status, 504, "{response:?}");
    // The head has gone out already: the body is cut where it can be seen to be.
    let response = ask(&proxy, "/body");
    assert_eq!(response.status, 200);
    assert!(!response.is_whole());
    assert!((1..1000).contains(&response.body.data.len()));
    in_body.wait_for_end();
}

#[test]
fn the_limit_of_the_whole_request_holds_while_its_body_comes() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         timeouts = {{ request = \"300ms\" }}\n[upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let mut dripping = client.twin();
    let sender = std::thread::spawn(move || {
        for _ in 0..100 {
            dripping.send("a");
            pause(Duration::from_millis(10));
        }
    });
    let response = client.response();
    assert!([408, 504].contains(&response.status), "{response:?}");
    assert!(endpoint.requests().is_empty(), "a cut body looked whole");
    sender.join().expect("the client sent what it had");
}

/// A port whose queue of connections is full, so that the kernel leaves the next one unanswered.
pub(crate) fn deaf() -> (SocketAddr, Socket, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a free port");
    socket.listen(0).expect("a bound socket");
    let address = socket.local_addr().expect("a bound address").as_socket();
    let address = address.expect("an IPv4 address");
    let mut queued = Vec::new();
    // One more than the backlog fits; a second is for kernels that count otherwise.
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue does not fill");
    }
    (address, socket, queued)
}

#[test]
fn a_connection_has_a_limit() {
    let (address, _listening, _queued) = deaf();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         timeouts = {{ connect = \"200ms\" }}\n[upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let response = ask(&proxy, "/");
    assert_eq!(response.status, 504, "{response:?}");
    assert_eq!(reason(&response), "connection_timeout");
}

/// Where nothing is heard of any endpoint it is enough that one request waits for one in vain.
#[test]
fn where_everybody_would_wait_in_vain_others_are_told_at_once() {
    let (address, _listening, _queued) = deaf();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         [route.patient]\npath = \"/patient\"\nupstream = \"app\"\ntimeouts.connect = \"20s\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\ntimeouts.connect = \"200ms\"\n"
    ));
    let response = ask(&proxy, "/");
    assert_eq!(
        (response.status, reason(&response)),
        (504, "connection_timeout")
    );
    // So for a second, and from then on one a second may try it.
    let refused = eventually("somebody is told at once", || {
        let mut waits = proxy.client();
        waits.send("GET /patient HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = ask(&proxy, "/");
        (response.status == 503).then_some(response)
    });
    assert_eq!(reason(&refused), "destination_unavailable");
    let after: u32 = refused
        .head
        .value("retry-after")
        .unwrap_or_default()
        .parse()
        .expect("seconds");
    assert!((1..=3).contains(&after), "{after}");
}

#[test]
fn a_connection_that_takes_too_long_is_tried_elsewhere() {
    let (address, _listening, _queued) = deaf();
    let quick = Endpoint::says("quick");
    let second = quick.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         timeouts = {{ connect = \"200ms\" }}\n\
         [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [\"{address}\", \"{second}\"]\n"
    ));
    // Nothing was sent, so even this may be tried again.
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().body.text(), "quick");
}

#[test]
fn a_listener_has_limits_on_its_clients() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n\
         timeouts = {{ request_head = \"200ms\", client_idle = \"300ms\" }}\n\
         [listener.patient]\nbind = \"@patient\"\nto = [\"{address}\"]\n"
    ));
    // A head that does not end.
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost");
    assert_eq!(client.response().status, 408);
    assert!(client.is_closed());
    // No request, at the start and after one.
    assert!(proxy.client().is_closed());
    let mut client = proxy.client();
    client.send(get("X-A: b"));
    assert_eq!(client.response().status, 200);
    assert!(client.is_closed());
    // The other listener has the usual limits.
    let mut client = Client::connect(proxy.address("patient"));
    client.send("GET / HTTP/1.1\r\nHost");
    pause(Duration::from_millis(500));
    client.send(": a\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

/// What moves between a client and its endpoint is limited by the listener too, unless it is said
/// otherwise of the route or the upstream.
#[test]
fn a_listener_limits_bodies_where_nothing_nearer_does() {
    let endpoint = Endpoint::start(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\ntimeouts.body_idle = \"200ms\"\n\
         [route.patient]\npath = \"/patient\"\nupstream = \"app\"\ntimeouts.body_idle = \"20s\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let half = |path: &str| {
        let mut client = proxy.client();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"
        ));
        client
    };
    let mut patient = half("/patient");
    let response = half("/").response();
    assert_eq!(response.status, 408, "{response:?}");
    assert_eq!(reason(&response), "request_body_timeout");
    patient.send("cd");
    assert_eq!(patient.response().status, 200);
}
