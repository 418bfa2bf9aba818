//! What a listener brings along without a table of its own: the upstream of its `to = […]`, and the
//! route to wherever it sends what no route takes.
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
            let endpoints = listener.to.clone().into();
            let unnamed = config::Upstream {
                endpoints,
                ..config::Upstream::default()
            };
            upstreams.insert(of_listener(name), unnamed);
        }
    }
    for upstream in upstreams.values_mut() {
        let socket = &mut upstream.socket;
        socket.mark = socket.mark.or(config.defaults.mark);
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

/// The route of what no other takes: to the listener's own upstream, or to where TLS is.
pub(super) fn own_route(name: &str, written: &config::Listener) -> Option<config::Route> {
    let redirect = redirects(written).then(|| config::Redirect {
        scheme: Some("https".to_owned()),
        port: written.https_port,
        ..config::Redirect::default()
    });
    let upstream = own_upstream(name, written);
    (redirect.is_some() || upstream.is_some()).then(|| config::Route {
        upstream: upstream.filter(|_| redirect.is_none()),
        redirect,
        ..config::Route::default()
    })
}

/// Whether what comes without TLS is redirected, unless a route that names the listener takes it.
pub(super) fn redirects(written: &config::Listener) -> bool {
    written.redirect_to_https == Some(true)
}

/// The name of what a listener brings along.
pub(super) fn of_listener(listener: &str) -> String {
    format!("listener.{listener}")
}
