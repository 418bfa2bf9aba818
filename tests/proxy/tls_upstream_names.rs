//! Names and trust towards endpoints, where one setting or one client must not spoil another.

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::text;
use crate::support::openssl::OpenSsl;
use crate::support::port::Port;
use crate::support::tls::Authority;
use crate::support::tls_endpoint::{Shown, TlsEndpoint};

/// A listener before these endpoints, with these settings of TLS.
fn config(endpoints: &[&TlsEndpoint], tls: &str, more: &str) -> String {
    let endpoints = endpoints.iter();
    let endpoints = endpoints.map(|endpoint| format!("\"{}\"", endpoint.address()));
    let endpoints = endpoints.collect::<Vec<_>>().join(", ");
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"api\"\n\
         [upstream.api]\nendpoints = [{endpoints}]\n{more}\n[upstream.api.tls]\n{tls}\n"
    )
}

fn started(authority: &Authority, config: &str) -> Evenkeel {
    Evenkeel::start_among(&[("ca.pem".to_owned(), authority.pem())], config)
}

fn status(proxy: &Evenkeel, host: &str) -> u16 {
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.response().status
}

const BY_HOST: &str = "ca = \"ca.pem\"\nserver_name_from = \"host\"";

/// Nothing of what verified nothing may serve what does, nor the other way round.
#[test]
fn a_reload_that_asks_for_proof_gets_it() {
    let authority = Authority::new();
    let certified = authority.certify(&["127.0.0.1"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let keep = "timeouts.upstream_idle = \"1m\"";
    let skipping = config(&[&endpoint], "insecure_skip_verify = true", keep);
    let public = config(&[&endpoint], "", keep);
    let mut proxy = started(&authority, &skipping);
    assert_eq!(status(&proxy, "a"), 200);
    proxy.reload(&public);
    for _ in 0..3 {
        assert_eq!(status(&proxy, "a"), 502);
    }
    let told = proxy.admin_json("/v1/upstreams");
    assert_eq!(told[0]["tls"], "verified");
    proxy.reload(&skipping);
    eventually("nothing is asked for again", || {
        (status(&proxy, "a") == 200).then_some(())
    });
}

#[test]
fn an_endpoint_may_be_written_as_an_address_of_ipv6() {
    let authority = Authority::new();
    let certified = authority.certify(&["::1"]);
    let endpoint = TlsEndpoint::start_at("[::1]:0", &Shown::by(&certified));
    let proxy = started(&authority, &config(&[&endpoint], "ca = \"ca.pem\"", ""));
    assert_eq!(status(&proxy, "a"), 200);
}

/// Any client may ask for anything.
#[test]
fn a_host_that_nobody_has_is_no_fault_of_the_endpoints() {
    let authority = Authority::new();
    let certified = authority.certify(&["a.test"]);
    let endpoints = [(); 2].map(|()| TlsEndpoint::start(&Shown::by(&certified)));
    let [one, other] = &endpoints;
    let proxy = started(&authority, &config(&[one, other], BY_HOST, ""));
    for _ in 0..4 {
        assert_eq!(status(&proxy, "evil.test"), 502);
    }
    // Each was asked once, at one endpoint.
    assert_eq!(one.connections() + other.connections(), 4);
    let told = proxy.admin_json("/v1/upstreams");
    for endpoint in told[0]["endpoints"].as_array().expect("a list") {
        assert_eq!(endpoint["backing_off"], false, "{told}");
    }
    assert_eq!(status(&proxy, "a.test"), 200);
}

#[test]
fn hosts_that_nobody_asks_for_again_do_not_keep_others_out() {
    let authority = Authority::new();
    let certified = authority.certify(&["*.a.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let few = "max_idle_per_endpoint = 2\ntimeouts.upstream_idle = \"1m\"";
    let proxy = started(&authority, &config(&[&endpoint], BY_HOST, few));
    for number in 0..6 {
        assert_eq!(status(&proxy, &format!("h{number}.a.test")), 200);
    }
    for _ in 0..4 {
        assert_eq!(status(&proxy, "hot.a.test"), 200);
    }
    assert_eq!(endpoint.connections(), 7);
}

/// The name is that of the endpoint, whatever port is probed.
#[test]
fn checks_ask_for_the_endpoint_where_requests_ask_for_their_host() {
    let authority = Authority::new();
    let certified = authority.certify(&["localhost", "a.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let port = endpoint.address().port();
    let check = format!(
        "health = {{ http = {{}}, port = {port}, interval = \"100ms\", timeout = \"100ms\" }}"
    );
    let written = config(&[&endpoint], BY_HOST, &check);
    let written = written.replace(
        &format!("\"127.0.0.1:{port}"),
        &format!("\"localhost:{port}"),
    );
    let proxy = started(&authority, &written);
    eventually("it is found to be well", || {
        let told = proxy.admin_json("/v1/upstreams");
        (told[0]["endpoints"][0]["state"] == "healthy").then_some(())
    });
    assert_eq!(status(&proxy, "a.test"), 200);
}

#[test]
fn the_systems_authorities_can_be_trusted() {
    let authority = Authority::new();
    let certified = authority.certify(&["127.0.0.1"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let written = config(&[&endpoint], "roots = \"system\"", "");
    let store = std::env::temp_dir().join(format!("evenkeel-roots-{}.pem", std::process::id()));
    std::fs::write(&store, authority.pem()).expect("a writable directory");
    let environment = format!("SSL_CERT_FILE={}\n", store.display());
    let files = [("environment".to_owned(), environment)];
    let proxy = Evenkeel::start_among(&files, &written);
    assert_eq!(status(&proxy, "a"), 200);
    let told = proxy.command(&["check"]);
    assert!(told.status.success(), "{}", text(&told.stderr));
    std::fs::remove_file(&store).expect("it is there");
}

/// A real counterpart, which asks for our certificate and takes nothing older or newer.
#[test]
fn openssl_is_spoken_to_and_shown_a_certificate() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let own = authority.certify(&["proxy.test"]);
    let files = Files::new(&[
        ("db.pem", &certified.cert),
        ("db.key", &certified.key),
        ("ca.pem", &authority.pem()),
    ]);
    let ca = files.path("ca.pem").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let port = Port::reserve();
        let verify = [
            "-Verify",
            "2",
            "-verify_return_error",
            "-CAfile",
            &ca,
            version,
        ];
        let Some(_openssl) = OpenSsl::start(&files, &port, &verify) else {
            return;
        };
        eventually("OpenSSL listens", || {
            std::net::TcpStream::connect(port.address()).ok()
        });
        let written = format!(
            "[listener.web]\nbind = \"@web\"\nupstream = \"api\"\n\
             [upstream.api]\nendpoints = [\"{}\"]\n[upstream.api.tls]\nca = \"ca.pem\"\n\
             server_name = \"db.test\"\n\
             certificate = {{ cert = \"own.pem\", key = \"own.key\" }}\n",
            port.address()
        );
        let mut beside = own.files("own").to_vec();
        beside.push(("ca.pem".to_owned(), authority.pem()));
        let proxy = Evenkeel::start_among(&beside, &written);
        let mut client = proxy.client();
        let response = client.get("/");
        assert_eq!(response.status, 200, "{version}: {response:?}");
        let told = response.body.text();
        assert!(told.contains("s_server"), "{told}");
        assert!(
            told.contains("CN=a server") || told.contains("CN = a server"),
            "{told}"
        );
    }
}
