//! placeholder
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
#[test]
fn a_request_is_forwarded() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
}
