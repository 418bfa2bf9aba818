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
    self, Config, Diagnostic, Difference, Places, Route, RouteExpectation, RouteTest,
};
use crate::policy::{Redirect, Target};
use crate::route::{
    Candidate, NameRule, NameTable, Outcome, Question, RouteTable, Rule, RuleError, host, path,
};

/// The routing of a configuration.
#[derive(Debug)]
pub struct Routing<'a> {
    config: &'a Config,
    tables: BTreeMap<&'a str, Tables<'a>>,
}

/// The routes of one listener.
#[derive(Debug)]
struct Tables<'a> {
    all: RouteTable<&'a Route>,
    /// Those that take what comes without TLS, where all else of that is redirected.
    exempt: Option<RouteTable<&'a Route>>,
    /// Those that take connections before any request is read.
    names: NameTable<&'a Route>,
}

/// What would happen to a request.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Whether it is passed through unread, with the connection that it would come on.
    pub passes_through: bool,
    /// The listener that was asked.
    pub listener: String,
    /// The route that wins; `None` if the listener's own gets it, or nobody.
    pub route: Option<String>,
    /// Whether the listener's own gets it, which leads to its upstream or to where TLS is.
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
        let mut tables = BTreeMap::new();
        for (name, listener) in &config.listener {
            if listener.relays() {
                continue;
            }
            let of_listener = Tables::new(config, name, listener)?;
            tables.insert(name.as_str(), of_listener);
        }
        Ok(Self { config, tables })
    }

    /// What happens to a request at one listener, or at the first that has a route for it.
    pub fn decide(
        &self,
        listener: Option<&str>,
        inquiry: &Inquiry,
    ) -> Result<Decision, InquiryError> {
        let unknown = || InquiryError::Listener(listener.unwrap_or("*").to_owned());
        if let Some(wanted) = listener {
            let (name, tables) = self.tables.get_key_value(wanted).ok_or_else(unknown)?;
            return Ok(self.decision(name, tables, inquiry));
        }
        let mut decisions = self
            .tables
            .iter()
            .map(|(name, tables)| self.decision(name, tables, inquiry));
        let first = decisions.next().ok_or_else(unknown)?;
        let leads_somewhere = |decision: &Decision| {
            // What has TLS already is nowhere redirected to it: another listener gets that.
            let is_redirected = decision.location.is_some() && inquiry.scheme != "https";
            decision.route.is_some() || !decision.upstreams.is_empty() || is_redirected
        };
        if leads_somewhere(&first) {
            return Ok(first);
        }
        Ok(decisions.find(leads_somewhere).unwrap_or(first))
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

    fn decision(&self, listener: &str, tables: &Tables<'_>, inquiry: &Inquiry) -> Decision {
        let written = &self.config.listener[listener];
        // Only a proxy in front of it can say that a request came over TLS.
        let may_be_https = inquiry.scheme == "https" && !written.trusted_proxies.is_empty();
        let exempt = tables.exempt.as_ref().filter(|_| !may_be_https);
        let table = exempt.unwrap_or(&tables.all);
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
        if inquiry.scheme == "https" && tables.by_name(&mut decision, inquiry) {
            return decision;
        }
        let allows_connect = if let Some(found) = table.find(&question) {
            decision.route = Some(found.rule.name.to_string());
            decision.take(found.target, inquiry);
            found.target.connect.unwrap_or(false)
        } else {
            let own = unnamed::own_route(listener, written);
            // What came over TLS is not redirected.
            let takes_it = tables.exempt.is_some() == exempt.is_some();
            decision.fall_back(own.filter(|_| takes_it), inquiry);
            false
        };
        if let Some(status) = objection(inquiry, allows_connect) {
            decision.refuse(status);
        }
        decision
    }
}

impl<'a> Tables<'a> {
    /// Whether the connection would be passed through, with this request unread in it. Which
    /// protocols its client would offer is not known: it counts as one that offers none.
    fn by_name(&self, decision: &mut Decision, inquiry: &Inquiry) -> bool {
        let table = &self.names;
        let name = host::bare(&inquiry.authority).to_ascii_lowercase();
        let mut candidates = table.explain(&name, &[]);
        let found = table.find(&name, &std::iter::empty());
        if let Some((rule, route)) = found {
            decision.route = Some(rule.name.to_string());
            decision.take(route, inquiry);
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

    fn new(
        config: &'a Config,
        name: &str,
        listener: &config::Listener,
    ) -> Result<Self, BuildError> {
        let (mut rules, mut exempt, mut of_names) = (Vec::new(), Vec::new(), Vec::new());
        for (route_name, route) in &config.route {
            let refused = |error: RuleError| refused(route_name, &error.to_string());
            let is_here = route.listener.as_deref() == Some(name);
            if route.takes_connections() && is_here {
                of_names.push((NameRule::new(route_name, route).map_err(refused)?, route));
            }
            if !route.takes_requests_of(name) {
                continue;
            }
            let rule = Rule::new(route_name, route).map_err(refused)?;
            if is_here {
                exempt.push((rule.clone(), route));
            }
            rules.push((rule, route));
        }
        Ok(Self {
            all: RouteTable::build(rules),
            exempt: unnamed::redirects(listener).then(|| RouteTable::build(exempt)),
            names: NameTable::build(of_names),
        })
    }
}

impl Decision {
    /// The name under which logs and metrics have it: that of the route, or `listener.<name>` if
    /// the listener's own upstream gets it.
    fn known_as(&self) -> Option<String> {
        let own = || {
            self.falls_back
                .then(|| unnamed::of_listener(&self.listener))
        };
        self.route.clone().or_else(own)
    }

    fn take(&mut self, route: &Route, inquiry: &Inquiry) {
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

    fn fall_back(&mut self, own: Option<Route>, inquiry: &Inquiry) {
        match own {
            Some(own) => {
                self.falls_back = true;
                self.take(&own, inquiry);
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
