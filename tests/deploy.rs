//! The dashboard, the alert rules and the page of metrics: that they speak of metrics which exist;
//! and what the chart has of the program.
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

/// A metric in a text, and what its labels are asked for.
type Mention = (String, Vec<Matcher>);

/// `name="value"`, `name=~"one|other"` and their negations.
type Matcher = (String, Vec<String>);

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

/// What is in `name="value",other=~"one|two"`.
fn labels(inner: &str) -> Vec<Matcher> {
    let parts: Vec<&str> = inner.split('"').collect();
    let matchers = parts.chunks_exact(2).map(|pair| {
        let name = pair[0].split(['=', '!']).next().unwrap_or_default();
        let name = name.trim_matches([',', ' ']).to_owned();
        let is_pattern = pair[0].ends_with('~');
        let values = pair[1].split(|letter| is_pattern && letter == '|');
        // A dot, a star or a variable stands for what cannot be looked up.
        let is_plain = |value: &&str| !is_pattern || !value.contains(['.', '*', '+', '(', '$']);
        (name, values.filter(is_plain).map(str::to_owned).collect())
    });
    matchers.collect()
}

/// What is wrong with a text's metrics.
fn strange(name: &str, text: &str, known: &Known) -> Vec<String> {
    let mut faults = Vec::new();
    for (metric, labels) in mentions(text) {
        let Some(own) = known.get(&metric) else {
            faults.push(format!("{name}: there is no {metric}"));
            continue;
        };
        for (label, values) in labels {
            if !own.contains(&label) && !OF_PROMETHEUS.contains(&label.as_str()) {
                faults.push(format!("{name}: {metric} has no label {label}"));
            }
            let Some(list) = closed_list(&metric, &label) else {
                continue;
            };
            let odd = values.iter().filter(|value| !list.contains(value.as_str()));
            faults.extend(odd.map(|value| format!("{name}: {metric} has no {label}=\"{value}\"")));
        }
    }
    faults
}

/// The values that a label of a metric can have, where that is a list.
fn closed_list(metric: &str, label: &str) -> Option<BTreeSet<&'static str>> {
    let mut lists = CLOSED_LISTS.iter();
    let (_, _, values) = lists.find(|list| (list.0, list.1) == (metric, label))?;
    Some(values.split(' ').collect())
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

/// The schema of the chart's values: what is written by hand, and the configuration's as it is
/// generated.
fn values_schema() -> Value {
    let mut configuration = evenkeel::config::schema();
    let own = configuration.as_object_mut().expect("an object");
    own.remove("$schema");
    let mut definitions = own.remove("definitions").expect("definitions");
    definitions["Evenkeel"] = configuration;
    let mut values: Value =
        serde_json::from_str(&read("deploy/helm/values.schema.in.json")).expect("JSON");
    values["definitions"] = definitions;
    values
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

/// What is wrong with the panels of a dashboard: who has no number, no place of its own, or nothing
/// to show.
fn odd_panels(panels: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    let mut taken: Vec<(&Value, [u64; 4])> = Vec::new();
    for panel in panels {
        let title = &panel["title"];
        let is_row = panel["type"] == "row";
        if !panel["id"].as_u64().is_some_and(|id| ids.insert(id)) {
            faults.push(format!("{title} has no number of its own"));
        }
        if !title.is_string() {
            faults.push(format!("{panel} has no title"));
        }
        if !is_row && !panel["description"].is_string() {
            faults.push(format!("{title} has no description"));
        }
        if !is_row && queries(panel).is_empty() {
            faults.push(format!("{title} asks for nothing"));
        }
        let sides = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64());
        let [Some(x), Some(y), Some(width @ 1..), Some(height @ 1..)] = sides else {
            faults.push(format!("{title} has no place"));
            continue;
        };
        let place = [x, x + width, y, y + height];
        if place[1] > GRID {
            faults.push(format!("{title} sticks out"));
        }
        let overlaps = |other: &[u64; 4]| {
            place[0] < other[1] && other[0] < place[1] && place[2] < other[3] && other[2] < place[3]
        };
        let covered = taken.iter().filter(|(_, other)| overlaps(other));
        faults.extend(covered.map(|(other, _)| format!("{title} covers {other}")));
        taken.push((title, place));
    }
    faults
}

