//! The reference page: every setting and every finding, written from the types and the codes.

use std::fmt::Write as _;

use super::codes::{CODES, Explanation};
use super::schema::{Schema, default_phrase, meaning};
use super::shape::Shape;

/// `docs/configuration.md`, in Markdown.
pub fn reference_page() -> String {
    let schema = Schema::new();
    let mut page = INTRODUCTION.to_owned();
    for (title, path) in TABLES {
        let shape = path
            .iter()
            .try_fold(schema.root(), |shape, key| step(shape, key))
            .map(|shape| shape.alternative("object"));
        if let Some(shape) = shape {
            table(&mut page, title, shape);
        }
    }
    page.push_str(WHERE_TIMEOUTS_APPLY);
    page.push_str(FINDINGS);
    for (title, prefixes) in GROUPS {
        let is_of_it = |id: &str| prefixes.iter().any(|prefix| id.starts_with(prefix));
        let group = CODES.iter().filter(|entry| is_of_it(entry.id));
        codes(&mut page, title, group);
    }
    page
}

/// One step down the schema; `*` stands for any name, `[]` for an item that is a table.
fn step<'a>(shape: Shape<'a>, key: &str) -> Option<Shape<'a>> {
    match key {
        "[]" => shape.items().map(|items| items.alternative("object")),
        key => shape.below(key),
    }
}

fn table(page: &mut String, title: &str, shape: Shape<'_>) {
    let _ = write!(page, "\n### {title}\n\n");
    if let Some(text) = introduction(shape) {
        let _ = write!(page, "{}\n\n", capitalised(text));
    }
    page.push_str("| setting | type | default | meaning |\n| --- | --- | --- | --- |\n");
    let required: Vec<&str> = shape.required().collect();
    for key in shape.properties() {
        let Some(below) = shape.below(key) else {
            continue;
        };
        let description = below.description().unwrap_or_default();
        let default = match default_phrase(description) {
            _ if required.contains(&key) => "**required**",
            Some(phrase) => phrase,
            None => "",
        };
        let _ = writeln!(
            page,
            "| `{key}` | {} | {} | {} |",
            cell(&kind(below)),
            cell(default),
            cell(&with_words(meaning(description), below)),
        );
    }
}

/// What the type says of itself or, where that is only its name, what the setting says of it.
fn introduction(shape: Shape<'_>) -> Option<&str> {
    let of_type = shape.definition().and_then(Shape::description);
    let text = match of_type {
        Some(text) if text.starts_with("`[") => text.split_once("`: ").map(|(_, text)| text),
        other => other,
    };
    text.or_else(|| shape.description().filter(|text| !text.starts_with("`[")))
}

/// The type of a setting in words.
fn kind(shape: Shape<'_>) -> String {
    let alternatives = shape.alternatives();
    if !alternatives.is_empty() {
        let kinds: Vec<String> = alternatives.into_iter().map(kind).collect();
        return kinds.join(" or ");
    }
    if !shape.words().is_empty() {
        return "word".to_owned();
    }
    match shape.format() {
        Some("x-time") => return "time".to_owned(),
        Some("x-size") => return "size".to_owned(),
        Some("x-ratio" | "x-factor") => return "ratio".to_owned(),
        Some("x-rate") => return "rate".to_owned(),
        Some("x-bind" | "x-ip-bind" | "x-address") => return "address".to_owned(),
        Some("x-file") => return "path of a file".to_owned(),
        Some("x-network" | "x-proxy") => return "network".to_owned(),
        _ => {}
    }
    match shape.types().first() {
        Some(&"array") => match shape.items() {
            Some(items) => format!("list of: {}", kind(items)),
            None => "list".to_owned(),
        },
        Some(&"object") => match shape
            .below("*")
            .filter(|_| shape.properties().next().is_none())
        {
            Some(any) => format!("names to: {}", kind(any)),
            None => "table".to_owned(),
        },
        Some(&"integer") => "number".to_owned(),
        Some(&"boolean") => "boolean".to_owned(),
        _ => "string".to_owned(),
    }
}

/// A meaning, with the words that the setting knows and what each stands for.
fn with_words(meaning: &str, shape: Shape<'_>) -> String {
    let shape = match shape.items() {
        Some(items) if !items.words().is_empty() => items,
        _ => shape,
    };
    let mut out = meaning.to_owned();
    let documented = shape.attribute("oneOf").and_then(|words| words.as_array());
    for word in documented.into_iter().flatten() {
        if let (Some(name), Some(text)) = (word["const"].as_str(), word["description"].as_str()) {
            let _ = write!(out, "<br>`{name}`: {text}");
        }
    }
    out
}

