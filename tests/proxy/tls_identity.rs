//! Who a client is by its certificate: told to endpoints, forged by nobody, matched by routes; and
//! requests for hosts whose clients are asked for another one.

use std::fs::File;
use std::process::Command;

use rcgen::{DnType, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::client::Client;
use crate::support::command::Files;
use crate::support::endpoint::{Endpoint, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::look::cause;
use crate::support::openssl::missing;
use crate::support::tls::{Authority, Certified, Hello, Session, listener};

/// Both sides' authorities, and a client.
struct World {
    servers: Authority,
    clients: Authority,
    client: Certified,
    endpoint: Endpoint,
}

impl World {
    fn new() -> Self {
        let clients = Authority::named("clients");
        let client = clients.certify_with(&["client.test"], |params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "Müller, \"A\"");
            params
                .distinguished_name
                .push(DnType::OrganizationName, "Example");
            let names = &mut params.subject_alt_names;
            let text = |text: &str| text.try_into().expect("ASCII");
            names.push(SanType::URI(text("spiffe://example.test/billing")));
            names.push(SanType::Rfc822Name(text("a@client.test")));
            names.push(SanType::IpAddress([10, 0, 0, 1].into()));
        });
        Self {
            servers: Authority::new(),
            clients,
            client,
            endpoint: Endpoint::echo(),
        }
    }

    fn files(&self) -> Vec<(String, String)> {
        let names = ["open.test", "closed.test", "other.test"];
        let mut files = self.servers.certify(&names).files("a").to_vec();
        files.push(("clients.pem".to_owned(), self.clients.pem()));
        files
    }

    /// The listener `web` with these rules for clients.
    fn config(&self, rules: &str) -> String {
        let rules = format!("client_certificates = [{rules}]");
        listener(self.endpoint.address(), &["a"], &rules)
    }

    fn begin(&self, proxy: &Evenkeel, name: &str, has_certificate: bool) -> Client<Session> {
        let hello = Hello {
            certificate: has_certificate.then_some(&self.client),
            ..Hello::to(name, &self.servers)
        };
        hello.begin(proxy.address("web"))
    }

    fn fingerprint(&self) -> String {
        let der = self.client.der();
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&der);
        let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.concat()
    }

    /// The last request that the endpoint got.
    fn last(&self) -> Request {
        let mut requests = self.endpoint.requests();
        requests.pop().expect("a request")
    }
}

/// What a request tells of its client's certificate, under whatever spelling.
fn told(request: &Request) -> Vec<(String, String)> {
    let lines = request.head.fields.iter();
    let lines = lines.filter(|(name, _)| {
        let name = name.to_ascii_lowercase().replace(['_', '.'], "-");
        name.starts_with("x-client-cert") || name.starts_with("client-cert")
    });
    lines
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What nobody but a proxy may say, in spellings that some applications take for the same.
const FORGED: &str = "X-Client-Cert-Subject: CN=forged\r\nx-client-cert-san: \"DNS:forged\"\r\n\
                      X-CLIENT-CERT-SPIFFE-ID: spiffe://forged\r\nX-Client-Cert-Fingerprint: 00\r\n\
                      X_Client_Cert_Subject: CN=forged\r\nx_client-cert_fingerprint: 00\r\n\
                      X.Client.Cert.San: forged\r\nX-Client-Cert: forged\r\nX-Client-Cert-New: a\r\n\
                      Client-Cert: :AAAA:\r\nclient_cert: :AAAA:\r\nClient.Cert: :AAAA:\r\n\
                      Client-Cert-Chain: :AAAA:\r\nCLIENT_CERT_CHAIN: :AAAA:\r\n";

#[test]
fn endpoints_are_told_who_the_client_is() {
    let world = World::new();
    let rule = r#"{ ca = "clients.pem", require = false }"#;
    let proxy = Evenkeel::start_among(&world.files(), &world.config(rule));
    let expected = [
        (
            "x-client-cert-subject",
            r#"O=Example,CN=M\C3\BCller\, \"A\""#.to_owned(),
        ),
        (
            "x-client-cert-san",
            "\"DNS:client.test\", \"URI:spiffe://example.test/billing\", \
             \"email:a@client.test\", \"IP:10.0.0.1\""
                .to_owned(),
        ),
        (
            "x-client-cert-spiffe-id",
            "spiffe://example.test/billing".to_owned(),
        ),
        ("x-client-cert-fingerprint", world.fingerprint()),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    // The second one comes back with a ticket.
    let hello = Hello {
        certificate: Some(&world.client),
        ..Hello::to("open.test", &world.servers)
    };
    let caller = hello.caller();
    for is_resumed in [false, true] {
        let mut client = caller.begin(proxy.address("web"));
        for _ in 0..2 {
            assert_eq!(client.get("/").status, 200);
            assert_eq!(told(&world.last()), expected, "{is_resumed}");
        }
        assert_eq!(client.is_resumed(), is_resumed);
        // Forged beside it, or named as a thing between neighbours.
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{FORGED}Connection: x-client-cert-subject, \
             x-client-cert-fingerprint, client-cert\r\n\r\n"
        ));
        assert_eq!(client.response().status, 200);
        assert_eq!(told(&world.last()), expected, "{is_resumed}");
    }
    let line = proxy.access_lines(1).remove(0);
    assert_eq!(
        line["tls.client.subject"],
        r#"O=Example,CN=M\C3\BCller\, \"A\""#
    );
    assert_eq!(line["tls.client.hash.sha256"], world.fingerprint());
    // A client without a certificate is nobody.
    let mut client = world.begin(&proxy, "open.test", false);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{FORGED}\r\n"));
    assert_eq!(client.response().status, 200);
    assert_eq!(told(&world.last()), []);
    let line = proxy.access_lines(7).pop().expect("a line");
    assert!(line.get("tls.client.subject").is_none(), "{line}");
}

