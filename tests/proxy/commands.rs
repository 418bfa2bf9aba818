//! The command line without an instance: what it prints and how it ends.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::port::Port;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(arguments)
        .env_remove("EVENKEEL_CONFIG")
        .env("EVENKEEL_ADMIN", "/nonexistent/admin.sock")
        .output()
        .expect("the program was built")
}

/// Checks a text, and returns the exit code and what was printed.
fn check(name: &str, text: &str, more: &[&str]) -> (Option<i32>, String) {
    let path: PathBuf =
        env::temp_dir().join(format!("evenkeel-{}-{name}.toml", std::process::id()));
    fs::write(&path, text).expect("the temporary directory can be written");
    let file = path.to_str().expect("a plain name");
    let output = run(&[&["check", "--config", file], more].concat());
    fs::remove_file(&path).expect("it was written");
    let printed = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&printed).into_owned(),
    )
}

#[test]
fn check_tells_good_from_bad() {
    let good = "[listener.web]\nbind = \":8080\"\nto = [\"10.0.0.11:3000\"]\n";
    assert_eq!(check("good", good, &[]).0, Some(0));
    let (code, printed) = check(
        "bad",
        &good.replace("bind", "bnid").replace("3000", "x"),
        &[],
    );
    assert_eq!(code, Some(1));
    // All mistakes at once, with their places and advice.
    assert!(
        printed.contains("bad.toml:2:1") && printed.contains("bad.toml:3"),
        "{printed}"
    );
    assert!(printed.contains("bind"), "{printed}");
    let (code, printed) = check("json", "[listener.web]\nbind = 8080\n", &["--json"]);
    assert_eq!(code, Some(1));
    let found: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert!(
        found["diagnostics"]
            .as_array()
            .is_some_and(|list| !list.is_empty()),
        "{found}"
    );
    let test = "[route.a]\nrespond = { status = 204 }\n\
                [[test]]\nrequest = \"GET http://a/\"\nexpect = { status = 404 }\n";
    let (code, printed) = check("test", &format!("{good}{test}"), &[]);
    assert_eq!(code, Some(1), "{printed}");
    let (code, printed) = check(
        "tested",
        &format!("{good}{test}").replace("404", "204"),
        &[],
    );
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn exit_codes_are_those_of_the_manual() {
    assert_eq!(run(&["version"]).status.code(), Some(0));
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(
        run(&["run", "--config", "/nonexistent.toml"]).status.code(),
        Some(1)
    );
    for command in [&["status"][..], &["reload"], &["config", "show"]] {
        assert_eq!(run(command).status.code(), Some(3), "{command:?}");
    }
}

#[test]
fn what_programs_read_can_be_read() {
    let schema = run(&["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).expect("JSON");
    assert!(schema["properties"]["listener"].is_object(), "{schema}");
    let version = run(&["version", "--json"]);
    let version: serde_json::Value = serde_json::from_slice(&version.stdout).expect("JSON");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        let printed = run(&["completions", shell]);
        assert!(
            printed.status.success() && printed.stdout.len() > 1_000,
            "{shell}"
        );
    }
    assert!(String::from_utf8_lossy(&run(&["--help"]).stdout).contains("run"));
}

#[test]
fn no_file_is_needed() {
    let endpoint = Endpoint::says("here");
    let port = Port::reserve();
    let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args([
            "run",
            "--listen",
            &port.address().to_string(),
            "--to",
            &endpoint.address().to_string(),
        ])
        .env_remove("EVENKEEL_CONFIG")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was built");
    eventually("it listens", || {
        std::net::TcpStream::connect(port.address()).ok()
    });
    let mut client = Client::connect(port.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    assert_eq!(response.body.text(), "here");
}

#[test]
fn an_instance_that_cannot_bind_does_not_start() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address().to_string();
    // An entrance that can be opened: they come first.
    let entrance = ["--admin", "127.0.0.1:0"];
    let what = ["run", "--listen", &address, "--to", "127.0.0.1:1"];
    let output = run(&[&what[..], &entrance].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains(&address),
        "{output:?}"
    );
}
