//! One finding about a configuration: what is wrong, where, why, and what to write instead.

use super::codes::{Code, Severity};
use super::source::{Place, Sources};

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// What is wrong, in one line.
    pub title: String,
    /// Where; `None` only when there is no text to point at (a file that cannot be read).
    pub primary: Option<Label>,
    /// Other places that matter, perhaps in other files.
    pub secondary: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// What to write instead.
    pub patch: Option<Patch>,
}

/// A place with a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// The words.
    pub text: String,
}

/// A replacement of some text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// What is replaced.
    pub place: Place,
    /// By what.
    pub replacement: String,
}

impl Diagnostic {
    pub(super) fn new(code: Code, title: impl Into<String>) -> Self {
        Self {
            code,
            title: title.into(),
            primary: None,
            secondary: Vec::new(),
            help: None,
            patch: None,
        }
    }

    pub(super) fn at(mut self, place: Place, text: impl Into<String>) -> Self {
        self.primary = Some(Label {
            place,
            text: text.into(),
        });
        self
    }

    pub(super) fn also(mut self, place: Place, text: impl Into<String>) -> Self {
        self.secondary.push(Label {
            place,
            text: text.into(),
        });
        self
    }

    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    pub(super) fn patch(mut self, place: Place, replacement: impl Into<String>) -> Self {
        self.patch = Some(Patch {
            place,
            replacement: replacement.into(),
        });
        self
    }

    /// Whether the configuration is refused for it.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// The finding in one line: `file:line:column: error[E0102]: …`.
    pub fn one_line(&self, sources: &Sources) -> String {
        let severity = self.severity().word();
        let (code, title) = (self.code.id(), &self.title);
        match &self.primary {
            Some(label) => {
                let place = label.place;
                let position = sources.position(place.source, place.start);
                let name = sources.name(place.source);
                let (line, column) = (position.line, position.column);
                format!("{name}:{line}:{column}: {severity}[{code}]: {title}")
            }
            None => format!("{severity}[{code}]: {title}"),
        }
    }
}

/// Puts findings into the order of the files and lines that they are about.
pub(super) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        let key = |d: &Diagnostic| d.primary.as_ref().map(|label| label.place);
        key(a).cmp(&key(b)).then(a.code.cmp(&b.code))
    });
}