#[test]
fn the_whole_certificate_is_told_where_it_is_asked_for() {
    let world = World::new();
    let rule = r#"{ ca = "clients.pem", forward_certificate = true }"#;
    let proxy = Evenkeel::start_among(&world.files(), &world.config(rule));
    let mut client = world.begin(&proxy, "open.test", true);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{FORGED}\r\n"));
    assert_eq!(client.response().status, 200);
    let request = world.last();
    let values = request.head.values("client-cert");
    let [value] = values[..] else {
        panic!("{values:?}");
    };
    let base64 = value
        .strip_prefix(':')
        .and_then(|value| value.strip_suffix(':'));
    let base64 = base64.expect("a sequence of bytes");
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("base64");
    assert_eq!(der, world.client.der());
    assert_eq!(told(&request).len(), 5, "{:?}", told(&request));
}

#[test]
fn nobody_forges_who_it_is_on_any_listener() {
    let world = World::new();
    let address = world.endpoint.address();
    let plain = format!("[listener.plain]\nbind = \"@plain\"\nto = [\"{address}\"]\n");
    let proxy = Evenkeel::start_among(&world.files(), &[world.config(""), plain].concat());
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{FORGED}TE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n{FORGED}X-Sum: 1\r\n\r\n"
    );
    let mut client = Client::connect(proxy.address("plain"));
    assert_eq!(client.send(&request).response().status, 200);
    let plain = world.last();
    let mut client = world.begin(&proxy, "open.test", false);
    assert_eq!(client.send(&request).response().status, 200);
    for request in [plain, world.last()] {
        assert_eq!(told(&request), []);
        assert_eq!(
            request.body.trailers,
            [("x-sum".to_owned(), "1".to_owned())]
        );
    }
}

#[test]
fn a_trusted_proxy_tells_who_its_client_is_unless_it_shows_a_certificate_of_its_own() {
    let world = World::new();
    let rule = r#"{ ca = "clients.pem", require = false }"#;
    let trusting = "trusted_proxies = [\"127.0.0.0/8\"]\nbind";
    let config = world.config(rule).replacen("bind", trusting, 1);
    let proxy = Evenkeel::start_among(&world.files(), &config);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: CN=far\r\n\
                   X_Client_Cert_Subject: CN=forged\r\nClient-Cert: :AAAA:\r\n\r\n";
    let mut client = world.begin(&proxy, "open.test", false);
    assert_eq!(client.send(request).response().status, 200);
    let kept = [
        ("X-Client-Cert-Subject", "CN=far"),
        ("Client-Cert", ":AAAA:"),
    ];
    let kept = kept.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(told(&world.last()), kept);
    let mut client = world.begin(&proxy, "open.test", true);
    assert_eq!(client.send(request).response().status, 200);
    let request = world.last();
    assert_eq!(told(&request).len(), 4, "{:?}", told(&request));
    assert_eq!(
        request.head.values("x-client-cert-fingerprint"),
        [world.fingerprint()]
    );
}

