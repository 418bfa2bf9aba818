use crate::config::tests::Made;
use crate::config::{Config, Outcome, load_text};

fn load(text: &str) -> Outcome {
    load_text("evenkeel.json", text, &Made::default())
}

fn lines(text: &str) -> Vec<String> {
    let outcome = load(text);
    let findings = outcome.diagnostics.iter();
    findings
        .map(|finding| finding.one_line(&outcome.sources))
        .collect()
}

fn config(text: &str) -> Config {
    let outcome = load(text);
    outcome
        .config
        .unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
}

#[test]
fn json_says_the_same_as_toml() {
    let toml = r#"
        [listener.web]
        bind = ":8080"
        upstream = "api"
        max_connections = 1000
        [route.x]
        hosts = ["a.example.com"]
        respond = { status = 200, body = "ä" }
        [upstream.api]
        endpoints = ["10.0.0.1:80", { address = "10.0.0.2:80", weight = 2 }]
    "#;
    let json = r#"{
        "listener": {"web": {"bind": ":8080", "upstream": "api", "max_connections": 1e3}},
        "route": {"x": {"hosts": ["\u0061.example.com"], "respond": {"status": 200.0, "body": "\u00e4"}, "path": null}},
        "upstream": {"api": {
            "endpoints": ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 2}]
        }}
    }"#;
    let from_toml = load_text("evenkeel.toml", toml, &Made::default());
    let expected = from_toml
        .config
        .unwrap_or_else(|| panic!("{:?}", from_toml.diagnostics));
    assert_eq!(format!("{:?}", config(json)), format!("{expected:?}"));
}

#[test]
fn a_mistake_has_its_line_and_column() {
    assert_eq!(
        lines("{\n  \"listener\": {\"web\": {\"bnid\": \":80\"}}\n}"),
        [
            "evenkeel.json:2:17: error[E0103]: [listener.web] needs `bind`",
            "evenkeel.json:2:25: error[E0102]: unknown setting `bnid` in [listener.web]",
        ]
    );
}

#[test]
fn what_is_no_json_is_told_where_it_ends_to_be() {
    let cases = [
        ("", "1:1"),
        ("[]", "1:1"),
        ("{\"a\" 1}", "1:6"),
        ("{\"a\": 1,}", "1:9"),
        ("{\"a\": nil}", "1:7"),
        ("{\"a\": 01}", "1:7"),
        ("{\"a\": 1-2}", "1:7"),
        ("{\"a\": [1 2]}", "1:10"),
        ("{\"a\": [null]}", "1:8"),
        ("{\"a\": \"\\x\"}", "1:7"),
        ("{\n\"a\": \"b", "2:6"),
        ("{a: 1}", "1:2"),
        ("{} {}", "1:4"),
        ("{", "1:2"),
    ];
    for (text, place) in cases {
        let lines = lines(text);
        let start = format!("evenkeel.json:{place}: error[E0101]: this is not valid JSON");
        assert!(
            lines.iter().any(|line| line.starts_with(&start)),
            "{text}: {lines:?}"
        );
    }
}

#[test]
fn a_name_that_stands_twice_is_told_with_both_places() {
    let text = "{\n\"zone\": \"a\",\n\"zone\": \"b\"}";
    assert_eq!(
        lines(text),
        ["evenkeel.json:3:2: error[E0109]: `zone` is defined twice"]
    );
}

#[test]
fn depth_has_an_end() {
    let deep = |depth: usize| format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(!lines(&deep(79)).iter().any(|line| line.contains("E0101")));
    assert!(lines(&deep(80)).iter().any(|line| line.contains("E0101")));
    // Nothing of it stays on the stack.
    assert!(!lines(&deep(1_000_000)).is_empty());
}
