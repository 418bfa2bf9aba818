//! Which route a connection takes whose client asked for a server's name: its precedence is that of
//! hosts, and of two routes for one name the one wins whose protocol the client offers first.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config;

use super::host::HostPattern;
use super::rule::{RuleError, list};
use super::{Candidate, Outcome};

/// The conditions of one route.
#[derive(Debug, Clone)]
pub struct NameRule {
    /// The route's name.
    pub name: Arc<str>,
    names: Box<[HostPattern]>,
    /// Of which one must be offered; none for whatever is.
    protocols: Box<[Box<str>]>,
}

/// The rules of a listener, each with what it is for.
#[derive(Debug)]
pub struct NameTable<T> {
    rules: Vec<(NameRule, T)>,
    exact: HashMap<Box<str>, Takers>,
    /// By the name below which they match.
    below: HashMap<Box<str>, Takers>,
    any: Takers,
}

/// Numbers of the rules for one name.
#[derive(Debug, Default)]
struct Takers {
    by_protocol: HashMap<Box<[u8]>, usize>,
    other: Option<usize>,
}

impl NameRule {
    /// The conditions of a route as written.
    pub fn new(name: &str, written: &config::Route) -> Result<Self, RuleError> {
        let names = written.server_name.iter();
        let names = names.map(|name| HostPattern::new(name));
        Ok(Self {
            name: name.into(),
            names: names.collect::<Result<_, _>>()?,
            protocols: written.alpn.iter().map(|name| (**name).into()).collect(),
        })
    }

    /// Why it does not take a connection, in words.
    fn difference(&self, name: &str, offered: &[&[u8]]) -> Option<String> {
        if self
            .names
            .iter()
            .all(|pattern| pattern.rank(name).is_none())
        {
            return Some(format!(
                "server name {} does not match `{name}`",
                list(&self.names)
            ));
        }
        let is_offered = |protocol: &str| offered.contains(&protocol.as_bytes());
        let mut protocols = self.protocols.iter();
        if self.protocols.is_empty() || protocols.any(|protocol| is_offered(protocol)) {
            return None;
        }
        let protocols = self.protocols.iter().map(|name| format!("`{name}`"));
        let protocols: Vec<_> = protocols.collect();
        Some(format!(
            "the client must offer {} (ALPN)",
            protocols.join(" or ")
        ))
    }
}

impl<T> NameTable<T> {
    /// A table of these rules. Their order decides only between two that take the same, which a
    /// checked configuration does not have.
    pub fn build(rules: Vec<(NameRule, T)>) -> Self {
        let mut table = Self {
            rules: Vec::new(),
            exact: HashMap::new(),
            below: HashMap::new(),
            any: Takers::default(),
        };
        for (number, (rule, _)) in rules.iter().enumerate() {
            for name in &rule.names {
                let takers = match name {
                    HostPattern::Any => &mut table.any,
                    HostPattern::Exact(name) => table.exact.entry(name.clone()).or_default(),
                    HostPattern::Below(name) => table.below.entry(name.clone()).or_default(),
                };
                takers.add(rule, number);
            }
        }
        table.rules = rules;
        table
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the rules are for.
    pub fn targets(&self) -> impl Iterator<Item = &T> {
        self.rules.iter().map(|(_, target)| target)
    }

    /// The most specific rule for a name in lower case, of which these protocols are offered, the
    /// dearest first.
    pub fn find<'o>(
        &self,
        name: &str,
        offered: &(impl Iterator<Item = &'o [u8]> + Clone),
    ) -> Option<(&NameRule, &T)> {
        // The first label is not empty: nothing is `.example.com`.
        let ends = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        let below = ends.filter_map(|end| self.below.get(end));
        let all = self.exact.get(name).into_iter().chain(below);
        let number = all
            .chain([&self.any])
            .find_map(|takers| takers.find(offered.clone()))?;
        let (rule, target) = &self.rules[number];
        Some((rule, target))
    }

    /// Every rule and what became of it, the winner first.
    pub fn explain(&self, name: &str, offered: &[&[u8]]) -> Vec<Candidate> {
        let winner = self.find(name, &offered.iter().copied());
        let winner = winner.map(|(rule, _)| &rule.name);
        let outcome = |rule: &NameRule| match winner {
            Some(winner) if *winner == rule.name => Outcome::Wins,
            winner => rule.difference(name, offered).map_or_else(
                || {
                    let winner = winner.map_or("", |winner| winner);
                    Outcome::Outranked(format!("less specific than `{winner}`"))
                },
                Outcome::Differs,
            ),
        };
        let candidates = self.rules.iter().map(|(rule, _)| Candidate {
            name: Arc::clone(&rule.name),
            outcome: outcome(rule),
        });
        let mut candidates: Vec<_> = candidates.collect();
        candidates.sort_by_key(|candidate| match candidate.outcome {
            Outcome::Wins => 0,
            Outcome::Outranked(_) => 1,
            Outcome::Differs(_) => 2,
        });
        candidates
    }
}

impl Takers {
    fn add(&mut self, rule: &NameRule, number: usize) {
        for protocol in &rule.protocols {
            let protocol = protocol.as_bytes().into();
            self.by_protocol.entry(protocol).or_insert(number);
        }
        if rule.protocols.is_empty() {
            self.other.get_or_insert(number);
        }
    }

