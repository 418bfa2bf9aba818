//! A configuration as a tree in which every key and value knows its place.
//!
//! serde loses places at the first tagged enum and stops at the first mistake. So the parser's tree
//! is copied into this one, which files are merged into, variables replaced in and checks run over;
//! what a check refused is marked, left out, and the rest still becomes typed data.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::secrets::MASK;
use super::source::{Place, SourceId, Sources};

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// A check refused it: it is left out of what is built from the tree.
    pub(super) faulty: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    String(Text),
    /// `None` where it does not fit 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
}

/// A string and where its characters come from.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// Where a string's characters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From the file.
    Written,
    /// From variables, at least in part.
    Variable {
        /// The string is one variable and nothing else, so it may stand for a number.
        whole: bool,
        /// A secret file is part of it.
        secret: bool,
    },
    /// From an overriding environment variable.
    Override {
        /// It sets a credential.
        secret: bool,
    },
}

pub(super) type Table = BTreeMap<String, Entry>;

/// A value of a table, with the place of its key.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn new(place: Place, value: Value) -> Self {
        Self {
            place,
            value,
            faulty: false,
        }
    }

    /// Copies a parsed document.
    pub(super) fn document(
        table: &DeTable<'_>,
        span: Range<usize>,
        source: SourceId,
        sources: &Sources,
    ) -> Self {
        let table = Value::Table(copy_table(table, source, sources));
        Self::new(sources.place(source, span), table)
    }

    pub(super) fn table(&self) -> Option<&Table> {
        if let Value::Table(table) = &self.value {
            Some(table)
        } else {
            None
        }
    }

    pub(super) fn table_mut(&mut self) -> Option<&mut Table> {
        if let Value::Table(table) = &mut self.value {
            Some(table)
        } else {
            None
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        if let Value::Array(items) = &self.value {
            items
        } else {
            &[]
        }
    }

    pub(super) fn text(&self) -> Option<&Text> {
        if let Value::String(text) = &self.value {
            Some(text)
        } else {
            None
        }
    }

    pub(super) fn str(&self) -> Option<&str> {
        self.text().map(|text| text.text.as_str())
    }

    /// The value behind some keys.
    pub(super) fn at(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |node, key| {
            node.table()?.get(*key).map(|entry| &entry.value)
        })
    }

    /// The place of the last of some keys.
    pub(super) fn key_at(&self, keys: &[&str]) -> Option<Place> {
        let (last, parents) = keys.split_last()?;
        Some(self.at(parents)?.table()?.get(*last)?.key)
    }

    /// Whether nothing in it was refused.
    pub(super) fn is_sound(&self) -> bool {
        let inside = match &self.value {
            Value::Array(items) => items.iter().all(Self::is_sound),
            Value::Table(table) => table.values().all(|entry| entry.value.is_sound()),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime => true,
        };
        !self.faulty && inside
    }

    /// What is sound, as a value that serde reads.
    pub(super) fn to_toml(&self) -> Option<toml::Value> {
        if self.faulty {
            return None;
        }
        match &self.value {
            Value::String(text) => Some(toml::Value::String(text.text.clone())),
            Value::Integer(number) => number.map(toml::Value::Integer),
            Value::Float(number) => Some(toml::Value::Float(*number)),
            Value::Boolean(truth) => Some(toml::Value::Boolean(*truth)),
            Value::Datetime => None,
            Value::Array(items) => Some(toml::Value::Array(
                items.iter().filter_map(Self::to_toml).collect(),
            )),
            Value::Table(table) => Some(toml::Value::Table(
                table
                    .iter()
                    .filter_map(|(key, entry)| Some((key.clone(), entry.value.to_toml()?)))
                    .collect(),
            )),
        }
    }

    /// The word for its type.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a fraction",
            Value::Boolean(_) => "a boolean",
            Value::Datetime => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

impl Text {
    /// The text for a message; a secret is not shown.
    pub(super) fn shown(&self) -> &str {
        if self.is_secret() { MASK } else { &self.text }
    }

    pub(super) fn is_secret(&self) -> bool {
        match self.origin {
            Origin::Written => false,
            Origin::Variable { secret, .. } | Origin::Override { secret } => secret,
        }
    }

    /// Whether the file holds these very characters, so that a patch of them makes sense.
    pub(super) fn is_written(&self) -> bool {
        self.origin == Origin::Written
    }
}

fn copy_table(table: &DeTable<'_>, source: SourceId, sources: &Sources) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            let entry = Entry {
                key: sources.place(source, key.span()),
                value: copy(value, source, sources),
            };
            (key.get_ref().to_string(), entry)
        })
        .collect()
}

fn copy(value: &Spanned<DeValue<'_>>, source: SourceId, sources: &Sources) -> Node {
    let copied = match value.get_ref() {
        DeValue::String(text) => Value::String(Text {
            text: text.to_string(),
            origin: Origin::Written,
        }),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| copy(item, source, sources))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(copy_table(table, source, sources)),
    };
    Node::new(sources.place(source, value.span()), copied)
}
