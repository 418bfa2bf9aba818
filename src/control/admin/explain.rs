//! `GET /v1/route`: which route the configuration in force has for a request, and why no other.

use http::Method;
use serde::{Deserialize, Serialize};

use super::answer::Problem;
use super::target::Query;
use crate::config::{Config, masked};
use crate::route::Outcome;
use crate::snapshot::{Decision, Inquiry, Routing};

/// What would become of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The listener that gets it.
    pub listener: String,
    /// The route that wins; none if the listener's own gets it, or nobody.
    pub route: Option<String>,
    /// Whether it is passed through unread, with the connection that it would come on.
    #[serde(default)]
    pub passes_through: bool,
    /// Where it goes, with weights; several for a split.
    pub upstreams: Vec<(String, u32)>,
    /// The status, if it is answered without an upstream.
    pub status: Option<u16>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The other routes of the listener.
    pub lost: Vec<Lost>,
}

/// A route that did not win.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Its name.
    pub route: String,
    /// Whether it would have taken the request without the others.
    pub matches: bool,
    /// Why it lost, in words.
    pub why: String,
}

/// Answers `?url=…&method=…&header=name: value&listener=…`.
pub(super) fn explain(config: &Config, query: &Query) -> Result<Explained, Problem> {
    let url = query.first("url");
    let url =
        url.ok_or_else(|| Problem::bad_request("`url` is missing: ?url=https://host/path"))?;
    let method = query.first("method").unwrap_or(Method::GET.as_str());
    let mut fields = Vec::new();
    for header in query.all("header") {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Problem::bad_request(format!(
                "`{header}` is not a field of the form `name: value`"
            ))
        })?;
        fields.push((name.trim(), value.trim()));
    }
    let inquiry = Inquiry::new(&format!("{method} {url}"), fields);
    let inquiry = inquiry.map_err(|error| Problem::bad_request(error.to_string()))?;
    let routing = Routing::new(config);
    let routing = routing.map_err(|error| Problem::unavailable(error.to_string()))?;
    let decision = routing.decide(query.first("listener"), &inquiry);
    let decision = decision.map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(Explained::new(decision, config))
}

impl Explained {
    /// A decision by this configuration. What a request would have to say may be a secret.
    pub fn new(decision: Decision, config: &Config) -> Self {
        let lost = decision.candidates.into_iter().filter_map(|candidate| {
            let (matches, why) = match candidate.outcome {
                Outcome::Wins => return None,
                Outcome::Outranked(why) => (true, why),
                Outcome::Differs(why) => (false, why),
            };
            Some(Lost {
                route: candidate.name.to_string(),
                matches,
                why: masked(config, &why),
            })
        });
        Self {
            lost: lost.collect(),
            listener: decision.listener,
            route: decision.route,
            passes_through: decision.passes_through,
            upstreams: decision.upstreams,
            status: decision.status,
            location: decision.location,
        }
    }
}
