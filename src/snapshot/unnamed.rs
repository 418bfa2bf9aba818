//! What a listener brings along without a table of its own: the upstream of its `to = […]`, and the
//! route to whatever it sends what no route takes.
//!
//! Both go by `listener.<name>` in metrics and logs, which no table may be called then: a route of
//! the listener's own name is another one, and has its own series.

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
            upstreams.insert(of_listener(name), unnamed);
        }
    }
    upstreams
}

/// The upstream that gets what no route takes.
pub(super) fn own_upstream(name: &str, written: &config::Listener) -> Option<String> {
    if written.to.is_empty() {
        written.upstream.clone()
    } else {
        Some(of_listener(name))
    }
}

/// The name of what a listener brings along.
pub(super) fn of_listener(listener: &str) -> String {
    format!("listener.{listener}")
}
