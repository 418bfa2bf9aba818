//! Whether each listener can have its address; and if not, who has it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::{Finding, Subject};
use crate::config::Listener;
use crate::net::{Bind, Listening, Sockets, Transport};

/// Tries every address, but those that the running instance has.
pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    let Some(config) = subject.config() else {
        return Vec::new();
    };
    let instance = subject.instance.as_ref();
    let listeners = config.listener.iter();
    listeners
        .map(|(name, listener)| {
            let is_held = instance.is_some_and(|instance| holds(&instance.listeners, listener));
            if is_held {
                let bind = &listener.bind;
                return Finding::ok(CHECK, format!("{name}: the instance accepts on {bind}"));
            }
            tried(name, listener)
        })
        .collect()
}

/// Whether the instance has a listener at this address.
fn holds(listeners: &Value, listener: &Listener) -> bool {
    let known = listeners
        .as_array()
        .or_else(|| listeners["listeners"].as_array());
    known.is_some_and(|known| {
        known
            .iter()
            .any(|one| one["bind"] == listener.bind.as_str())
    })
}

fn tried(name: &str, listener: &Listener) -> Finding {
    let bind = &listener.bind;
    if let Some(path) = bind.strip_prefix("unix:") {
        return unix(name, path);
    }
    let transport = Transport::of(bind, listener.is_udp());
    match Sockets::open(transport, bind, &Listening::of(listener), 1) {
        Ok(_) => Finding::ok(CHECK, format!("{name}: {bind} can be bound")),
        Err(error) => {
            let address = bind.parse::<Bind>().map(|bind| bind.address);
            let holder = address
                .ok()
                .and_then(|address| holder(address, listener.is_udp()));
            let remedy = match holder {
                Some(who) => format!("{who} has it: stop that, or take another port"),
                None => "as it says; run this as root to be told who has a port".to_owned(),
            };
            Finding::bad(CHECK, format!("{name}: {error}"), remedy)
        }
    }
}

fn unix(name: &str, path: &str) -> Finding {
    if path.starts_with('@') {
        return Finding::ok(CHECK, format!("{name}: {path} is an abstract name"));
    }
    let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
    if parent.is_dir() {
        Finding::ok(CHECK, format!("{name}: {} is there", parent.display()))
    } else {
        Finding::bad(
            CHECK,
            format!("{name}: the directory of {path} is not there"),
            format!("mkdir {}", parent.display()),
        )
    }
}

/// The process that has a port, as far as this user may see: its name and number.
fn holder(address: SocketAddr, is_udp: bool) -> Option<String> {
    let tables = if is_udp {
        ["/proc/net/udp", "/proc/net/udp6"]
    } else {
        ["/proc/net/tcp", "/proc/net/tcp6"]
    };
    let mut tables = tables
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok());
    let inode = tables.find_map(|table| inode_of(&table, address.port(), is_udp))?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let process = processes.into_iter().find(|process| {
        let descriptors = fs::read_dir(process.path().join("fd"));
        descriptors.is_ok_and(|descriptors| {
            descriptors
                .flatten()
                .any(|one| fs::read_link(one.path()).is_ok_and(|to| to == Path::new(&link)))
        })
    })?;
    let name = fs::read_to_string(process.path().join("comm")).ok()?;
    let number = process.file_name();
    Some(format!(
        "{} (process {})",
        name.trim_end(),
        number.display()
    ))
}

/// The inode of the socket that has a port, in a table of `/proc/net`: of TCP, that listens.
pub(super) fn inode_of(table: &str, port: u16, is_udp: bool) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, found) = words.get(1)?.rsplit_once(':')?;
        let is_here = u16::from_str_radix(found, 16) == Ok(port);
        let listens = is_udp || *words.get(3)? == LISTENS;
        let inode = words.get(9).filter(|_| is_here && listens)?;
        Some((*inode).to_owned())
    })
}

const CHECK: &str = "ports";

/// `TCP_LISTEN` of the kernel.
const LISTENS: &str = "0A";
