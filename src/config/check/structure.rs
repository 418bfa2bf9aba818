//! Each value by itself: known keys, types, words, ranges and syntax, by the schema.
//!
//! The walk marks what it refuses, so that the rest can still be looked at as a whole.

use std::collections::BTreeMap;

use super::fault;
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::near::nearest;
use crate::config::node::{Entry, Node, Origin, Table, Text, Value};
use crate::config::path::SettingPath;
use crate::config::schema::Schema;
use crate::config::secrets::{Secrets, is_credential};
use crate::config::shape::Shape;
use crate::config::source::{Place, Sources};
use crate::config::syntax::{self, Bounds};

/// Checks a whole tree against the schema, and notes which of its values are secret.
pub(in crate::config) fn check(
    root: &mut Node,
    schema: &Schema,
    sources: &Sources,
) -> (Vec<Diagnostic>, Secrets) {
    let mut walk = Walk {
        sources,
        diagnostics: Vec::new(),
        secrets: Secrets::default(),
    };
    let place = root.place;
    walk.node(schema.root(), &SettingPath::ROOT, place, root);
    (walk.diagnostics, walk.secrets)
}

struct Walk<'a> {
    sources: &'a Sources,
    diagnostics: Vec<Diagnostic>,
    secrets: Secrets,
}

impl Walk<'_> {
    fn node(&mut self, shape: Shape<'_>, path: &SettingPath<'_>, key: Place, node: &mut Node) {
        if node.faulty {
            return;
        }
        become_a_scalar(shape, node);
        let kind = kind(&node.value);
        let shape = shape.alternative(kind);
        let types = shape.types();
        if !types.contains(&kind) {
            node.faulty = true;
            let finding = fault::wrong_type(self.sources, shape, path, node);
            self.diagnostics.push(finding);
            return;
        }
        let place = node.place;
        let good = match &mut node.value {
            Value::Table(table) => self.table(shape, path, key, table),
            Value::Array(items) => {
                self.items(shape, path, items);
                true
            }
            Value::String(text) => self.string(shape, path, place, text),
            Value::Integer(number) => self.integer(shape, path, place, *number),
            Value::Float(_) | Value::Boolean(_) | Value::Datetime => true,
        };
        node.faulty = !good;
    }

    fn items(&mut self, shape: Shape<'_>, path: &SettingPath<'_>, items: &mut [Node]) {
        let Some(shape) = shape.items() else { return };
        for (index, item) in items.iter_mut().enumerate() {
            let place = item.place;
            self.node(shape, &path.index(index), place, item);
        }
    }

    fn table(
        &mut self,
        shape: Shape<'_>,
        path: &SettingPath<'_>,
        key: Place,
        table: &mut Table,
    ) -> bool {
        self.keys(shape, path, table);
        for (name, entry) in table.iter_mut() {
            let path = path.key(name);
            match shape.below(name) {
                Some(below) => self.node(below, &path, entry.key, &mut entry.value),
                None => entry.value.faulty = true,
            }
        }
        let missing: Vec<&str> = shape
            .required()
            .filter(|required| !table.contains_key(*required))
            .collect();
        for required in &missing {
            let title = format!("[{path}] needs `{required}`");
            let label = format!("`{required}` is missing from this table");
            self.diagnostics
                .push(Diagnostic::new(Code::MissingSetting, title).at(key, label));
        }
        missing.is_empty()
    }

    /// Keys that are unknown, malformed, or the same but for their case.
    fn keys(&mut self, shape: Shape<'_>, path: &SettingPath<'_>, table: &mut Table) {
        let mut fields: BTreeMap<String, Place> = BTreeMap::new();
        for (name, entry) in table.iter_mut() {
            if shape.below(name).is_none() {
                self.unknown(shape, path, name, entry);
                continue;
            }
            let Some(format) = shape.key_format() else {
                continue;
            };
            if let Err(found) = syntax::check(format, name, Bounds::default()) {
                let title = format!("`{}` is not {}", path.key(name), found.what);
                let finding = Diagnostic::new(found.code, title).at(entry.key, found.why);
                self.diagnostics.push(finding);
                entry.value.faulty = true;
            } else if format == "x-field-name" {
                if is_credential(name) {
                    self.secrets.insert(path.key(name).to_string());
                }
                let lower = name.to_ascii_lowercase();
                if let Some(first) = fields.insert(lower.clone(), entry.key) {
                    self.twice(&lower, first, entry.key);
                }
            }
        }
    }

    fn twice(&mut self, field: &str, first: Place, second: Place) {
        let title = format!("the field `{field}` is given twice");
        self.diagnostics.push(
            Diagnostic::new(Code::DefinedTwice, title)
                .at(second, "names of fields have no case")
                .also(first, "first given here"),
        );
    }

    fn unknown(&mut self, shape: Shape<'_>, path: &SettingPath<'_>, name: &str, entry: &Entry) {
        let known: Vec<&str> = shape.properties().collect();
        let place = if path.is_root() {
            "at the top level".to_owned()
        } else {
            format!("in [{path}]")
        };
        let title = format!("unknown setting `{}` {place}", name.escape_debug());
        let finding = Diagnostic::new(Code::UnknownSetting, title).at(entry.key, "no such setting");
        let finding = if let Some(near) = nearest(name, known.iter().copied()) {
            finding.patch(entry.key, near)
        } else {
            let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
            finding.help(format!(
                "settings that are known here: {}",
                known.join(", ")
            ))
        };
        self.diagnostics.push(finding);
    }

    fn string(
        &mut self,
        shape: Shape<'_>,
        path: &SettingPath<'_>,
        place: Place,
        text: &Text,
    ) -> bool {
        if text.is_secret() || shape.format() == Some("x-secret") {
            self.secrets.insert(path.to_string());
        }
        let words = shape.words();
        if !words.is_empty() {
            if !words.contains(&text.text.as_str()) {
                self.diagnostics
                    .push(fault::unknown_word(path, place, text, &words));
                return false;
            }
            return true;
        }
        if text.text.is_empty() && shape.number("minLength").is_some() {
            let title = format!("`{path}` is empty");
            self.diagnostics.push(
                Diagnostic::new(Code::WrongValue, title).at(place, "nothing is written here"),
            );
            return false;
        }
        let Some(format) = shape.format() else {
            return true;
        };
        match syntax::check(format, &text.text, bounds(shape)) {
            Ok(()) => true,
            Err(found) => {
                self.diagnostics
                    .push(fault::malformed(path, place, text, found));
                false
            }
        }
    }

    fn integer(
        &mut self,
        shape: Shape<'_>,
        path: &SettingPath<'_>,
        place: Place,
        number: Option<i64>,
    ) -> bool {
        let words = shape.numbers();
        let (least, most) = (shape.number("minimum"), shape.number("maximum"));
        let expected = if words.is_empty() {
            format!(
                "a whole number from {} to {} is expected",
                least.unwrap_or(0),
                most.unwrap_or(i64::MAX)
            )
        } else {
            let words: Vec<String> = words.iter().map(i64::to_string).collect();
            format!("one of: {}", words.join(", "))
        };
        let good = number.is_some_and(|number| {
            let listed = words.is_empty() || words.contains(&number);
            let above = least.is_none_or(|least| number >= least);
            listed && above && most.is_none_or(|most| number <= most)
        });
        if !good {
            let written = self.sources.slice(place);
            let title = format!("`{path}` cannot be {written}");
            self.diagnostics
                .push(Diagnostic::new(Code::WrongValue, title).at(place, expected));
        }
        good
    }
}