/// The alerts that no case expects to fire.
fn never_fired(rules: &str, cases: &str) -> Vec<String> {
    let mut fired = BTreeSet::new();
    let mut current = "";
    for line in cases.lines().map(str::trim) {
        if let Some(alert) = line.strip_prefix("- alertname: ") {
            current = alert;
        } else if line.strip_prefix("- exp_labels:").is_some() {
            fired.insert(current);
        }
    }
    let rules = rules.lines().map(str::trim);
    rules
        .filter_map(|line| line.strip_prefix("- alert: "))
        .filter(|alert| !fired.contains(alert))
        .map(|alert| format!("{alert} has no case in which it fires"))
        .collect()
}

/// Runs promtool; `None` where it is not installed and need not be.
fn promtool(arguments: &[&str]) -> Option<()> {
    let output = match Command::new("promtool").args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let required = std::env::var("EVENKEEL_PROMTOOL").is_ok_and(|word| word == "required");
            assert!(!required, "promtool is not installed, and required");
            return skipped();
        }
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

/// Columns of Grafana's grid.
const GRID: u64 = 24;

/// Metric, label and the values that there are; the page of metrics has the same.
const CLOSED_LISTS: &[(&str, &str, &str)] = &[
    (
        "evenkeel_shed_total",
        "reason",
        "overload concurrency queue_full queue_timeout draining",
    ),
    (
        "evenkeel_retries_total",
        "outcome",
        "success failure budget_exhausted shed body_gone no_time",
    ),
    (
        "evenkeel_hedges_total",
        "outcome",
        "won lost budget_exhausted",
    ),
    ("evenkeel_connections", "protocol", "http1 http2 tcp udp"),
    (
        "evenkeel_connections_refused_total",
        "reason",
        "full accept_error",
    ),
    (
        "evenkeel_l4_sessions_total",
        "result",
        "ok client_reset endpoint_reset idle connect_failed unavailable cut",
    ),
    ("evenkeel_l4_bytes_total", "direction", "sent received"),
    ("evenkeel_udp_datagrams_total", "direction", "sent received"),
    (
        "evenkeel_udp_dropped_total",
        "reason",
        "no_endpoint limit draining truncated too_long send_buffer source loop error",
    ),
    (
        "evenkeel_endpoint_datagrams_total",
        "direction",
        "sent received",
    ),
    (
        "evenkeel_endpoint_datagram_bytes_total",
        "direction",
        "sent received",
    ),
    (
        "evenkeel_http2_streams_reset_total",
        "by",
        "client evenkeel",
    ),
    (
        "evenkeel_http2_abuse_total",
        "reason",
        "rapid_reset made_you_reset continuation ping settings priority empty_data window_update \
         unknown_frame refused_stream header_list stalled",
    ),
    (
        "evenkeel_grpc_requests_total",
        "code",
        "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND \
         ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION \
         ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS \
         UNAUTHENTICATED",
    ),
    ("evenkeel_tls_handshakes_total", "version", "1.2 1.3"),
    (
        "evenkeel_tls_handshakes_total",
        "result",
        "ok client_certificate client_closed refused shed timeout",
    ),
    ("evenkeel_tls_renewal_failing", "kind", "listener upstream"),
    (
        "evenkeel_upstream_ejections_total",
        "cause",
        "consecutive_failures failure_ratio success_rate latency trial_failed",
    ),
    (
        "evenkeel_upstream_endpoints",
        "state",
        "healthy warming unhealthy ejected half_open unknown",
    ),
    (
        "evenkeel_endpoint_requests_total",
        "class",
        "none 1xx 2xx 3xx 4xx 5xx",
    ),
    ("evenkeel_endpoint_connections", "state", "active idle"),
    (
        "evenkeel_endpoint_state",
        "state",
        "healthy unhealthy ejected half_open unknown",
    ),
    (
        "evenkeel_health_checks_total",
        "result",
        "passed connect_failed timed_out bad_answer bad_status",
    ),
    (
        "evenkeel_config_reloads_total",
        "result",
        "applied rejected",
    ),
];

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
    assert!(!panels.is_empty());
    assert_none(&odd_panels(panels));
}

