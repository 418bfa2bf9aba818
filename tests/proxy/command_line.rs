//! Commands as shells and scripts see them: streams, codes, files and variables.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::command::{Done, Files};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::port::Port;

const GOOD: &str = "[listener.web]\nbind = \":8080\"\nto = [\"10.0.0.11:3000\"]\n";

/// An instance that this test has started by hand, ended when this goes.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the program was built"))
    }

    /// SIGTERM, and the exit code.
    fn end(mut self) -> Option<i32> {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process has an id"), Signal::TERM).expect("it runs");
        let ended = eventually("it ends", || self.0.try_wait().expect("our own child"));
        ended.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn results_go_to_one_stream_and_all_else_to_the_other() {
    let warned = format!("{GOOD}[upstream.unused]\nendpoints = [\"10.0.0.1:80\"]\n");
    let wrong = GOOD.replace("bind", "bnid");
    let files = Files::new(&[("good", GOOD), ("warned", &warned), ("wrong", &wrong)]);
    let check = |arguments: &[&str]| files.run(&[&["check"], arguments].concat());

    let good = check(&["good"]);
    assert_eq!((good.code, good.err.as_str()), (0, ""));
    assert_eq!(good.out, "good: fine (0 warnings, 0 tests)\n");
    let warned = check(&["warned"]);
    assert_eq!(warned.code, 0);
    assert!(warned.err.contains("warning[W0304]"), "{warned:?}");
    assert_eq!(warned.out, "warned: fine (1 warning, 0 tests)\n");
    let wrong = check(&["wrong"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
    assert!(wrong.err.contains("error[E0102]"), "{wrong:?}");
    assert!(wrong.err.contains("wrong:2:1"), "{wrong:?}");
    assert!(wrong.err.contains("+ bind = \":8080\""), "{wrong:?}");
    assert!(!wrong.err.contains('\x1b'), "colours are for terminals");

    let strict = check(&["--strict", "warned"]);
    assert_eq!((strict.code, strict.out.as_str()), (1, ""));
    assert_eq!(check(&["--strict", "good"]).code, 0);
    let quiet = check(&["--quiet", "good"]);
    assert_eq!(
        (quiet.code, quiet.out.as_str(), quiet.err.as_str()),
        (0, "", "")
    );
    let quiet = check(&["--quiet", "wrong"]);
    assert!(quiet.code == 1 && quiet.err.contains("E0102"), "{quiet:?}");
    let coloured = check(&["--color", "always", "wrong"]);
    assert!(coloured.err.contains('\x1b'), "{coloured:?}");
}

#[test]
fn findings_can_be_read_by_programs() {
    let wrong = GOOD.replace("bind", "bnid").replace("3000", "x");
    let files = Files::new(&[("wrong", &wrong), ("good", GOOD)]);
    let wrong = files.run(&["check", "--json", "wrong"]);
    assert_eq!((wrong.code, wrong.err.as_str()), (1, ""));
    let report: Value = serde_json::from_str(&wrong.out).expect("JSON");
    assert_eq!(report["valid"], false);
    let list = report["diagnostics"].as_array().expect("a list");
    let codes: Vec<_> = list.iter().filter_map(|one| one["code"].as_str()).collect();
    for code in ["E0102", "E0103", "E0106"] {
        assert!(codes.contains(&code), "{code} is missing in {codes:?}");
    }
    let good = files.run(&["check", "--json", "good"]);
    let report: Value = serde_json::from_str(&good.out).expect("JSON");
    assert_eq!((good.code, &report["valid"]), (0, &true.into()));
}

#[test]
fn mistakes_of_all_files_are_told_at_once() {
    let files = Files::new(&[
        (
            "main.toml",
            "include = [\"*.part\"]\n[listener.web]\nbind = \"nowhere\"\n",
        ),
        ("a.part", "[route.a]\nupstream = \"missing\"\n"),
        ("b.part", "[route.b]\nrespond = { status = 999 }\n"),
    ]);
    let done = files.run(&["check", "main.toml"]);
    assert_eq!(done.code, 1);
    for place in ["main.toml:3:", "a.part:2:", "b.part:2:"] {
        assert!(
            done.err.contains(place),
            "{place} is missing in:\n{}",
            done.err
        );
    }
}

#[test]
fn wrong_use_is_exit_code_2() {
    let files = Files::new(&[("good", GOOD)]);
    for arguments in [
        &[][..],
        &["nonsense"],
        &["check", "--nonsense"],
        &["check", "good", "more"],
        &["--color", "red", "check", "good"],
        &["run", "--listen", ":1"],
        &["run", "--to", "a:1"],
        &["run", "--config", "good", "--listen", ":1", "--to", "a:1"],
        &["completions"],
        &["completions", "klingon"],
        &["status", "--admin", "nonsense"],
        &["config"],
        &["config", "nonsense"],
        &["route", "GET"],
    ] {
        let done = files.run(arguments);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!done.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_is_asked_for_and_given() {
    let files = Files::new(&[]);
    let help = files.run(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for command in COMMANDS {
        assert!(
            help.out.contains(command),
            "{command} is missing:\n{}",
            help.out
        );
        let own = files.run(&[command, "--help"]);
        assert_eq!((own.code, own.err.as_str()), (0, ""), "{command}");
        assert!(
            own.out.contains("Usage: evenkeel"),
            "{command}: {}",
            own.out
        );
    }
    let version = format!("evenkeel {}\n", env!("CARGO_PKG_VERSION"));
    for option in ["-V", "--version"] {
        assert_eq!(files.run(&[option]).out, version);
    }
    assert!(files.run(&["version"]).out.starts_with(&version));
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let files = Files::new(&[]);
    for (shell, mark) in [
        ("bash", "complete -F _evenkeel"),
        ("zsh", "#compdef evenkeel"),
        ("fish", "complete -c evenkeel"),
    ] {
        let done = files.run(&["completions", shell]);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{shell}");
        assert!(done.out.contains(mark), "{shell}:\n{}", done.out);
        for command in COMMANDS {
            assert!(done.out.contains(command), "{shell} lacks {command}");
        }
        assert_parses(shell, &done.out);
    }
}

/// The shell itself, where there is one, takes the script.
fn assert_parses(shell: &str, script: &str) {
    let child = Command::new(shell)
        .arg("-n")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return };
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(script.as_bytes()).expect("it reads");
    drop(input);
    let done = Done::from(child.wait_with_output().expect("our own child"));
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{shell}");
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    // `evenkeel config schema | head -1`
    let files = Files::new(&[]);
    let mut command = files.command(&["config", "schema"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program was built");
    drop(child.stdout.take());
    let done = Done::from(child.wait_with_output().expect("our own child"));
    assert!(!done.err.contains("panicked"), "{done:?}");
    assert!([0, 1].contains(&done.code), "{done:?}");
}

#[test]
fn secrets_reach_the_endpoint_and_nobody_else() {
    let files = Files::new(&[("token", "from-a-file\n")]);
    let endpoint = Endpoint::echo();
    let (token, address) = (files.path("token"), endpoint.address());
    let token = token.display();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         request_headers = {{ set = {{ authorization = \"written-down\", \
         x-token = \"${{file:{token}}}\", x-plain = \"plain\" }} }}\n\
         [upstream.app]\nendpoints = [\"{address}\"]\n"
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let sent = endpoint.request().head;
    assert_eq!(sent.value("authorization"), Some("written-down"));
    assert_eq!(sent.value("x-token"), Some("from-a-file"));
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--effective"],
        &["config", "show", "--json"],
    ] {
        let shown = Done::from(proxy.command(arguments));
        assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{arguments:?}");
        for secret in ["written-down", "from-a-file"] {
            assert!(!shown.out.contains(secret), "{arguments:?}: {}", shown.out);
        }
        assert_eq!(shown.out.matches("***").count(), 2, "{}", shown.out);
        assert!(shown.out.contains("plain"), "{}", shown.out);
    }
    assert!(!proxy.log().contains("from-a-file"));
}

/// Whatever is asked of an instance, and whatever goes wrong with a secret.
#[test]
fn secrets_are_in_no_answer_and_no_finding() {
    const SECRET: &str = "from-a-file-and-secret";
    let config = |more: &str| {
        format!(
            "[listener.web]\nbind = \"@web\"\n\
             [route.known]\nheaders = {{ x-key = \"${{file:key}}\" }}\nrespond = {{ status = 204 }}\n\
             [route.all]\nupstream = \"app\"\n\
             request_headers = {{ set = {{ x-token = \"Bearer ${{file:key}}\" }} }}\n\
             [upstream.app]\nendpoints = [\"127.0.0.1:1\"]\n\
             sticky = {{ secret = \"${{file:key}}${{file:key}}\", cookie = \"at\" }}\n{more}"
        )
    };
    let key = [("key".to_owned(), SECRET.to_owned())];
    let mut proxy = Evenkeel::start_among(&key, &config(""));
    let mut seen = Vec::new();
    for path in [
        "/v1/status",
        "/v1/info",
        "/v1/listeners",
        "/v1/routes",
        "/v1/upstreams",
        "/v1/upstreams/app/endpoints",
        "/v1/config",
        "/v1/config?effective",
        "/v1/route?url=http://a/",
        "/metrics",
    ] {
        seen.push((path.to_owned(), proxy.admin(path).body.text()));
    }
    let why = &seen[8].1;
    assert!(why.contains("field `x-key` is not `***`"), "{why}");
    let wrong = [
        "balance = \"${file:key}\"\n",
        "min_healthy = \"${file:key}\"\n",
        "health = { http = { path = \"${file:key}\" } }\n",
        "timeouts = { connect = \"${file:key}\" }\n",
        "[route.more]\nupstream = \"${file:key}\"\n",
        "[route.more]\nhosts = [\"${file:key}:\"]\nupstream = \"app\"\n",
        "[route.more]\nheaders = { x-key = \"~(${file:key}\" }\nupstream = \"app\"\n",
    ];
    for more in wrong {
        proxy.write_config(&config(more));
        for arguments in [
            &["check"][..],
            &["check", "--json"],
            &["reload"],
            &["reload", "--json"],
            &["route", "GET", "http://a/"],
        ] {
            let done = Done::from(proxy.command(arguments));
            assert_ne!(done.code, 0, "{more}: {arguments:?}");
            seen.push((format!("{more}{arguments:?}"), done.out + &done.err));
        }
    }
    seen.push(("events".to_owned(), proxy.admin("/v1/events").body.text()));
    seen.push((
        "status".to_owned(),
        Done::from(proxy.command(&["status"])).out,
    ));
    seen.push(("log".to_owned(), proxy.log()));
    for (what, text) in seen {
        assert!(!text.contains(SECRET), "{what}: {text}");
    }
}

#[test]
fn what_is_shown_is_a_configuration_again() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    for arguments in [&["config", "show"][..], &["config", "show", "--effective"]] {
        let shown = Done::from(proxy.command(arguments)).out;
        let files = Files::new(&[("shown", &shown)]);
        let done = files.run(&["check", "shown"]);
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{shown}");
    }
}

#[test]
fn the_environment_overrides_and_fills_in() {
    let endpoint = Endpoint::says("here");
    let (web, admin) = (Port::reserve(), Port::reserve());
    let text = "[listener.web]\nbind = \"${BIND}\"\nto = [\"${TO:-10.0.0.1:80}\"]\n\
                [shutdown]\ngrace = \"1m\"\n";
    let files = Files::new(&[("evenkeel.toml", text)]);
    let mut command = files.command(&["run", "-c", "evenkeel.toml"]);
    command
        .env("BIND", web.address().to_string())
        .env("TO", endpoint.address().to_string())
        .env("EVENKEEL__WORKERS", "1")
        .env("EVENKEEL__SHUTDOWN__GRACE", "10ms")
        .env("EVENKEEL__SHUTDOWN__DRAIN", "1s")
        .env("EVENKEEL__ADMIN__HTTP", admin.address().to_string())
        .env("EVENKEEL__ADMIN__SOCKET", files.path("admin.sock"));
    let running = Running::start(command);
    eventually("it listens", || {
        std::net::TcpStream::connect(web.address()).ok()
    });
    let mut client = Client::connect(web.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().body.text(), "here");
    // The instance is found through either entrance.
    let http = admin.address().to_string();
    for entrance in ["./admin.sock", "admin.sock", "unix:admin.sock", &http] {
        let status = files.run(&["--admin", entrance, "status", "--ready"]);
        assert_eq!(status.code, 0, "{entrance}: {status:?}");
    }
    assert_eq!(running.end(), Some(0));

    // A variable that is not set has a place and a name.
    let unset = files.run(&["check", "evenkeel.toml"]);
    assert_eq!(unset.code, 1);
    for part in ["E0107", "evenkeel.toml:2:", "BIND"] {
        assert!(
            unset.err.contains(part),
            "{part} is missing:\n{}",
            unset.err
        );
    }
    // So has a variable that overrides nothing.
    let mut command = files.command(&["check", "evenkeel.toml"]);
    command
        .env("BIND", ":8080")
        .env("EVENKEEL__LISTENER__WEB__BNID", "x");
    let done = Done::from(command.output().expect("the program was built"));
    assert!(done.code == 1 && done.err.contains("E0110"), "{done:?}");
}

#[test]
fn the_file_is_named_by_option_or_variable() {
    let files = Files::new(&[("good", GOOD), ("wrong", "nonsense")]);
    let check = |variable: &str, arguments: &[&str]| {
        let mut command = files.command(&[&["check"], arguments].concat());
        let output = command.env("EVENKEEL_CONFIG", variable).output();
        Done::from(output.expect("the program was built")).code
    };
    assert_eq!(check("good", &[]), 0);
    assert_eq!(check("wrong", &[]), 1);
    assert_eq!(check("wrong", &["--config", "good"]), 0);
    assert_eq!(check("wrong", &["good"]), 0);
    let missing = files.run(&["check", "-c", "missing"]);
    assert!(
        missing.code == 1 && missing.err.contains("missing"),
        "{missing:?}"
    );
}

#[test]
fn nobody_to_ask_is_exit_code_3() {
    let files = Files::new(&[(
        "evenkeel.toml",
        "[admin]\nsocket = \"/nonexistent/here.sock\"\n",
    )]);
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["reload"],
        &["config", "show"],
        &["route", "--running", "GET", "http://a/"],
    ] {
        // The socket is that of the file, even of one with mistakes.
        let done = files.run(&[&["-c", "evenkeel.toml"], arguments].concat());
        assert_eq!((done.code, done.out.as_str()), (3, ""), "{arguments:?}");
        assert!(done.err.contains("/nonexistent/here.sock"), "{done:?}");
    }
}

const COMMANDS: [&str; 13] = [
    "upgrade",
    "doctor",
    "bundle",
    "run",
    "check",
    "demo",
    "route",
    "reload",
    "status",
    "config",
    "completions",
    "man",
    "version",
];
