//! DNS through it, by a real server: BIND, where it is installed. `EVENKEEL_DNS=required` says that
//! it must be.

use std::env;
use std::fs;
use std::process::{Child, Command, Stdio};

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::evenkeel::Evenkeel;
use crate::support::port::Port;
use crate::udp::{await_metric, metric};

/// A name server that knows one zone, which ends with this.
struct NameServer {
    child: Child,
    port: Port,
    _files: Files,
}

impl NameServer {
    /// One whose zone says this of `who.example.`; `None` where BIND is not installed.
    fn start(says: &str) -> Option<Self> {
        let zone = format!(
            "$TTL 60\n@ SOA ns.example. root.example. 1 1h 1h 1h 1h\n@ NS ns.example.\n\
             ns A 127.0.0.1\nwho TXT \"{says}\"\nlong TXT \"{}\" \"{}\"\n",
            "a".repeat(250),
            "b".repeat(250)
        );
        let port = Port::reserve();
        let files = Files::new(&[("example.zone", &zone)]);
        let folder = files.path("");
        let text = format!(
            "options {{ directory \"{folder}\"; listen-on port {number} {{ 127.0.0.1; }};\n\
             listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; recursion no;\n\
             dnssec-validation no; managed-keys-directory \"{folder}\"; }};\n\
             controls {{ }};\nzone \"example\" {{ type primary; file \"example.zone\"; }};\n",
            folder = folder.display(),
            number = port.address().port()
        );
        fs::write(files.path("named.conf"), text).expect("a writable directory");
        let child = Command::new("named")
            .arg("-g")
            .arg("-c")
            .arg(files.path("named.conf"))
            .args(["-n", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(files.path("named.log")).expect("a writable directory"))
            .spawn();
        if child.is_err() || Command::new("dig").arg("-v").output().is_err() {
            missing();
        }
        let server = Self {
            child: child.ok()?,
            port,
            _files: files,
        };
        let address = server.port.address();
        eventually("the name server answers", || {
            let answer = ask(
                address.port(),
                &["who.example", "TXT", "+tries=1", "+time=1"],
            );
            answer.contains(says).then_some(())
        });
        Some(server)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a test that did not run must not look as if it had"
)]
fn missing() {
    let is_required = env::var("EVENKEEL_DNS").is_ok_and(|value| value == "required");
    assert!(!is_required, "named and dig are not installed");
    eprintln!("skipped: named and dig are not installed");
}

/// What `dig` says.
fn ask(port: u16, question: &[&str]) -> String {
    let output = Command::new("dig")
        .args([
            "@127.0.0.1",
            "-p",
            &port.to_string(),
            "+noall",
            "+answer",
            "+comments",
        ])
        .args(question)
        .output()
        .expect("dig runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A question for `who.example.`, TXT, as a health check asks it, and that it succeeded.
const HEALTH: &str = "health = { interval = \"1s\", udp = { \
    send = \"hex: abcd 0000 0001 0000 0000 0000 03 77686f 07 6578616d706c65 00 0010 0001\", \
    expect = \"hex: abcd 84 00 0001 0001\" } }";

#[test]
fn names_are_looked_up_through_it() {
    let (Some(one), Some(two)) = (NameServer::start("first"), NameServer::start("second")) else {
        return;
    };
    let proxy = Evenkeel::start(&format!(
        "[listener.dns]\nbind = \"@dns\"\nprotocols = [\"udp\"]\nupstream = \"dns\"\n\
         [listener.dns-tcp]\nbind = \"@dns\"\nprotocols = [\"tcp\"]\nupstream = \"dns\"\n\
         [upstream.dns]\nbalance = \"round_robin\"\nendpoints = [\"{}\", \"{}\"]\n{HEALTH}\n",
        one.port.address(),
        two.port.address()
    ));
    let port = proxy.address("dns").port();
    for server in [&one, &two] {
        let address = server.port.address().to_string();
        await_metric(
            &proxy,
            "evenkeel_endpoint_state",
            &[&address, "healthy"],
            1.0,
        );
    }
    let answers: Vec<String> = (0..4).map(|_| ask(port, &["who.example", "TXT"])).collect();
    for says in ["first", "second"] {
        let times = answers
            .iter()
            .filter(|answer| answer.contains(says))
            .count();
        assert_eq!(times, 2, "{answers:?}");
    }
    let none = ask(port, &["nobody.example", "A"]);
    assert!(none.contains("NXDOMAIN"), "{none}");
    // Longer than a datagram without EDNS may be: `dig` asks again over TCP, at the same port.
    let long = ask(port, &["long.example", "TXT", "+noedns"]);
    assert!(long.contains("aaaa") && long.contains("bbbb"), "{long}");
    let long = ask(port, &["long.example", "TXT", "+bufsize=1232", "+ignore"]);
    assert!(long.contains("aaaa") && long.contains("bbbb"), "{long}");
    drop(one);
    let answer = ask(port, &["who.example", "TXT", "+tries=5", "+time=1"]);
    assert!(answer.contains("second"), "{answer}");
    assert!(metric(&proxy, "evenkeel_udp_datagrams_total", &["dns", "received"]) > 6.5);
}
