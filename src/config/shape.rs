//! Reading a JSON Schema: what a place in the file may hold.

use serde_json::Value;

/// What may stand at one place. A reference to a definition is followed where it is needed; what
/// stands beside the reference wins over the definition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    document: &'a Value,
    at: &'a Value,
}

impl<'a> Shape<'a> {
    pub(super) fn new(document: &'a Value, at: &'a Value) -> Self {
        Self { document, at }
    }

    /// An attribute, here or in the definition that is referred to.
    pub(super) fn attribute(self, name: &str) -> Option<&'a Value> {
        match self.at.get(name) {
            Some(value) => Some(value),
            None => self.definition()?.attribute(name),
        }
    }

    pub(super) fn description(self) -> Option<&'a str> {
        self.attribute("description")?.as_str()
    }

    pub(super) fn format(self) -> Option<&'a str> {
        self.attribute("format")?.as_str()
    }

    pub(super) fn number(self, name: &str) -> Option<i64> {
        self.attribute(name)?.as_i64()
    }

    /// The name of the definition that is referred to.
    pub(super) fn definition_name(self) -> Option<&'a str> {
        let reference = match self.at.get("$ref") {
            Some(reference) => reference,
            None => self.at.get("allOf")?.get(0)?.get("$ref")?,
        };
        reference.as_str()?.strip_prefix("#/definitions/")
    }

    /// Types that may stand here, over all alternatives.
    pub(super) fn types(self) -> Vec<&'a str> {
        let alternatives = self.alternatives();
        if !alternatives.is_empty() {
            return alternatives.into_iter().flat_map(Self::types).collect();
        }
        match self.attribute("type") {
            Some(Value::String(single)) => vec![single],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ if !self.words().is_empty() => vec!["string"],
            _ => Vec::new(),
        }
    }

    /// The alternatives of a setting that may be written in several forms; empty if there is one.
    pub(super) fn alternatives(self) -> Vec<Self> {
        let several = self.attribute("anyOf").and_then(Value::as_array);
        several
            .into_iter()
            .flatten()
            .map(|at| Self { at, ..self })
            .collect()
    }

    /// The form that a value of a type takes.
    pub(super) fn alternative(self, kind: &str) -> Self {
        self.alternatives()
            .into_iter()
            .find(|shape| shape.types().contains(&kind))
            .unwrap_or(self)
    }

    /// The words that a setting knows; empty if it takes any string.
    pub(super) fn words(self) -> Vec<&'a str> {
        let listed = self.attribute("enum").and_then(Value::as_array);
        let documented = self.attribute("oneOf").and_then(Value::as_array);
        let listed = listed.into_iter().flatten().filter_map(Value::as_str);
        let documented = documented.into_iter().flatten().flat_map(|word| {
            let several = word["enum"].as_array().into_iter().flatten();
            word.get("const")
                .into_iter()
                .chain(several)
                .filter_map(Value::as_str)
        });
        listed.chain(documented).collect()
    }

    /// The numbers that a setting knows; empty if it takes any.
    pub(super) fn numbers(self) -> Vec<i64> {
        let listed = self.attribute("enum").and_then(Value::as_array);
        listed
            .into_iter()
            .flatten()
            .filter_map(Value::as_i64)
            .collect()
    }

    /// Keys with a meaning of their own.
    pub(super) fn properties(self) -> impl Iterator<Item = &'a str> {
        let properties = self.attribute("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
    }

    /// What may stand behind a key.
    pub(super) fn below(self, key: &str) -> Option<Self> {
        let property = self.attribute("properties").and_then(|all| all.get(key));
        let any = || {
            self.attribute("additionalProperties")
                .filter(|any| any.is_object())
        };
        property.or_else(any).map(|at| Self { at, ..self })
    }

    /// What may stand in a list.
    pub(super) fn items(self) -> Option<Self> {
        let list = self.alternative("array");
        list.attribute("items").map(|at| Self { at, ..self })
    }

    /// Syntax of the keys of a table with free keys.
    pub(super) fn key_format(self) -> Option<&'a str> {
        self.attribute("propertyNames")?.get("format")?.as_str()
    }

    /// Keys that must be there.
    pub(super) fn required(self) -> impl Iterator<Item = &'a str> {
        let required = self.attribute("required").and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The definition that is referred to.
    pub(super) fn definition(self) -> Option<Self> {
        let at = self.document["definitions"].get(self.definition_name()?)?;
        Some(Self { at, ..self })
    }
}