/// A string that is nothing but a variable stands for a number or boolean where one is expected: a
/// file has no other way to take its port from the environment.
fn become_a_scalar(shape: Shape<'_>, node: &mut Node) {
    let Value::String(text) = &node.value else {
        return;
    };
    if !matches!(text.origin, Origin::Variable { whole: true, .. }) {
        return;
    }
    let types = shape.types();
    if types.contains(&"string") {
        return;
    }
    if types.contains(&"integer")
        && let Ok(number) = text.text.trim().parse()
    {
        node.value = Value::Integer(Some(number));
    } else if types.contains(&"boolean")
        && let Ok(truth) = text.text.trim().parse()
    {
        node.value = Value::Boolean(truth);
    }
}

fn bounds(shape: Shape<'_>) -> Bounds {
    let size = |name: &str| shape.number(name).and_then(|size| u64::try_from(size).ok());
    Bounds {
        zero: shape.attribute("x-zero").is_some(),
        least: size("x-least"),
        most: size("x-most"),
    }
}

/// The word of JSON Schema for a value's type.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Integer(_) => "integer",
        Value::Float(_) => "number",
        Value::Boolean(_) => "boolean",
        Value::Datetime => "date",
        Value::Array(_) => "array",
        Value::Table(_) => "object",
    }
}
