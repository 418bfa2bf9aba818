//! Certificates come and go with reloads; what cannot be used changes nothing.

use std::fs;
use std::process::Output;

use rcgen::date_time_ymd;
use rustix::process::Signal;
use serde_json::json;

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Certified, Hello, listener};

/// The family of the gauges.
const EXPIRY: &str = "evenkeel_tls_cert_expiry_timestamp_seconds";

/// 2100-01-01.
const YEAR_2100: u64 = 4_102_444_800;

fn write(proxy: &Evenkeel, certified: &Certified) {
    for (name, content) in certified.files("a") {
        fs::write(proxy.path(&name), content).expect("a writable directory");
    }
}

fn until(authority: &Authority, year: i32) -> Certified {
    authority.certify_with(&["shop.test"], |params| {
        params.not_after = date_time_ymd(year, 1, 1);
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_certificate_is_shown_after_a_reload() {
    let authority = Authority::new();
    let hello = Hello::to("shop.test", &authority);
    let endpoint = Endpoint::echo();
    let (old, new) = (until(&authority, 2090), until(&authority, 2100));
    let proxy = Evenkeel::start_among(&old.files("a"), &listener(endpoint.address(), &["a"], ""));
    let address = proxy.address("web");
    let mut open = hello.begin(address);
    assert!(open.was_shown(&old));
    assert_eq!(open.get("/").status, 200);
    write(&proxy, &new);
    proxy.signal(Signal::HUP);
    let applied = eventually("the reload", || proxy.events("config_applied").pop());
    assert_eq!(applied["by"], "SIGHUP");
    assert!(hello.begin(address).was_shown(&new));
    assert_eq!(open.get("/").status, 200);
    assert_eq!(proxy.metric(EXPIRY, &["a.pem\""]), YEAR_2100);
}

/// As those who renew certificates do it: two files, one after the other, and nobody is told.
#[test]
fn a_new_certificate_is_shown_by_itself() {
    let authority = Authority::new();
    let hello = Hello::to("shop.test", &authority);
    let endpoint = Endpoint::echo();
    let (old, new) = (until(&authority, 2090), until(&authority, 2100));
    let proxy = Evenkeel::start_among(&old.files("a"), &listener(endpoint.address(), &["a"], ""));
    let address = proxy.address("web");
    let mut open = hello.begin(address);
    assert_eq!(open.get("/").status, 200);
    let [(cert, cert_content), (key, key_content)] = new.files("a");
    fs::write(proxy.path(&cert), cert_content).expect("a writable directory");
    let rejected = eventually("it is seen", || proxy.events("cert_rejected").pop());
    assert_eq!(rejected["listener"], "web");
    let why = rejected["why"].as_str().expect("text");
    assert!(why.contains("a.key is not the key of"), "{why}");
    assert!(hello.begin(address).was_shown(&old));
    assert_eq!(proxy.events("cert_rejected").len(), 1);
    let failing = |value| {
        let line = "evenkeel_tls_renewal_failing{kind=\"listener\",name=\"web\"}";
        let line = format!("{line} {value}\n");
        proxy.admin("/metrics").body.text().contains(&line)
    };
    assert!(failing(1));
    let warnings = proxy.admin_json("/v1/status")["warnings"].to_string();
    assert!(warnings.contains("a.key is not the key of"), "{warnings}");
    fs::write(proxy.path(&key), key_content).expect("a writable directory");
    let reloaded = eventually("it is taken", || proxy.events("cert_reloaded").pop());
    assert_eq!(reloaded["listener"], "web");
    assert!(hello.begin(address).was_shown(&new));
    assert_eq!(open.get("/").status, 200);
    assert!(failing(0));
    assert_eq!(proxy.admin_json("/v1/status")["warnings"], json!([]));
    assert_eq!(proxy.metric(EXPIRY, &["a.pem\""]), YEAR_2100);
    // The configuration is the same one.
    assert_eq!(proxy.generation(), 1);
}

#[test]
fn a_certificate_that_cannot_be_used_changes_nothing() {
    let authority = Authority::new();
    let hello = Hello::to("shop.test", &authority);
    let endpoint = Endpoint::echo();
    let good = until(&authority, 2100);
    let other = authority.certify(&["shop.test"]);
    let config = listener(endpoint.address(), &["a"], "");
    let proxy = Evenkeel::start_among(&good.files("a"), &config);
    let mut open = hello.begin(proxy.address("web"));
    let before = proxy.admin_json("/v1/config");
    let (cert, key) = (proxy.path("a.pem"), proxy.path("a.key"));
    let half = good.cert[..good.cert.len() / 2].to_owned();
    let faults = [
        (
            "a.key is not the key of the certificate in",
            None,
            Some(other.key.as_str()),
        ),
        ("a.pem is not PEM", Some(half.as_str()), None),
        ("a.pem holds no certificate", Some("nothing"), None),
        ("a.pem holds no certificate", Some(good.key.as_str()), None),
        ("a.key holds no private key", None, Some(good.cert.as_str())),
        ("a.pem cannot be read", Some(""), None),
        ("a.key cannot be read", None, Some("")),
    ];
    for (number, (why, new_cert, new_key)) in faults.iter().enumerate() {
        write(&proxy, &good);
        for (path, content) in [(&cert, new_cert), (&key, new_key)] {
            match content {
                None => {}
                Some("") => fs::remove_file(path).expect("a file"),
                Some(content) => fs::write(path, content).expect("a writable directory"),
            }
        }
        let output = proxy.command(&["reload"]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{why}: {text}");
        assert!(text.contains("error[E0124]"), "{why}: {text}");
        assert!(text.contains(why), "{why}: {text}");
        assert!(text.contains("evenkeel.toml:"), "{why}: {text}");
        let column = if new_cert.is_some() { "cert" } else { "key" };
        assert!(text.contains(&format!("{column} = \"a.")), "{why}: {text}");
        assert_eq!(proxy.admin_json("/v1/config"), before, "{why}");
        let rejected = proxy.events("config_rejected");
        assert_eq!(rejected.len(), number + 1, "{why}");
        assert!(hello.begin(proxy.address("web")).was_shown(&good), "{why}");
        assert_eq!(open.get("/").status, 200, "{why}");
    }
    write(&proxy, &other);
    assert!(proxy.command(&["reload"]).status.success());
    assert!(hello.begin(proxy.address("web")).was_shown(&other));
}

/// Every mistake at once, also of several listeners.
#[test]
fn a_start_with_certificates_that_cannot_be_used_fails() {
    let authority = Authority::new();
    let (one, two) = (
        authority.certify(&["a.test"]),
        authority.certify(&["b.test"]),
    );
    let text = "version = 1\n[listener.a]\nbind = \"127.0.0.1:1\"\nto = [\"127.0.0.1:1\"]\n\
                tls.certificates = [{ cert = \"one.pem\", key = \"one.key\" }, \
                { cert = \"none.pem\", key = \"one.key\" }]\n\
                [listener.b]\nbind = \"127.0.0.1:2\"\nto = [\"127.0.0.1:1\"]\n\
                tls.certificates = [{ cert = \"two.pem\", key = \"one.key\" }]\n";
    let files = Files::new(&[
        ("evenkeel.toml", text),
        ("one.pem", &one.cert),
        ("one.key", &one.key),
        ("two.pem", &two.cert),
    ]);
    // Whoever checks it first is told the same.
    for command in ["run", "check"] {
        let done = files.run(&[command, "--config", "evenkeel.toml"]);
        assert_eq!(done.code, 1, "{done:?}");
        let said = done.err + &done.out;
        assert_eq!(said.matches("error[E0124]").count(), 2, "{said}");
        for part in [
            "listener `a`",
            "none.pem cannot be read",
            "listener `b`",
            "one.key is not the key of the certificate in",
            "evenkeel.toml:5:",
            "evenkeel.toml:9:",
        ] {
            assert!(said.contains(part), "{command}, {part}: {said}");
        }
        // Nothing of a key is ever said.
        assert!(!said.contains("PRIVATE"), "{said}");
    }
}

#[test]
fn a_chain_is_sent_as_it_stands_in_the_file() {
    let authority = Authority::new();
    let deputy = authority.deputy();
    let mut server = deputy.certify(&["shop.test"]);
    let endpoint = Endpoint::echo();
    // Alone, nobody who trusts the authority can follow it.
    let config = listener(endpoint.address(), &["a"], "");
    let proxy = Evenkeel::start_among(&server.files("a"), &config);
    let hello = Hello::to("shop.test", &authority);
    hello.refusal(proxy.address("web"));
    server.cert.push_str(&deputy.pem());
    write(&proxy, &server);
    assert!(proxy.command(&["reload"]).status.success());
    assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
    // The other way round it is a mistake, and found before a client finds it.
    let reversed = Certified {
        cert: format!("{}{}", deputy.pem(), deputy.certify(&["shop.test"]).cert),
        key: server.key.clone(),
    };
    write(&proxy, &reversed);
    let text = said(&proxy.command(&["reload"]));
    assert!(
        text.contains("the 2. did not sign the one before"),
        "{text}"
    );
    assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
}

/// An instance that has nothing better goes on with it: its clients decide.
#[test]
fn a_certificate_that_has_expired_is_shown() {
    let authority = Authority::new();
    let expired = until(&authority, 2020);
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::start_among(
        &expired.files("a"),
        &listener(endpoint.address(), &["a"], ""),
    );
    let error = Hello::to("shop.test", &authority).refusal(proxy.address("web"));
    assert!(error.to_string().contains("certificate expired"), "{error}");
    let expiry = proxy.metric(EXPIRY, &["a.pem\""]);
    assert_eq!(expiry, 1_577_836_800);
}

#[test]
fn expiries_are_told_per_file_and_go_with_it() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let files = [
        until(&authority, 2090).files("a"),
        until(&authority, 2100).files("b"),
    ];
    let both = listener(endpoint.address(), &["a", "b"], "");
    let mut proxy = Evenkeel::start_among(&files.concat(), &both);
    assert_eq!(proxy.metric(EXPIRY, &["b.pem\""]), YEAR_2100);
    assert!(proxy.metric(EXPIRY, &["a.pem\""]) < YEAR_2100);
    proxy.reload(&listener(endpoint.address(), &["a"], ""));
    eventually("what is not shown is not told of", || {
        (proxy.metric(EXPIRY, &["b.pem\""]) == 0).then_some(())
    });
    assert_ne!(proxy.metric(EXPIRY, &["a.pem\""]), 0);
}

#[test]
fn a_listener_gets_and_loses_tls_by_a_reload() {
    let authority = Authority::new();
    let hello = Hello::to("shop.test", &authority);
    let endpoint = Endpoint::echo();
    let secure = listener(endpoint.address(), &["a"], "");
    let (plain, _) = secure.split_once("[listener.web.tls]").expect("a table");
    let files = authority.certify(&["shop.test"]).files("a");
    let mut proxy = Evenkeel::start_among(&files, plain);
    let mut before = proxy.client();
    assert_eq!(before.get("/").status, 200);
    proxy.reload(&secure);
    let mut client = hello.begin(proxy.address("web"));
    assert_eq!(client.get("/").status, 200);
    assert_eq!(before.get("/").status, 200);
    proxy.reload(plain);
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(client.get("/").status, 200);
}
