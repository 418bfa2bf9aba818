//! What an instance says about itself: its events, metrics, upstreams, log.

use std::time::Duration;

use serde_json::Value;

use super::clock::{eventually, pause};
use super::evenkeel::Evenkeel;

impl Evenkeel {
    /// The sum of the series of this family whose labels contain all of these, 0 if there is none.
    /// For what counts things:
    /// `metric("evenkeel_endpoint_state", &["state=\"healthy\""])`.
    ///
    /// A request is counted after its client has the answer, which a busy machine can make long:
    /// what is told has come to rest.
    pub(crate) fn metric(&self, family: &str, labels: &[&str]) -> u64 {
        let mut told = self.metric_now(family, labels);
        let mut rests = 0;
        for _ in 0..40 {
            pause(Duration::from_millis(20));
            let now = self.metric_now(family, labels);
            rests = if now == told { rests + 1 } else { 0 };
            told = now;
            if rests == 2 {
                break;
            }
        }
        told
    }

    /// The same at this moment, for what does not rest.
    pub(crate) fn metric_now(&self, family: &str, labels: &[&str]) -> u64 {
        self.admin("/metrics")
            .body
            .text()
            .lines()
            .filter_map(|line| line.strip_prefix(family))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter(|rest| labels.iter().all(|label| rest.contains(label)))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// The events of this kind, oldest first.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let view = self.admin_json("/v1/events");
        let events = view["events"].as_array().expect("a list");
        events
            .iter()
            .filter(|event| event["event"] == kind)
            .cloned()
            .collect()
    }

    /// Waits for the first event of this kind that is about this endpoint or upstream.
    pub(crate) fn event(&self, kind: &str, about: &str) -> Value {
        eventually(&format!("an event {kind} about {about}"), || {
            let mut events = self.events(kind).into_iter();
            events.find(|event| event["endpoint"] == about || event["upstream"] == about)
        })
    }

    /// An endpoint of an upstream, by its address.
    ///
    /// # Panics
    /// When the configuration in force has none.
    pub(crate) fn endpoint(&self, upstream: &str, address: &str) -> Value {
        let endpoints = self.admin_json(&format!("/v1/upstreams/{upstream}/endpoints"));
        let endpoints = endpoints.as_array().expect("a list");
        let mut found = endpoints.iter().filter(|entry| entry["address"] == address);
        found.next().expect("a known endpoint").clone()
    }

    /// How an upstream stands: `healthy`, `backup`, `panic`, …
    pub(crate) fn standing(&self, upstream: &str) -> String {
        let upstreams = self.admin_json("/v1/upstreams");
        let mut upstreams = upstreams.as_array().expect("a list").iter();
        let found = upstreams.find(|entry| entry["name"] == upstream);
        let standing = &found.expect("a known upstream")["standing"];
        standing.as_str().expect("a word").to_owned()
    }

    /// Lines of this kind in what the program has written: `access`, `event`.
    pub(crate) fn log_lines(&self, kind: &str) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["kind"] == kind)
            .collect()
    }

    /// Waits for this many lines of the access log: they are written a moment after the answer.
    pub(crate) fn access_lines(&self, count: usize) -> Vec<Value> {
        eventually("the lines of the access log", || {
            let lines = self.log_lines("access");
            (lines.len() >= count).then_some(lines)
        })
    }
}

/// The word for the cause of an answer that is the proxy's own (RFC 9209 §2.3).
pub(crate) fn cause(response: &super::client::Response) -> String {
    let status = response.head.value("proxy-status").unwrap_or_default();
    status
        .split(';')
        .find_map(|part| part.trim().strip_prefix("error="))
        .unwrap_or_default()
        .to_owned()
}
