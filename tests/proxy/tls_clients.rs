//! Certificates of clients: who is let in, who is told why not, and who comes back with a ticket.

use std::fs;

use rcgen::date_time_ymd;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, SupportedProtocolVersion};

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Caller, Certified, DEPUTY, Hello, alert, listener};
use crate::tls::{HANDSHAKES, handshakes};

/// Each version alone.
const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS13], &[&TLS12]];

/// Servers' and clients' authorities, and one that nobody trusts.
struct World {
    servers: Authority,
    clients: Authority,
    strangers: Authority,
    endpoint: Endpoint,
}

impl World {
    fn new() -> Self {
        Self {
            servers: Authority::new(),
            clients: Authority::new(),
            strangers: Authority::named("strangers"),
            endpoint: Endpoint::echo(),
        }
    }

    /// A server's certificate for these names, and the clients' authorities.
    fn files(&self, names: &[&str]) -> Vec<(String, String)> {
        let mut files = self.servers.certify(names).files("a").to_vec();
        files.push(("clients.pem".to_owned(), self.clients.pem()));
        files
    }

    /// The listener with these rules for clients.
    fn config(&self, rules: &[&str]) -> String {
        let address = self.endpoint.address();
        listener(
            address,
            &["a"],
            &format!("client_certificates = [{}]", rules.join(", ")),
        )
    }

    fn start(&self, rules: &[&str]) -> Evenkeel {
        let names = ["open.test", "closed.test", "*.below.test", "a.b.below.test"];
        Evenkeel::start_among(&self.files(&names), &self.config(rules))
    }

    fn hello<'a>(&'a self, name: &'a str, certificate: Option<&'a Certified>) -> Hello<'a> {
        Hello {
            certificate,
            ..Hello::to(name, &self.servers)
        }
    }
}

/// A client of this number.
fn numbered(authority: &Authority, number: u64) -> Certified {
    authority.certify_with(&["client.test"], |params| {
        params.serial_number = Some(number.into());
    })
}

fn refused_for_certificates(proxy: &Evenkeel) -> u64 {
    let labels = ["listener=\"web\"", "result=\"client_certificate\""];
    proxy.metric(HANDSHAKES, &labels)
}

