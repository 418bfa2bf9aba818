//! Each code in the words that a person reads: `src/config/cases/<code>.toml` leads to it, and
//! `src/config/snapshots/<code>.snap` is what is printed.
//!
//! In a case, `#---` parts configurations, `#! variable NAME=value` sets a variable, `#! file path`
//! begins a file, and `#! bytes path` adds one that is not UTF-8.

use std::fs;
use std::path::PathBuf;

use super::*;

/// One configuration of a case.
#[derive(Default)]
struct Case {
    main: String,
    made: Made,
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/config")
        .join(name)
}

fn read(text: &str) -> Vec<Case> {
    text.split("#---\n").map(read_one).collect()
}

fn read_one(text: &str) -> Case {
    let mut case = Case::default();
    let mut file: Option<String> = None;
    for line in text.split_inclusive('\n') {
        if let Some(variable) = line.strip_prefix("#! variable ") {
            let (name, value) = variable
                .trim_end()
                .split_once('=')
                .unwrap_or((variable.trim_end(), ""));
            case.made = case.made.with_variable(name, value);
        } else if let Some(path) = line.strip_prefix("#! file ") {
            // Empty so far; its folder exists.
            case.made = case.made.with_file(path.trim_end(), "");
            file = Some(path.trim_end().to_owned());
        } else if let Some(path) = line.strip_prefix("#! bytes ") {
            let bytes = b"a = 1\nb = \"\xff\"\n".to_vec();
            case.made.files.insert(path.trim_end().to_owned(), bytes);
        } else if let Some(path) = &file {
            case.made.files.get_mut(path).unwrap().extend(line.bytes());
        } else {
            case.main.push_str(line);
        }
    }
    case
}

/// Every code has a case, and each of its configurations leads to it.
#[test]
fn every_code_has_a_snapshot() {
    for entry in CODES
        .iter()
        .filter(|entry| !FOUND_ELSEWHERE.contains(&entry.code))
    {
        let path = folder("cases").join(format!("{}.toml", entry.id));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|_| panic!("{} has no case in src/config/cases/", entry.id));
        let mut drawn = String::new();
        for case in read(&text) {
            let outcome = load_text("evenkeel.toml", &case.main, &case.made);
            assert!(
                codes(&outcome).contains(&entry.id),
                "a configuration of the case does not lead to {}:\n{}",
                entry.id,
                outcome.render(Style::default())
            );
            let refused = outcome.errors() > 0;
            assert_eq!(outcome.config.is_none(), refused, "{}", entry.id);
            drawn.push_str(&outcome.render(Style::default()));
            drawn.push_str(&outcome.summary(""));
            drawn.push_str("\n\n");
        }
        snapshot(entry.id, &drawn);
    }
}

/// Cases and snapshots of codes that no longer exist.
#[test]
fn no_case_is_left_over() {
    for (name, extension) in [("cases", "toml"), ("snapshots", "snap")] {
        for file in fs::read_dir(folder(name)).unwrap() {
            let path = file.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            assert_eq!(path.extension().unwrap(), extension);
            assert!(
                Code::from_id(stem).is_some() || PICTURES.contains(&stem),
                "{} belongs to no code",
                path.display()
            );
        }
    }
}

/// Many mistakes of several kinds at once, in every style of printing.
#[test]
fn a_bad_file_is_reported_as_a_whole() {
    let outcome = load_text("bad.toml", BAD, &Nothing);
    let plain = outcome.render(Style::default());
    let closing = outcome.summary("the running configuration was not touched");
    snapshot("bad-plain", &format!("{plain}{closing}\n"));
    let unicode = Style {
        colour: false,
        unicode: true,
    };
    snapshot("bad-unicode", &outcome.render(unicode));
    let colour = Style {
        colour: true,
        unicode: true,
    };
    assert!(outcome.render(colour).contains("\u{1b}["));
    assert!(!plain.contains('\u{1b}'));
    let json = serde_json::to_string_pretty(&outcome.to_json()).unwrap();
    snapshot("bad-json", &json);
}

/// What is said about two files points into both.
#[test]
fn a_finding_may_lie_in_two_files() {
    let main = "include = ['api.toml']\n\n[listener.web]\nbind = ':8080'\nupstream = 'apj'\n";
    let api = "[upstream.api]\nendpoints = ['10.0.0.11:3000']\n";
    let outcome = load_text(
        "main.toml",
        main,
        &Made::default().with_file("api.toml", api),
    );
    snapshot("two-files", &outcome.render(Style::default()));
}

#[test]
fn codes_are_unique_and_found_by_their_names() {
    for (at, entry) in CODES.iter().enumerate() {
        assert_eq!(Code::from_id(entry.id), Some(entry.code));
        assert!(
            CODES[..at].iter().all(|earlier| earlier.id < entry.id),
            "{}",
            entry.id
        );
        assert!(!entry.summary.is_empty() && entry.text.ends_with('.'));
    }
    assert_eq!(Code::from_id("e0102"), Some(Code::UnknownSetting));
    assert_eq!(Code::from_id("E9999"), None);
}

/// The case of a code that is found beyond this room, whose configuration is in order so far.
pub(crate) fn case(code: &str) -> Outcome {
    let text = fs::read_to_string(folder("cases").join(format!("{code}.toml"))).unwrap();
    load_text("evenkeel.toml", &text, &Nothing)
}

/// Holds what is drawn of such a case against its snapshot.
pub(crate) fn found(code: &str, mut outcome: Outcome, findings: Vec<Diagnostic>) {
    outcome.add(findings);
    let drawn = [outcome.render(Style::default()), outcome.summary("")].concat();
    snapshot(code, &drawn);
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => folder("snapshots"),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Found by the router and the resolver, where the tests that draw their cases stand.
const FOUND_ELSEWHERE: [Code; 13] = [
    Code::NoAddress,
    Code::FailedTest,
    Code::Certificate,
    Code::ClientAuthority,
    Code::TokenFile,
    Code::KeepsNothing,
    Code::Expiry,
    Code::OldRevocations,
    Code::NoRevocations,
    Code::UncoveredHost,
    Code::UnusedCertificateName,
    Code::StaleOcsp,
    Code::UnshownOcsp,
];

const PICTURES: [&str; 4] = ["bad-plain", "bad-unicode", "bad-json", "two-files"];

const BAD: &str = r#"[listener.https]
bind = "0.0.0.0:443"
max_conections = 20000
timeouts = { client_idle = 75 }

[listener.metrics]
bind = "0.0.0.0:443"

[route.api]
listener = "https"
path = "/v1/"
upstream = "apii"
timeouts = { request = "3s" }
retry = { attempts = 3, per_try_timeout = "2s" }

[upstream.api]
balance = "least_requests"
min_healthy = 2

[upstream.api.zone.eu-1a]
endpoints = ["10.1.0.11:8080", "10.1.0.12:8080"]

[upstream.api.zone.eu-1b]
endpoints = ["10.2.0.11:8080"]
"#;