#[test]
fn routes_are_chosen_by_certificates() {
    let world = World::new();
    let fingerprint = world.fingerprint();
    let routes = [
        ("plain", "", ""),
        ("any", "any", "fingerprint = '*'"),
        ("subject", "subject", "subject = '~^O=Example,'"),
        ("san", "san", "san = 'email:a@client.test'"),
        ("part", "part", "san = '\"DNS:client.test\"'"),
        ("id", "id", "spiffe_id = 'spiffe://example.test/billing'"),
        ("print", "print", &format!("fingerprint = '{fingerprint}'")),
        ("both", "both", "san = '~^IP:10[.]', subject = 'CN=other'"),
    ];
    let routes = routes.map(|(name, path, conditions)| {
        format!(
            "[route.{name}]\nhosts = ['open.test']\npath = '/{path}'\nresponse_headers.set.x-route \
             = '{name}'\nrespond = {{ body = '{name}' }}\nclient_certificate = {{ {conditions} }}\n"
        )
    });
    let rule = r#"{ ca = "clients.pem", require = false }"#;
    let config = [world.config(rule), routes.concat()].concat();
    let proxy = Evenkeel::start_among(&world.files(), &config);
    for (path, with, without) in [
        ("", "plain", "plain"),
        ("any", "any", "plain"),
        ("subject", "subject", "plain"),
        ("san", "san", "plain"),
        ("part", "plain", "plain"),
        ("id", "id", "plain"),
        ("print", "print", "plain"),
        ("both", "plain", "plain"),
    ] {
        for (has_certificate, route) in [(true, with), (false, without)] {
            let mut client = world.begin(&proxy, "open.test", has_certificate);
            client.send(format!(
                "GET /{path} HTTP/1.1\r\nHost: open.test\r\nX-Client-Cert-San: \
                 \"email:a@client.test\"\r\nX-Client-Cert-Fingerprint: {fingerprint}\r\n\r\n"
            ));
            assert_eq!(
                client.response().body.text(),
                route,
                "{path} {has_certificate}"
            );
        }
    }
}

/// A person asks with the fields that endpoints get.
#[test]
fn the_command_tells_of_routes_by_certificates() {
    let config = "[listener.web]\nbind = ':8443'\n[listener.web.tls]\n\
                  certificates = [{ cert = 'a.pem', key = 'a.key' }]\n\
                  client_certificates = [{ ca = 'clients.pem' }]\n\
                  [route.billing]\nclient_certificate.san = 'DNS:billing.test'\n\
                  respond = { status = 200 }\n\
                  [route.rest]\nrespond = { status = 403 }\n\
                  [[test]]\nrequest = 'GET https://a.test/'\nexpect = { route = 'rest' }\n\
                  [[test]]\nrequest = 'GET https://a.test/'\n\
                  headers = { x-client-cert-san = '\"DNS:a\", \"DNS:billing.test\"' }\n\
                  expect = { route = 'billing' }\n";
    let files = Files::new(&[("evenkeel.toml", config)]);
    let ask = |more: &[&str]| {
        let usual = [
            "route",
            "GET",
            "https://a.test/",
            "--config",
            "evenkeel.toml",
        ];
        let done = files.run(&[&usual[..], more].concat());
        assert_eq!(done.code, 0, "{}", done.err);
        done.out
    };
    let out = ask(&[]);
    assert!(out.starts_with("route rest"), "{out}");
    let why = "`client_certificate.san` (field `x-client-cert-san`) is not `DNS:billing.test`";
    assert!(out.contains(why), "{out}");
    let out = ask(&["-H", "X-Client-Cert-San: \"DNS:billing.test\""]);
    assert!(out.starts_with("route billing"), "{out}");
    assert!(out.contains("less specific: 0 conditions on the client's certificate against 1"));
}