    fn find<'o>(&self, mut offered: impl Iterator<Item = &'o [u8]>) -> Option<usize> {
        let named = offered.find_map(|protocol| self.by_protocol.get(protocol).copied());
        named.or(self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, server names, protocols.
    type Written<'a> = (&'static str, &'a [&'a str], &'a [&'a str]);

    fn table(rules: &[Written<'_>]) -> NameTable<&'static str> {
        let rules = rules.iter().map(|(route, names, alpn)| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let written = config::Route {
                server_name: texts(names),
                alpn: texts(alpn),
                ..config::Route::default()
            };
            (
                NameRule::new(route, &written).expect("a sound rule"),
                *route,
            )
        });
        NameTable::build(rules.collect())
    }

    fn found(table: &NameTable<&'static str>, name: &str, offered: &[&str]) -> &'static str {
        let offered = offered.iter().map(|name| name.as_bytes());
        let offered: Vec<_> = offered.collect();
        let found = table.find(name, &offered.iter().copied());
        let winner = table.explain(name, &offered).into_iter().next();
        let wins = winner.filter(|winner| winner.outcome == Outcome::Wins);
        assert_eq!(
            wins.map(|winner| winner.name),
            found.map(|(rule, _)| Arc::clone(&rule.name)),
            "{name}"
        );
        found.map_or("", |(_, target)| target)
    }

    #[test]
    fn the_most_specific_name_wins() {
        let table = table(&[
            ("any", &["*"], &[]),
            ("below", &["*.example.com"], &[]),
            ("deeper", &["*.a.example.com"], &[]),
            ("exact", &["X.example.com", "y.a.example.com"], &[]),
        ]);
        for (name, route) in [
            ("x.example.com", "exact"),
            ("y.a.example.com", "exact"),
            ("z.a.example.com", "deeper"),
            ("z.z.a.example.com", "deeper"),
            ("a.example.com", "below"),
            ("example.com", "any"),
            ("nexample.com", "any"),
        ] {
            assert_eq!(found(&table, name, &[]), route, "{name}");
        }
    }

    #[test]
    fn protocols_narrow_a_name() {
        let table = table(&[
            ("plain", &["a.test", "*.b.test"], &[]),
            ("h2", &["a.test"], &["h2"]),
            ("h1", &["a.test", "c.b.test"], &["http/1.1", "http/1.0"]),
        ]);
        assert_eq!(found(&table, "a.test", &[]), "plain");
        assert_eq!(found(&table, "a.test", &["spdy"]), "plain");
        assert_eq!(found(&table, "a.test", &["spdy", "h2", "http/1.1"]), "h2");
        assert_eq!(found(&table, "a.test", &["http/1.0", "h2"]), "h1");
        // Who offers something else falls to the next name.
        assert_eq!(found(&table, "c.b.test", &["http/1.1"]), "h1");
        assert_eq!(found(&table, "c.b.test", &["h2"]), "plain");
        assert_eq!(found(&table, "b.test", &["h2"]), "");
    }

    #[test]
    fn what_became_of_each_is_told() {
        let table = table(&[
            ("far", &["b.test"], &[]),
            ("mail", &["a.test"], &["imap"]),
            ("wide", &["*.test", "*"], &[]),
            ("exact", &["a.test"], &[]),
        ]);
        let told: Vec<_> = table
            .explain("a.test", &[b"h2"])
            .into_iter()
            .map(|candidate| format!("{}: {}", candidate.name, candidate.outcome))
            .collect();
        let expected = [
            "exact: wins",
            "wide: less specific than `exact`",
            "far: server name `b.test` does not match `a.test`",
            "mail: the client must offer `imap` (ALPN)",
        ];
        assert_eq!(told, expected);
    }
}
