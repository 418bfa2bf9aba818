//! What browsers are told about HTTPS (RFC 6797), and where plain HTTP is sent.

use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Hello, listener};

const HSTS: &str = "strict-transport-security";

/// An endpoint that promises something itself, twice.
const PROMISES: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\
                        strict-transport-security: max-age=1\r\nX: y\r\n\
                        Strict-Transport-Security: max-age=2\r\n\r\n";

#[test]
fn every_response_over_tls_has_the_promise_once() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::answers(PROMISES);
    let promise = "hsts = { max_age = \"365d\", include_subdomains = true, preload = true }";
    let of_listener = listener(endpoint.address(), &["a"], promise);
    let config = format!(
        "{of_listener}
         [route.own]\npath = \"/own\"\nrespond = {{ body = \"hello\" }}
         response_headers = {{ set = {{ strict-transport-security = \"max-age=3\" }} }}
         [route.nobody]\npath = \"/nobody\"\nupstream = \"nobody\"
         [upstream.nobody]\nendpoints = [\"{}\"]
         [listener.plain]\nbind = \"@plain\"\nto = [\"{}\"]",
        Endpoint::refuses().address(),
        endpoint.address()
    );
    let proxy = Evenkeel::start_among(&files, &config);
    let hello = Hello::to("shop.test", &authority);
    let mut client = hello.begin(proxy.address("web"));
    let promised = ["max-age=31536000; includeSubDomains; preload"];
    for (path, status) in [
        ("/", 200),
        ("/own", 200),
        ("/nobody", 502),
        ("/%2e%2e", 400),
    ] {
        let response = client.get(path);
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.head.values(HSTS), promised, "{path}");
    }
    let options = "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n";
    let response = client.send(options).response_to("OPTIONS");
    assert_eq!(response.head.values(HSTS), promised);
    // What cannot be read is answered too.
    let refused = client.send("GET / HTTP/1.1\r\nno field\r\n\r\n").response();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.head.values(HSTS), promised);
    // RFC 6797 §7.2: never in plain text. What the endpoint says passes.
    let plain = Client::connect(proxy.address("plain")).get("/");
    assert_eq!(plain.head.values(HSTS), ["max-age=1", "max-age=2"]);
    let refused = Client::connect(proxy.address("plain")).get("/nobody");
    assert_eq!((refused.status, refused.head.values(HSTS).len()), (502, 0));
}

#[test]
fn the_promise_follows_a_reload_on_a_connection_that_stands() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::echo();
    let config = |lines| listener(endpoint.address(), &["a"], lines);
    let mut proxy = Evenkeel::start_among(&files, &config(""));
    let mut client = Hello::to("shop.test", &authority).begin(proxy.address("web"));
    assert_eq!(client.get("/").head.value(HSTS), None);
    proxy.reload(&config("hsts = { max_age = \"30d\" }"));
    assert_eq!(client.get("/").head.value(HSTS), Some("max-age=2592000"));
    proxy.reload(&config("hsts = { max_age = \"0s\" }"));
    assert_eq!(client.get("/").head.value(HSTS), Some("max-age=0"));
}

/// Everything but what names the listener goes to HTTPS.
fn redirecting(endpoint: &Endpoint, lines: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nredirect_to_https = true\n{lines}
         [route.all]\nupstream = \"site\"
         [route.host]\nhosts = [\"shop.test\"]\nupstream = \"site\"
         [route.health]\nlistener = \"web\"\npath = \"/healthz\"\nrespond = {{ status = 204 }}
         [upstream.site]\nendpoints = [\"{}\"]",
        endpoint.address()
    )
}

#[test]
fn plain_http_is_sent_to_https() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::start(&redirecting(&endpoint, ""));
    let mut client = Client::connect(proxy.address("web"));
    for (request, location) in [
        (
            "GET /a?b=c HTTP/1.1\r\nHost: shop.test",
            "https://shop.test/a?b=c",
        ),
        (
            "GET / HTTP/1.1\r\nHost: shop.test:8080",
            "https://shop.test/",
        ),
        (
            "GET //evil.test/ HTTP/1.1\r\nHost: a",
            "https://a//evil.test/",
        ),
        ("DELETE /a HTTP/1.1\r\nHost: [::1]:80", "https://[::1]/a"),
        (
            "GET http://b.test/x HTTP/1.1\r\nHost: a",
            "https://b.test/x",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a", "https://a/"),
        // Nobody has to believe it.
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https",
            "https://a/",
        ),
    ] {
        let response = client.send(format!("{request}\r\n\r\n")).response();
        assert_eq!(response.status, 308, "{request}");
        assert_eq!(response.head.value("location"), Some(location), "{request}");
        assert_eq!(response.head.value(HSTS), None, "{request}");
    }
    // A route that names the listener is more than one that names the host.
    let exempt = client.send("GET /healthz HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(exempt.response().status, 204);
    // Where there is no host, there is no place to go to.
    let nameless = client.send("GET / HTTP/1.0\r\n\r\n").response();
    assert_eq!(nameless.status, 400);
    assert_eq!(endpoint.requests().len(), 0);
    let labels = ["listener=\"web\"", "route=\"listener.web\"", "code=\"308\""];
    assert_eq!(proxy.metric("evenkeel_http_requests_total", &labels), 7);
}

#[test]
fn what_came_over_tls_before_is_served() {
    let endpoint = Endpoint::echo();
    let lines = "trusted_proxies = [\"127.0.0.0/8\"]\nhttps_port = 8443";
    let proxy = Evenkeel::start(&redirecting(&endpoint, lines));
    let mut client = Client::connect(proxy.address("web"));
    let with =
        |proto: &str| format!("GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
    assert_eq!(client.send(with("https")).response().status, 200);
    assert_eq!(endpoint.requests().len(), 1);
    for plain in [&with("http"), "GET /x HTTP/1.1\r\nHost: a:80\r\n\r\n"] {
        let response = client.send(plain).response();
        assert_eq!(response.status, 308);
        let location = response.head.value("location");
        assert_eq!(location, Some("https://a:8443/x"));
    }
    assert_eq!(endpoint.requests().len(), 1);
}

#[test]
fn the_redirect_is_explained_and_can_be_tested() {
    let endpoint = Endpoint::echo();
    let tests = "
         [[test]]\nrequest = \"GET http://shop.test/a?b\"\nlistener = \"web\"
         expect = { route = \"listener.web\", status = 308, location = \"https://shop.test/a?b\" }
         [[test]]\nrequest = \"GET http://shop.test/healthz\"\nlistener = \"web\"
         expect = { route = \"health\", status = 204 }
         [listener.zone]\nbind = \"@zone\"
         [[test]]\nrequest = \"GET https://shop.test/a\"\nexpect = { route = \"host\" }";
    let mut proxy = Evenkeel::start(&format!("{}{tests}", redirecting(&endpoint, "")));
    let explained = |proxy: &Evenkeel, arguments: &[&str]| {
        let output = proxy.command(&[&["route"][..], arguments].concat());
        String::from_utf8(output.stdout).expect("text")
    };
    let asked = ["GET", "http://shop.test/a", "--listener", "web"];
    for running in [&[][..], &["--running"]] {
        let said = explained(&proxy, &[&asked[..], running].concat());
        assert!(said.contains("the redirect of listener web"), "{said}");
        assert!(said.contains("redirected to https://shop.test/a"), "{said}");
        assert!(said.contains("status 308"), "{said}");
    }
    // What has TLS is another listener's, and is no longer sent away by this one.
    let said = explained(&proxy, &["GET", "https://shop.test/a"]);
    assert!(said.contains("route host at listener zone"), "{said}");
    let lines = "trusted_proxies = [\"127.0.0.0/8\"]";
    proxy.reload(&redirecting(&endpoint, lines));
    let said = explained(&proxy, &["GET", "https://shop.test/a"]);
    assert!(said.contains("route host at listener web"), "{said}");
}
