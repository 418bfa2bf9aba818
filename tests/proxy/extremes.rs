//! Settings at the ends of their ranges hold what they promise.

use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// A request with so many fields, `Host` among them.
fn with_fields(count: usize) -> String {
    let mut request = String::from("GET / HTTP/1.1\r\nHost: a\r\n");
    for number in 1..count {
        let number = number.to_string();
        request.extend(["x", &number, ": ", &number, "\r\n"]);
    }
    request + "\r\n"
}

#[test]
fn as_many_fields_as_can_be_configured_are_taken() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nmax_fields = 10000\nmax_head_size = \"1MiB\"\n\
         forwarded = true\n[route.all]\nupstream = \"app\"\n\
         request_headers = {{ set = {{ x-set = \"1\" }}, add = {{ x-add = \"1\" }} }}\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send(with_fields(10_000));
    assert_eq!(client.response().status, 200);
    let sent = endpoint.request().head;
    assert_eq!(sent.value("x9999"), Some("9999"));
    assert_eq!(sent.value("x-add"), Some("1"));
    let mut client = proxy.client();
    client.send(with_fields(10_001));
    assert_eq!(client.response().status, 431);
}

#[test]
fn a_head_of_the_largest_size_is_taken() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nmax_head_size = \"1MiB\"\nto = [\"{address}\"]\n"
    ));
    let request = |length: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: a\r\nX-A: \r\n\r\n".len();
        let value = "a".repeat(length - rest);
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {value}\r\n\r\n")
    };
    let mut client = proxy.client();
    client.send(request(1024 * 1024));
    assert_eq!(client.response().status, 200);
    let mut client = proxy.client();
    client.send(request(1024 * 1024 + 1));
    assert_eq!(client.response().status, 431);
}

#[test]
fn the_smallest_limits_are_still_of_use() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nmax_head_size = \"1KiB\"\nmax_fields = 1\n\
         max_connections = 1\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\nmax_idle_per_endpoint = 0\n\
         max_in_flight_per_endpoint = 1\nmax_connections_per_endpoint = 1\n"
    ));
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(endpoint.connections(), 3, "none may be kept");
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n");
    assert_eq!(client.response().status, 431);
}