/// What the queries are held against is what the page tells.
#[test]
fn the_page_of_metrics_tells_the_closed_lists() {
    let page = read("docs/metrics.md");
    let mut faults = Vec::new();
    for (metric, label, values) in CLOSED_LISTS {
        let start = format!("| `{metric}` |");
        let row = page.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("{metric} has no row"));
        let untold = values
            .split(' ')
            .filter(|value| !row.contains(&format!("`{value}`")));
        faults.extend(untold.map(|value| format!("{metric}: {label}=\"{value}\" is not told")));
    }
    assert_none(&faults);
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

/// Helm checks values by it, before anything reaches a cluster. To write it anew, as the reference:
/// `UPDATE_DOCS=1 cargo test --test deploy`.
#[test]
fn the_chart_s_values_are_checked_by_the_schema_of_the_configuration() {
    let name = "deploy/helm/evenkeel/values.schema.json";
    let expected = format!("{:#}\n", values_schema());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path(name), &expected).expect("a writable checkout");
    }
    let is_same = read(name) == expected;
    assert!(is_same, "{name} is old: UPDATE_DOCS=1 writes it anew");
}

/// The chart is of the program's version: its image is found by it.
#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = read("deploy/helm/evenkeel/Chart.yaml");
    for field in ["version", "appVersion"] {
        let line = format!("\n{field}: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(chart.contains(&line), "{field}");
    }
    for name in ["sidecar", "edge"] {
        let manifest = read(&format!("deploy/kubernetes/{name}.yaml"));
        let image = concat!("image: evenkeel:", env!("CARGO_PKG_VERSION"), "\n");
        assert!(manifest.contains(image), "{name}");
    }
}

#[test]
fn alerts_fire_when_they_should() {
    let rules = path("deploy/alerts.yaml");
    let tests = path("deploy/alerts-test.yaml");
    let name = |path: &Path| path.to_str().expect("a plain name").to_owned();
    if promtool(&["check", "rules", &name(&rules)]).is_some() {
        promtool(&["test", "rules", &name(&tests)]);
    }
    // Whatever promtool thinks of it, each alert has a case in which it fires.
    let (rules, cases) = (read("deploy/alerts.yaml"), read("deploy/alerts-test.yaml"));
    assert_none(&never_fired(&rules, &cases));
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
        faults("evenkeel_shed_total{upstream!=\"a=b\", reason=\"overload\"}"),
        1
    );
    assert_eq!(faults("evenkeel_shed_total{reason!=\"rate_limit\"}"), 1);
    let pattern = "evenkeel_endpoint_requests_total{class=~\"5xx|6xx\",zone=~\"a|b\"}";
    assert_eq!(faults(pattern), 1);
    assert_eq!(faults("evenkeel_shed_total{reason=~\".+\"}"), 0);
    assert_eq!(faults("evenkeel_shed_total_bucket / process_open_files"), 2);
}

#[test]
fn panels_in_each_others_way_are_found() {
    let panel = |id: Value, x: u64, query: &str| {
        json!({
            "id": id, "title": "a", "type": "timeseries", "description": "b",
            "gridPos": { "x": x, "y": 0, "w": 8, "h": 8 }, "targets": [{ query: "up" }],
        })
    };
    let faults = |panels: &[Value]| odd_panels(panels).len();
    let first = panel(1.into(), 0, "expr");
    assert_eq!(faults(&[first.clone(), panel(2.into(), 8, "expr")]), 0);
    assert_eq!(faults(&[first.clone(), panel(2.into(), 7, "expr")]), 1);
    assert_eq!(faults(&[first, panel(1.into(), 8, "expr")]), 1);
    assert_eq!(faults(&[panel("1".into(), 0, "expr")]), 1);
    assert_eq!(faults(&[panel(1.into(), 17, "expr")]), 1);
    assert_eq!(faults(&[panel(1.into(), 0, "query")]), 1);
    assert_eq!(
        faults(&[json!({ "id": 1, "title": "a", "type": "row" })]),
        1
    );
}

#[test]
fn an_alert_that_is_only_ever_quiet_is_found() {
    let rules = "- alert: Loud\n  expr: up\n- alert: Quiet\n  expr: up\n";
    let cases = "- alertname: Loud\n  exp_alerts:\n    - exp_labels: {}\n\
                 - alertname: Quiet\n  exp_alerts: []\n";
    assert_eq!(never_fired(rules, cases).len(), 1);
}
