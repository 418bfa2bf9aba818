//! `evenkeel check` holds the names of certificates against the hosts of routes.

use crate::support::command::Files;
use crate::support::tls::Authority;

/// What `check` says of these listeners and routes, with two certificates.
fn said(config: &str) -> String {
    let authority = Authority::new();
    let shop = authority.certify(&["shop.test", "*.shop.test"]);
    let blog = authority.certify(&["Blog.test"]);
    let site = "[upstream.site]\nendpoints = [\"127.0.0.1:9\"]\n";
    let files = Files::new(&[
        ("evenkeel.toml", &format!("{config}\n{site}")),
        ("shop.pem", &shop.cert),
        ("shop.key", &shop.key),
        ("blog.pem", &blog.cert),
        ("blog.key", &blog.key),
    ]);
    let done = files.run(&["check", "--config", "evenkeel.toml"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let strict = files.run(&["check", "--strict", "--config", "evenkeel.toml"]);
    assert_eq!(strict.code == 0, done.err.is_empty(), "{}", done.err);
    done.err
}

fn secure(name: &str, port: u16, certificates: &[&str], lines: &str) -> String {
    let pair = |name: &&str| format!("{{ cert = \"{name}.pem\", key = \"{name}.key\" }}");
    let pairs: Vec<String> = certificates.iter().map(pair).collect();
    let pairs = pairs.join(", ");
    format!(
        "[listener.{name}]\nbind = \"127.0.0.1:{port}\"\n{lines}\n\
         tls = {{ certificates = [{pairs}] }}\n"
    )
}

fn route(name: &str, hosts: &str, lines: &str) -> String {
    format!("[route.{name}]\nhosts = [{hosts}]\nupstream = \"site\"\n{lines}\n")
}

#[test]
fn names_that_fit_are_not_talked_about() {
    let both = secure("a", 1, &["shop", "blog"], "");
    let all = route("r", "\"SHOP.test\", \"*.shop.test\", \"blog.test.\"", "");
    for config in [
        format!("{both}{all}"),
        // What has no hosts may be asked for by any name, and so may the listener's own upstream.
        format!("{both}[route.r]\nupstream = \"site\""),
        format!(
            "{both}{}[route.s]\npath = \"/s\"\nupstream = \"site\"",
            route("r", "\"shop.test\"", "")
        ),
        secure("a", 1, &["shop"], "upstream = \"site\""),
        // One of two listeners has it.
        format!(
            "{}{}{all}",
            secure("a", 1, &["shop"], "upstream = \"site\""),
            secure("b", 2, &["blog"], "upstream = \"site\"")
        ),
        // It is meant for another listener, which has no TLS.
        format!(
            "{}[listener.b]\nbind = \"127.0.0.1:2\"\n{}",
            secure("a", 1, &["blog"], "upstream = \"site\""),
            route("r", "\"inner.test\"", "listener = \"b\"")
        ),
        // Who asks for an address names nothing.
        format!(
            "{}{}",
            secure("a", 1, &["blog"], "upstream = \"site\""),
            route("r", "\"192.0.2.1\", \"[2001:db8::1]\"", "")
        ),
    ] {
        assert_eq!(said(&config), "", "{config}");
    }
}

#[test]
fn a_host_without_a_certificate_is_told_with_its_place() {
    let listener = secure("a", 1, &["shop", "blog"], "upstream = \"site\"");
    let hosts = "\"a.shop.test\", \"b.a.shop.test\", \"*.blog.test\"";
    let said = said(&format!("{listener}{}", route("r", hosts, "")));
    assert_eq!(said.matches("warning[W0318]").count(), 2, "{said}");
    for part in [
        "host `b.a.shop.test` of route `r`",
        "host `*.blog.test` of route `r`",
        "evenkeel.toml:6:25",
        "asked for over TLS at `a`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_name_that_nothing_is_served_for_is_told_with_its_place() {
    let listener = secure("a", 1, &["shop", "blog"], "");
    let said = said(&format!(
        "{listener}{}",
        route("r", "\"www.shop.test\"", "")
    ));
    assert_eq!(said.matches("warning[W0319]").count(), 2, "{said}");
    for part in [
        "is for `shop.test`",
        "is for `blog.test`",
        "evenkeel.toml:4:",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("`*.shop.test`"), "{said}");
}
