//! All rules of a listener, found by host, then by path.

use std::collections::HashMap;

use super::host::{self, HostPattern, LONGEST_NAME};
use super::index::PathIndex;
use super::path::Spelling;
use super::rule::{Rank, Rule};
use super::{Candidate, Match, Outcome, Question};

/// Rules, each with what it is for.
#[derive(Debug)]
pub struct RouteTable<T> {
    rules: Vec<(Rule, T)>,
    exact: HashMap<Box<str>, PathIndex>,
    /// By the name below which they match.
    below: HashMap<Box<str>, PathIndex>,
    /// The longest name in `below`: longer ends of a host need no look-up.
    longest_below: usize,
    any: PathIndex,
}

impl<T> RouteTable<T> {
    /// A table of these rules. Their order does not matter.
    pub fn build(mut rules: Vec<(Rule, T)>) -> Self {
        rules.sort_by(|(one, _), (other, _)| one.before(other));
        let mut table = Self {
            rules: Vec::new(),
            exact: HashMap::new(),
            below: HashMap::new(),
            longest_below: 0,
            any: PathIndex::default(),
        };
        for (number, (rule, _)) in rules.iter().enumerate() {
            for (place, host) in rule.hosts.iter().enumerate() {
                // A host that is written twice is still one.
                if !rule.hosts[..place].contains(host) {
                    table.index_of(host).add(number, rule);
                }
            }
        }
        table.rules = rules;
        table
    }

    /// What the rules are for, the most specific rule first.
    pub fn targets(&self) -> impl Iterator<Item = &T> {
        self.rules.iter().map(|(_, target)| target)
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The most specific rule that matches.
    pub fn find(&self, question: &Question<'_>) -> Option<Match<'_, T>> {
        let path = Spelling::of(question.path);
        let mut buffer = [0; LONGEST_NAME];
        let host = host::lower(host::bare(question.host), &mut buffer);
        let exact = host.and_then(|host| self.exact.get(host));
        let below = host.into_iter().flat_map(|host| self.below(host));
        exact
            .into_iter()
            .chain(below)
            .chain([&self.any])
            .find_map(|index| self.find_in(index, &path, question))
    }

    /// Every rule and what became of it: the winner, then those it outranked, the most specific
    /// first, then those that do not match, by name.
    pub fn explain(&self, question: &Question<'_>) -> Vec<Candidate> {
        let mut buffer = [0; LONGEST_NAME];
        let host = host::lower(host::bare(question.host), &mut buffer).unwrap_or_default();
        let path = Spelling::of(question.path);
        let mut ranked = Vec::new();
        let mut different = Vec::new();
        for (rule, _) in &self.rules {
            match rule.rank(host, &path, question) {
                Ok(rank) => ranked.push((rank, rule)),
                Err(why) => different.push(Candidate {
                    name: rule.name.clone(),
                    outcome: Outcome::Differs(why),
                }),
            }
        }
        ranked.sort_by(|(one_rank, one), (other_rank, other)| {
            other_rank
                .cmp(one_rank)
                .then_with(|| one.name.cmp(&other.name))
        });
        different.sort_by(|one, other| one.name.cmp(&other.name));
        let mut candidates = outcomes(&ranked);
        candidates.append(&mut different);
        candidates
    }

    fn index_of(&mut self, host: &HostPattern) -> &mut PathIndex {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Below(name) => {
                self.longest_below = self.longest_below.max(name.len());
                self.below.entry(name.clone()).or_default()
            }
        }
    }

    /// The wildcards that a host falls under, the longest first.
    fn below<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a PathIndex> {
        // The first label is not empty: `.example.com` is not below `example.com`.
        let there_are = !self.below.is_empty();
        let text = if there_are { host.as_bytes() } else { b"" };
        let dots = memchr::memchr_iter(b'.', text).filter(|at| *at > 0);
        dots.map(|at| &host[at + 1..])
            .filter(|name| name.len() <= self.longest_below)
            .filter_map(|name| self.below.get(name))
    }

    fn find_in<'a>(
        &'a self,
        index: &PathIndex,
        path: &Spelling<'_>,
        question: &Question<'_>,
    ) -> Option<Match<'a, T>> {
        index.candidates(path).find_map(|number| {
            let (rule, target) = &self.rules[number];
            // The cheap conditions first; a regular expression is tried last.
            if !rule.admits(question) {
                return None;
            }
            let prefix = rule.path.matched(path)?;
            Some(Match {
                rule,
                target,
                prefix,
            })
        })
    }
}

fn outcomes(ranked: &[(Rank, &Rule)]) -> Vec<Candidate> {
    let Some((winner_rank, winner)) = ranked.first() else {
        return Vec::new();
    };
    let outcome = |place: usize, rank: &Rank| match place {
        0 => Outcome::Wins,
        _ => Outcome::Outranked(rank.behind(winner_rank, &winner.name)),
    };
    let candidates = ranked.iter().enumerate();
    candidates
        .map(|(place, (rank, rule))| Candidate {
            name: rule.name.clone(),
            outcome: outcome(place, rank),
        })
        .collect()
}
