//! What differs between two configurations, in the words of a log line.
//!
//! "Was it the deploy?" is the first question of every incident; the event of a reload answers it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::config::{Admin, Config};
use crate::snapshot::{Listener, Snapshot};

/// What a reload changed, by name: `route hello added, upstream api changed`.
pub(super) fn describe(old: &Snapshot, new: &Snapshot) -> String {
    told(changes(&old.config, &new.config), renewed(old, new))
}

/// The listeners whose certificates are others, although nothing else about them may be.
fn renewed(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let digests = |listener: &Listener| {
        let tls = listener.tls.as_ref();
        tls.map(|tls| (tls.digests(), tls.client_digests()))
    };
    let is_renewed = |listener: &&Arc<Listener>| {
        let before = old.listener(&listener.name).and_then(|old| digests(old));
        before.is_some() && before != digests(listener)
    };
    let listeners = new.listeners.iter().filter(is_renewed);
    let told = listeners.map(|listener| format!("certificates of {} changed", listener.name));
    told.collect()
}

fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    compare("listener", &old.listener, &new.listener, &mut changes);
    compare("route", &old.route, &new.route, &mut changes);
    compare("upstream", &old.upstream, &new.upstream, &mut changes);
    if old.defaults != new.defaults {
        changes.push("defaults changed".to_owned());
    }
    if old.log != new.log {
        changes.push("log changed".to_owned());
    }
    if old.shutdown != new.shutdown {
        changes.push("shutdown changed".to_owned());
    }
    if old.upgrade != new.upgrade {
        changes.push("upgrade changed".to_owned());
    }
    if old.workers != new.workers {
        changes.push("workers changed".to_owned());
    }
    if old.state_dir != new.state_dir {
        changes.push("state_dir changed".to_owned());
    }
    if old.reload != new.reload {
        changes.push("reload changed".to_owned());
    }
    if old.admin != new.admin {
        changes.push("admin changed".to_owned());
    }
    if (&old.user, &old.security) != (&new.user, &new.security) {
        changes.push("user or security changed".to_owned());
    }
    if old.zone != new.zone {
        changes.push("zone changed".to_owned());
    }
    changes
}

fn told(mut changes: Vec<String>, renewed: Vec<String>) -> String {
    changes.extend(renewed);
    let more = changes.len().saturating_sub(MOST);
    changes.truncate(MOST);
    if more > 0 {
        changes.push(format!("{more} more"));
    }
    if changes.is_empty() {
        "nothing changed".to_owned()
    } else {
        changes.join(", ")
    }
}

/// What a new configuration asks for that only a start can do, beside the one of this start.
pub(super) fn only_at_start(started: &Config, new: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if started.workers != new.workers {
        notes.push("a change of `workers` is taken at the next start".to_owned());
    }
    if (&started.user, &started.security) != (&new.user, &new.security) {
        notes.push("a change of `user` or `[security]` is taken at the next start".to_owned());
    }
    if entrances(&started.admin) != entrances(&new.admin) {
        notes.push("a change of `[admin]` is taken at the next start".to_owned());
    }
    if started.state_dir != new.state_dir {
        notes.push("a change of `state_dir` is taken at the next start".to_owned());
    }
    notes
}

/// What of `[admin]` only a start can do.
fn entrances(admin: &Admin) -> Admin {
    Admin {
        ready_when: Vec::new(),
        ..admin.clone()
    }
}

/// What is to be known where the log's output, which is no other than before, cannot be opened.
pub(super) fn log_not_opened(error: &io::Error) -> String {
    format!("the log cannot be opened anew ({error}): lines go on to where they went before")
}

/// What is to be known where workers have not taken a configuration up in time.
pub(super) fn workers_behind(count: usize) -> String {
    format!(
        "{count} of the workers have not taken up the listeners yet: they are busy, or hang \
         (evenkeel_runtime_busy_ratio)"
    )
}

fn compare<T: PartialEq>(
    kind: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    changes: &mut Vec<String>,
) {
    for (name, value) in new {
        match old.get(name) {
            None => changes.push(format!("{kind} {name} added")),
            Some(before) if before != value => changes.push(format!("{kind} {name} changed")),
            Some(_) => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.push(format!("{kind} {name} removed"));
    }
}

/// A log line is for reading: beyond this, the number of changes says enough.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(old: &Config, new: &Config) -> String {
        told(changes(old, new), Vec::new())
    }

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn changes_are_told_by_name() {
        let old = config(
            "[route.a]\nupstream = \"x\"\n[route.b]\nupstream = \"x\"\n[upstream.x]\nendpoints = [\"a:1\"]",
        );
        let new = config(
            "zone = \"z\"\n[route.b]\nupstream = \"y\"\n[route.c]\nupstream = \"x\"\n[upstream.x]\nendpoints = [\"a:1\"]",
        );
        assert_eq!(
            describe(&old, &new),
            "route b changed, route c added, route a removed, zone changed"
        );
        let more = config("workers = 3\n[admin]\nhttp = \"127.0.0.1:1\"\n");
        assert_eq!(
            describe(&Config::default(), &more),
            "workers changed, admin changed"
        );
        assert_eq!(describe(&old, &old), "nothing changed");
        let renewed = vec!["certificates of a changed".to_owned()];
        assert_eq!(told(Vec::new(), renewed), "certificates of a changed");
    }

    #[test]
    fn many_changes_are_counted() {
        let route = |number| format!("[route.r{number:02}]\nupstream = \"x\"\n");
        let routes: Vec<String> = (0..12).map(route).collect();
        let text = describe(&Config::default(), &config(&routes.concat()));
        assert!(text.ends_with("route r07 added, 4 more"), "{text}");
    }

    #[test]
    fn what_needs_a_start_is_said() {
        let notes = only_at_start(&Config::default(), &config("workers = 3"));
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("workers"));
    }
}
