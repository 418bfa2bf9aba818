//! Routes with `server_name`, beside everything else.

use super::*;

/// Two listeners, with these routes and lines.
fn found(raw: &str, routes: &str) -> Vec<&'static str> {
    let text = format!(
        "[listener.https]\nbind = ':8443'\n\
         tls = {{ certificates = [{{ cert = 'a.pem', key = 'a.key' }}] }}\n\
         [listener.raw]\nbind = ':5433'\nprotocols = ['tcp']\n{raw}\n\
         [route.all]\nupstream = 'a'\n{routes}\n[upstream.a]\nendpoints = ['a:1']\n"
    );
    codes(&load_text("test.toml", &text, &Nothing))
}

/// A route with these lines.
fn route(name: &str, lines: &str) -> String {
    format!("[route.{name}]\nupstream = 'a'\n{lines}\n")
}

#[test]
fn a_relay_needs_a_target_or_a_name() {
    let named = route("n", "listener = 'raw'\nserver_name = ['n.test']");
    assert_eq!(found("", ""), ["E0209"]);
    assert_eq!(found("", &named), [""; 0]);
    assert_eq!(found("to = ['a:2']", &named), [""; 0]);
    // It reads nothing else of a connection.
    let requests = route("n", "listener = 'raw'\nhosts = ['n.test']");
    assert_eq!(found("to = ['a:2']", &requests), ["E0210"]);
}

#[test]
fn time_limits_are_those_of_connections() {
    let limits = "timeouts = { tls_handshake = '5s', tunnel_idle = '9m' }";
    let named = route(
        "n",
        "listener = 'raw'\nserver_name = ['*']\ntimeouts = { connect = '1s', tunnel_idle = '1m' }",
    );
    assert_eq!(found(limits, &named), [""; 0]);
    assert_eq!(found(&format!("to = ['a:2']\n{limits}"), ""), ["E0211"]);
    let request = named.replace("connect", "request");
    assert_eq!(found("", &request), ["E0211"]);
}

#[test]
fn what_differs_is_no_double() {
    let here = "listener = 'https'\nserver_name = ['n.test', '*.n.test', 'N.test.']";
    let first = route("a", here);
    for (other, codes) in [
        (
            route("b", "listener = 'raw'\nserver_name = ['n.test']"),
            &[][..],
        ),
        (
            route("b", "listener = 'https'\nserver_name = ['m.test']"),
            &[],
        ),
        (
            route("b", "listener = 'https'\nserver_name = ['*.b.n.test']"),
            &[],
        ),
        (route("b", &format!("{here}\nalpn = ['h2']")), &[]),
        (route("b", "hosts = ['n.test']"), &[]),
        (route("b", here), &["E0230"]),
        (
            route("b", "listener = 'https'\nhosts = ['x.n.test']"),
            &["W0317"],
        ),
        (
            route("b", "listener = 'https'\nhosts = ['x.n.test', 'm.test']"),
            &[],
        ),
    ] {
        let routes = [&*first, &*other].concat();
        assert_eq!(found("to = ['a:2']", &routes), codes, "{other}");
    }
}

#[test]
fn nothing_is_said_of_what_may_be_meant() {
    // The listener's table has a mistake: it may be `tls` that is misspelt.
    let text = "[listener.web]\nbind = ':8443'\ntsl = 1\n\
                [route.n]\nlistener = 'web'\nserver_name = ['n.test']\nupstream = 'a'\n\
                [upstream.a]\nendpoints = ['a:1']\n";
    let outcome = load_text("test.toml", text, &Nothing);
    assert_eq!(codes(&outcome), ["E0102"]);
}
