//! `${VAR}`, `${VAR:-default}` and `${file:/path}` in strings.
//!
//! Replaced after parsing, so that no value can break the syntax or add a setting; one pass, so
//! that a value which looks like a variable stays what it is. `$$` is a `$`, and a `$` before
//! anything but `{` or `$` is itself, since regular expressions end with it.

use std::ops::Range;
use std::path::Path;

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::environment::{Environment, reason};
use super::node::{Node, Origin, Text, Value};
use super::source::{Place, Sources};

/// Replaces the variables of every string below a node; those that cannot be are marked as faulty.
pub(super) fn interpolate(
    node: &mut Node,
    folder: &Path,
    environment: &dyn Environment,
    sources: &Sources,
) -> Vec<Diagnostic> {
    let mut pass = Pass {
        folder,
        environment,
        sources,
        diagnostics: Vec::new(),
    };
    pass.node(node);
    pass.diagnostics
}

struct Pass<'a> {
    folder: &'a Path,
    environment: &'a dyn Environment,
    sources: &'a Sources,
    diagnostics: Vec<Diagnostic>,
}

/// A piece of a string: its range, and what stands there.
#[derive(Debug, PartialEq, Eq)]
struct Piece<'a> {
    range: Range<usize>,
    what: What<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum What<'a> {
    Plain(&'a str),
    Variable {
        name: &'a str,
        default: Option<&'a str>,
    },
    File(&'a str),
    Malformed(&'static str),
}

impl Pass<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::String(text) => {
                if text.text.contains('$') {
                    match self.expand(node.place, &text.text) {
                        Some(expanded) => *text = expanded,
                        None => node.faulty = true,
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Table(table) => table
                .values_mut()
                .for_each(|entry| self.node(&mut entry.value)),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
        }
    }

    /// The string with its variables replaced; `None` after a mistake, of which there
    /// may be several.
    fn expand(&mut self, place: Place, text: &str) -> Option<Text> {
        let pieces = pieces(text);
        let whole = matches!(&pieces[..], [piece] if !matches!(piece.what, What::Plain(_)));
        let (mut out, mut origin, mut good) = (String::new(), Origin::Written, true);
        for piece in pieces {
            let is_file = matches!(piece.what, What::File(_));
            if !matches!(piece.what, What::Plain(_)) {
                let secret = is_file || matches!(origin, Origin::Variable { secret: true, .. });
                origin = Origin::Variable { whole, secret };
            }
            let part = self.sources.part(place, text, piece.range);
            match self.value(&piece.what, part) {
                Ok(value) => out.push_str(&value),
                Err(mistake) => {
                    self.diagnostics.push(*mistake);
                    good = false;
                }
            }
        }
        good.then_some(Text { text: out, origin })
    }

    /// What a piece stands for; its place is for what is wrong with it.
    fn value(&self, what: &What<'_>, place: Place) -> Result<String, Box<Diagnostic>> {
        match what {
            What::Plain(text) => Ok((*text).to_owned()),
            What::Variable { name, default } => {
                let set = self.environment.variable(name);
                // As in a shell, `:-` also stands for a variable that is set to nothing.
                let value = match default {
                    Some(default) => set
                        .filter(|value| !value.is_empty())
                        .or(Some((*default).to_owned())),
                    None => set,
                };
                value.ok_or_else(|| Box::new(unset(place, name)))
            }
            What::File(path) => {
                let title = format!("the file `{path}` cannot be read");
                let unreadable =
                    |why| Box::new(Diagnostic::new(Code::Variable, title).at(place, why));
                self.file(path).map_err(unreadable)
            }
            What::Malformed(why) => Err(Box::new(malformed(place, why))),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let bytes = self
            .environment
            .read(&self.folder.join(path))
            .map_err(|error| reason(&error))?;
        let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        // Editors and `echo` end a file with a line break that is no part of the secret.
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

fn unset(place: Place, name: &str) -> Diagnostic {
    let title = format!("the environment variable `{name}` is not set");
    Diagnostic::new(Code::Variable, title)
        .at(place, "no value for this")
        .help(format!("set it, or give a default: `${{{name}:-…}}`"))
}

fn malformed(place: Place, why: &'static str) -> Diagnostic {
    Diagnostic::new(Code::VariableSyntax, "this is not a variable")
        .at(place, why)
        .help("there are `${NAME}`, `${NAME:-default}` and `${file:/path}`; a plain `$` is `$$`")
}

/// Takes a string apart. Pieces of plain text may be empty or adjacent.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        if dollar > at {
            pieces.push(plain(text, at..dollar));
        }
        let rest = &text[dollar + 1..];
        at = if rest.starts_with('$') {
            pieces.push(plain(text, dollar..dollar + 1));
            dollar + 2
        } else if let Some(inside) = rest.strip_prefix('{') {
            let (what, length) = variable(inside);
            let end = dollar + 2 + length;
            let range = dollar..end;
            pieces.push(Piece { range, what });
            end
        } else {
            pieces.push(plain(text, dollar..dollar + 1));
            dollar + 1
        };
    }
    if at < text.len() {
        pieces.push(plain(text, at..text.len()));
    }
    pieces
}

fn plain(text: &str, range: Range<usize>) -> Piece<'_> {
    let what = What::Plain(&text[range.clone()]);
    Piece { range, what }
}

/// What stands behind `${`, and its length including the closing brace.
fn variable(inside: &str) -> (What<'_>, usize) {
    let Some(end) = inside.find('}') else {
        return (What::Malformed("there is no closing brace"), inside.len());
    };
    let body = &inside[..end];
    let what = if body.contains("${") {
        What::Malformed("variables do not nest")
    } else if let Some(path) = body.strip_prefix("file:") {
        if path.is_empty() {
            What::Malformed("`file:` needs a path")
        } else {
            What::File(path)
        }
    } else {
        let (name, default) = match body.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (body, None),
        };
        if is_name(name) {
            What::Variable { name, default }
        } else {
            What::Malformed("a name has letters, digits and underscores, and begins with no digit")
        }
    };
    (what, end + 1)
}

/// POSIX.1-2024 §8.1, with small letters as well.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests;
