//! Takes secrets out of texts.
//!
//! Problem: what is secret is known of a configuration that can be read, by where its values stand.
//! A bundle is made when something is broken, of texts that were written by many hands. So several
//! nets stand behind each other: the values that `config show` hides and the content of each
//! `${file:…}` are taken out wherever they stand, in every form that JSON gives them; variables of
//! the environment whose names say that they are secret as well; and then whatever looks like a
//! secret by its own form. A text that loses a word too many is still of use.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex_automata::meta::Regex;

use crate::config::{Config, secret_values};

/// What is known to be secret.
#[derive(Debug, Default)]
pub(super) struct Scrubber {
    /// The longest first, so that none leaves a rest of another.
    known: Vec<String>,
    /// Settings whose value somebody takes from a variable.
    variable: BTreeSet<String>,
    forms: Vec<Form>,
}

/// What a secret looks like.
#[derive(Debug)]
struct Form {
    pattern: Regex,
    /// Which of its groups is the secret.
    group: usize,
}

impl Scrubber {
    /// For these files, each with its text, and what was understood of them.
    pub(super) fn new<'a>(
        config: Option<&Config>,
        files: impl Iterator<Item = (&'a str, &'a str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut known = BTreeSet::new();
        for value in config.map(secret_values).unwrap_or_default() {
            add(&mut known, &value);
        }
        let mut variable = BTreeSet::new();
        for (name, text) in files {
            variable.extend(text.lines().filter_map(variable_key));
            let folder = Path::new(name).parent().unwrap_or(Path::new(""));
            for file in referred(text) {
                if let Ok(content) = fs::read_to_string(folder.join(&file)) {
                    add(&mut known, &content);
                }
            }
        }
        for (name, value) in variables {
            if is_secret_name(&name) {
                add(&mut known, &value);
            }
        }
        let mut known: Vec<String> = known.into_iter().collect();
        known.sort_by_key(|value| std::cmp::Reverse(value.len()));
        let form = |(pattern, group): &(&str, usize)| {
            let pattern = Regex::new(pattern).ok()?;
            let group = *group;
            Some(Form { pattern, group })
        };
        Self {
            known,
            variable,
            forms: FORMS.iter().filter_map(form).collect(),
        }
    }

    /// A configuration in which variables stand for nothing any more: without what they stood for.
    /// They are the instance's, and unknown here; that they are no secret as well.
    pub(super) fn clean_config(&self, text: &str) -> String {
        let lines = text.lines().map(|line| match key_of(line) {
            Some(key) if self.variable.contains(key) => format!("{key} = \"{MASK}\"\n"),
            _ => format!("{line}\n"),
        });
        self.clean(&lines.collect::<String>())
    }

    /// The text without them.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASK);
            }
        }
        for form in &self.forms {
            text = form.clean(&text);
        }
        text
    }
}

impl Form {
    fn clean(&self, text: &str) -> String {
        let mut cleaned = String::with_capacity(text.len());
        let mut done = 0;
        for captures in self.pattern.captures_iter(text) {
            let Some(secret) = captures.get_group(self.group) else {
                continue;
            };
            // What refers to a secret is none.
            if text[secret.range()].starts_with("${") || &text[secret.range()] == MASK {
                continue;
            }
            cleaned.push_str(&text[done..secret.start]);
            cleaned.push_str(MASK);
            done = secret.end;
        }
        cleaned.push_str(&text[done..]);
        cleaned
    }
}

/// Adds a secret in each form in which it may be written; and each of its lines, since logs and
/// configurations take texts apart. What is shorter would take words out that are none.
fn add(known: &mut BTreeSet<String>, secret: &str) {
    let whole = secret.trim();
    for part in [whole].into_iter().chain(whole.lines().map(str::trim)) {
        // The scheme of a credential is no secret, and what follows stands elsewhere without it.
        let behind = part.split_once(' ').map(|(_, rest)| rest);
        for part in [Some(part), behind].into_iter().flatten() {
            if part.len() < SHORTEST {
                continue;
            }
            known.insert(part.to_owned());
            let json = serde_json::Value::from(part).to_string();
            known.insert(json.trim_matches('"').to_owned());
            known.insert(part.escape_debug().to_string());
        }
    }
}

