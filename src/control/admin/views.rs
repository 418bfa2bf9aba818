//! What the admin API shows beside the status: the build, one upstream, the configuration, events.

use serde_json::{Map, Value, json};

use super::Admin;
use super::answer::Problem;
use super::status::{self, Endpoint};
use super::target::Query;
use crate::config;
use crate::snapshot::Snapshot;
use crate::telemetry::events::{Events, Recorded};
use crate::telemetry::process::BUILD;

/// The program, and since when it runs.
pub(super) fn info(admin: &Admin) -> Value {
    let status = admin.status();
    json!({
        "version": BUILD.version,
        "revision": BUILD.revision,
        "pid": std::process::id(),
        "workers": status.workers,
        "zone": status.zone,
        "started_at": status.started_at,
        "uptime_s": status.uptime_s,
    })
}

/// The endpoints of one upstream.
pub(super) fn endpoints(snapshot: &Snapshot, name: &str) -> Result<Vec<Endpoint>, Problem> {
    let upstream = snapshot.upstreams.get(name);
    let upstream = upstream.ok_or_else(|| Problem::not_found(format!("no upstream `{name}`")))?;
    Ok(status::upstream(upstream).endpoints)
}

/// The configuration in force, with secrets left out; with `?effective`, defaults and inherited
/// settings too.
pub(super) fn config(snapshot: &Snapshot, query: &Query) -> Value {
    let effective = query.first("effective").is_some();
    json!({
        "generation": snapshot.generation,
        "sha256": &*snapshot.sha256,
        "toml": config::show(&snapshot.config, effective),
    })
}

/// The events that are kept, or those after the number `since`.
pub(super) fn events(events: &Events, query: &Query) -> Result<Value, Problem> {
    let since = match query.first("since") {
        None => 0,
        Some(written) => written
            .parse()
            .map_err(|_| Problem::bad_request("`since` is the number of an event"))?,
    };
    let newer = events.list(since);
    let last = newer.last().map_or(since, |event| event.id);
    let events: Vec<Value> = newer.iter().map(|event| event_view(event)).collect();
    Ok(json!({ "last": last, "events": events }))
}

fn event_view(recorded: &Recorded) -> Value {
    let mut view = Map::new();
    for (name, value) in &recorded.event.fields {
        view.insert((*name).into(), value.as_str().into());
    }
    view.insert("id".into(), recorded.id.into());
    view.insert("ts".into(), recorded.time().into());
    view.insert("event".into(), recorded.event.kind.into());
    view.insert("why".into(), recorded.event.why.as_str().into());
    Value::Object(view)
}
