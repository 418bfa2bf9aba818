//! `evenkeel bundle`: what is in it, and what must not be.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::command::{Done, Files};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// One of each kind, none of which is in any other.
const PLANTED: [&str; 9] = [
    "planted-inline-authorization",
    "planted-in-a-file-of-a-field",
    "planted-cookie-field",
    "planted-url-password",
    "planted-override-value",
    "planted-variable-value",
    "planted-in-a-comment-token",
    "planted-in-a-sticky-file-0123456789abcdef",
    "cGxhbnRlZC1wcml2YXRlLWtleQ",
];

/// A configuration with all of them, as far as one can write them into one.
fn config(files: &Files, address: &str) -> String {
    let token = files.path("token").display().to_string();
    let sticky = files.path("sticky").display().to_string();
    format!(
        "# api_token = \"planted-in-a-comment-token\"\n\
         # see https://ann:planted-url-password@wiki.example.com/\n\
         # -----BEGIN PRIVATE KEY-----\n# cGxhbnRlZC1wcml2YXRlLWtleQ\n# -----END PRIVATE KEY-----\n\
         [listener.web]\nbind = \"@web\"\n\
         [route.all]\nupstream = \"app\"\n\
         [route.all.request_headers.set]\n\
         authorization = \"Bearer planted-inline-authorization\"\n\
         x-inner = \"v1 ${{file:{token}}}\"\n\
         cookie = \"sid=planted-cookie-field\"\n\
         x-outer = \"${{PLANTED_TOKEN}}\"\n\
         x-over = \"none\"\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n\
         [upstream.app.sticky]\nsecret = \"${{file:{sticky}}}\"\n"
    )
}

fn planted() -> Files {
    Files::new(&[
        ("token", "planted-in-a-file-of-a-field\n"),
        ("sticky", "planted-in-a-sticky-file-0123456789abcdef"),
    ])
}

/// The files of the archive: name and text, as the system's own tar has them.
fn unpacked(files: &Files, archive: &str) -> Vec<(String, String)> {
    let list = Command::new("tar")
        .args(["-tf", archive])
        .current_dir(files.path(""))
        .output()
        .expect("there is tar");
    assert!(
        list.status.success(),
        "{}",
        String::from_utf8_lossy(&list.stderr)
    );
    let names = String::from_utf8_lossy(&list.stdout).into_owned();
    names
        .lines()
        .map(|name| {
            let file = Command::new("tar")
                .args(["-xOf", archive, name])
                .current_dir(files.path(""))
                .output()
                .expect("there is tar");
            let text = String::from_utf8_lossy(&file.stdout).into_owned();
            (name.to_owned(), text)
        })
        .collect()
}

/// What a bundle with this configuration and these variables has in it, which is no secret.
fn bundled(
    files: &Files,
    archive: &str,
    config: &str,
    environment: &[(&str, PathBuf)],
) -> Vec<(String, String)> {
    let mut command = files.command(&["bundle", "--config", config, "--output", archive]);
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
    let done = Done::from(command.output().expect("the program was built"));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_clean(files, archive);
    unpacked(files, archive)
}

fn assert_clean(files: &Files, archive: &str) {
    for (name, text) in unpacked(files, archive) {
        for secret in PLANTED {
            assert!(!text.contains(secret), "{secret} is in {name}:\n{text}");
        }
    }
    let raw = fs::read(files.path(archive)).expect("it was written");
    let raw = String::from_utf8_lossy(&raw);
    assert!(PLANTED.iter().all(|secret| !raw.contains(secret)));
}

fn text_of(unpacked: &[(String, String)], end: &str) -> String {
    let found = unpacked.iter().find(|(name, _)| name.ends_with(end));
    found.unwrap_or_else(|| panic!("no {end}")).1.clone()
}

#[test]
fn of_a_running_instance_it_has_all_but_the_secrets() {
    let endpoint = Endpoint::echo();
    let files = planted();
    let environment = "PLANTED_TOKEN=planted-variable-value\n\
        EVENKEEL__ROUTE__ALL__REQUEST_HEADERS__SET__AUTHORIZATION=Bearer planted-override-value";
    let proxy = Evenkeel::start_among(
        &[("environment".to_owned(), environment.to_owned())],
        &config(&files, &endpoint.address().to_string()),
    );
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let sent = endpoint.request();
    let sent = format!("{sent:?}");
    assert!(
        sent.contains("planted-override-value"),
        "the secrets are in use: {sent}"
    );
    // Whoever makes it does not have the variables of the instance.
    let config = proxy.path("evenkeel.toml").display().to_string();
    let at = ("EVENKEEL_ADMIN", proxy.socket());
    let unpacked = bundled(&files, "a.tar", &config, &[at]);
    assert!(text_of(&unpacked, "config/0.toml").contains("[upstream.app]"));
    assert!(text_of(&unpacked, "instance/config.toml").contains("[listener.web"));
    assert!(text_of(&unpacked, "instance/status.json").contains("\"uptime_s\""));
    assert!(text_of(&unpacked, "instance/metrics.txt").contains("evenkeel_http_requests_total"));
    assert!(text_of(&unpacked, "instance/events.json").contains("\"events\""));
    assert!(text_of(&unpacked, "doctor.txt").contains("limits"));
    assert!(text_of(&unpacked, "machine/limits.txt").contains("Max open files"));
    assert!(text_of(&unpacked, "machine/kernel.txt").contains("Linux"));
    // It is not written over what is there.
    let again = proxy.command(&[
        "bundle",
        "--output",
        &files.path("a.tar").display().to_string(),
    ]);
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn without_an_instance_and_with_a_broken_file_it_is_made_as_well() {
    let files = planted();
    let text = config(&files, "127.0.0.1:1").replace("\"@web\"", "\"127.0.0.1:0\"");
    fs::write(
        files.path("a.toml"),
        format!("{text}\n[listener.web]\nbnd = 7\n"),
    )
    .expect("writable");
    let environment = [
        ("EVENKEEL_ADMIN", files.path("none.sock")),
        ("PLANTED_TOKEN", "planted-variable-value".into()),
    ];
    let unpacked = bundled(&files, "b.tar", "a.toml", &environment);
    assert!(text_of(&unpacked, "missing.txt").contains("none answers"));
    assert!(text_of(&unpacked, "config/check.json").contains("bnd"));
}

#[test]
fn the_log_is_part_of_it_if_it_is_a_file() {
    let files = planted();
    let log = files.path("log").display().to_string();
    let config = format!(
        "[log]\noutput = \"{log}\"\n[listener.web]\nbind = '127.0.0.1:0'\nto = ['127.0.0.1:1']\n"
    );
    fs::write(files.path("a.toml"), config).expect("writable");
    fs::write(
        files.path("log"),
        "first line\n{\"password\":\"planted-override-value\"}\n\
         GET /?access_token=planted-variable-value\nAuthorization: Bearer planted-inline-authorization\n",
    )
    .expect("writable");
    let unpacked = bundled(&files, "c.tar", "a.toml", &[]);
    assert!(text_of(&unpacked, "log.txt").contains("first line"));
}
