//! `config show`: the merged configuration as text, with secrets hidden.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::check::{HTTP_ONLY, UDP_TIMEOUTS, UPSTREAM_TIMEOUTS, WITH_NAMES, listener_timeouts};
use super::format::Config;
use super::path::SettingPath;
use super::schema::Schema;
use super::secrets::{MASK, Secrets};
use super::shape::Shape;

/// The configuration as TOML, after includes, variables and overrides. `effective` also writes what
/// is in force without having been written: documented defaults, and the time limits that listeners
/// and upstreams inherit. Values that came from `${file:…}`, and credentials in header fields, are
/// `***`.
#[expect(
    clippy::missing_panics_doc,
    reason = "no configuration leads there: the format's types are all TOML's own"
)]
pub fn show(config: &Config, effective: bool) -> String {
    let mut table = Table::try_from(config).expect("every type of the format is one of TOML's");
    // What was included is part of what is shown.
    table.remove("include");
    if effective {
        let schema = Schema::new();
        fill_table(&mut table, schema.root());
        inherit(&mut table);
        leave_room(&mut table, config);
        speak(&mut table);
    }
    let mut value = Value::Table(table);
    hide(&mut value, &SettingPath::ROOT, &config.secrets);
    toml::to_string_pretty(&value).expect("a table of plain values is TOML")
}

/// The values that [`show`] hides, for who has to keep them out of other texts.
#[expect(
    clippy::missing_panics_doc,
    reason = "no configuration leads there: the format's types are all TOML's own"
)]
pub fn secret_values(config: &Config) -> Vec<String> {
    let table = Table::try_from(config).expect("every type of the format is one of TOML's");
    let mut found = Vec::new();
    collect(
        &Value::Table(table),
        &SettingPath::ROOT,
        &config.secrets,
        &mut found,
    );
    found
}

/// A text that was made from a configuration, with `***` for each secret that has come into it.
pub fn masked(config: &Config, text: &str) -> String {
    let mut secrets = secret_values(config);
    // One may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.retain(|secret| !secret.is_empty());
    let mask = |text: String, secret: &String| text.replace(secret.as_str(), MASK);
    secrets.iter().fold(text.to_owned(), mask)
}

fn collect(value: &Value, path: &SettingPath<'_>, secrets: &Secrets, found: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                collect(value, &path.key(key), secrets, found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, &path.index(index), secrets, found);
            }
        }
        Value::String(text) if secrets.contains(&path.to_string()) => found.push(text.clone()),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
}