#[test]
fn a_certificate_is_required_of_clients() {
    let world = World::new();
    let proxy = world.start(&[r#"{ ca = "clients.pem" }"#]);
    let address = proxy.address("web");
    let good = numbered(&world.clients, 1);
    let strange = numbered(&world.strangers, 1);
    let expired = world.clients.certify_with(&["client.test"], |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let mut refused = 0;
    for versions in VERSIONS {
        for (certificate, expected) in [
            (None, AlertDescription::CertificateRequired),
            (Some(&strange), AlertDescription::UnknownCA),
            (Some(&expired), AlertDescription::CertificateExpired),
        ] {
            let hello = Hello {
                versions,
                ..world.hello("open.test", certificate)
            };
            // In TLS 1.3 the client has finished before it is judged.
            let error = match hello.caller().try_begin(address) {
                Err(error) => error,
                Ok(mut client) => client.read_error(),
            };
            assert_eq!(alert(&error), Some(expected), "{versions:?}");
            refused += 1;
        }
        let hello = Hello {
            versions,
            ..world.hello("open.test", Some(&good))
        };
        assert_eq!(hello.begin(address).get("/").status, 200);
    }
    eventually("the refusals are counted", || {
        (refused_for_certificates(&proxy) == refused).then_some(())
    });
    assert_eq!(world.endpoint.requests().len(), 2);
}

#[test]
fn where_a_certificate_may_be_shown_it_must_be_a_good_one() {
    let world = World::new();
    let proxy = world.start(&[r#"{ require = false, ca = "clients.pem" }"#]);
    let address = proxy.address("web");
    let good = numbered(&world.clients, 1);
    let strange = numbered(&world.strangers, 1);
    for versions in VERSIONS {
        for certificate in [None, Some(&good)] {
            let hello = Hello {
                versions,
                ..world.hello("open.test", certificate)
            };
            assert_eq!(hello.begin(address).get("/").status, 200);
        }
        let hello = Hello {
            versions,
            ..world.hello("open.test", Some(&strange))
        };
        assert_eq!(refusal(&hello, &proxy), AlertDescription::UnknownCA);
    }
}

#[test]
fn rules_are_chosen_by_name() {
    let world = World::new();
    let proxy = world.start(&[
        r#"{ hosts = ["closed.test", "*.below.test"], ca = "clients.pem" }"#,
        r#"{ hosts = ["open.below.test"], require = false, ca = "clients.pem" }"#,
    ]);
    let good = numbered(&world.clients, 1);
    for versions in VERSIONS {
        for (name, is_closed) in [
            ("open.test", false),
            ("closed.test", true),
            ("CLOSED.test", true),
            ("x.below.test", true),
            // Deeper than certificates' wildcards reach.
            ("a.b.below.test", true),
            ("open.below.test", false),
        ] {
            let with = |certificate| Hello {
                versions,
                ..world.hello(name, certificate)
            };
            let mut client = with(Some(&good)).begin(proxy.address("web"));
            client.send(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
            assert_eq!(client.response().status, 200, "{name}");
            if is_closed {
                let alert = refusal(&with(None), &proxy);
                assert_eq!(alert, AlertDescription::CertificateRequired, "{name}");
            } else {
                let mut client = with(None).begin(proxy.address("web"));
                client.send(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
                assert_eq!(client.response().status, 200, "{name}");
            }
        }
    }
}

/// `*` is no name: it stands for all of them, and for clients without one.
#[test]
fn a_rule_for_a_star_asks_everybody() {
    let world = World::new();
    let proxy = world.start(&[r#"{ hosts = ["*"], ca = "clients.pem" }"#]);
    let good = numbered(&world.clients, 1);
    for name in ["open.test", "x.below.test"] {
        let alert = refusal(&world.hello(name, None), &proxy);
        assert_eq!(alert, AlertDescription::CertificateRequired, "{name}");
    }
    let mut client = world
        .hello("open.test", Some(&good))
        .begin(proxy.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: open.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

/// A hello that comes in pieces, and one with everything behind it.
#[test]
fn the_name_is_found_however_the_hello_arrives() {
    let world = World::new();
    let proxy = world.start(&[r#"{ hosts = ["closed.test"], ca = "clients.pem" }"#]);
    let good = numbered(&world.clients, 1);
    let caller = world.hello("closed.test", Some(&good)).caller();
    let mut client = caller.begin_in_pieces(proxy.address("web"), 100, || {});
    client.send("GET / HTTP/1.1\r\nHost: closed.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = b"GET / HTTP/1.1\r\nHost: closed.test\r\n\r\n";
    let mut client = caller.begin_with_all(proxy.address("web"), request);
    assert_eq!(client.response().status, 200);
    let mut garbage = crate::support::client::Client::connect(proxy.address("web"));
    garbage.send("SSH-2.0-garbage\r\n");
    // An alert, and the end.
    assert_eq!(garbage.read_to_end().first(), Some(&0x15));
}

/// Where the name is looked at first, all that holds of handshakes holds as well.
#[test]
fn who_does_not_get_as_far_as_a_name_is_counted_as_elsewhere() {
    let world = World::new();
    let rule = r#"{ hosts = ["closed.test"], ca = "clients.pem" }"#;
    let config = [world.config(&[rule]), "max_handshakes = 1\n".to_owned()].concat();
    let files = world.files(&["open.test", "closed.test"]);
    let mut proxy = Evenkeel::start_among(&files, &config);
    let address = proxy.address("web");
    let good = numbered(&world.clients, 1);
    let caller = world.hello("closed.test", Some(&good)).caller();
    let first = caller.first_bytes();
    let mut broken = first.clone();
    broken[5] = 99;
    let strangers = [b"SSH-2.0-garbage\r\n".to_vec(), vec![0xff; 20_000], broken];
    for bytes in &strangers {
        let mut client = proxy.client();
        client.send(bytes);
        let said = client.read_to_end();
        assert!(matches!(&said[..], [] | [21, _, _, 0, 2, _, _]), "{said:?}");
    }
    assert_eq!(handshakes(&proxy, "refused"), 3);
    proxy.client().send(&first[..20]).finish();
    assert_eq!(handshakes(&proxy, "client_closed"), 1);
    // One that stalls gives way.
    let mut stalled = proxy.client();
    stalled.send(&first[..first.len() / 2]);
    let mut client = eventually("a turn", || caller.try_begin(address).ok());
    client.send("GET / HTTP/1.1\r\nHost: closed.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    stalled.read_to_end();
    assert!(handshakes(&proxy, "shed") >= 1);
    // One that a reload cuts in two goes on by the rules that it began with.
    let mut is_first = true;
    let reloaded = config.replace("max_handshakes = 1", "max_handshakes = 2");
    let mut client = caller.begin_in_pieces(address, 400, || {
        if std::mem::take(&mut is_first) {
            proxy.reload(&reloaded);
        }
    });
    client.send("GET / HTTP/1.1\r\nHost: closed.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn the_revoked_are_refused() {
    let world = World::new();
    let mut files = world.files(&["open.test"]);
    // The same list twice is one.
    let list = world.clients.revokes(&[7], 2100);
    files.push(("clients.crl".to_owned(), list.clone() + &list));
    let rule = r#"{ ca = "clients.pem", crl = ["clients.crl"] }"#;
    let proxy = Evenkeel::start_among(&files, &world.config(&[rule]));
    for versions in VERSIONS {
        let (good, revoked) = (numbered(&world.clients, 6), numbered(&world.clients, 7));
        let with = |certificate| Hello {
            versions,
            ..world.hello("open.test", Some(certificate))
        };
        assert_eq!(with(&good).begin(proxy.address("web")).get("/").status, 200);
        let alert = refusal(&with(&revoked), &proxy);
        assert_eq!(alert, AlertDescription::CertificateRevoked);
    }
}

/// As those who revoke do it: a file is replaced, and nobody is told.
#[test]
fn lists_and_authorities_are_renewed_by_themselves() {
    let world = World::new();
    let mut files = world.files(&["open.test"]);
    files.push(("clients.crl".to_owned(), world.clients.revokes(&[], 2021)));
    let rule = r#"{ ca = "clients.pem", crl = ["clients.crl"] }"#;
    let proxy = Evenkeel::start_among(&files, &world.config(&[rule]));
    let address = proxy.address("web");
    let client = numbered(&world.clients, 7);
    let hello = world.hello("open.test", Some(&client));
    // The list is old, and stays in use.
    let mut open = hello.begin(address);
    assert_eq!(open.get("/").status, 200);
    let write = |name: &str, text: String| {
        fs::write(proxy.path(name), text).expect("a writable folder");
    };
    let old = eventually("the warning", || proxy.events("crl_expired").pop());
    let why = old["why"].as_str().expect("text");
    assert!(why.contains("missing since 2021-01-01"), "{why}");
    // Somebody else's list changes nothing.
    write("clients.crl", world.strangers.revokes(&[7], 2100));
    let rejected = eventually("the rejection", || proxy.events("cert_rejected").pop());
    let why = rejected["why"].as_str().expect("text");
    assert!(why.contains("clients.crl has a list that none"), "{why}");
    assert_eq!(hello.begin(address).get("/").status, 200);
    write("clients.crl", world.clients.revokes(&[7], 2100));
    eventually("the new list", || proxy.events("cert_reloaded").pop());
    let alert = refusal(&hello, &proxy);
    assert_eq!(alert, AlertDescription::CertificateRevoked);
    // What has begun goes on.
    assert_eq!(open.get("/").status, 200);
    // Other authorities, with a list of theirs.
    write("clients.pem", world.strangers.pem());
    write("clients.crl", world.strangers.revokes(&[], 2100));
    eventually("the new authorities", || {
        proxy.events("cert_reloaded").get(1).cloned()
    });
    assert_eq!(refusal(&hello, &proxy), AlertDescription::UnknownCA);
    let stranger = numbered(&world.strangers, 7);
    let hello = world.hello("open.test", Some(&stranger));
    assert_eq!(hello.begin(address).get("/").status, 200);
}

/// More than fits what a client is told.
#[test]
fn authorities_may_be_many() {
    let world = World::new();
    let named = |number| Authority::named(&format!("{number:0>1000}")).pem();
    let mut files = world.files(&["open.test"]);
    let all = (0..70).map(named).collect::<String>() + &world.clients.pem();
    files.push(("many.pem".to_owned(), all));
    let rule = r#"{ ca = "many.pem" }"#;
    let proxy = Evenkeel::start_among(&files, &world.config(&[rule]));
    let good = numbered(&world.clients, 1);
    for versions in VERSIONS {
        let with = |certificate| Hello {
            versions,
            ..world.hello("open.test", certificate)
        };
        let mut client = with(Some(&good)).begin(proxy.address("web"));
        assert_eq!(client.get("/").status, 200);
        let alert = refusal(&with(None), &proxy);
        assert_eq!(alert, AlertDescription::CertificateRequired);
    }
}

/// What stands in `ca` is trusted for itself, so that no list is asked about it.
#[test]
fn an_authority_that_falls_takes_its_clients_along() {
    let world = World::new();
    let deputy = world.clients.deputy();
    let mut files = world.files(&["open.test"]);
    let all = world.clients.pem() + &deputy.pem();
    files.push(("all.pem".to_owned(), all));
    files.push(("clients.crl".to_owned(), world.clients.revokes(&[], 2100)));
    files.push(("deputy.crl".to_owned(), deputy.revokes(&[], 2100)));
    let rule = r#"{ ca = "all.pem", crl = ["clients.crl", "deputy.crl"] }"#;
    let proxy = Evenkeel::start_among(&files, &world.config(&[rule]));
    let address = proxy.address("web");
    let (of_first, of_deputy) = (numbered(&world.clients, 1), numbered(&deputy, 1));
    let of_first = world.hello("open.test", Some(&of_first));
    let of_deputy = world.hello("open.test", Some(&of_deputy));
    assert_eq!(of_first.begin(address).get("/").status, 200);
    assert_eq!(of_deputy.begin(address).get("/").status, 200);
    let list = world.clients.revokes(&[DEPUTY], 2100);
    fs::write(proxy.path("clients.crl"), list).expect("a writable folder");
    let renewed = eventually("the new list", || proxy.events("cert_reloaded").pop());
    let why = renewed["why"].as_str().expect("text");
    assert!(why.contains("revoked, the 2. in it, `CN=deputy`"), "{why}");
    assert_eq!(refusal(&of_deputy, &proxy), AlertDescription::UnknownCA);
    assert_eq!(of_first.begin(address).get("/").status, 200);
}

/// Begins a session, and has its tickets arrive.
fn gather(caller: &Caller, proxy: &Evenkeel, name: &str) {
    let mut client = caller.begin(proxy.address(name));
    assert_eq!(client.get("/").status, 200);
}

/// The alert with which a session ends that is refused.
fn refusal(hello: &Hello<'_>, proxy: &Evenkeel) -> AlertDescription {
    let error = match hello.caller().try_begin(proxy.address("web")) {
        Err(error) => error,
        // In TLS 1.3 the client has finished before it is judged.
        Ok(mut client) => client.read_error(),
    };
    alert(&error).unwrap_or_else(|| panic!("no alert: {error}"))
}

impl World {
    fn nameless_client(&self, versions: &'static [&'static SupportedProtocolVersion]) -> Caller {
        let hello = Hello {
            versions,
            ..self.hello("open.test", None)
        };
        hello.caller().confusing_servers()
    }
}

/// With a ticket of this client's, a session there demands a certificate all the same.
fn must_show_one(caller: &Caller, proxy: &Evenkeel, listener: &str, what: &str) {
    let address = proxy.address(listener);
    let error = match caller.try_begin_with_ticket(address) {
        Err(error) => error,
        Ok(mut client) => {
            assert!(!client.is_resumed(), "{what}");
            client.read_error()
        }
    };
    assert_eq!(
        alert(&error),
        Some(AlertDescription::CertificateRequired),
        "{what}"
    );
}

/// CVE-2025-23419: nginx let clients in by tickets that were given where no certificate is needed.
#[test]
fn a_ticket_does_not_stand_in_for_a_certificate() {
    let world = World::new();
    let closed = r#"{ hosts = ["closed.test"], ca = "clients.pem" }"#;
    let everywhere = r#"{ ca = "clients.pem" }"#;
    for versions in VERSIONS {
        let other = world
            .config(&[everywhere])
            .replace("listener.web", "listener.other")
            .replace("@web", "@other");
        let config = [world.config(&[closed]), other].concat();
        let files = world.files(&["open.test", "closed.test"]);
        let mut proxy = Evenkeel::start_among(&files, &config);
        let caller = world.nameless_client(versions);
        gather(&caller, &proxy, "web");
        let again = caller.try_begin_with_ticket(proxy.address("web"));
        assert!(
            again.expect("a session").is_resumed(),
            "the tickets are good"
        );
        gather(&caller, &proxy, "web");
        must_show_one(&caller.to("closed.test"), &proxy, "web", "another name");
        gather(&caller, &proxy, "web");
        must_show_one(&caller, &proxy, "other", "another listener");
        gather(&caller, &proxy, "web");
        proxy.reload(&config.replace("closed.test", "open.test"));
        must_show_one(&caller, &proxy, "web", "the same name after a reload");
    }
}

/// The ticket of a client that was judged by authorities which are no more.
#[test]
fn a_ticket_ends_with_the_authorities_that_it_was_given_under() {
    let world = World::new();
    let good = numbered(&world.clients, 1);
    let rule = r#"{ ca = "clients.pem" }"#;
    for versions in VERSIONS {
        let mut files = world.files(&["open.test"]);
        files.push(("strangers.pem".to_owned(), world.strangers.pem()));
        let mut proxy = Evenkeel::start_among(&files, &world.config(&[rule]));
        let address = proxy.address("web");
        let hello = Hello {
            versions,
            ..world.hello("open.test", Some(&good))
        };
        let caller = hello.caller().confusing_servers();
        let comes_back = || {
            let client = caller.try_begin_with_ticket(address);
            client.expect("a session").is_resumed()
        };
        let is_refused = |what| {
            let error = match caller.try_begin_with_ticket(address) {
                Err(error) => error,
                Ok(mut client) => client.read_error(),
            };
            assert_eq!(alert(&error), Some(AlertDescription::UnknownCA), "{what}");
        };
        gather(&caller, &proxy, "web");
        assert!(comes_back());
        // A reload that changes nothing about it costs nobody a session.
        gather(&caller, &proxy, "web");
        proxy.reload(&format!("{}\n[log]\nquery = true\n", world.config(&[rule])));
        assert!(comes_back());
        gather(&caller, &proxy, "web");
        proxy.reload(&world.config(&[r#"{ ca = "strangers.pem" }"#]));
        is_refused("other authorities by a reload");
        proxy.reload(&world.config(&[rule]));
        gather(&caller, &proxy, "web");
        fs::write(proxy.path("clients.pem"), world.strangers.pem()).expect("a writable folder");
        eventually("the new authorities", || {
            proxy.events("cert_reloaded").pop()
        });
        is_refused("other authorities in the file");
    }
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    let world = World::new();
    let cases = [
        (
            world.clients.pem(),
            "no PEM".to_owned(),
            "E0125",
            "clients.crl holds no list of revoked",
        ),
        (
            String::new(),
            world.clients.revokes(&[], 2100),
            "E0125",
            "clients.pem holds no certificate",
        ),
        (
            world.clients.pem(),
            world.strangers.revokes(&[], 2100),
            "E0125",
            "clients.crl has a list that none of the authorities signed, the 1. in it",
        ),
        (
            world.clients.pem(),
            "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_owned(),
            "E0125",
            "clients.crl is malformed, the 1. in it",
        ),
        (
            world.clients.pem(),
            "-----BEGIN X509 CRL-----\nMAQwAjAA\n-----END X509 CRL-----\n".to_owned(),
            "E0125",
            "clients.crl has a list of version 1, the 1. in it",
        ),
        (
            world.clients.pem(),
            world.clients.revokes(&[], 2021),
            "W0314",
            "is missing since 2021-01-01",
        ),
        (
            world.clients.pem() + &world.clients.deputy().pem(),
            world.clients.revokes(&[], 2100),
            "W0315",
            "clients of `CN=deputy` are refused",
        ),
    ];
    for (ca, crl, code, what) in cases {
        is_told(&world, [&ca, &crl], code, what);
    }
}

/// What the judge of clients would not see.
#[test]
fn lists_that_would_not_count_are_told() {
    let world = World::new();
    let cases = [
        (
            world.clients.pem(),
            world.clients.revokes(&[], 2100) + &world.clients.revokes(&[7], 2100),
            "clients.crl has a second list of `CN=authority`, the 2. in it",
        ),
        (
            // Of the same name.
            world.clients.pem() + &world.servers.pem(),
            world.clients.revokes(&[], 2100) + &world.servers.revokes(&[], 2100),
            "clients.pem has authorities with the name `CN=authority` and different keys, the 2. in it",
        ),
        (
            world.clients.pem() + &world.clients.deputy().pem(),
            world.clients.revokes(&[DEPUTY], 2100),
            "clients.pem holds an authority that is revoked, the 2. in it, `CN=deputy`",
        ),
    ];
    for (ca, crl, what) in cases {
        is_told(&world, [&ca, &crl], "E0125", what);
    }
}

/// A finding about these authorities and lists.
fn is_told(world: &World, [ca, crl]: [&str; 2], code: &str, what: &str) {
    let server = world.servers.certify(&["open.test"]);
    let rule = r#"{ ca = "clients.pem", crl = ["clients.crl"] }"#;
    let config = world.config(&[rule]).replace("@web", "127.0.0.1:0");
    let files = Files::new(&[
        ("a.pem", &*server.cert),
        ("a.key", &*server.key),
        ("clients.pem", ca),
        ("clients.crl", crl),
        ("evenkeel.toml", &*config),
    ]);
    let done = files.run(&["check", "--config", "evenkeel.toml"]);
    let said = done.err + &done.out;
    assert!(
        said.contains(code) && said.contains(what),
        "{code} {what}:\n{said}"
    );
    assert!(said.contains("evenkeel.toml:6:"), "{said}");
    assert_eq!(done.code == 0, code.starts_with('W'), "{said}");
}
