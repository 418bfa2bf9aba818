//! Trailers: which of them travel on.

use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

#[test]
fn trailers_that_connection_names_end_with_their_hop() {
    // RFC 9110 §7.6.1: a field or a trailer. What is named beside it goes with it.
    let body = "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Hop: secret\r\n\r\n";
    for (names, are_kept) in [
        ("close", true),
        ("TE, keep-alive", true),
        ("x-hop", false),
        ("TE, X-Hop", false),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nConnection: {names}\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        );
        let endpoint = Endpoint::answers(&answer);
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: {names}\r\nTE: trailers\r\n\
             Transfer-Encoding: chunked\r\n\r\n{body}"
        ));
        let response = client.response();
        let request = endpoint.request();
        assert_eq!(
            (response.status, response.body.text().as_str()),
            (200, "hello")
        );
        assert_eq!(request.body.text(), "hello");
        assert_eq!(
            request.body.trailers.len(),
            if are_kept { 2 } else { 0 },
            "{names}"
        );
        assert_eq!(
            response.body.trailers.len(),
            if are_kept { 2 } else { 0 },
            "{names}"
        );
    }
}