/// The key of a line that takes its value from a variable.
fn variable_key(line: &str) -> Option<String> {
    let key = key_of(line).filter(|_| line.contains("${"))?;
    Some(key.to_owned())
}

/// The last part of the key of a line of TOML.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim().rsplit('.').next()?;
    Some(key.trim_matches(['"', '\'', ' ']))
}

/// The files that a text takes values from.
fn referred(text: &str) -> Vec<String> {
    let parts = text.split("${file:").skip(1);
    parts
        .filter_map(|part| Some(part.split_once('}')?.0.to_owned()))
        .collect()
}

/// Whether a name says that its value is nobody's business.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// What stands in a secret's place.
pub(super) const MASK: &str = "***";

const SHORTEST: usize = 4;

const WORDS: [&str; 10] = [
    "SECRET",
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "AUTHORIZATION",
    "API_KEY",
    "APIKEY",
    "COOKIE",
];

/// What looks like a secret wherever it stands: each with the group that is one.
const FORMS: &[(&str, usize)] = &[
    // A private key in PEM, also within a string with `\n`.
    (
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(.*?)-----END [A-Z0-9 ]*PRIVATE KEY-----",
        1,
    ),
    // `scheme://user:password@host`.
    (r#"[A-Za-z][A-Za-z0-9+.-]*://([^/\s"'@]+)@"#, 1),
    // `Authorization: Bearer …`, `Basic …`.
    (
        r"(?i)\b(?:bearer|basic|digest|negotiate)[ +]([A-Za-z0-9._~+/=-]{8,})",
        1,
    ),
    // A setting, a field or a parameter whose name says it.
    (
        r#"(?i)["']?[a-z0-9_.-]*(?:secret|token|passw(?:or)?d|passphrase|credential|authorization|api[_-]?key|cookie)[a-z0-9_-]*["']?\s*[:=]\s*\\?["']((?:[^"'\\\n]|\\.)+)\\?["']"#,
        1,
    ),
    (
        r#"(?i)[?&;][a-z0-9_.-]*(?:secret|token|passw(?:or)?d|api[_-]?key|signature|credential)[a-z0-9_-]*=([^&\s"']+)"#,
        1,
    ),
    // A JSON Web Token.
    (
        r"\b(eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)",
        1,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        Scrubber::new(None, [("", text)].into_iter(), []).clean(text)
    }

    #[test]
    fn every_form_is_found() {
        assert_eq!(
            FORMS.len(),
            Scrubber::new(None, std::iter::empty(), []).forms.len()
        );
        for (text, cleaned) in [
            (
                "to = \"https://ann:pw@host/\"",
                "to = \"https://***@host/\"",
            ),
            ("x-token = 'abc'", "x-token = '***'"),
            ("\"password\": \"a\\\"b\"", "\"password\": \"***\""),
            ("secret = \"${file:/a}\"", "secret = \"${file:/a}\""),
            (
                "GET /?a=1&access_token=xyz HTTP",
                "GET /?a=1&access_token=*** HTTP",
            ),
            ("Bearer abcdefgh.ij", "Bearer ***"),
            (
                "-----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY-----",
                "-----BEGIN EC PRIVATE KEY-----***-----END EC PRIVATE KEY-----",
            ),
            ("bind = \":8080\"", "bind = \":8080\""),
        ] {
            assert_eq!(clean(text), cleaned);
        }
    }

    #[test]
    fn what_is_known_is_found_in_any_form() {
        let variables = [("DB_PASSWORD".to_owned(), "pa\"ss\nsecond-line".to_owned())];
        let scrubber = Scrubber::new(None, std::iter::empty(), variables);
        let text = r#"{"why": "got pa\"ss and second-line"}"#;
        assert_eq!(scrubber.clean(text), r#"{"why": "got *** and ***"}"#);
    }
}
