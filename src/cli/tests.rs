use std::cell::RefCell;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use super::*;

/// What a command printed.
#[derive(Debug, Clone, Default)]
struct Page {
    bytes: Rc<RefCell<Vec<u8>>>,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    exit: Exit,
    stdout: String,
    stderr: String,
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.borrow().clone()).unwrap()
    }
}

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::parse_from_line(line.split(' '))
}

/// Carries a command out as the program does, without the process around it.
fn evenkeel(line: &[&str]) -> Done {
    let (stdout, stderr) = (Page::default(), Page::default());
    let mut output = Output::to(stdout.clone(), stderr.clone());
    let line = ["evenkeel"].iter().chain(line);
    let arguments = Arguments::parse_from_line(line).unwrap();
    let exit = arguments.execute(&mut output).unwrap_or_else(|failure| {
        output.error(&failure, failure.hint.as_deref());
        failure.exit
    });
    output.finish().unwrap();
    Done {
        exit,
        stdout: stdout.text(),
        stderr: stderr.text(),
    }
}

/// A configuration file that is removed with its value.
#[derive(Debug)]
struct File {
    path: PathBuf,
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("cli-{name}-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self { path }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

const GOOD: &str = r#"
[listener.web]
bind = ":8080"
[route.api]
path = "/v1/"
upstream = "api"
[route.ping]
path = "=/v1/ping"
respond = { status = 204 }
[upstream.api]
endpoints = ["10.0.0.1:80", "10.0.0.2:80"]
"#;

#[test]
fn the_command_line_holds_together() {
    Arguments::command().debug_assert();
}

#[test]
fn global_options_stand_anywhere() {
    for line in [
        "evenkeel -c a.toml --json check",
        "evenkeel check -c a.toml --json",
    ] {
        let arguments = parse(line).unwrap();
        assert_eq!(
            arguments.global.config.as_deref(),
            Some(Path::new("a.toml")),
            "{line}"
        );
        assert!(arguments.global.json, "{line}");
        assert!(arguments.global.config_is_written, "{line}");
    }
    let arguments = parse("evenkeel status").unwrap();
    assert!(!arguments.global.config_is_written);
}

#[test]
fn listen_and_to_need_each_other() {
    assert!(parse("evenkeel run --listen :8080 --to a:1 --to b:2").is_ok());
    assert!(parse("evenkeel run --listen :8080").is_err());
    assert!(parse("evenkeel run --to a:1").is_err());
}

#[test]
fn wrong_use_is_exit_code_2() {
    for line in [
        "evenkeel",
        "evenkeel nonsense",
        "evenkeel check --color pink",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
    let both = evenkeel(&["run", "-c", "a.toml", "--listen", ":0", "--to", "a:1"]);
    assert_eq!(both.exit, Exit::Usage);
}

#[test]
fn the_codes_are_those_that_scripts_know() {
    let codes = [
        Exit::Done,
        Exit::Refused,
        Exit::Usage,
        Exit::NoInstance,
        Exit::TimedOut,
    ];
    assert_eq!(codes.map(Exit::code), [0, 1, 2, 3, 8]);
}

#[test]
fn the_front_page_has_every_command_under_its_heading() {
    let page = parse("evenkeel --help").unwrap_err().to_string();
    assert!(
        page.starts_with("A load balancer and reverse proxy that is built to survive bad days")
    );
    let at = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("{text} in {page}"))
    };
    assert!(at("\nRun\n") < at("  check "));
    assert!(at("  check ") < at("\nChange\n"));
    assert!(at("\nChange\n") < at("  reload "));
    assert!(at("--admin <SOCKET>") < at("8 timed out"));
}

#[test]
fn a_right_file_is_fine_and_quiet_says_nothing() {
    let file = File::new("right", GOOD);
    let done = evenkeel(&["check", file.name()]);
    assert_eq!(done.exit, Exit::Done);
    assert!(
        done.stdout.contains("fine (0 warnings, 0 tests)"),
        "{}",
        done.stdout
    );
}

#[test]
fn every_mistake_is_shown_with_its_place() {
    let text = GOOD
        .replace("bind", "bnid")
        .replace("upstream = \"api\"", "upstream = \"apy\"");
    let file = File::new("wrong", &text);
    let done = evenkeel(&["check", file.name()]);
    assert_eq!(done.exit, Exit::Refused);
    assert!(done.stdout.is_empty());
    for part in ["E0102", "unknown setting `bnid`", ":3:1", "apy"] {
        assert!(done.stderr.contains(part), "{part} in {}", done.stderr);
    }
}

#[test]
fn a_test_that_fails_is_exit_code_1_in_both_forms() {
    let test = "[[test]]\nrequest = \"GET http://a/v1/ping\"\nexpect = { route = \"api\" }\n";
    let file = File::new("test", &format!("{GOOD}{test}"));
    let done = evenkeel(&["check", file.name()]);
    assert_eq!(done.exit, Exit::Refused);
    assert!(
        done.stderr.contains("GET http://a/v1/ping"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("`ping`"), "{}", done.stderr);

    let done = evenkeel(&["check", "--json", file.name()]);
    assert_eq!(done.exit, Exit::Refused);
    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["errors"], 1);
    assert_eq!(report["diagnostics"][0]["code"], "E0219");
    assert_eq!(report["tests"]["run"], 1);
    assert_eq!(report["tests"]["failed"][0]["index"], 0);
}

#[test]
fn strict_takes_warnings_for_errors() {
    let unused = "[upstream.unused]\nendpoints = [\"10.0.0.3:80\"]\n";
    let file = File::new("strict", &format!("{GOOD}{unused}"));
    assert_eq!(evenkeel(&["check", file.name()]).exit, Exit::Done);
    let done = evenkeel(&["check", "--strict", file.name()]);
    assert_eq!(done.exit, Exit::Refused);
    assert!(done.stderr.contains("unused"), "{}", done.stderr);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["check", "run"] {
        let done = evenkeel(&[command, "-c", "/nonexistent/evenkeel.toml"]);
        assert_eq!(done.exit, Exit::Refused, "{command}");
        assert!(
            done.stderr.contains("/nonexistent/evenkeel.toml"),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn a_route_is_explained_from_the_file() {
    let file = File::new("route", GOOD);
    let done = evenkeel(&["route", "GET", "http://a/v1/ping", "-c", file.name()]);
    assert_eq!(done.exit, Exit::Done);
    assert!(
        done.stdout.starts_with("route ping at listener web\n"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("answered with status 204"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("api  outranked"), "{}", done.stdout);

    let header = "no colon";
    let done = evenkeel(&["route", "GET", "http://a/", "-H", header, "-c", file.name()]);
    assert_eq!(done.exit, Exit::Usage);
}

#[test]
fn who_asks_an_instance_that_is_not_there_gets_exit_code_3() {
    for command in [
        &["reload"][..],
        &["status"],
        &["status", "--ready"],
        &["config", "show"],
    ] {
        let line = [&["--admin", "unix:/nonexistent/admin.sock"], command].concat();
        let done = evenkeel(&line);
        assert_eq!(done.exit, Exit::NoInstance, "{command:?}");
        assert!(
            done.stderr.contains("/nonexistent/admin.sock"),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn the_schema_and_completions_are_printed() {
    let schema: serde_json::Value =
        serde_json::from_str(&evenkeel(&["config", "schema"]).stdout).unwrap();
    assert!(schema["properties"]["listener"].is_object());
    for shell in ["bash", "fish", "zsh"] {
        let script = evenkeel(&["completions", shell]).stdout;
        assert!(script.contains("reload"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let page = evenkeel(&["man"]).stdout;
    assert!(page.contains(".TH evenkeel 1"), "{page}");
    let folder = std::env::temp_dir().join(format!("cli-man-{}", std::process::id()));
    let into = folder.to_str().unwrap();
    let refused = evenkeel(&["man", "--into", into]);
    assert_eq!(refused.exit, Exit::Refused);
    assert!(refused.stderr.contains(into), "{}", refused.stderr);

    std::fs::create_dir(&folder).unwrap();
    assert_eq!(evenkeel(&["man", "--into", into]).exit, Exit::Done);
    for command in Arguments::command().get_subcommands() {
        let name = format!("evenkeel-{}.1", command.get_name());
        let page = std::fs::read_to_string(folder.join(&name)).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(folder.join("evenkeel.1").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_version_is_that_of_the_package() {
    let done = evenkeel(&["version"]);
    assert!(
        done.stdout
            .starts_with(&format!("evenkeel {}\n", env!("CARGO_PKG_VERSION")))
    );
    let build: serde_json::Value =
        serde_json::from_str(&evenkeel(&["version", "--json"]).stdout).unwrap();
    assert_eq!(build["version"], env!("CARGO_PKG_VERSION"));
}
