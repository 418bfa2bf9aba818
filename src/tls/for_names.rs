//! What differs by the name that a client asks for.

use std::borrow::Cow;
use std::collections::HashMap;

/// Values for names: an exact name comes before a wildcard, which is for every name below, the
/// longest first; then what is for all others.
///
/// Wildcards reach deeper than those of certificates (one label). Who has written that clients of
/// `*.internal` are to show a certificate must not find `a.b.internal` open.
#[derive(Debug, Clone)]
pub struct ForNames<T> {
    exact: HashMap<Box<str>, T>,
    /// By what stands behind the `*.`.
    below: HashMap<Box<str>, T>,
    /// The longest name in `below`: longer ends of a name need no look-up, however many labels
    /// somebody writes.
    longest_below: usize,
    others: Option<T>,
}

impl<T: Clone> ForNames<T> {
    /// Of values with their names; one without any is for all others, and so is one for `*`.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a [String], T)>) -> Self {
        let mut for_names = Self {
            exact: HashMap::new(),
            below: HashMap::new(),
            longest_below: 0,
            others: None,
        };
        for (names, value) in values {
            if names.is_empty() {
                for_names.others = Some(value);
                continue;
            }
            for name in names {
                let name = plain(name);
                if name == "*" {
                    for_names.others = Some(value.clone());
                } else if let Some(parent) = name.strip_prefix("*.") {
                    for_names.longest_below = for_names.longest_below.max(parent.len());
                    for_names.below.insert(parent.into(), value.clone());
                } else {
                    for_names.exact.insert(name.into(), value.clone());
                }
            }
        }
        for_names
    }
}

impl<T> ForNames<T> {
    /// What is for this name, or for clients without one.
    pub fn of(&self, name: Option<&str>) -> Option<&T> {
        let name = plain(name.unwrap_or_default());
        if let Some(value) = self.exact.get(&*name) {
            return Some(value);
        }
        let dots = memchr::memchr_iter(b'.', name.as_bytes());
        dots.map(|at| &name[at + 1..])
            .filter(|parent| parent.len() <= self.longest_below)
            .find_map(|parent| self.below.get(parent))
            .or(self.others.as_ref())
    }

    /// What is for all names, if they do not differ.
    pub(super) fn others_alone(&self) -> Option<&T> {
        let names_none = self.exact.is_empty() && self.below.is_empty();
        self.others.as_ref().filter(|_| names_none)
    }

    /// All values, some more than once.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        let named = self.exact.values().chain(self.below.values());
        named.chain(&self.others)
    }

    /// Whether there is nothing for any name.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty() && self.others.is_none()
    }
}

/// A name in small letters, and without the dot that may stand at its end.
fn plain(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_comes_before_the_longest_wildcard_and_that_before_all_others() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let written = [
            (names(&["Admin.example.com", "*.internal"]), 1),
            (names(&["*.B.internal", "x.internal."]), 2),
            (names(&[]), 3),
        ];
        let for_names = ForNames::new(written.iter().map(|(names, value)| (&names[..], *value)));
        for (name, value) in [
            ("admin.example.com", 1),
            ("ADMIN.example.COM.", 1),
            ("a.internal", 1),
            ("x.internal", 2),
            ("c.b.internal", 2),
            ("d.c.b.internal", 2),
            ("b.internal", 1),
            ("internal", 3),
            ("example.com", 3),
            ("sub.admin.example.com", 3),
            ("", 3),
        ] {
            assert_eq!(for_names.of(Some(name)), Some(&value), "{name}");
        }
        let long = format!("{}x.internal", "a.".repeat(10_000));
        assert_eq!(for_names.of(Some(&long)), Some(&1), "as routes have it");
        assert_eq!(for_names.of(None), Some(&3));
        assert_eq!(for_names.others_alone(), None);
        assert_eq!(ForNames::new([(&[][..], 4)]).others_alone(), Some(&4));
        assert_eq!(
            ForNames::new([(&names(&["*"])[..], 4)]).others_alone(),
            Some(&4)
        );
        let beside = names(&["a.test", "*"]);
        let for_names = ForNames::new([(&beside[..], 5)]);
        assert_eq!(for_names.of(Some("b.test")), Some(&5));
        assert_eq!(for_names.of(None), Some(&5));
        assert_eq!(ForNames::<u8>::new([]).of(Some("a")), None);
    }
}
