//! The example configurations: each is checked as it stands, and started.
//!
//! An example that does not work is worse than none, since it is what people begin with.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use support::client::Client;
use support::command::Files;
use support::evenkeel::Evenkeel;
use support::tls::Authority;

/// A listener's name, or its path, and the word of what it takes.
type Listening = (String, &'static str);

/// Every file of `config/`.
fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect()
}

#[test]
fn each_is_without_fault() {
    let examples = examples();
    assert!(!examples.is_empty());
    let certificates = certificates();
    let certificates = certificates.iter().map(|(name, text)| (&**name, &**text));
    let certificates: Vec<_> = certificates.collect();
    for path in examples {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("plain names");
        let text = fs::read_to_string(&path).expect("text");
        let files = Files::new(&[&certificates[..], &[(name, &*text)]].concat());
        let done = files.run(&["check", "--strict", "--config", name]);
        assert_eq!(done.code, 0, "{name}: {}", done.err);
    }
}

#[test]
fn each_starts_and_listens() {
    let files = certificates();
    for path in examples() {
        let text = fs::read_to_string(&path).expect("text");
        let (config, listeners) = with_free_ports(&text);
        let proxy = Evenkeel::start_among(&files, &config);
        assert!(!listeners.is_empty(), "{}", path.display());
        for listener in listeners {
            let (listener, protocol) = listener;
            if protocol == "unix" {
                assert!(UnixListener::bind(&listener).is_err(), "{listener} is free");
                continue;
            }
            let address = proxy.address(&listener);
            if protocol == "udp" {
                assert!(UdpSocket::bind(address).is_err(), "{address} is free");
            } else {
                // Panics when nobody listens.
                drop(Client::connect(address));
            }
        }
    }
}

/// The certificates that examples name, which each reader brings along.
fn certificates() -> Vec<(String, String)> {
    let authority = Authority::new();
    let named = ["example.com", "example.org"].map(|name| {
        let certified = authority.certify(&[name, &format!("*.{name}")]);
        certified.files(&format!("tls/{name}"))
    });
    let clients = [
        ("tls/clients-ca.pem", authority.pem()),
        ("tls/internal-ca.pem", authority.pem()),
        ("tls/clients.crl", authority.revokes(&[], 2100)),
    ]
    .map(|(name, text)| (name.to_owned(), text));
    named.into_iter().flatten().chain(clients).collect()
}

/// The text with a free port for each address that it binds, and the names that these have, each
/// with the word of what is bound.
fn with_free_ports(text: &str) -> (String, Vec<Listening>) {
    let mut names = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        match key {
            "bind" if line.contains("unix:/") => {
                let name = format!("evenkeel-example-{}.sock", std::process::id());
                let path = std::env::temp_dir().join(name).display().to_string();
                lines.push(format!("bind = \"unix:{path}\""));
                names.push((path, "unix"));
            }
            "bind" => {
                let name = format!("listener{}", names.len());
                lines.push(format!("bind = \"@{name}\""));
                names.push((name, "tcp"));
            }
            "protocols" if line.contains("udp") => {
                lines.push(line.to_owned());
                names.last_mut().expect("`bind` comes first").1 = "udp";
            }
            // The admin's; probes are tables.
            // There is no application behind an example.
            "ready_when" => {}
            "http" if line.contains(":9901") => lines.push("http = \"@admin\"".to_owned()),
            _ => lines.push(line.to_owned()),
        }
    }
    (lines.join("\n"), names)
}
