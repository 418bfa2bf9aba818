//! Private keys and the secrets of sessions stay where they are, unless somebody asks for them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use rustls::version::TLS12;

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::port::Port;
use crate::support::tls::{Authority, Certified, Hello, listener};

/// A proxy whose environment names a file for secrets, `secrets`.
fn start(certified: &Certified, endpoint: &Endpoint, lines: &str, folder: &Files) -> Evenkeel {
    let variable = format!("SSLKEYLOGFILE={}\n", folder.path("secrets").display());
    let mut files = certified.files("a").to_vec();
    files.push(("environment".to_owned(), variable));
    let config = format!("{}{lines}\n", listener(endpoint.address(), &["a"], ""));
    Evenkeel::start_among(&files, &config)
}

#[test]
fn secrets_of_sessions_are_written_where_both_say_so() {
    let authority = Authority::new();
    let certified = authority.certify(&["shop.test"]);
    let (endpoint, folder) = (Endpoint::echo(), Files::new(&[]));
    let proxy = start(&certified, &endpoint, "[log]\ntls_keys = true", &folder);
    let hello = Hello::to("shop.test", &authority);
    drop(hello.begin(proxy.address("web")));
    let old = Hello {
        versions: &[&TLS12],
        ..hello
    };
    drop(old.begin(proxy.address("web")));
    let path = folder.path("secrets");
    let written = fs::read_to_string(&path).expect("it was made");
    for label in [
        "CLIENT_TRAFFIC_SECRET_0 ",
        "SERVER_TRAFFIC_SECRET_0 ",
        "CLIENT_RANDOM ",
    ] {
        assert!(written.contains(label), "{label}: {written}");
    }
    let mode = fs::metadata(&path)
        .expect("it was made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads it");
    let warnings = proxy.admin_json("/v1/status")["warnings"].to_string();
    assert!(warnings.contains("log.tls_keys"), "{warnings}");
    assert!(proxy.log().contains("see log.tls_keys"), "at the start");
    assert!(proxy.log().contains("W0321"), "and with its place");
}

/// Who may read the file reads all traffic.
#[test]
fn secrets_are_not_written_for_everybody() {
    let authority = Authority::new();
    let certified = authority.certify(&["shop.test"]);
    let endpoint = Endpoint::echo();
    let lines = "[log]\ntls_keys = true";
    let hello = Hello::to("shop.test", &authority);
    for mode in [0o644, 0o640, 0o604] {
        let folder = Files::new(&[("secrets", "")]);
        let path = folder.path("secrets");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
        let mut proxy = start(&certified, &endpoint, lines, &folder);
        assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
        assert_eq!(fs::read(&path).expect("it is there"), b"", "{mode:o}");
        let log = proxy.log();
        assert!(log.contains("may be read by others"), "{mode:o}: {log}");
        proxy.kill();
    }
    // What is no file cannot be written to.
    let folder = Files::new(&[]);
    fs::create_dir(folder.path("secrets")).expect("a writable directory");
    let proxy = start(&certified, &endpoint, lines, &folder);
    assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
    assert!(proxy.log().contains("cannot be opened"), "{}", proxy.log());
}

#[test]
fn a_variable_alone_is_not_enough() {
    let authority = Authority::new();
    let certified = authority.certify(&["shop.test"]);
    let (endpoint, folder) = (Endpoint::echo(), Files::new(&[]));
    for lines in ["", "[log]\ntls_keys = false"] {
        let mut proxy = start(&certified, &endpoint, lines, &folder);
        let hello = Hello::to("shop.test", &authority);
        assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
        assert!(!folder.path("secrets").exists(), "{lines}");
        assert!(!proxy.log().contains("tls_keys"), "{}", proxy.log());
        proxy.kill();
    }
}

