//! The dashboard, the alert rules and the page of metrics: that they speak of metrics which exist.
//!
//! A query for a name that nobody exports is no error anywhere: the panel is empty, and the alert
//! never fires. So every name and label in them is held against the list that the program's own
//! exposition is tested by. Where promtool is installed, Prometheus itself reads and runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Labels by metric.
type Known = BTreeMap<String, BTreeSet<String>>;

/// A metric in a text, and the labels that it is asked by.
type Mention = (String, Vec<String>);

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The metrics that there are, from the list of the black-box suite: `name kind {labels}`.
fn known() -> Known {
    let mut known = Known::from([("up".to_owned(), BTreeSet::new())]);
    for line in read("tests/proxy/metrics.txt").lines() {
        let (name, rest) = line.split_once(' ').expect("a kind");
        let (kind, labels) = rest.split_once(' ').expect("labels");
        let labels = labels.trim_matches(['{', '}']).split(", ");
        let labels: BTreeSet<String> = labels.map(str::to_owned).collect();
        let suffixes: &[&str] = match kind {
            "histogram" => &["", "_bucket", "_sum", "_count"],
            _ => &[""],
        };
        for suffix in suffixes {
            known.insert(format!("{name}{suffix}"), labels.clone());
        }
    }
    known
}

/// The metrics that a text speaks of.
fn mentions(text: &str) -> Vec<Mention> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let word = &rest[start..];
        let end = word.find(|letter| !is_part(letter));
        let (word, behind) = word.split_at(end.unwrap_or(word.len()));
        rest = behind;
        if !word.starts_with("evenkeel_") && !word.starts_with("process_") {
            continue;
        }
        let inner = behind
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let labels = inner.map(|(inner, _)| labels(inner)).unwrap_or_default();
        found.push((word.to_owned(), labels));
    }
    found
}

/// The names in `name="value",other=~"…"`.
fn labels(inner: &str) -> Vec<String> {
    let outside = inner.split('"').step_by(2);
    let names = outside.filter_map(|text| text.split(['=', '!']).next());
    let names = names.map(|name| name.trim_matches([',', ' ']));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What is wrong with a text's metrics.
fn strange(name: &str, text: &str, known: &Known) -> Vec<String> {
    let mut faults = Vec::new();
    for (metric, labels) in mentions(text) {
        let Some(own) = known.get(&metric) else {
            faults.push(format!("{name}: there is no {metric}"));
            continue;
        };
        let odd = labels
            .iter()
            .filter(|label| !own.contains(*label) && !OF_PROMETHEUS.contains(&label.as_str()));
        faults.extend(odd.map(|label| format!("{name}: {metric} has no label {label}")));
    }
    faults
}

/// Every string in a document.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The queries of the dashboard, with its variables filled in as Grafana would.
fn queries(dashboard: &Value) -> Vec<String> {
    let mut open = vec![dashboard];
    let mut found = Vec::new();
    while let Some(value) = open.pop() {
        if let Some(query) = value["expr"].as_str() {
            found.push(query.replace("$__rate_interval", "5m"));
        }
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => open.extend(members.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/dashboard.json")).expect("JSON")
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Runs promtool; `None` where it is not installed.
fn promtool(arguments: &[&str]) -> Option<()> {
    let output = match Command::new("promtool").args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return skipped(),
        Err(error) => panic!("promtool: {error}"),
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{arguments:?}: {said}");
    Some(())
}

#[expect(
    clippy::print_stderr,
    reason = "tests/all.sh says it too, where it is not swallowed"
)]
fn skipped() -> Option<()> {
    eprintln!("skipped: promtool is not installed");
    None
}

/// Labels that a scrape or a histogram adds.
const OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

#[test]
fn dashboard_and_alerts_speak_of_metrics_that_exist() {
    let known = known();
    let mut faults = Vec::new();
    for name in ["deploy/alerts.yaml", "deploy/alerts-test.yaml"] {
        faults.extend(strange(name, &read(name), &known));
    }
    for text in strings(&dashboard()) {
        faults.extend(strange("deploy/dashboard.json", &text, &known));
    }
    assert_none(&faults);
}

#[test]
fn every_panel_has_a_title_a_description_and_a_place_of_its_own() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("a list");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        assert!(panel["title"].is_string(), "{panel}");
        let is_row = panel["type"] == "row";
        assert!(is_row || panel["description"].is_string(), "{panel}");
    }
    assert!(queries(&dashboard).len() > panels.len());
}

/// The page lists every metric, with its kind and labels, and no other.
#[test]
fn the_page_of_metrics_is_complete() {
    let page = read("docs/metrics.md");
    let row = |line: &str| -> Option<String> {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`');
        let (kind, labels) = (cells.next()?, cells.next()?);
        let labels = labels.replace('`', "");
        Some(format!("{name} {kind} {{{}}}", labels.trim()))
    };
    let written: BTreeSet<String> = page.lines().filter_map(row).collect();
    let list = read("tests/proxy/metrics.txt");
    let there: BTreeSet<String> = list.lines().map(str::to_owned).collect();
    let missing = there
        .difference(&written)
        .map(|row| format!("missing: {row}"));
    let strange = written
        .difference(&there)
        .map(|row| format!("strange: {row}"));
    assert_none(&missing.chain(strange).collect::<Vec<_>>());
}

#[test]
fn alerts_fire_when_they_should() {
    let rules = path("deploy/alerts.yaml");
    let tests = path("deploy/alerts-test.yaml");
    let name = |path: &Path| path.to_str().expect("a plain name").to_owned();
    if promtool(&["check", "rules", &name(&rules)]).is_some() {
        promtool(&["test", "rules", &name(&tests)]);
    }
    // Whatever promtool thinks of it, each alert has a case.
    let text = read("deploy/alerts.yaml");
    let alerts = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let cases = read("deploy/alerts-test.yaml");
    let untested: Vec<String> = alerts
        .filter(|alert| !cases.contains(&format!("alertname: {alert}\n")))
        .map(|alert| format!("{alert} has no test"))
        .collect();
    assert_none(&untested);
}

#[test]
fn the_queries_of_the_dashboard_are_queries() {
    let queries = queries(&dashboard());
    let rules: Vec<Value> = queries
        .iter()
        .map(|query| json!({ "record": "panel", "expr": query }))
        .collect();
    // One name for all of them is a duplicate only where their labels are alike too.
    let groups: Vec<Value> = rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| json!({ "name": format!("panel {index}"), "rules": [rule] }))
        .collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard-queries.yaml");
    fs::write(&file, json!({ "groups": groups }).to_string()).expect("a writable directory");
    promtool(&["check", "rules", file.to_str().expect("a plain name")]);
}

/// The scanner finds what it is there to find.
#[test]
fn what_does_not_exist_is_found() {
    let known = known();
    let faults = |text: &str| strange("a text", text, &known).len();
    assert_eq!(
        faults("rate(evenkeel_shed_total{route=~\"$route\",job=\"a\"}[1m])"),
        0
    );
    assert_eq!(faults("evenkeel_runtime_lag_seconds_bucket{le=\"0.1\"}"), 0);
    assert_eq!(faults("evenkeel_shed_bytes_total"), 1);
    assert_eq!(
        faults("evenkeel_shed_total{upstream!=\"a=b\", reason=\"x\"}"),
        1
    );
    assert_eq!(faults("evenkeel_shed_total_bucket / process_open_files"), 2);
}
