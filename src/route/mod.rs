//! Which route a request takes: pure matching, by what is most specific.
//!
//! Problem: where the order of a file decides, every line added in the middle can take traffic from
//! those below it, and nobody sees it in review. Here the order in the file never matters: of all
//! rules that match, the most specific wins, by the precedence of the Gateway API
//! (`HTTPRouteRule`):
//!
//! 1. host: an exact name, then the longest wildcard, then any host;
//! 2. path: exact, then a regular expression (the longer text first), then the longest prefix;
//! 3. a rule that names methods, before one that takes any;
//! 4. more that the client's certificate must say, then more fields, then more query parameters;
//! 5. the name, in the order of the alphabet, so that a tie is decided the same way on
//!    every machine.
//!
//! The Gateway API leaves the place of regular expressions to the implementation. They stand before
//! prefixes, because a person who writes one means a part of what a prefix would take.
//!
//! Use: one [`Rule`] for each route as written, one [`RouteTable`] for each listener (which routes
//! a listener has is the caller's knowledge), then [`RouteTable::find`] for each request, or
//! [`RouteTable::explain`] for a person who asks why. A path for which [`path::is_ambiguous`] holds
//! is to be refused before it gets here.
//!
//! `find` is meant for thousands of rules: hosts, exact paths and prefixes are looked up by hash,
//! so only rules that agree on both are compared one by one. Nothing is allocated unless the path
//! has percent-escapes or a query regex meets one.

use std::sync::Arc;

use http::Method;

use crate::message::Fields;

mod certificate;
mod field;
pub mod host;
mod index;
mod method;
pub mod path;
mod pattern;
mod query;
mod rule;
mod server_name;
mod table;

pub use self::pattern::PatternError;
pub use self::query::parameter;
pub use self::rule::{Rule, RuleError};
pub use self::server_name::{NameRule, NameTable};
pub use self::table::RouteTable;

/// What a route is chosen by.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The host that is asked for, in any case; a port and a trailing dot are ignored.
    pub host: &'a str,
    /// The path as it came: percent-escapes and all. `*` and the empty path of CONNECT are matched
    /// by the prefix `/` alone.
    pub path: &'a str,
    /// The query as it came, without its `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The fields of the request.
    pub headers: &'a Fields,
}

/// The rule that won.
#[derive(Debug)]
pub struct Match<'a, T> {
    /// The rule.
    pub rule: &'a Rule,
    /// What the rule was put in the table for.
    pub target: &'a T,
    /// Bytes of the path, as it came, that the rule's path took: the prefix without a trailing `/`,
    /// the whole of an exact path, a regular expression's match if it starts where the path does.
    pub prefix: usize,
}

/// A rule that was looked at, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The rule's name.
    pub name: Arc<str>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It takes the request.
    Wins,
    /// It matches, but another is more specific; how, in words.
    Outranked(String),
    /// It does not match; the first thing that differs, in words.
    Differs(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wins => f.write_str("wins"),
            Self::Outranked(why) | Self::Differs(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
