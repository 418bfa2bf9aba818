//! Upstreams that were not written as such: a listener's `to = […]` is one, without a table of its own.

use std::collections::BTreeMap;

use crate::config::{self, Config};

/// Every upstream by name, with the unnamed ones of `to = […]`, which go by `listener.<name>`.
pub fn effective_upstreams(config: &Config) -> BTreeMap<String, config::Upstream> {
    let mut upstreams = config.upstream.clone();
    for (name, listener) in &config.listener {
        if !listener.to.is_empty() {
            let endpoints = listener.to.clone();
            let unnamed = config::Upstream {
                endpoints,
                ..config::Upstream::default()
            };
            upstreams.insert(unnamed_upstream(name), unnamed);
        }
    }
    upstreams
}

/// The upstream that gets what no route takes.
pub(super) fn own_upstream(name: &str, written: &config::Listener) -> Option<String> {
    if written.to.is_empty() {
        written.upstream.clone()
    } else {
        Some(unnamed_upstream(name))
    }
}

fn unnamed_upstream(listener: &str) -> String {
    format!("listener.{listener}")
}
