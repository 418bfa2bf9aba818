//! `EVENKEEL__UPSTREAM__API__BALANCE=random`: settings from the environment (12-factor).
//!
//! The rule leaves no choice: the path to the setting in capitals, everything but letters and
//! digits as `_`, parts joined by `__`; the items of a list are separated by commas. A variable
//! that names no setting is an error like a misspelt key; that it would silently do nothing is
//! worse here, since nobody sees the environment.

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::environment::Environment;
use super::near::nearest;
use super::node::{Entry, Node, Origin, Text, Value};
use super::schema::Schema;
use super::secrets::{MASK, is_credential};
use super::shape::Shape;
use super::source::{ENVIRONMENT, Place, Sources};

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
    let secret: Vec<bool> = variables
        .iter()
        .map(|(name, _)| is_secret(name, schema))
        .collect();
    let values = variables.iter().zip(&secret);
    let shown: Vec<String> = values
        .map(|((_, value), secret)| shown(value, *secret))
        .collect();
    let lines = variables.iter().zip(&shown);
    let lines = lines.map(|((name, _), shown)| format!("{name}={shown}\n"));
    let source = sources.add(ENVIRONMENT, lines.collect::<String>());
    let mut diagnostics = Vec::new();
    let mut start = 0;
    for (((name, value), shown), secret) in variables.iter().zip(&shown).zip(secret) {
        let value_start = start + name.len() + 1;
        let end = value_start + shown.len();
        let override_ = Override {
            name,
            value,
            secret,
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
    secret: bool,
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
            let mut meant = names.iter().filter(|name| environment_form(name) == part);
            let Some(name) = meant.next() else {
                return Err(self.unknown(part, &names));
            };
            if let Some(other) = meant.find(|other| *other != name) {
                return Err(self.ambiguous(name, other));
            }
            let Some(below) = schema.below(name) else {
                return Err(self.unknown(part, &names));
            };
            schema = below;
            if parts.peek().is_none() {
                let value = self.written(schema).ok_or_else(|| self.no_scalar())?;
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

    /// The value in the form that the setting has; `None` if no text has it.
    fn written(&self, shape: Shape<'_>) -> Option<Node> {
        let scalar = self.scalar(self.value, self.place, &shape.types());
        scalar.or_else(|| self.list(shape))
    }

    /// A number or truth that is none stays a string, which the check of types then finds at its
    /// place.
    fn scalar(&self, text: &str, place: Place, types: &[&str]) -> Option<Node> {
        let integer = || Some(Value::Integer(Some(text.parse().ok()?)));
        let boolean = || Some(Value::Boolean(text.parse().ok()?));
        let string = || {
            Value::String(Text {
                text: text.to_owned(),
                origin: Origin::Override {
                    secret: self.secret,
                },
            })
        };
        let value = if types.contains(&"integer") {
            // Where a number will do, a number that is written is one.
            integer().unwrap_or_else(string)
        } else if types.contains(&"boolean") {
            boolean().unwrap_or_else(string)
        } else if types.contains(&"string") {
            string()
        } else {
            return None;
        };
        Some(Node::new(place, value))
    }

    /// The items of a list, each with its place.
    fn list(&self, shape: Shape<'_>) -> Option<Node> {
        let types = shape.items()?.types();
        let (mut items, mut start) = (Vec::new(), self.place.start);
        for part in self.value.split(',') {
            let item = part.trim();
            let mut place = self.place;
            if !self.secret {
                place.start = start + (part.len() - part.trim_start().len());
                place.end = place.start + item.len();
            }
            start += part.len() + 1;
            // Nothing at all is an empty list; nothing between two commas is found by its check.
            if !(item.is_empty() && part.len() == self.value.len()) {
                items.push(self.scalar(item, place, &types)?);
            }
        }
        types
            .iter()
            .any(|one| SCALARS.contains(one))
            .then(|| Node::new(self.place, Value::Array(items)))
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

    /// Two names that differ only in what the environment has no letters for.
    fn ambiguous(&self, one: &str, other: &str) -> Box<Diagnostic> {
        let title = format!("`{}` may mean `{one}` or `{other}`", self.name);
        let diagnostic = Diagnostic::new(Code::Override, title);
        let diagnostic = diagnostic.at(self.key, "both are written like this in the environment");
        Box::new(diagnostic.help("rename one of them"))
    }

    fn nothing_below(&self) -> Box<Diagnostic> {
        let title = format!("`{}` names no setting", self.name);
        Box::new(Diagnostic::new(Code::Override, title).at(
            self.key,
            "a part of the name stands behind a setting that has no parts",
        ))
    }

    fn no_scalar(&self) -> Box<Diagnostic> {
        let title = format!("`{}` names a table", self.name);
        let diagnostic = Diagnostic::new(Code::Override, title);
        Box::new(diagnostic.at(
            self.key,
            "only strings, numbers, booleans and lists of them are overridden",
        ))
    }
}

/// A value as findings show it: on one line, so that every variable has a line of its own, and
/// without what is secret.
fn shown(value: &str, secret: bool) -> String {
    if secret {
        MASK.to_owned()
    } else {
        value.replace(['\n', '\r'], " ")
    }
}

/// Whether a variable sets a header field that carries a credential, or what is a secret by its
/// nature.
fn is_secret(name: &str, schema: &Schema) -> bool {
    let mut parts = name[PREFIX.len()..].split("__");
    let last = name.rsplit("__").next().unwrap_or_default();
    let shape = parts.try_fold(schema.root(), |shape, part| {
        let shape = shape.alternative("object");
        let mut known = shape.properties();
        let known = known.find(|name| environment_form(name) == part);
        shape.below(known.unwrap_or(part))
    });
    let shape = shape.map(|shape| shape.alternative("string"));
    is_credential(&last.replace('_', "-"))
        || shape.is_some_and(|shape| shape.format() == Some("x-secret"))
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

/// What has a form in a variable.
const SCALARS: [&str; 3] = ["string", "integer", "boolean"];
