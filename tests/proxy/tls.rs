//! What a session is agreed on: names and certificates, versions, protocols, groups, tickets.

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ProtocolVersion, SupportedProtocolVersion};

use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Caller, ECDSA, Hello, RSA, alert, listener};

/// What a client speaks, how it calls that, and the word for it in metrics.
type Spoken = (
    &'static [&'static SupportedProtocolVersion],
    ProtocolVersion,
    &'static str,
);

/// Each version alone.
const VERSIONS: [Spoken; 2] = [
    (&[&TLS13], ProtocolVersion::TLSv1_3, "1.3"),
    (&[&TLS12], ProtocolVersion::TLSv1_2, "1.2"),
];

#[test]
fn a_name_chooses_its_certificate() {
    let authority = Authority::new();
    let first = authority.certify(&["first.test"]);
    let wild = authority.certify(&["*.shop.test"]);
    let exact = authority.certify(&["www.shop.test", "Capital.test"]);
    let endpoint = Endpoint::echo();
    let files = [first.files("a"), wild.files("b"), exact.files("c")].concat();
    let proxy = Evenkeel::start_among(&files, &listener(endpoint.address(), &["a", "b", "c"], ""));
    for (name, expected, what) in [
        ("first.test", &first, "the exact name"),
        ("cart.shop.test", &wild, "a label for the star"),
        (
            "www.shop.test",
            &exact,
            "the exact name, before the wildcard",
        ),
        ("WWW.Shop.TEST", &exact, "the exact name in capitals"),
        ("CART.SHOP.test", &wild, "the wildcard in capitals"),
        ("capital.test", &exact, "a certificate in capitals"),
        ("a.b.shop.test", &first, "two labels are not one"),
        ("shop.test", &first, "none is not one"),
        ("unknown.test", &first, "an unknown name"),
        ("test", &first, "a name of one label"),
    ] {
        let hello = Hello {
            takes_any_name: true,
            ..Hello::to(name, &authority)
        };
        let mut client = hello.begin(proxy.address("web"));
        assert!(client.was_shown(expected), "{what}: {name}");
        assert_eq!(client.get("/").status, 200, "{what}");
    }
    let nameless = Hello {
        sends_name: false,
        ..Hello::to("first.test", &authority)
    };
    assert!(nameless.begin(proxy.address("web")).was_shown(&first));
}

#[test]
fn a_client_gets_the_kind_of_signature_that_it_takes() {
    let authority = Authority::new();
    let other = authority.certify(&["other.test"]);
    let elliptic = authority.certify(&["shop.test"]);
    let rsa = authority.certify_rsa(&["shop.test"]);
    let files = [other.files("a"), elliptic.files("b"), rsa.files("c")].concat();
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::start_among(&files, &listener(endpoint.address(), &["a", "b", "c"], ""));
    for (versions, version, _) in VERSIONS {
        for (signatures, expected) in [(ECDSA, &elliptic), (RSA, &rsa), (&[], &elliptic)] {
            let hello = Hello {
                versions,
                signatures,
                ..Hello::to("shop.test", &authority)
            };
            let mut client = hello.begin(proxy.address("web"));
            assert!(client.was_shown(expected), "{version:?} {signatures:?}");
            assert_eq!(client.version(), Some(version));
            assert_eq!(client.get("/").status, 200);
        }
        // Who takes no kind that there is for a name gets what it can use.
        let hello = Hello {
            versions,
            signatures: RSA,
            takes_any_name: true,
            ..Hello::to("other.test", &authority)
        };
        assert!(hello.begin(proxy.address("web")).was_shown(&rsa));
    }
}

#[test]
fn a_client_whose_signatures_nobody_has_is_refused() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::start_among(&files, &listener(endpoint.address(), &["a"], ""));
    for (versions, ..) in VERSIONS {
        let hello = Hello {
            versions,
            signatures: RSA,
            ..Hello::to("shop.test", &authority)
        };
        let error = hello.refusal(proxy.address("web"));
        assert!(alert(&error).is_some(), "{error}");
    }
    assert_eq!(handshakes(&proxy, "refused"), 2);
}

#[test]
fn both_versions_are_spoken_and_counted() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::start_among(&files, &listener(endpoint.address(), &["a"], ""));
    for (versions, version, word) in VERSIONS {
        let hello = Hello {
            versions,
            ..Hello::to("shop.test", &authority)
        };
        let mut client = hello.begin(proxy.address("web"));
        assert_eq!(client.version(), Some(version));
        assert_eq!(client.get("/").status, 200);
        let labels = [
            "listener=\"web\"",
            &format!("version=\"{word}\""),
            "result=\"ok\"",
        ];
        assert_eq!(proxy.metric(HANDSHAKES, &labels), 1, "{labels:?}");
    }
    let usual = Hello::to("shop.test", &authority).begin(proxy.address("web"));
    assert_eq!(usual.version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn the_least_version_is_enforced() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::echo();
    let least = "min_version = \"1.3\"";
    let mut proxy = Evenkeel::start_among(&files, &listener(endpoint.address(), &["a"], least));
    let address = proxy.address("web");
    let old = Hello {
        versions: &[&TLS12],
        ..Hello::to("shop.test", &authority)
    };
    let refused = alert(&old.refusal(address));
    assert_eq!(refused, Some(AlertDescription::ProtocolVersion));
    assert_eq!(handshakes(&proxy, "refused"), 1);
    let mut new = Hello::to("shop.test", &authority).begin(address);
    assert_eq!(new.get("/").status, 200);
    // It is a setting like any other: the next connection meets what the file says now.
    proxy.reload(&listener(
        endpoint.address(),
        &["a"],
        "min_version = \"1.2\"",
    ));
    assert_eq!(old.begin(address).get("/").status, 200);
    assert_eq!(new.get("/").status, 200);
}