fn codes<'a>(page: &mut String, title: &str, group: impl Iterator<Item = &'a Explanation>) {
    let _ = write!(
        page,
        "\n### {title}\n\n| code | finding | explanation |\n| --- | --- | --- |\n"
    );
    for entry in group {
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            entry.id,
            cell(entry.summary),
            cell(entry.text)
        );
    }
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The tables in the order in which a reader meets them.
const TABLES: [(&str, &[&str]); 44] = [
    ("Top level", &[]),
    ("`[security]`", &["security"]),
    ("`[admin]`", &["admin"]),
    ("`[log]`", &["log"]),
    ("`[shutdown]`", &["shutdown"]),
    ("`[reload]`", &["reload"]),
    ("`[upgrade]`", &["upgrade"]),
    ("`[defaults]`", &["defaults"]),
    ("`[defaults.timeouts]`", &["defaults", "timeouts"]),
    ("`[listener.<name>]`", &["listener", "*"]),
    ("`[listener.<name>.tls]`", &["listener", "*", "tls"]),
    (
        "Certificates",
        &["listener", "*", "tls", "certificates", "[]"],
    ),
    (
        "`[[listener.<name>.tls.client_certificates]]`",
        &["listener", "*", "tls", "client_certificates", "[]"],
    ),
    (
        "`[listener.<name>.tls.hsts]`",
        &["listener", "*", "tls", "hsts"],
    ),
    ("`[listener.<name>.http2]`", &["listener", "*", "http2"]),
    ("`[listener.<name>.limits]`", &["listener", "*", "limits"]),
    ("`rate` as a table", &["listener", "*", "limits", "rate"]),
    ("`[listener.<name>.socket]`", &["listener", "*", "socket"]),
    (
        "`keepalive` as a table",
        &["listener", "*", "socket", "keepalive"],
    ),
    ("`[route.<name>]`", &["route", "*"]),
    (
        "`[route.<name>.client_certificate]`",
        &["route", "*", "client_certificate"],
    ),
    ("`[route.<name>.redirect]`", &["route", "*", "redirect"]),
    ("`[route.<name>.respond]`", &["route", "*", "respond"]),
    ("`[route.<name>.rewrite]`", &["route", "*", "rewrite"]),
    (
        "`[route.<name>.request_headers]`, `[route.<name>.response_headers]`",
        &["route", "*", "request_headers"],
    ),
    ("`[route.<name>.retry]`", &["route", "*", "retry"]),
    ("`[route.<name>.hedge]`", &["route", "*", "hedge"]),
    ("`[upstream.<name>]`", &["upstream", "*"]),
    (
        "`[upstream.<name>.zone.<zone>]`",
        &["upstream", "*", "zone", "*"],
    ),
    ("Endpoints as tables", &["upstream", "*", "endpoints", "[]"]),
    ("`[upstream.<name>.tls]`", &["upstream", "*", "tls"]),
    (
        "`[upstream.<name>.tls.certificate]`",
        &["upstream", "*", "tls", "certificate"],
    ),
    (
        "`[upstream.<name>.retry_budget]`",
        &["upstream", "*", "retry_budget"],
    ),
    ("`[upstream.<name>.queue]`", &["upstream", "*", "queue"]),
    ("`[upstream.<name>.http2]`", &["upstream", "*", "http2"]),
    ("`[upstream.<name>.socket]`", &["upstream", "*", "socket"]),
    ("`[upstream.<name>.outlier]`", &["upstream", "*", "outlier"]),
    ("`[upstream.<name>.sticky]`", &["upstream", "*", "sticky"]),
    ("`[upstream.<name>.health]`", &["upstream", "*", "health"]),
    (
        "`[upstream.<name>.health.http]`",
        &["upstream", "*", "health", "http"],
    ),
    (
        "`[upstream.<name>.health.grpc]`",
        &["upstream", "*", "health", "grpc"],
    ),
    (
        "`[upstream.<name>.health.udp]`",
        &["upstream", "*", "health", "udp"],
    ),
    ("`[[test]]`", &["test", "[]"]),
    ("`[test.expect]`", &["test", "[]", "expect"]),
];

const GROUPS: [(&str, &[&str]); 3] = [
    ("Errors in a value or file", &["E01"]),
    ("Errors between values", &["E02", "E03"]),
    ("Warnings", &["W03"]),
];

const INTRODUCTION: &str = include_str!("introduction.md");
const WHERE_TIMEOUTS_APPLY: &str = include_str!("timeouts.md");
const FINDINGS: &str = include_str!("findings.md");

#[cfg(test)]
mod tests;
