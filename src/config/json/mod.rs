//! A configuration that a program has written: JSON, read into the same tree as TOML.
//!
//! People write TOML. Programs that hold a configuration as data, as a Helm chart holds its values,
//! have no writer of TOML that can be relied on, and all have one of JSON. A file whose name ends
//! in `.json` is read by this parser, since serde's keeps no places; from there on nothing differs,
//! so that each mistake has its line and column. What JSON cannot tell apart is read as what it is
//! for: a number without a fraction is whole, however it is written, and a member that is `null` is
//! not there, by which a value of a chart is taken back.

use std::path::Path;

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::node::{Entry, Node, Origin, Table, Text, Value};
use super::source::{SourceId, Sources};

#[cfg(test)]
mod tests;

/// Whether a file of this name is read as JSON.
pub(super) fn is_named(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|ending| ending == "json")
}

/// A source as a tree, up to where it is no JSON any more, which is told.
pub(super) fn parse(source: SourceId, sources: &Sources) -> (Node, Vec<Diagnostic>) {
    let mut reader = Reader {
        text: sources.text(source),
        at: 0,
        depth: 0,
        source,
        sources,
        twice: Vec::new(),
    };
    let parsed = reader.document();
    let mut findings = reader.twice;
    let root = parsed.unwrap_or_else(|fault| {
        let place = sources.place(source, fault.at..fault.at + 1);
        findings.push(Diagnostic::new(Code::Syntax, "this is not valid JSON").at(place, fault.why));
        Node::new(sources.place(source, 0..0), Value::Table(Table::new()))
    });
    (root, findings)
}

/// Reads forwards, and looks one byte ahead.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    source: SourceId,
    sources: &'a Sources,
    /// Names that an object has twice.
    twice: Vec<Diagnostic>,
}

/// What reads the inside of something nested.
type Read<'a> = fn(&mut Reader<'a>) -> Result<Value, Fault>;

/// Where it is no JSON.
struct Fault {
    at: usize,
    why: &'static str,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Fault> {
        self.space();
        if self.peek() != Some(b'{') {
            return Err(self.fault("a configuration is an object: `{` is expected"));
        }
        let root = self.value()?.ok_or_else(|| self.fault(EXPECTED))?;
        self.space();
        match self.peek() {
            None => Ok(root),
            Some(_) => Err(self.fault("nothing is expected behind the object")),
        }
    }

    /// A value, or nothing where `null` stands.
    fn value(&mut self) -> Result<Option<Node>, Fault> {
        self.space();
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::array)?,
            Some(b'"') => Value::String(Text {
                text: self.string()?,
                origin: Origin::Written,
            }),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => match self.word() {
                "true" => Value::Boolean(true),
                "false" => Value::Boolean(false),
                "null" => return Ok(None),
                _ => {
                    self.at = start;
                    return Err(self.fault(EXPECTED));
                }
            },
        };
        let place = self.sources.place(self.source, start..self.at);
        Ok(Some(Node::new(place, value)))
    }

    fn nested(&mut self, read: Read<'a>) -> Result<Value, Fault> {
        if self.depth == DEEPEST {
            return Err(self.fault("nothing is nested as deep as this"));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value, Fault> {
        let mut table = Table::new();
        self.space();
        if self.took(b'}') {
            return Ok(Value::Table(table));
        }
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fault("a name in double quotes is expected"));
            }
            let name = self.string()?;
            // Without the quotes, so that a patch of it stands in them.
            let key = self.sources.place(self.source, start + 1..self.at - 1);
            self.space();
            if !self.took(b':') {
                return Err(self.fault("`:` is expected behind a name"));
            }
            let value = self.value()?;
            match (value, table.get(&name)) {
                (None, _) => {}
                (Some(_), Some(first)) => self.twice.push(
                    Diagnostic::new(Code::DefinedTwice, format!("`{name}` is defined twice"))
                        .at(key, "second time")
                        .also(first.key, "first time"),
                ),
                (Some(value), None) => {
                    table.insert(name, Entry { key, value });
                }
            }
            if self.ends(b'}', "`,` or `}` is expected")? {
                return Ok(Value::Table(table));
            }
        }
    }

    fn array(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        self.space();
        if self.took(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            let start = self.at;
            let Some(item) = self.value()? else {
                self.at = start;
                self.space();
                return Err(self.fault("`null` is no item of a list"));
            };
            items.push(item);
            if self.ends(b']', "`,` or `]` is expected")? {
                return Ok(Value::Array(items));
            }
        }
    }

    /// Whether a list ends here, rather than going on.
    fn ends(&mut self, close: u8, otherwise: &'static str) -> Result<bool, Fault> {
        self.space();
        if self.took(close) {
            return Ok(true);
        }
        if self.took(b',') {
            return Ok(false);
        }
        Err(self.fault(otherwise))
    }

    /// A string, whose end is found here, and whose escapes are serde's to read.
    fn string(&mut self) -> Result<String, Fault> {
        let start = self.at;
        let mut escaped = true; // the quote that begins it
        for (index, byte) in self.text.as_bytes()[start..].iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let written = &self.text[start..=start + index];
                    let text = serde_json::from_str(written);
                    let text = text.map_err(|_| {
                        self.fault("an escape or a control character in it is wrong")
                    })?;
                    self.at = start + index + 1;
                    return Ok(text);
                }
                _ => {}
            }
        }
        Err(self.fault("the string does not end"))
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = self.text.as_bytes()[start..]
            .iter()
            .take_while(|byte| is_part(byte));
        let end = start + length.count();
        let written = &self.text[start..end];
        let number: f64 =
            serde_json::from_str(written).map_err(|_| self.fault("this is not a number"))?;
        self.at = end;
        if !written.contains(['.', 'e', 'E']) {
            return Ok(Value::Integer(written.parse().ok()));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "compared with what it came from"
        )]
        let whole = number as i64;
        #[expect(
            clippy::cast_precision_loss,
            clippy::float_cmp,
            reason = "below 2^53 it is exact"
        )]
        let is_whole = number.abs() < EXACT && whole as f64 == number;
        Ok(if is_whole {
            Value::Integer(Some(whole))
        } else {
            Value::Float(number)
        })
    }

    /// Letters, for `true` and its like.
    fn word(&mut self) -> &'a str {
        let (text, start) = (self.text, self.at);
        let letters = text.as_bytes()[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic());
        self.at += letters.count();
        &text[start..self.at]
    }

    fn space(&mut self) {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.text.as_bytes()[self.at..]
            .iter()
            .take_while(|byte| is_space(byte))
            .count();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn took(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn fault(&self, why: &'static str) -> Fault {
        Fault { at: self.at, why }
    }
}

const EXPECTED: &str = "a string, a number, a list, an object, `true` or `false` is expected";

/// As deep as the parser of TOML goes; both are recursive, and no setting is a tenth as deep.
const DEEPEST: usize = 80;

/// 2^53: up to it, a float holds every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;
