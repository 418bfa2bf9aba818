//! gRPC as others speak it: grpcio on both sides, where it is installed.

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::evenkeel::Evenkeel;
use crate::support::grpc::{GrpcCaller, GrpcServer, call, is_there};
use crate::support::port::Port;
use crate::support::tls::Authority;

/// A proxy in front of a server, with these lines behind the settings of its route and upstream.
pub(crate) fn config(server: &GrpcServer, route: &str, upstream: &str) -> String {
    let address = server.address();
    format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\n\
         [route.echo]\npath = \"/test.v1.Echo/\"\nupstream = \"app\"\n{route}\n\
         [upstream.app]\nprotocol = \"h2c\"\nendpoints = [\"{address}\"]\n{upstream}\n"
    )
}

fn counted(proxy: &Evenkeel, code: &str) -> u64 {
    let label = format!("code=\"{code}\"");
    proxy.metric("evenkeel_grpc_requests_total", &[&label])
}

/// A record may be kept a moment after its client has what it wanted.
pub(crate) fn count(proxy: &Evenkeel, code: &str, expected: u64) {
    eventually(&format!("{expected} calls are counted as {code}"), || {
        (counted(proxy, code) == expected).then_some(())
    });
}

const KINDS: [&str; 5] = [
    "unary hello",
    "server 0,1,2,3,4",
    "client a+b+c",
    "both 0,1,2,3",
    "large True",
];

#[test]
fn all_kinds_of_calls_pass() {
    if !is_there() {
        return;
    }
    let server = GrpcServer::start(&["serve"]);
    let proxy = Evenkeel::start(&config(&server, "", ""));
    assert_eq!(call(proxy.address("web"), "kinds", &[]), KINDS);
    count(&proxy, "OK", 5);
}

#[test]
fn all_kinds_of_calls_pass_within_tls() {
    if !is_there() {
        return;
    }
    let authority = Authority::new();
    let shop = authority.certify(&["shop.test"]);
    let files = Files::new(&[("a.pem", &shop.cert), ("a.key", &shop.key)]);
    let path = |name: &str| files.path(name).display().to_string();
    let (cert, key) = (path("a.pem"), path("a.key"));
    let server = GrpcServer::start(&["serve", "--cert", &cert, "--key", &key]);
    let mut beside = shop.files("a").to_vec();
    beside.push(("ca.pem".to_owned(), authority.pem()));
    let address = server.address();
    for protocol in ["h2", "auto"] {
        let proxy = Evenkeel::start_among(
            &beside,
            &format!(
                "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
                 tls = {{ certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}] }}\n\
                 [upstream.app]\nprotocol = \"{protocol}\"\nendpoints = [\"{address}\"]\n\
                 tls = {{ ca = \"ca.pem\", server_name = \"shop.test\" }}\n"
            ),
        );
        let ca = proxy.path("ca.pem").display().to_string();
        let more = ["--ca", &ca, "--name", "shop.test"];
        assert_eq!(call(proxy.address("web"), "kinds", &more), KINDS);
    }
}

#[test]
fn metadata_and_failures_pass_as_they_are() {
    if !is_there() {
        return;
    }
    let server = GrpcServer::start(&["serve"]);
    let proxy = Evenkeel::start(&config(&server, "", ""));
    let lines = call(proxy.address("web"), "metadata", &[]);
    assert_eq!(
        lines[..4],
        [
            "sent value",
            "initial one b'\\x00\\xff'",
            "trailing two",
            "failed FAILED_PRECONDITION: not 100 % ready: é"
        ]
    );
    // The endpoint knows the client's deadline.
    let remaining = lines[4].strip_prefix("remaining ").expect("a number");
    let remaining: u64 = remaining.parse().expect("a number");
    assert!((80..=101).contains(&remaining), "{remaining}");
    count(&proxy, "FAILED_PRECONDITION", 1);
    count(&proxy, "OK", 2);
}

#[test]
fn a_deadline_ends_a_call_on_both_sides() {
    if !is_there() {
        return;
    }
    let mut server = GrpcServer::start(&["serve"]);
    let proxy = Evenkeel::start(&config(&server, "", ""));
    let lines = call(proxy.address("web"), "deadline", &[]);
    assert!(
        lines[0].starts_with("failed DEADLINE_EXCEEDED"),
        "{lines:?}"
    );
    assert_eq!(server.line(), "cancelled");
}