fn hide(value: &mut Value, path: &SettingPath<'_>, secrets: &Secrets) {
    match value {
        Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                hide(value, &path.key(key), secrets);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter_mut().enumerate() {
                hide(value, &path.index(index), secrets);
            }
        }
        Value::String(text) => {
            if secrets.contains(&path.to_string()) {
                MASK.clone_into(text);
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// Gives listeners and upstreams the time limits of `[defaults.timeouts]` that apply to them.
fn inherit(table: &mut Table) {
    let defaults = table
        .get("defaults")
        .and_then(|defaults| defaults.get("timeouts"));
    let defaults = defaults
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    let by_name = with_names(table);
    for kind in ["listener", "upstream"] {
        let named = table.get_mut(kind).and_then(Value::as_table_mut);
        for (name, item) in named.into_iter().flatten() {
            let Some(item) = item.as_table_mut() else {
                continue;
            };
            let shakes_hands = item.contains_key("tls") || by_name.contains(name);
            let headers = item.contains_key("proxy_protocol");
            let applicable = match kind {
                "listener" if is_udp(item) => UDP_TIMEOUTS.to_vec(),
                "listener" => listener_timeouts(is_tcp(item), shakes_hands, headers),
                _ => UPSTREAM_TIMEOUTS.to_vec(),
            };
            let timeouts = item
                .entry("timeouts")
                .or_insert_with(|| Value::Table(Table::new()));
            let Some(timeouts) = timeouts.as_table_mut() else {
                continue;
            };
            for key in applicable {
                if let (Some(value), false) = (defaults.get(key), timeouts.contains_key(key)) {
                    timeouts.insert(key.to_owned(), value.clone());
                }
            }
        }
    }
}

/// Says how much routes may have of their listeners that do not say it themselves.
fn leave_room(table: &mut Table, config: &Config) {
    let routes = table.get_mut("route").and_then(Value::as_table_mut);
    for (name, shown) in routes.into_iter().flatten() {
        let written = config.route.get(name.as_str());
        let most = written.and_then(|route| config.max_in_flight(name, route));
        if let (Some(most), Some(shown)) = (most, shown.as_table_mut()) {
            let shown = shown.entry("max_in_flight");
            shown.or_insert_with(|| Value::from(i64::from(most)));
        }
    }
}

/// Says what listeners speak that do not say it themselves.
fn speak(table: &mut Table) {
    let listeners = table.get_mut("listener").and_then(Value::as_table_mut);
    for (_, listener) in listeners.into_iter().flatten() {
        let Some(listener) = listener.as_table_mut() else {
            continue;
        };
        let spoken: &[&str] = if listener.contains_key("tls") {
            &["h2", "http/1.1"]
        } else {
            &["http/1.1"]
        };
        let spoken = spoken.iter().map(|one| Value::from(*one)).collect();
        listener.entry("protocols").or_insert(Value::Array(spoken));
    }
}

/// The listeners that have routes with a `server_name`.
fn with_names(table: &Table) -> BTreeSet<String> {
    let routes = table.get("route").and_then(Value::as_table);
    let routes = routes.into_iter().flatten().map(|(_, route)| route);
    let named = routes.filter(|route| route.get("server_name").is_some());
    let listeners = named.filter_map(|route| route.get("listener")?.as_str());
    listeners.map(str::to_owned).collect()
}

/// Writes the documented defaults of a table and of the tables that always exist below it.
fn fill_table(table: &mut Table, shape: Shape<'_>) {
    for key in shape.properties() {
        let Some(below) = shape.below(key).filter(|_| applies(key, table, shape)) else {
            continue;
        };
        if let Some(default) = below.attribute("default").and_then(plain) {
            table.entry(key).or_insert(default);
        } else if always_exists(key, shape) {
            table
                .entry(key)
                .or_insert_with(|| Value::Table(Table::new()));
        }
    }
    for (key, value) in table.iter_mut() {
        // Time limits that a listener, route or upstream does not set are inherited, not defaults.
        let inherited = key == "timeouts" && !is_defaults(shape);
        if let (Some(below), false) = (shape.below(key), inherited) {
            fill(value, below);
        }
    }
}

/// Whether a table is in force without being written.
fn always_exists(key: &str, shape: Shape<'_>) -> bool {
    match key {
        "log" | "shutdown" | "upgrade" | "reload" | "defaults" | "retry" | "retry_budget"
        | "queue" => true,
        "timeouts" => is_defaults(shape),
        _ => false,
    }
}

/// Whether a setting does anything beside what else is written; the check of a configuration
/// refuses what does not, and what is shown is a configuration.
fn applies(key: &str, table: &Table, shape: Shape<'_>) -> bool {
    match (shape.definition_name(), key) {
        (Some("Listener"), "https_port") => {
            table.get("redirect_to_https").and_then(Value::as_bool) == Some(true)
        }
        (Some("Listener"), key) if HTTP_ONLY.contains(&key) => !is_tcp(table),
        (Some("Route"), key) if table.contains_key("server_name") => WITH_NAMES.contains(&key),
        (Some("Route"), "connect" | "retry") => {
            table.contains_key("upstream") || table.contains_key("split")
        }
        (Some("Upstream"), "hash_by" | "max_load") => {
            let balance = table.get("balance").and_then(Value::as_str);
            balance.is_some_and(|balance| ["ring_hash", "maglev"].contains(&balance))
        }
        (Some("Upstream"), "panic_threshold") => table.contains_key("health"),
        (Some("UpstreamTls"), "roots") => {
            let skips = table.get("insecure_skip_verify").and_then(Value::as_bool);
            !table.contains_key("ca") && skips != Some(true)
        }
        (Some("ListenerLimits"), "subnet_v4" | "subnet_v6") => table.contains_key("per_subnet"),
        (Some("ListenerLimits"), "client_v6") => {
            table.contains_key("per_client") || table.contains_key("rate_per_client")
        }
        // Which of them do something depends on what the listener speaks.
        (Some("ListenerSocket"), _) => false,
        (Some("UpstreamTls"), "server_name_from") => !table.contains_key("server_name"),
        _ => true,
    }
}

fn is_tcp(listener: &Table) -> bool {
    speaks(listener, "tcp") || is_udp(listener)
}

fn is_udp(listener: &Table) -> bool {
    speaks(listener, "udp")
}

fn speaks(listener: &Table, wanted: &str) -> bool {
    let protocols = listener.get("protocols").and_then(Value::as_array);
    let mut protocols = protocols.into_iter().flatten();
    protocols.any(|protocol| protocol.as_str() == Some(wanted))
}

fn is_defaults(shape: Shape<'_>) -> bool {
    shape.definition_name() == Some("Defaults")
}

fn fill(value: &mut Value, shape: Shape<'_>) {
    match value {
        Value::Table(table) => fill_table(table, shape.alternative("object")),
        Value::Array(items) => {
            if let Some(shape) = shape.items() {
                for item in items {
                    fill(item, shape);
                }
            }
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
}

/// A default of the schema as a value of TOML.
fn plain(json: &Json) -> Option<Value> {
    match json {
        Json::Bool(truth) => Some(Value::Boolean(*truth)),
        Json::Number(number) => number.as_i64().map(Value::Integer),
        Json::String(text) => Some(Value::String(text.clone())),
        Json::Array(items) => items
            .iter()
            .map(plain)
            .collect::<Option<_>>()
            .map(Value::Array),
        Json::Null | Json::Object(_) => None,
    }
}