#[test]
fn a_private_key_is_said_nowhere() {
    let authority = Authority::new();
    let certified = authority.certify(&["shop.test"]);
    let (endpoint, folder) = (Endpoint::echo(), Files::new(&[]));
    let proxy = start(&certified, &endpoint, "[log]\nlevel = \"trace\"", &folder);
    let hello = Hello::to("shop.test", &authority);
    assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
    // What fails is told at a level that says most.
    let mut stranger = Client::connect(proxy.address("web"));
    drop(stranger.send("no hello\r\n\r\n").read_to_end());
    // A key that fits no certificate is talked about.
    let other = authority.certify(&["other.test"]);
    fs::write(proxy.path("a.key"), &other.key).expect("a writable directory");
    let mut said = String::new();
    for arguments in [
        &["reload"][..],
        &["check"],
        &["config", "show"],
        &["config", "show", "--effective"],
        &["status"],
        &["--json", "status"],
    ] {
        let output = proxy.command(arguments);
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        said.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    for path in [
        "/v1/config",
        "/v1/certificates",
        "/v1/status",
        "/v1/events",
        "/metrics",
    ] {
        said.push_str(&proxy.admin(path).body.text());
    }
    said.push_str(&proxy.log());
    assert!(said.contains("a.key is not the key of"), "{said}");
    assert!(said.contains("no TLS session"), "{said}");
    for line in certified.key.lines().chain(other.key.lines()) {
        // The last one may be short enough to be anything.
        let is_telling = line.len() > 20 && !line.starts_with("-----");
        assert!(!is_telling || !said.contains(line), "a line of a key");
    }
    assert!(!said.contains("PRIVATE KEY"));
}

/// An instance that may leave a core dump as far as the system is concerned.
struct Instance {
    child: Child,
    files: Files,
    ports: [Port; 2],
}

/// Begins a command on the configuration of these files.
fn begun(command: &str, files: &Files) -> Child {
    let program = env!("CARGO_BIN_EXE_evenkeel");
    let config = files.path("evenkeel.toml");
    Command::new("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh", program])
        .args([command, "--config", "evenkeel.toml"])
        .current_dir(config.parent().expect("it has a folder"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a shell")
}

impl Instance {
    fn start(certified: &Certified, config: impl FnOnce(&[Port; 2]) -> String) -> Self {
        let ports = [Port::reserve(), Port::reserve()];
        let files = Files::new(&[
            ("evenkeel.toml", &config(&ports)),
            ("a.pem", &certified.cert),
            ("a.key", &certified.key),
        ]);
        let child = begun("run", &files);
        let instance = Self {
            child,
            files,
            ports,
        };
        instance.wait_for(0);
        instance
    }

    fn wait_for(&self, port: usize) {
        let address = self.ports[port].address();
        eventually("it listens", || std::net::TcpStream::connect(address).ok());
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process has an id"), signal).expect("our own child");
    }

    /// Ends it as a fault of the program would.
    fn abort(mut self) -> ExitStatus {
        self.signal(Signal::ABORT);
        let status = self.child.wait().expect("our own child");
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
        status
    }
}

fn plain(port: &Port) -> String {
    let address = port.address();
    format!("[listener.plain]\nbind = \"{address}\"\nto = [\"127.0.0.1:1\"]\n")
}

fn secure(port: &Port) -> String {
    listener(Port::reserve().address(), &["a"], "").replace("@web", &port.address().to_string())
}

#[test]
fn a_process_that_has_keys_leaves_no_core_dump() {
    let certified = Authority::new().certify(&["shop.test"]);
    let usual = Instance::start(&certified, |ports| plain(&ports[0])).abort();
    if !usual.core_dumped() {
        return skipped("this system keeps no core dumps");
    }
    let forbidden = Instance::start(&certified, |ports| {
        format!("core_dumps = false\n{}", plain(&ports[0]))
    });
    assert!(!forbidden.abort().core_dumped(), "forbidden");
    let with_keys = Instance::start(&certified, |ports| secure(&ports[0]));
    assert!(!with_keys.abort().core_dumped(), "with keys");
    let allowed = Instance::start(&certified, |ports| {
        format!("core_dumps = true\n{}", secure(&ports[0]))
    });
    assert!(allowed.abort().core_dumped(), "allowed");
    // Keys that come with a reload stay in memory when they have gone from the configuration.
    let instance = Instance::start(&certified, |ports| plain(&ports[0]));
    let both = plain(&instance.ports[0]) + &secure(&instance.ports[1]);
    let config = instance.files.path("evenkeel.toml");
    fs::write(&config, both).expect("a writable directory");
    instance.signal(Signal::HUP);
    instance.wait_for(1);
    fs::write(&config, plain(&instance.ports[0])).expect("a writable directory");
    instance.signal(Signal::HUP);
    let address = instance.ports[1].address();
    eventually("it has gone", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    drop(Client::connect(instance.ports[0].address()));
    assert!(!instance.abort().core_dumped(), "since a reload");
}

/// A key that nobody writes into: who checks it waits, and has asked for no dump before.
#[test]
fn a_check_leaves_no_core_dump_and_ends() {
    let certified = Authority::new().certify(&["shop.test"]);
    let files = Files::new(&[
        ("evenkeel.toml", &secure(&Port::reserve())),
        ("a.pem", &certified.cert),
    ]);
    let path = files.path("a.key");
    mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).expect("a writable directory");
    let done = files.run(&["check", "--config", "evenkeel.toml"]);
    assert_eq!(done.code, 1, "{done:?}");
    let said = done.err + &done.out;
    assert!(said.contains("E0124"), "{said}");
    assert!(said.contains("not read within"), "{said}");
    let mut child = begun("check", &files);
    // It is opened once somebody reads it.
    let writer = fs::File::options().write(true).open(&path);
    let writer = writer.expect("a file for it");
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process has an id"), Signal::ABORT).expect("our own child");
    let status = child.wait().expect("our own child");
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped(), "{status:?}");
    drop(writer);
}

#[expect(
    clippy::print_stderr,
    reason = "a test that did not run must not look as if it had"
)]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
