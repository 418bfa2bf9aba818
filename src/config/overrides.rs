//! `EVENKEEL__UPSTREAM__API__BALANCE=random`: settings from the environment (12-factor).
//!
//! The rule leaves no choice: the path to the setting in capitals, everything but letters
//! and digits as `_`, parts joined by `__`. A variable that names no setting is an error
//! like a misspelt key; that it would silently do nothing is worse here, since nobody sees
//! the environment.

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::environment::Environment;
use super::near::nearest;
use super::node::{Entry, Node, Origin, Text, Value};
use super::schema::Schema;
use super::secrets::{MASK, is_credential};
use super::source::{Place, Sources};

/// Sets what the environment overrides.
pub(super) fn apply(
    root: &mut Node,
    schema: &Schema,
    environment: &dyn Environment,
    sources: &mut Sources,
) -> Vec<Diagnostic> {
    let mut variables = environment.variables();
    variables.retain(|(name, _)| name.starts_with(PREFIX));
    if variables.is_empty() {
        return Vec::new();
    }
    variables.sort();
    let shown: Vec<String> = variables
        .iter()
        .map(|(name, value)| shown(name, value))
        .collect();
    let lines = variables.iter().zip(&shown);
    let lines = lines.map(|((name, _), shown)| format!("{name}={shown}\n"));
    let source = sources.add("environment", lines.collect::<String>());
    let mut diagnostics = Vec::new();
    let mut start = 0;
    for ((name, value), shown) in variables.iter().zip(&shown) {
        let value_start = start + name.len() + 1;
        let end = value_start + shown.len();
        let override_ = Override {
            name,
            value,
            key: sources.place(source, start..value_start - 1),
            place: sources.place(source, value_start..end),
        };
        if let Err(mistake) = override_.apply(root, schema) {
            diagnostics.push(*mistake);
        }
        start = end + 1;
    }
    diagnostics
}

struct Override<'a> {
    name: &'a str,
    value: &'a str,
    key: Place,
    place: Place,
}

impl Override<'_> {
    fn apply(&self, root: &mut Node, schema: &Schema) -> Result<(), Box<Diagnostic>> {
        let mut node = root;
        let mut schema = schema.root();
        let path = &self.name[PREFIX.len()..];
        let mut parts = path.split("__").peekable();
        while let Some(part) = parts.next() {
            let known = schema.properties().map(str::to_owned);
            let Value::Table(table) = &mut node.value else {
                return Err(self.nothing_below());
            };
            let mut names: Vec<String> = known.collect();
            names.extend(table.keys().cloned());
            let Some(name) = names.iter().find(|name| environment_form(name) == part) else {
                return Err(self.unknown(part, &names));
            };
            let Some(below) = schema.below(name) else {
                return Err(self.unknown(part, &names));
            };
            schema = below;
            if parts.peek().is_none() {
                let value = self
                    .scalar(&schema.types())
                    .ok_or_else(|| self.no_scalar())?;
                let entry = Entry {
                    key: self.key,
                    value,
                };
                table.insert(name.clone(), entry);
                return Ok(());
            }
            let (key, place) = (self.key, self.place);
            let entry = table.entry(name.clone()).or_insert_with(|| Entry {
                key,
                value: Node::new(place, Value::Table(super::node::Table::new())),
            });
            node = &mut entry.value;
        }
        Err(self.nothing_below()) // `split` yields at least one part
    }

    /// The value in the type that the setting has; a number that is none stays a string, which the
    /// check of types then finds at its place.
    fn scalar(&self, types: &[&str]) -> Option<Node> {
        let integer = || {
            self.value
                .parse()
                .ok()
                .map(|number| Value::Integer(Some(number)))
        };
        let boolean = || self.value.parse().ok().map(Value::Boolean);
        let string = Value::String(Text {
            text: self.value.to_owned(),
            origin: Origin::Override {
                secret: is_secret(self.name),
            },
        });
        let value = if types.contains(&"string") {
            string
        } else if types.contains(&"integer") {
            integer().unwrap_or(string)
        } else if types.contains(&"boolean") {
            boolean().unwrap_or(string)
        } else {
            return None;
        };
        Some(Node::new(self.place, value))
    }

    fn unknown(&self, part: &str, known: &[String]) -> Box<Diagnostic> {
        let title = format!("`{}` names no setting", self.name);
        let forms: Vec<String> = known.iter().map(|name| environment_form(name)).collect();
        let label = match part {
            "" => "a part of the name is empty".to_owned(),
            part => format!("there is no `{part}`"),
        };
        let diagnostic = Diagnostic::new(Code::Override, title).at(self.key, label);
        Box::new(match nearest(part, forms.iter().map(String::as_str)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}` instead of `{part}`?")),
            None => diagnostic.help(
                "listeners, routes and upstreams are defined in files; variables change them",
            ),
        })
    }

    fn nothing_below(&self) -> Box<Diagnostic> {
        let title = format!("`{}` names no setting", self.name);
        Box::new(Diagnostic::new(Code::Override, title).at(
            self.key,
            "a part of the name stands behind a setting that has no parts",
        ))
    }

    fn no_scalar(&self) -> Box<Diagnostic> {
        let title = format!("`{}` names a list or table", self.name);
        Box::new(Diagnostic::new(Code::Override, title).at(
            self.key,
            "only strings, numbers and booleans are overridden",
        ))
    }
}

/// A value as findings show it: on one line, so that every variable has a line of its own, and
/// without what is secret.
fn shown(name: &str, value: &str) -> String {
    if is_secret(name) {
        MASK.to_owned()
    } else {
        value.replace(['\n', '\r'], " ")
    }
}

/// Whether a variable sets a header field that carries a credential.
fn is_secret(name: &str) -> bool {
    let field = name.rsplit("__").next().unwrap_or_default();
    is_credential(&field.replace('_', "-"))
}

/// A name as a part of a variable's name.
fn environment_form(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            'a'..='z' => c.to_ascii_uppercase(),
            'A'..='Z' | '0'..='9' => c,
            _ => '_',
        })
        .collect()
}

const PREFIX: &str = "EVENKEEL__";
