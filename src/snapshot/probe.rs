//! What a configuration would do with a request: `evenkeel route` and `[[test]]`.
//!
//! Works on what was written alone, with the same rules and the same table as the running proxy,
//! but without its sockets and endpoints: a check must touch nothing.

use std::collections::BTreeMap;

use http::Method;

use super::failure::{BuildError, refused};
use super::inquiry::{Inquiry, InquiryError};
use super::unnamed;
use crate::config::{
    Config, Diagnostic, Difference, Places, Protocol, Route, RouteExpectation, RouteTest,
};
use crate::policy::{Redirect, Target};
use crate::route::{
    Candidate, NameRule, NameTable, Outcome, Question, RouteTable, Rule, RuleError, host, path,
};

/// The routing of a configuration.
#[derive(Debug)]
pub struct Routing<'a> {
    config: &'a Config,
    tables: BTreeMap<&'a str, RouteTable<&'a Route>>,
    /// Routes that take connections before any request is read.
    names: BTreeMap<&'a str, NameTable<&'a Route>>,
}

/// What would happen to a request.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Whether it is passed through unread, with the connection that it would come on.
    pub passes_through: bool,
    /// The listener that was asked.
    pub listener: String,
    /// The route that wins; `None` if the listener's own upstream gets it, or nobody.
    pub route: Option<String>,
    /// Whether the listener's own upstream gets it.
    pub falls_back: bool,
    /// Where it goes; several for a split, with their weights.
    pub upstreams: Vec<(String, u32)>,
    /// The status of an answer that is given without an upstream.
    pub status: Option<u16>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// Every route and what became of it.
    pub candidates: Vec<Candidate>,
}

/// A `[[test]]` that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The request.
    pub request: String,
    /// What was expected and what happens.
    pub differences: Vec<Difference>,
}

impl TestFailure {
    /// The finding about it.
    pub fn finding(&self, places: &Places) -> Diagnostic {
        places.failed_test(self.index, &self.request, &self.differences)
    }
}

impl<'a> Routing<'a> {
    /// The routing of a checked configuration.
    pub fn new(config: &'a Config) -> Result<Self, BuildError> {
        let (mut tables, mut names) = (BTreeMap::new(), BTreeMap::new());
        for (name, listener) in &config.listener {
            if listener
                .protocols
                .as_deref()
                .is_some_and(|list| list.contains(&Protocol::Tcp))
            {
                continue;
            }
            let (mut rules, mut of_names) = (Vec::new(), Vec::new());
            for (route_name, route) in &config.route {
                let refused = |error: RuleError| refused(route_name, &error.to_string());
                if route.takes_requests_of(name) {
                    rules.push((Rule::new(route_name, route).map_err(refused)?, route));
                } else if route.takes_connections() && route.listener.as_ref() == Some(name) {
                    of_names.push((NameRule::new(route_name, route).map_err(refused)?, route));
                }
            }
            tables.insert(name.as_str(), RouteTable::build(rules));
            names.insert(name.as_str(), NameTable::build(of_names));
        }
        Ok(Self {
            config,
            tables,
            names,
        })
    }

    /// What happens to a request at one listener, or at the first that has a route for it.
    pub fn decide(
        &self,
        listener: Option<&str>,
        inquiry: &Inquiry,
    ) -> Result<Decision, InquiryError> {
        let unknown = || InquiryError::Listener(listener.unwrap_or("*").to_owned());
        if let Some(wanted) = listener {
            let (name, table) = self.tables.get_key_value(wanted).ok_or_else(unknown)?;
            return Ok(self.decision(name, table, inquiry));
        }
        let mut decisions = self
            .tables
            .iter()
            .map(|(name, table)| self.decision(name, table, inquiry));
        let first = decisions.next().ok_or_else(unknown)?;
        if first.leads_somewhere() {
            return Ok(first);
        }
        Ok(decisions.find(Decision::leads_somewhere).unwrap_or(first))
    }

    /// Runs the `[[test]]`s.
    pub fn failures(&self) -> Vec<TestFailure> {
        let tests = self.config.test.iter().enumerate();
        tests
            .filter_map(|(index, test)| self.failure(index, test))
            .collect()
    }

    fn failure(&self, index: usize, test: &RouteTest) -> Option<TestFailure> {
        let fields = test
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let decision = Inquiry::new(&test.request, fields)
            .and_then(|inquiry| self.decide(test.listener.as_deref(), &inquiry));
        let differences = match decision {
            Ok(decision) => decision.differences(&test.expect),
            Err(error) => vec![error.difference()],
        };
        (!differences.is_empty()).then(|| TestFailure {
            index,
            request: test.request.clone(),
            differences,
        })
    }

    fn decision(&self, listener: &str, table: &RouteTable<&Route>, inquiry: &Inquiry) -> Decision {
        let question = Question {
            host: &inquiry.authority,
            path: &inquiry.path,
            query: inquiry.query.as_deref(),
            method: &inquiry.method,
            headers: &inquiry.headers,
        };
        let mut decision = Decision {
            passes_through: false,
            listener: listener.to_owned(),
            route: None,
            falls_back: false,
            upstreams: Vec::new(),
            status: None,
            location: None,
            candidates: table.explain(&question),
        };
        if inquiry.scheme == "https" && self.by_name(&mut decision, inquiry) {
            return decision;
        }
        let allows_connect = if let Some(found) = table.find(&question) {
            decision.take(&found.rule.name, found.target, inquiry);
            found.target.connect.unwrap_or(false)
        } else {
            decision.fall_back(&self.config.listener[listener], listener);
            false
        };
        if let Some(status) = objection(inquiry, allows_connect) {
            decision.refuse(status);
        }
        decision
    }
}

