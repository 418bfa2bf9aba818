//! Where the rules of one host are found by path, without asking them all.

use std::collections::HashMap;

use super::path::{PathKind, Spelling};
use super::rule::Rule;

/// Numbers of rules, the most specific first.
type Ordered = Vec<usize>;

/// The rules of one host, by path.
///
/// A prefix can only match where a segment of the path ends, so a path is looked up once for each
/// of its segments at most, and only at lengths that some prefix has: a path of eight thousand
/// slashes costs no more than the configuration made possible.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    exact: HashMap<Box<str>, Ordered>,
    matching: Ordered,
    prefixes: HashMap<Box<str>, Ordered>,
    /// The lengths of `prefixes`, the longest first, each once.
    lengths: Vec<usize>,
    /// The prefix `/`, which most hosts have and nothing else.
    root: Ordered,
}

impl PathIndex {
    /// Adds a rule. Rules come in the order in which they are asked.
    pub(super) fn add(&mut self, number: usize, rule: &Rule) {
        match rule.path.kind() {
            PathKind::Exact(path) => self.exact.entry(path.clone()).or_default().push(number),
            PathKind::Matching(_) => self.matching.push(number),
            PathKind::Prefix(path) if path.is_empty() => self.root.push(number),
            PathKind::Prefix(path) => {
                let length = path.len();
                if let Err(place) = self.lengths.binary_search_by(|other| length.cmp(other)) {
                    self.lengths.insert(place, length);
                }
                self.prefixes.entry(path.clone()).or_default().push(number);
            }
        }
    }

    /// Rules whose path may match, the most specific first. Only regular expressions remain to be
    /// tried; exact paths and prefixes match.
    pub(super) fn candidates<'a>(
        &'a self,
        path: &'a Spelling<'_>,
    ) -> impl Iterator<Item = usize> + 'a {
        let plain = path.plain();
        let exact = if self.exact.is_empty() {
            None
        } else {
            self.exact.get(plain)
        };
        let prefixes = self.lengths.iter().filter_map(move |&length| {
            let ends_a_segment = match plain.as_bytes().get(length) {
                Some(&byte) => byte == b'/',
                None => plain.len() == length,
            };
            // `get` because a length may fall inside a character.
            let prefix = plain.get(..length).filter(|_| ends_a_segment)?;
            self.prefixes.get(prefix)
        });
        let lists = exact
            .into_iter()
            .chain([&self.matching])
            .chain(prefixes)
            .chain([&self.root]);
        lists.flatten().copied()
    }
}
