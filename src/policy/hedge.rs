//! Which requests may be at two endpoints at once.
//!
//! A second attempt beside the first is worth its cost for the slowest few requests (J. Dean, L. A.
//! Barroso, "The Tail at Scale", 2013: after the 95th percentile, one in twenty). Both endpoints
//! may carry it out, so that only idempotent methods can be written here (the check of the
//! configuration sees to it), and safe ones are the default. Requests with a body are left alone.

use std::time::Duration;

use http::Method;

use super::retry::parse_methods;
use crate::config;

/// When and for what a route asks a second endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HedgePolicy {
    /// After so long; `None`: after what is usual.
    pub after: Option<Duration>,
    /// `None` for the safe ones.
    methods: Option<Box<[Method]>>,
}

impl HedgePolicy {
    /// The policy of a route as written.
    pub fn new(written: &config::Hedge) -> Self {
        Self {
            after: written.after.map(|time| time.0),
            methods: written.methods.as_deref().map(parse_methods),
        }
    }

    /// Whether requests with this method may be at two endpoints at once.
    pub fn takes(&self, method: &Method) -> bool {
        match &self.methods {
            None => *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS,
            Some(methods) => method.is_idempotent() && methods.contains(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_run_twice_is_hedged() {
        let by_default = HedgePolicy::new(&config::Hedge::default());
        for (method, is_taken) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::OPTIONS, true),
            (Method::DELETE, false),
            (Method::PUT, false),
            (Method::POST, false),
            (Method::CONNECT, false),
        ] {
            assert_eq!(by_default.takes(&method), is_taken, "{method}");
        }
        let written = HedgePolicy::new(&config::Hedge {
            after: Some(config::Time(Duration::from_millis(50))),
            methods: Some(vec!["PUT".to_owned(), "POST".to_owned()]),
        });
        assert_eq!(written.after, Some(Duration::from_millis(50)));
        assert!(written.takes(&Method::PUT) && !written.takes(&Method::GET));
        assert!(!written.takes(&Method::POST), "whatever is written");
    }
}
