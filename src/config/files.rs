//! Paths of files that a configuration names: relative to the file that names them.
//!
//! A snippet and what it needs stand in one folder, and that folder may be moved. Only here is it
//! known which of several files a path was written in: whoever reads the typed configuration gets
//! paths that it can open as they are, absolute ones or, where the configuration was itself named
//! by a relative path, relative to the working directory.

use std::path::{Path, PathBuf};

use super::format::Config;
use super::node::{Node, Value};
use super::schema::Schema;
use super::shape::Shape;
use super::source::Sources;

/// Puts the folder of its file before every relative path below a node. What was refused stays as
/// it is.
pub(super) fn resolve(node: &mut Node, shape: Shape<'_>, sources: &Sources) {
    if node.faulty {
        return;
    }
    match &mut node.value {
        Value::Table(table) => {
            let shape = shape.alternative("object");
            for (key, entry) in table.iter_mut() {
                if let Some(below) = shape.below(key) {
                    resolve(&mut entry.value, below, sources);
                }
            }
        }
        Value::Array(items) => {
            if let Some(shape) = shape.alternative("array").items() {
                for item in items {
                    resolve(item, shape, sources);
                }
            }
        }
        Value::String(text) => {
            if shape.alternative("string").format() == Some(FORMAT) {
                let name = Path::new(sources.name(node.place.source));
                let folder = name.parent().unwrap_or(Path::new(""));
                text.text = folder.join(&text.text).display().to_string();
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime => {}
    }
}

/// The paths of files that a configuration names to be read, as they may be opened.
pub fn named(config: &Config) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(table) = toml::Table::try_from(config) {
        let schema = Schema::new();
        collect(&toml::Value::Table(table), schema.root(), &mut found);
    }
    found
}

fn collect(value: &toml::Value, shape: Shape<'_>, found: &mut Vec<PathBuf>) {
    match value {
        toml::Value::Table(table) => {
            let shape = shape.alternative("object");
            for (key, value) in table {
                if let Some(below) = shape.below(key) {
                    collect(value, below, found);
                }
            }
        }
        toml::Value::Array(items) => {
            if let Some(shape) = shape.alternative("array").items() {
                for item in items {
                    collect(item, shape, found);
                }
            }
        }
        toml::Value::String(text) => {
            if shape.alternative("string").format() == Some(FORMAT) {
                found.push(text.into());
            }
        }
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => {}
    }
}

/// The mark of such paths in the schema. Sockets and the log's output have another one: they are
/// made by this program, and not a part of what was written.
const FORMAT: &str = "x-file";