#[test]
fn a_request_for_a_host_with_another_rule_is_misdirected() {
    let world = World::new();
    let rules = r#"{ hosts = ["closed.test", "*.closed.test"], ca = "clients.pem" },
                   { hosts = ["twin.test"], ca = "clients.pem" }"#;
    let config = world.config(rules).replace("\n                  ", "");
    let mut proxy = Evenkeel::start_among(&world.files(), &config);
    let hello = |name: &'static str| Hello {
        sends_name: !name.is_empty(),
        takes_any_name: true,
        certificate: Some(&world.client),
        ..Hello::to(
            if name.is_empty() { "open.test" } else { name },
            &world.servers,
        )
    };
    for (name, host, status) in [
        ("open.test", "open.test", 200),
        ("open.test", "other.test", 200),
        ("open.test", "closed.test", 421),
        ("open.test", "CLOSED.test.:443", 421),
        ("open.test", "a.b.closed.test", 421),
        ("closed.test", "closed.test:8443", 200),
        ("closed.test", "open.test", 421),
        ("closed.test", "unknown.test", 421),
        // The same is asked of these.
        ("closed.test", "twin.test", 200),
        ("twin.test", "x.closed.test", 200),
        ("", "open.test", 200),
        ("", "closed.test", 421),
    ] {
        let mut client = hello(name).begin(proxy.address("web"));
        let before = world.endpoint.requests().len();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, status, "{name} {host}");
        if status == 421 {
            assert_eq!(world.endpoint.requests().len(), before, "{name} {host}");
            assert_eq!(cause(&response), "http_request_error");
            // The connection is still good for its own.
            let own = if name.is_empty() { "open.test" } else { name };
            client.send(format!("GET / HTTP/1.1\r\nHost: {own}\r\n\r\n"));
            assert_eq!(client.response().status, 200, "{name} {host}");
        }
        // The whole URL stands in for the field.
        client.send(format!(
            "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
        ));
        assert_eq!(client.response().status, status, "{name} {host}");
    }
    // Who was let in before there was a rule must come anew.
    let mut client = hello("open.test").begin(proxy.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: open.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    proxy.reload(&config.replace("twin.test", "open.test"));
    client.send("GET / HTTP/1.1\r\nHost: open.test\r\n\r\n");
    assert_eq!(client.response().status, 421);
    let mut client = hello("open.test").begin(proxy.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: open.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn curl_and_openssl_show_certificates() {
    let world = World::new();
    let mut files = world.files();
    files.extend(world.client.files("client"));
    files.push(("authority.pem".to_owned(), world.servers.pem()));
    let request = "GET / HTTP/1.1\r\nHost: closed.test\r\nConnection: close\r\n\r\n";
    files.push(("request".to_owned(), request.to_owned()));
    let rule = r#"{ hosts = ["closed.test"], ca = "clients.pem" }"#;
    let proxy = Evenkeel::start_among(&files, &world.config(rule));
    let port = proxy.address("web").port();
    let path = |name: &str| proxy.path(name).display().to_string();
    let (authority, cert, key) = (
        path("authority.pem"),
        path("client.pem"),
        path("client.key"),
    );
    let curl = |name: &str, more: &[&str]| {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let usual = [
            "-sS",
            "--noproxy",
            "*",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ];
        Command::new("curl")
            .args(usual)
            .args(["--cacert", &authority, "--resolve", &resolve])
            .args(more)
            .arg(format!("https://{name}:{port}/"))
            .output()
    };
    let shown = ["--cert", &cert, "--key", &key];
    // Where it is not installed, there is nothing to be seen.
    for version in ["1.2", "1.3"] {
        let Ok(good) = curl(
            "closed.test",
            &[&shown[..], &["--tls-max", version]].concat(),
        ) else {
            break;
        };
        assert_eq!(good.stdout, b"200", "{good:?}");
        let fingerprint = world.last();
        let fingerprint = fingerprint.head.values("x-client-cert-fingerprint");
        assert_eq!(fingerprint, [world.fingerprint()]);
        let bad = curl("closed.test", &["--tls-max", version]).expect("as before");
        assert_eq!(bad.stdout, b"000", "{bad:?}");
        let open = curl("open.test", &["--tls-max", version]).expect("as before");
        assert_eq!(open.stdout, b"200", "{open:?}");
    }
    let address = format!("127.0.0.1:{port}");
    let openssl = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &address,
            "-servername",
            "closed.test",
            "-quiet",
        ])
        .args([
            "-CAfile", &authority, "-cert", &cert, "-key", &key, "-ign_eof",
        ])
        .stdin(File::open(path("request")).expect("our own file"))
        .output();
    let Ok(done) = openssl else {
        return missing("openssl");
    };
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}{done:?}");
}
