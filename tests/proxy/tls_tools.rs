//! TLS as others speak it: curl and OpenSSL, where they are installed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::openssl::missing;
use crate::support::tls::{Authority, listener};

/// A proxy for `shop.test` beside `authority.pem`.
fn start(endpoint: &Endpoint) -> Evenkeel {
    let authority = Authority::new();
    let mut files = authority.certify(&["shop.test"]).files("a").to_vec();
    files.extend(authority.certify_rsa(&["shop.test"]).files("b"));
    files.push(("authority.pem".to_owned(), authority.pem()));
    Evenkeel::start_among(&files, &listener(endpoint.address(), &["a", "b"], ""))
}

/// Runs a tool with this input; `None` where it is not installed.
fn run(tool: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return skipped(tool),
        Err(error) => panic!("{tool}: {error}"),
    };
    let mut stdin = child.stdin.take().expect("it was asked for");
    // It may have ended by itself.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    Some(child.wait_with_output().expect("our own child"))
}

fn skipped(tool: &str) -> Option<Output> {
    missing(tool);
    None
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn curl_speaks_to_it() {
    let body = "x".repeat(3_000_000);
    let endpoint = Endpoint::says(&body);
    let proxy = start(&endpoint);
    let address = proxy.address("web");
    let port = address.port();
    let resolve = format!("shop.test:{port}:127.0.0.1");
    let url = format!("https://shop.test:{port}/");
    let authority = proxy.path("authority.pem").display().to_string();
    let versions: [&[&str]; 2] = [&["--tlsv1.3"], &["--tls-max", "1.2"]];
    for (number, version) in versions.iter().enumerate() {
        let usual = ["--silent", "--show-error", "--fail", "--noproxy", "*"];
        let trust = ["--cacert", &authority, "--resolve", &resolve];
        // Twice, on one connection.
        let arguments = [&usual[..], &trust, version, &["-d", "@-", &url, &url]].concat();
        let Some(output) = run("curl", &arguments, &body) else {
            return;
        };
        let error = text(&output.stderr);
        assert!(output.status.success(), "{version:?}: {error}");
        assert!(output.stdout == body.repeat(2).as_bytes(), "{version:?}");
        let requests = endpoint.requests();
        assert_eq!(requests.len(), 2 * (number + 1));
        assert!(requests.iter().all(|one| one.body.text() == body));
    }
    let accepted = proxy.metric("evenkeel_connections_accepted_total", &["listener=\"web\""]);
    assert_eq!(accepted, 2, "a connection for each run");
}

#[test]
fn openssl_speaks_to_it() {
    let endpoint = Endpoint::says("hello");
    let proxy = start(&endpoint);
    let address = proxy.address("web").to_string();
    let authority = proxy.path("authority.pem").display().to_string();
    let connect = [
        "s_client",
        "-connect",
        &address,
        "-servername",
        "shop.test",
        "-verify_hostname",
        "shop.test",
        "-verify_return_error",
        "-CAfile",
        &authority,
        "-alpn",
        "http/1.1",
        "-ign_eof",
    ];
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
    for (extra, words) in [
        (
            &["-tls1_3"][..],
            &["TLSv1.3", "ALPN protocol: http/1.1"][..],
        ),
        (&["-tls1_2"], &["TLSv1.2", "ALPN protocol: http/1.1"]),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            &["ECDHE-RSA-AES128-GCM-SHA256", "RSA"],
        ),
        (
            &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256"],
            &["TLSv1.3"],
        ),
    ] {
        let arguments = [&connect[..], extra].concat();
        let Some(output) = run("openssl", &arguments, request) else {
            return;
        };
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{extra:?}: {out}{error}");
        assert!(out.contains("HTTP/1.1 200 OK\r\n"), "{extra:?}: {out}");
        assert!(out.contains("\r\n\r\nhello"), "{extra:?}: {out}");
        for word in words {
            assert!(out.contains(word), "{extra:?}, {word}: {out}");
        }
        // It says so when the end is a cut.
        assert!(!error.contains("unexpected eof"), "{extra:?}: {error}");
    }
}

/// RFC 8996 and RFC 9325 §4: what is known to be broken is not spoken.
#[test]
fn openssl_finds_nothing_that_is_out_of_date() {
    let endpoint = Endpoint::says("hello");
    let proxy = start(&endpoint);
    let address = proxy.address("web").to_string();
    let connect = ["s_client", "-connect", &address, "-servername", "shop.test"];
    let weakest = ["-cipher", "ALL:@SECLEVEL=0"];
    for extra in [
        &["-tls1_1"][..],
        &["-tls1"],
        &["-tls1_2", "-cipher", "AES128-SHA:AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
    ] {
        let old = if extra.len() == 1 { &weakest[..] } else { &[] };
        let arguments = [&connect[..], extra, old].concat();
        let Some(output) = run("openssl", &arguments, "") else {
            return;
        };
        let out = text(&output.stdout);
        assert!(!output.status.success(), "{extra:?}: {out}");
    }
    assert_eq!(endpoint.connections(), 0);
}
