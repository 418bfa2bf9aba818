//! `evenkeel doctor`: what it finds, with and without a running instance.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::Authority;

/// The findings of one check: level and text.
fn findings(report: &Value, check: &str) -> Vec<(String, String)> {
    let all = report["findings"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.filter(|one| one["check"] == check)
        .map(|one| {
            (
                text(&one["level"]),
                format!("{} {}", text(&one["what"]), text(&one["do"])),
            )
        })
        .collect()
}

fn report(out: &str) -> Value {
    serde_json::from_str(out).expect("JSON")
}

#[test]
fn a_machine_that_is_fit_has_nothing_bad() {
    let files = Files::new(&[(
        "a.toml",
        "state_dir = 'state'\n[admin]\nsocket = 'admin.sock'\n[listener.web]\nbind = '127.0.0.1:0'\nto = ['localhost:80']\n",
    )]);
    let done = files.run(&["doctor", "--config", "a.toml", "--json"]);
    let report = report(&done.out);
    assert_eq!(
        (done.code, &report["bad"]),
        (0, &Value::from(0)),
        "{}",
        done.out
    );
    for check in [
        "configuration",
        "instance",
        "limits",
        "ports",
        "clock",
        "dns",
        "cgroup",
        "state_dir",
        "kernel",
    ] {
        assert!(!findings(&report, check).is_empty(), "{check}");
    }
    let text = files.run(&["doctor", "--config", "a.toml"]);
    assert!(text.out.contains("localhost has"), "{}", text.out);
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let config = format!(
        "state_dir = '/proc/nothing'\n[admin]\nsocket = 'admin.sock'\n\
         [listener.web]\nbind = '{address}'\nto = ['nowhere.invalid:80']\n"
    );
    let files = Files::new(&[
        ("a.toml", &config),
        ("broken.toml", "[listener.web]\nbnd = 1\n"),
    ]);
    let done = files.run(&["doctor", "--config", "a.toml", "--json"]);
    assert_eq!(done.code, 1);
    let report = report(&done.out);
    let one = |check| findings(&report, check).remove(0);
    let (level, text) = one("ports");
    assert_eq!(level, "bad");
    let process = format!("process {}", std::process::id());
    assert!(text.contains("in use") && text.contains(&process), "{text}");
    let (level, text) = one("dns");
    assert!(level == "bad" && text.contains("nowhere.invalid"), "{text}");
    let (level, text) = one("state_dir");
    assert!(level == "bad" && text.contains("/proc/nothing"), "{text}");
    let done = files.run(&["doctor", "--config", "broken.toml"]);
    assert_eq!(done.code, 1);
    assert!(
        done.out.contains("needs `bind`") && done.out.contains("evenkeel check"),
        "{}",
        done.out
    );
}

#[test]
fn a_key_that_all_can_read_is_bad() {
    let [(_, cert), (_, key)] = Authority::new().certify(&["a.test"]).files("a");
    let config = "[admin]\nsocket = 'admin.sock'\n[listener.web]\nbind = '127.0.0.1:0'\nto = ['127.0.0.1:1']\n\
                  [listener.web.tls]\ncertificates = [{ cert = 'a.pem', key = 'a.key' }]\n";
    let files = Files::new(&[("a.toml", config), ("a.pem", &cert), ("a.key", &key)]);
    let mode = |mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(files.path("a.key"), permissions).expect("ours");
        let done = files.run(&["doctor", "--config", "a.toml", "--json"]);
        let report = report(&done.out);
        let found = findings(&report, "certificates");
        found
            .iter()
            .any(|(level, text)| level == "bad" && text.contains("every user"))
    };
    assert!(mode(0o644));
    assert!(!mode(0o640));
}

#[test]
fn the_ports_of_the_running_instance_are_its_own() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let output = proxy.command(&["doctor", "--json"]);
    let report = report(&String::from_utf8_lossy(&output.stdout));
    let (level, text) = findings(&report, "ports").remove(0);
    assert!(
        level == "ok" && text.contains("the instance accepts"),
        "{text}"
    );
    assert_eq!(findings(&report, "instance")[0].0, "ok");
}