impl Routing<'_> {
    /// Whether the connection would be passed through, with this request unread in it. Which
    /// protocols its client would offer is not known: it counts as one that offers none.
    fn by_name(&self, decision: &mut Decision, inquiry: &Inquiry) -> bool {
        let Some(table) = self.names.get(&*decision.listener) else {
            return false;
        };
        let name = host::bare(&inquiry.authority).to_ascii_lowercase();
        let mut candidates = table.explain(&name, &[]);
        let found = table.find(&name, &std::iter::empty());
        if let Some((rule, route)) = found {
            decision.take(&rule.name, route, inquiry);
            decision.passes_through = true;
            candidates.extend(decision.candidates.drain(..).map(|candidate| Candidate {
                outcome: Outcome::Differs(UNREAD.to_owned()),
                ..candidate
            }));
            decision.candidates = candidates;
        } else {
            decision.candidates.append(&mut candidates);
        }
        found.is_some()
    }
}

impl Decision {
    fn leads_somewhere(&self) -> bool {
        self.route.is_some() || !self.upstreams.is_empty()
    }

    /// The name under which logs and metrics have it: that of the route, or `listener.<name>` if
    /// the listener's own upstream gets it.
    fn known_as(&self) -> Option<String> {
        let own = || {
            self.falls_back
                .then(|| unnamed::of_listener(&self.listener))
        };
        self.route.clone().or_else(own)
    }

    fn take(&mut self, name: &str, route: &Route, inquiry: &Inquiry) {
        self.route = Some(name.to_owned());
        self.upstreams
            .extend(route.upstream.iter().map(|upstream| (upstream.clone(), 1)));
        self.upstreams.extend(
            route
                .split
                .iter()
                .map(|(name, weight)| (name.clone(), *weight)),
        );
        if let Some(respond) = &route.respond {
            self.status = Some(respond.status.unwrap_or(200));
        }
        if let Some(redirect) = route.redirect.as_ref().and_then(|r| Redirect::new(r).ok()) {
            let asked = Target {
                scheme: &inquiry.scheme,
                authority: &inquiry.authority,
                path: &inquiry.path,
                query: inquiry.query.as_deref(),
            };
            self.status = Some(redirect.status().as_u16());
            let location = redirect.location(&asked).ok();
            self.location = location.and_then(|value| value.to_str().ok().map(str::to_owned));
        }
    }

    /// What is refused is refused whatever the route says, as the proxy does.
    fn refuse(&mut self, status: u16) {
        self.upstreams.clear();
        self.location = None;
        self.status = Some(status);
    }

    fn fall_back(&mut self, written: &crate::config::Listener, name: &str) {
        match unnamed::own_upstream(name, written) {
            Some(upstream) => {
                self.falls_back = true;
                self.upstreams.push((upstream, 1));
            }
            None => self.status = Some(404),
        }
    }

    fn differences(&self, expected: &RouteExpectation) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut compare = |setting: Setting, expected: Option<String>, holds: bool, found| {
            let found: String = found;
            if let Some(expected) = expected.filter(|_| !holds) {
                let found = if found.is_empty() { "none" } else { &found };
                let what = setting[1];
                differences.push(Difference {
                    setting,
                    sentence: format!("{what} `{expected}` was expected, it is {found}"),
                    found: format!("it is {found}"),
                });
            }
        };
        let route = self.known_as();
        let holds = expected.route == route;
        let found = quoted(&route.unwrap_or_default());
        compare(&["expect", "route"], expected.route.clone(), holds, found);
        let names: Vec<_> = self
            .upstreams
            .iter()
            .map(|(name, _)| quoted(name))
            .collect();
        let wanted = expected.upstream.clone();
        let holds = self
            .upstreams
            .iter()
            .any(|(name, _)| Some(name) == wanted.as_ref());
        compare(&["expect", "upstream"], wanted, holds, names.join(" or "));
        let found = self
            .status
            .map(|status| status.to_string())
            .unwrap_or_default();
        let wanted = expected.status.map(|status| status.to_string());
        let holds = expected.status == self.status;
        compare(&["expect", "status"], wanted, holds, found);
        let holds = expected.location == self.location;
        let found = quoted(self.location.as_deref().unwrap_or_default());
        compare(
            &["expect", "location"],
            expected.location.clone(),
            holds,
            found,
        );
        differences
    }
}

/// Keys of a setting in a `[[test]]`.
type Setting = &'static [&'static str; 2];

/// The status of what is answered before any action: an ambiguous path, TRACE, a tunnel that the
/// route does not allow.
fn objection(inquiry: &Inquiry, allows_connect: bool) -> Option<u16> {
    if path::is_ambiguous(&inquiry.path) {
        return Some(400);
    }
    let refused =
        inquiry.method == Method::TRACE || (inquiry.method == Method::CONNECT && !allows_connect);
    refused.then_some(405)
}

/// What becomes of routes for requests where the connection is passed through.
const UNREAD: &str = "no request is read: the connection is passed through";

fn quoted(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!("`{name}`")
    }
}
