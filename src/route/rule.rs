//! One route's conditions, as they are meant.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::config;

use super::Question;
use super::certificate::CertificateMatcher;
use super::field::FieldMatcher;
use super::host::{HostPattern, HostRank};
use super::method::Methods;
use super::path::{PathPattern, PathRank, Spelling};
use super::pattern::PatternError;
use super::query::QueryMatcher;

/// The conditions of one route.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The route's name.
    pub name: Arc<str>,
    pub(super) hosts: Box<[HostPattern]>,
    pub(super) path: PathPattern,
    methods: Methods,
    certificate: Box<[CertificateMatcher]>,
    fields: Box<[FieldMatcher]>,
    query: Box<[QueryMatcher]>,
}

/// What is wrong with a route's conditions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Of `hosts`.
    #[error("the host `{written}` does not work: {reason}")]
    Host {
        /// The host.
        written: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Of `path`.
    #[error("the path `{written}` does not work: {reason}")]
    Path {
        /// The path.
        written: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Of `methods`.
    #[error("`{written}` is not a method")]
    Method {
        /// The method.
        written: String,
    },
    /// Of `headers`.
    #[error("`{written}` is not the name of a field")]
    Field {
        /// The name.
        written: String,
    },
    /// Of `path`, `headers` or `query`.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// How specific a rule is, its hosts aside; the greater wins. The order of the fields is the order
/// in which they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    path: PathRank,
    methods: bool,
    certificate: usize,
    fields: usize,
    query: usize,
}

/// How specific a rule is for one request; the greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    host: HostRank,
    rest: Specificity,
}

impl Rule {
    /// The conditions of a route as written.
    pub fn new(name: &str, written: &config::Route) -> Result<Self, RuleError> {
        let hosts = written.hosts.iter().map(|host| HostPattern::new(host));
        let hosts: Box<[HostPattern]> = if written.hosts.is_empty() {
            Box::new([HostPattern::Any])
        } else {
            hosts.collect::<Result<_, _>>()?
        };
        let fields = written
            .headers
            .iter()
            .map(|(name, value)| FieldMatcher::new(name, value));
        let query = written
            .query
            .iter()
            .map(|(name, value)| QueryMatcher::new(name, value));
        Ok(Self {
            name: name.into(),
            hosts,
            path: PathPattern::new(written.path.as_deref().unwrap_or("/"))?,
            methods: Methods::new(&written.methods, written.connect.unwrap_or(false))?,
            certificate: CertificateMatcher::all(&written.client_certificate)?,
            fields: fields.collect::<Result<_, _>>()?,
            query: query.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn specificity(&self) -> Specificity {
        Specificity {
            path: self.path.rank(),
            methods: self.methods.are_written(),
            certificate: self.certificate.len(),
            fields: self.fields.len(),
            query: self.query.len(),
        }
    }

    /// Of two rules with the same hosts, which is asked first.
    pub(super) fn before(&self, other: &Self) -> Ordering {
        let specificity = other.specificity().cmp(&self.specificity());
        specificity.then_with(|| self.name.cmp(&other.name))
    }

    /// Whether all matches that is neither host nor path.
    pub(super) fn admits(&self, question: &Question<'_>) -> bool {
        self.methods.matches(question.method)
            && self
                .certificate
                .iter()
                .all(|fact| fact.matches(question.headers))
            && self
                .fields
                .iter()
                .all(|field| field.matches(question.headers))
            && self
                .query
                .iter()
                .all(|parameter| parameter.matches(question.query))
    }

    /// How the rule ranks for a request, or the first thing that differs, in words. `host` is the
    /// question's, bare and in lower case.
    pub(super) fn rank(
        &self,
        host: &str,
        path: &Spelling<'_>,
        question: &Question<'_>,
    ) -> Result<Rank, String> {
        let Some(host_rank) = self
            .hosts
            .iter()
            .filter_map(|pattern| pattern.rank(host))
            .max()
        else {
            return Err(format!(
                "host {} does not match `{host}`",
                list(&self.hosts)
            ));
        };
        if self.path.matched(path).is_none() {
            let (written, raw) = (self.path.written(), path.raw());
            return Err(format!("path `{written}` does not match `{raw}`"));
        }
        if !self.methods.matches(question.method) {
            return Err(format!(
                "{} does not match {}",
                self.methods, question.method
            ));
        }
        if let Some(fact) = self
            .certificate
            .iter()
            .find(|fact| !fact.matches(question.headers))
        {
            return Err(fact.to_string());
        }
        if let Some(field) = self
            .fields
            .iter()
            .find(|field| !field.matches(question.headers))
        {
            return Err(field.to_string());
        }
        if let Some(missed) = self
            .query
            .iter()
            .find(|missed| !missed.matches(question.query))
        {
            return Err(missed.to_string());
        }
        Ok(Rank {
            host: host_rank,
            rest: self.specificity(),
        })
    }
}

impl Rank {
    /// Why a rule of this rank stands behind the one that won, in words.
    pub(super) fn behind(&self, winner: &Self, winner_name: &str) -> String {
        if self.host != winner.host {
            return format!("less specific: {} against {}", self.host, winner.host);
        }
        let (mine, theirs) = (&self.rest, &winner.rest);
        match (mine.path, theirs.path) {
            (PathRank::Prefix(mine), PathRank::Prefix(theirs)) if mine != theirs => {
                let mine = PathRank::Prefix(mine);
                return format!("less specific: {mine} against {}", theirs.max(1));
            }
            (mine, theirs) if mine != theirs => {
                return format!("less specific: {mine} against {theirs}");
            }
            _ => {}
        }
        if mine.methods != theirs.methods {
            return "less specific: any method against named ones".to_owned();
        }
        if mine.certificate != theirs.certificate {
            let mine = count(mine.certificate, "condition");
            let theirs = theirs.certificate;
            return format!("less specific: {mine} on the client's certificate against {theirs}");
        }
        if mine.fields != theirs.fields {
            let mine = count(mine.fields, "field");
            return format!("less specific: {mine} against {}", theirs.fields);
        }
        if mine.query != theirs.query {
            let mine = count(mine.query, "query parameter");
            return format!("less specific: {mine} against {}", theirs.query);
        }
        format!("as specific, but its name comes after `{winner_name}`")
    }
}

impl std::fmt::Display for HostRank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any host"),
            Self::Below(length) => write!(f, "wildcard host of {}", count(*length, "byte")),
            Self::Exact => f.write_str("exact host"),
        }
    }
}

pub(super) fn list(hosts: &[HostPattern]) -> String {
    let hosts: Vec<_> = hosts.iter().map(|host| format!("`{host}`")).collect();
    hosts.join(", ")
}

/// A number and what it counts: `1 byte`, `2 bytes`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
