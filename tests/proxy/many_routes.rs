//! Series of many routes, and of those that come and go.

use crate::cases::get;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// A tunnel may last for days, and the configuration change every minute.
#[test]
fn a_tunnel_keeps_no_series_of_what_was_removed() {
    let (sockets, plain) = (Endpoint::upgrades_to("websocket"), Endpoint::echo());
    let config = |route: &str| {
        format!(
            "[listener.web]\nbind = \"@web\"\n[route.{route}]\nupstream = \"{route}\"\n\
             [upstream.{route}]\nendpoints = [\"{}\"]\n\
             [route.sockets]\npath = \"/sockets\"\nupstream = \"sockets\"\n\
             [upstream.sockets]\nendpoints = [\"{}\"]\n",
            plain.address(),
            sockets.address()
        )
    };
    let mut proxy = Evenkeel::start(&config("removed"));
    let lists = |proxy: &Evenkeel, text: &str| proxy.admin("/metrics").body.text().contains(text);
    let mut tunnel = proxy.client();
    tunnel.send(
        "GET /sockets HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    assert_eq!(tunnel.response().status, 101);
    let mut client = proxy.client();
    client.send(get("X-A: b"));
    assert_eq!(client.response().status, 200);
    eventually("it is counted", || {
        lists(
            &proxy,
            "evenkeel_http_requests_total{listener=\"web\",route=\"removed\"",
        )
        .then_some(())
    });
    proxy.reload(&config("kept"));
    client.send(get("X-A: b"));
    assert_eq!(client.response().status, 200);
    eventually("its series are gone", || {
        (!lists(&proxy, "=\"removed\"")).then_some(())
    });
    tunnel.send("still there");
    assert_eq!(tunnel.bytes(11), b"still there");
}
