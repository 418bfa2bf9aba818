//! Who may ask the admin API for what: users through the socket, others over TCP, with a token or
//! not.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use rustix::process::geteuid;

use crate::support::client::{Client, Response};
use crate::support::clock::eventually;
use crate::support::evenkeel::Evenkeel;

const WEB: &str = "[listener.web]\nbind = \"@web\"\n[route.all]\nrespond = { status = 204 }\n";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Asks over TCP.
fn ask(address: SocketAddr, request: &str, token: Option<&str>) -> Response {
    let mut client = Client::connect(address);
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let token = token.unwrap_or_default();
    client.send(format!(
        "{request} HTTP/1.1\r\nHost: admin\r\n{token}Connection: close\r\n\r\n"
    ));
    client.response()
}

/// An address of this machine other than loopback's, if it has one. Nothing is sent.
fn outward() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn with_a_token_all_but_probes_and_metrics_needs_it() {
    let files = [("token".to_owned(), format!("{TOKEN}\n"))];
    let config = format!("[admin]\nhttp = \"@admin\"\ntoken_file = \"token\"\n{WEB}");
    let proxy = Evenkeel::start_among(&files, &config);
    let address = proxy.address("admin");
    for open in ["/livez", "/readyz", "/startupz", "/metrics"] {
        assert_eq!(
            ask(address, &format!("GET {open}"), None).status,
            200,
            "{open}"
        );
    }
    let other = TOKEN.replace('0', "1");
    for token in [
        None,
        Some(""),
        Some("0"),
        Some(&*other),
        Some("0123456789abcdef"),
    ] {
        let refused = ask(address, "GET /v1/status", token);
        assert_eq!(refused.status, 401, "{token:?}");
        assert_eq!(refused.head.value("www-authenticate"), Some("Bearer"));
        assert_eq!(
            refused.head.value("content-type"),
            Some("application/problem+json")
        );
    }
    assert_eq!(ask(address, "GET /v1/status", Some(TOKEN)).status, 200);
    assert_eq!(ask(address, "POST /v1/reload", Some(TOKEN)).status, 200);
    let counted = || proxy.metric("evenkeel_admin_refused_total", &["reason=\"token\""]);
    assert_eq!(counted(), 5);

    // It is renewed by a reload; one that is no token changes nothing.
    fs::write(proxy.path("token"), &other).expect("a writable directory");
    assert_eq!(ask(address, "POST /v1/reload", Some(TOKEN)).status, 200);
    eventually("the new token is good", || {
        (ask(address, "GET /v1/status", Some(&other)).status == 200).then_some(())
    });
    assert_eq!(ask(address, "GET /v1/status", Some(TOKEN)).status, 401);
    fs::write(proxy.path("token"), "short").expect("a writable directory");
    assert_eq!(ask(address, "POST /v1/reload", Some(&other)).status, 200);
    eventually("it is told of", || {
        let events = ask(address, "GET /v1/events", Some(&other)).body.text();
        events.contains("admin_token_rejected").then_some(())
    });
    assert_eq!(ask(address, "GET /v1/status", Some(&other)).status, 200);

    // One event, however many were turned away, and the token in none of them.
    let log = proxy.log();
    assert_eq!(log.matches("\"admin_refused\"").count(), 1, "{log}");
    assert!(!log.contains(TOKEN) && !log.contains(&other), "{log}");

    // The command line has it from a file as well.
    let told = |file: &str| {
        Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["status", "--admin", &address.to_string()])
            .env("EVENKEEL_ADMIN_TOKEN_FILE", proxy.path(file))
            .output()
            .expect("the program was built")
    };
    fs::write(proxy.path("mine"), &other).expect("a writable directory");
    assert!(told("mine").status.success());
    assert!(!told("evenkeel.toml").status.success());
    assert!(!told("nowhere").status.success());
}

#[test]
fn metrics_may_be_withheld() {
    let files = [("token".to_owned(), TOKEN.to_owned())];
    let config = format!(
        "[admin]\nhttp = \"@admin\"\ntoken_file = \"token\"\npublic_metrics = false\n{WEB}"
    );
    let proxy = Evenkeel::start_among(&files, &config);
    let address = proxy.address("admin");
    assert_eq!(ask(address, "GET /metrics", None).status, 401);
    assert_eq!(ask(address, "GET /metrics", Some(TOKEN)).status, 200);
    assert_eq!(ask(address, "GET /readyz", None).status, 200);
}

