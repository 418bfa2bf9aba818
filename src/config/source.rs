//! The texts that a configuration was read from, and places in them.
//!
//! Files, the environment's overriding variables and text given on the command line are all sources
//! with a name and lines, so that a mistake has a place wherever it was made.

use std::ops::Range;

/// Every text that was read, in the order of reading.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
}

/// Number of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceId(usize);

/// A range of bytes in a source, always on borders of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where.
    pub source: SourceId,
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

/// Line and column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

#[derive(Debug, Clone)]
struct Source {
    name: String,
    text: String,
}

impl Sources {
    pub(super) fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        self.files.push(Source {
            name: name.into(),
            text: text.into(),
        });
        SourceId(self.files.len() - 1)
    }

    /// Name of a source: a path as it was given, or `environment`.
    pub fn name(&self, source: SourceId) -> &str {
        self.files.get(source.0).map_or("", |file| &file.name)
    }

    /// Text of a source.
    pub fn text(&self, source: SourceId) -> &str {
        self.files.get(source.0).map_or("", |file| &file.text)
    }

    /// Names of all sources, the main file first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// All texts, the main file's first.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.text.as_str())
    }

    /// Name and text of each file, the main one first; what came from the environment is none.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(|file| file.name != ENVIRONMENT);
        files.map(|file| (file.name.as_str(), file.text.as_str()))
    }

    /// The text at a place.
    pub fn slice(&self, place: Place) -> &str {
        self.text(place.source)
            .get(place.start..place.end)
            .unwrap_or("")
    }

    /// Line and column of a byte.
    pub fn position(&self, source: SourceId, offset: usize) -> Position {
        let text = self.text(source);
        let before = &text[..floor(text, offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count(),
            column: 1 + before[line_start..].chars().count(),
        }
    }

    /// A place from a parser's span, brought onto borders of characters and into the text.
    pub(super) fn place(&self, source: SourceId, span: Range<usize>) -> Place {
        let text = self.text(source);
        let start = floor(text, span.start);
        let mut end = span.end.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        Place { source, start, end }
    }

    /// The place of a part of a string's value. A string that is written with escapes is marked as
    /// a whole, since its value's bytes are not where they seem.
    pub(super) fn part(&self, string: Place, value: &str, part: Range<usize>) -> Place {
        let written = self.slice(string);
        let quotes = [3, 1, 0].into_iter().find(|quotes| {
            let inner = written.get(*quotes..written.len().saturating_sub(*quotes));
            inner == Some(value)
        });
        match quotes {
            Some(quotes) => {
                let start = string.start + quotes;
                self.place(string.source, start + part.start..start + part.end)
            }
            None => string,
        }
    }
}

/// The name of what the environment overrides.
pub(super) const ENVIRONMENT: &str = "environment";

/// The last border of a character at or before an offset.
fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