#[test]
fn our_own_limit_ends_a_call_on_both_sides() {
    if !is_there() {
        return;
    }
    let mut server = GrpcServer::start(&["serve"]);
    // The server's head comes at once, so what ends is a response that has begun.
    let limit = "timeouts = { request = \"300ms\" }";
    let proxy = Evenkeel::start(&config(&server, limit, ""));
    let lines = call(proxy.address("web"), "hang", &[]);
    assert!(lines[0].contains("DEADLINE_EXCEEDED"), "{lines:?}");
    assert_eq!(server.line(), "cancelled");
    count(&proxy, "DEADLINE_EXCEEDED", 1);
}

#[test]
fn a_client_s_cancellation_reaches_the_server() {
    if !is_there() {
        return;
    }
    let mut server = GrpcServer::start(&["serve"]);
    let proxy = Evenkeel::start(&config(&server, "", ""));
    let lines = call(proxy.address("web"), "cancel", &[]);
    assert_eq!(lines[0], "got first");
    assert_eq!(server.line(), "cancelled");
    count(&proxy, "CANCELLED", 1);
}

#[test]
fn our_own_errors_are_read_as_statuses() {
    if !is_there() {
        return;
    }
    let nobody = Port::reserve();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\n\
         [route.echo]\npath = \"/test.v1.Echo/\"\nupstream = \"app\"\n\
         [upstream.app]\nprotocol = \"h2c\"\nendpoints = [\"{}\"]\n",
        nobody.address()
    ));
    assert_eq!(
        call(proxy.address("web"), "fail", &[]),
        [
            "unary UNAVAILABLE: The service refused the connection (connection_refused)",
            "missing UNIMPLEMENTED: There is nothing here (destination_not_found)",
        ]
    );
    count(&proxy, "UNAVAILABLE", 1);
    count(&proxy, "UNIMPLEMENTED", 1);
}

#[test]
fn the_health_service_says_who_serves() {
    if !is_there() {
        return;
    }
    let health = "panic_threshold = \"0%\"\nhealth = { grpc = { service = \"test.v1.Echo\" }, \
                  interval = \"100ms\", timeout = \"100ms\", unhealthy_after = 1 }";
    let serving = GrpcServer::start(&["health-serve", "SERVING"]);
    let proxy = Evenkeel::start(&config(&serving, "", health));
    let event = proxy.event("endpoint_up", &serving.address().to_string());
    let why =
        "the first probe passed: grpc.health.v1.Health/Check of test.v1.Echo answered SERVING";
    assert_eq!(event["why"], why);

    let closed = GrpcServer::start(&["health-serve", "NOT_SERVING"]);
    let proxy = Evenkeel::start(&config(&closed, "", health));
    let event = proxy.event("endpoint_down", &closed.address().to_string());
    let why = event["why"].as_str().expect("a text");
    assert!(
        why.ends_with("answered NOT_SERVING, expected SERVING"),
        "{why}"
    );
    let lines = call(proxy.address("web"), "fail", &[]);
    assert!(lines[0].starts_with("unary UNAVAILABLE"), "{lines:?}");

    let ignorant = GrpcServer::start(&["serve"]);
    let proxy = Evenkeel::start(&config(&ignorant, "", health));
    let event = proxy.event("endpoint_down", &ignorant.address().to_string());
    let why = event["why"].as_str().expect("a text");
    assert!(
        why.contains("UNIMPLEMENTED: it has no health service"),
        "{why}"
    );
}

#[test]
fn a_stream_lives_through_a_reload() {
    if !is_there() {
        return;
    }
    let server = GrpcServer::start(&["serve"]);
    let other = GrpcServer::start(&["serve"]);
    let mut proxy = Evenkeel::start(&config(&server, "", ""));
    let mut caller = GrpcCaller::begin(proxy.address("web"), "hold");
    assert_eq!(caller.line(), "got first");
    // Its endpoint is gone from the configuration.
    proxy.reload(&config(&other, "", ""));
    caller.release();
    assert_eq!(caller.line(), "got last");
    count(&proxy, "OK", 1);
}