#[test]
fn other_machines_get_probes_and_metrics() {
    let Some(outward) = outward() else {
        return; // a machine without a network has no others
    };
    let config = format!("[admin]\nhttp = \"@admin\"\n{WEB}");
    let mut proxy = Evenkeel::start(&config);
    let port = proxy.address("admin").port();
    proxy.kill();
    let file = proxy.path("evenkeel.toml");
    let text = fs::read_to_string(&file).expect("it was written");
    let text = text.replace(&format!("127.0.0.1:{port}"), &format!(":{port}"));
    fs::write(&file, text).expect("a writable directory");
    proxy.restart();
    let afar = SocketAddr::new(outward, port);
    for open in ["/livez", "/readyz", "/startupz", "/metrics"] {
        assert_eq!(
            ask(afar, &format!("GET {open}"), None).status,
            200,
            "{open}"
        );
    }
    for closed in ["/v1/status", "/v1/config", "/v1/events", "/v1/upstreams"] {
        let refused = ask(afar, &format!("GET {closed}"), None);
        assert_eq!(refused.status, 403, "{closed}");
        assert!(
            refused.body.text().contains("admin.token_file"),
            "{refused:?}"
        );
    }
    assert_eq!(ask(afar, "POST /v1/reload", None).status, 403);
    // The same address by loopback: from this machine, as in a pod.
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(ask(here, "GET /v1/status", None).status, 200);
    assert_eq!(ask(here, "POST /v1/reload", None).status, 403);
}

/// Another user of this machine, in another group; only root can be one.
fn as_user(user: u32, proxy: &Evenkeel) -> std::process::Output {
    use std::os::unix::process::CommandExt;
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["status", "--admin"])
        .arg(proxy.socket())
        .uid(user)
        .gid(user)
        .output()
        .expect("the program was built")
}

#[test]
fn the_socket_is_for_those_who_are_written() {
    let config =
        |more: &str| format!("[admin]\nhttp = \"@admin\"\nsocket = \"SOCKET\"\n{more}\n{WEB}");
    // The folder is known once it runs.
    let start = |more: &str| {
        let mut proxy = Evenkeel::start(&config(more).replace("socket = \"SOCKET\"\n", ""));
        proxy.kill();
        let file = proxy.path("evenkeel.toml");
        let text = fs::read_to_string(&file).expect("it was written");
        let socket = format!("[admin]\nsocket = \"{}\"", proxy.socket().display());
        fs::write(&file, text.replace("[admin]", &socket)).expect("a writable directory");
        proxy.restart();
        proxy
    };
    let proxy = start("");
    let mode = |proxy: &Evenkeel| {
        let file = fs::metadata(proxy.socket()).expect("it is there");
        (file.permissions().mode() & 0o777, file.gid())
    };
    assert_eq!(mode(&proxy).0, 0o600);
    assert!(proxy.command(&["status"]).status.success());

    let own = rustix::process::getegid().as_raw();
    let proxy = start(&format!("group = \"{own}\""));
    assert_eq!(mode(&proxy), (0o660, own));

    // Whoever the file lets in is asked by the kernel who he is.
    let proxy = start("mode = \"0666\"\nallow_users = [\"4711\"]\nallow_groups = [\"4712\"]");
    assert_eq!(mode(&proxy).0, 0o666);
    if !geteuid().is_root() {
        return; // others cannot be tried
    }
    for welcome in [0, 4711, 4712] {
        let output = as_user(welcome, &proxy);
        assert!(output.status.success(), "{welcome}: {output:?}");
    }
    let refused = as_user(4713, &proxy);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("user 4713 may not ask here"),
        "{said}"
    );
    assert_eq!(
        proxy.metric("evenkeel_admin_refused_total", &["reason=\"peer\""]),
        1
    );
    assert_eq!(proxy.events("admin_refused").len(), 1);
}

#[test]
fn doors_that_cannot_be_are_told_of() {
    let files = crate::support::command::Files::new(&[
        ("short", "0123"),
        ("words", "this is not a token but a sentence"),
    ]);
    let run = |admin: &str| {
        let text = format!(
            "[admin]\n{admin}\n[listener.web]\nbind = \"127.0.0.1:0\"\nto = [\"127.0.0.1:1\"]\n"
        );
        fs::write(files.path("evenkeel.toml"), text).expect("a writable directory");
        let done = files.run(&["run", "-c", "evenkeel.toml"]);
        (done, files.run(&["check", "-c", "evenkeel.toml"]))
    };
    for (admin, told) in [
        (
            "token_file = \"nowhere\"",
            "admin.token_file: nowhere: No such file",
        ),
        (
            "token_file = \"short\"",
            "it has 4 characters, and a token at least 16",
        ),
        (
            "token_file = \"words\"",
            "a token is one line of visible ASCII",
        ),
        (
            "allow_users = [\"no-such-user\"]",
            "does not know `no-such-user` as a user",
        ),
        (
            "group = \"no-such-group\"",
            "does not know `no-such-group` as a group",
        ),
        ("mode = \"0999\"", "octal digits"),
    ] {
        let (done, checked) = run(admin);
        assert_eq!(done.code, 1, "{admin}: {}", done.err);
        assert!(done.err.contains(told), "{admin}: {}", done.err);
        // What a token is, is known without a start; who the system knows may differ elsewhere.
        if admin.starts_with("token_file") {
            let told = told.rsplit(": ").next().unwrap_or_default();
            assert_eq!(checked.code, 1, "{admin}: {}", checked.err);
            assert!(checked.err.contains("E0126"), "{admin}: {}", checked.err);
            assert!(checked.err.contains(told), "{admin}: {}", checked.err);
        }
    }
}