#[test]
fn where_http_1_is_spoken_alone_nothing_else_is_agreed_on() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::echo();
    let config = listener(endpoint.address(), &["a"], "");
    let alone = "[listener.web]\nprotocols = [\"http/1.1\"]\n";
    let config = config.replacen("[listener.web]\n", alone, 1);
    let proxy = Evenkeel::start_among(&files, &config);
    let offers = [
        (&[][..], None),
        (&["http/1.1"], Some("http/1.1")),
        (&["h2", "http/1.1"], Some("http/1.1")),
        (&["http/1.0"], Some("http/1.0")),
    ];
    for (versions, ..) in VERSIONS {
        for (protocols, chosen) in offers {
            let hello = Hello {
                versions,
                protocols,
                ..Hello::to("shop.test", &authority)
            };
            let mut client = hello.begin(proxy.address("web"));
            assert_eq!(client.protocol().as_deref(), chosen, "{protocols:?}");
            assert_eq!(client.get("/").status, 200, "{protocols:?}");
        }
        let hello = Hello {
            versions,
            protocols: &["h2"],
            ..Hello::to("shop.test", &authority)
        };
        let refused = alert(&hello.refusal(proxy.address("web")));
        assert_eq!(refused, Some(AlertDescription::NoApplicationProtocol));
    }
    assert_eq!(handshakes(&proxy, "refused"), 2);
}

#[test]
fn keys_are_exchanged_so_that_no_later_computer_reads_them() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::start_among(&files, &listener(endpoint.address(), &["a"], ""));
    let group = |groups| {
        let hello = Hello {
            groups,
            ..Hello::to("shop.test", &authority)
        };
        let mut client = hello.begin(proxy.address("web"));
        assert_eq!(client.get("/").status, 200);
        client.group()
    };
    assert_eq!(group(&[]), "X25519MLKEM768");
    // Whoever cannot is served all the same.
    assert_eq!(group(&["X25519"]), "X25519");
    assert_eq!(group(&["secp256r1"]), "secp256r1");
}

#[test]
fn sessions_go_on_whichever_worker_has_them() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::echo();
    let config = format!("workers = 2\n{}", listener(endpoint.address(), &["a"], ""));
    let proxy = Evenkeel::start_among(&files, &config);
    for (versions, version, _) in VERSIONS {
        let hello = Hello {
            versions,
            ..Hello::to("shop.test", &authority)
        };
        let caller = hello.caller();
        assert!(!is_resumed(&caller, &proxy), "{version:?}");
        for number in 0..40 {
            assert!(is_resumed(&caller, &proxy), "{version:?}, {number}");
        }
        // What one client was given is no other's.
        assert!(!is_resumed(&hello.caller(), &proxy));
    }
    assert_eq!(handshakes(&proxy, "ok"), 84);
}

#[test]
fn sessions_go_on_after_a_reload() {
    let authority = Authority::new();
    let files = [
        authority.certify(&["shop.test"]).files("a"),
        authority.certify(&["shop.test"]).files("b"),
    ];
    let endpoint = Endpoint::echo();
    let mut proxy =
        Evenkeel::start_among(&files.concat(), &listener(endpoint.address(), &["a"], ""));
    let callers = VERSIONS.map(|(versions, ..)| {
        let hello = Hello {
            versions,
            ..Hello::to("shop.test", &authority)
        };
        let caller = hello.caller();
        assert!(!is_resumed(&caller, &proxy));
        caller
    });
    for names in [["a"], ["b"], ["a"]] {
        let lines = format!("max_handshakes = {}", 10 + proxy.generation());
        proxy.reload(&listener(endpoint.address(), &names, &lines));
        for caller in &callers {
            assert!(is_resumed(caller, &proxy), "{names:?}");
        }
    }
}

#[test]
fn sessions_that_a_restart_forgot_begin_anew() {
    let authority = Authority::new();
    let files = authority.certify(&["shop.test"]).files("a");
    let endpoint = Endpoint::echo();
    let mut proxy = Evenkeel::start_among(&files, &listener(endpoint.address(), &["a"], ""));
    let callers = VERSIONS.map(|(versions, ..)| {
        let hello = Hello {
            versions,
            ..Hello::to("shop.test", &authority)
        };
        let caller = hello.caller();
        is_resumed(&caller, &proxy);
        caller
    });
    proxy.kill();
    proxy.restart();
    for caller in &callers {
        assert!(!is_resumed(caller, &proxy));
        assert!(is_resumed(caller, &proxy));
    }
}

/// Begins a session and uses it, which is also when a client of TLS 1.3 gets its tickets.
fn is_resumed(caller: &Caller, proxy: &Evenkeel) -> bool {
    let mut client = caller.begin(proxy.address("web"));
    assert_eq!(client.get("/").status, 200);
    client.finish();
    assert!(client.says_goodbye());
    client.is_resumed()
}

/// Handshakes that ended so; whoever was refused is counted a moment after it knows.
pub(crate) fn handshakes(proxy: &Evenkeel, result: &str) -> u64 {
    let label = format!("result=\"{result}\"");
    let mut last = None;
    eventually("the count rests", || {
        let count = proxy.metric(HANDSHAKES, &["listener=\"web\"", &label]);
        let rests = last.replace(count) == Some(count);
        (rests && count > 0).then_some(count)
    })
}

/// The family of the counters.
pub(crate) const HANDSHAKES: &str = "evenkeel_tls_handshakes_total";
