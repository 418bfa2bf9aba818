//! The room as a whole: from text to findings, and to data.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::*;

pub(crate) mod cases;
mod examples;
mod robustness;
mod server_names;
mod sources;
mod unused;

/// Variables and files that a test makes up.
#[derive(Debug, Default)]
pub(crate) struct Made {
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Made {
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn with_file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.into());
        self
    }
}

impl Environment for Made {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn variables(&self) -> Vec<(String, String)> {
        self.variables.clone().into_iter().collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.files.get(path.to_str().unwrap());
        file.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let folder = match folder.to_str().unwrap() {
            "." => String::new(),
            folder => format!("{folder}/"),
        };
        let names: Vec<String> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&folder))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(names)
    }
}

/// The codes that a text leads to, in order.
fn codes(outcome: &Outcome) -> Vec<&'static str> {
    let codes = outcome.diagnostics.iter();
    codes.map(|diagnostic| diagnostic.code.id()).collect()
}

/// A text that has to be taken without a finding.
#[track_caller]
fn good(text: &str, environment: &dyn Environment) -> Config {
    let outcome = load_text("test.toml", text, environment);
    assert!(
        outcome.diagnostics.is_empty(),
        "{}",
        outcome.render(Style::default())
    );
    outcome.config.unwrap()
}
