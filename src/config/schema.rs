//! The JSON Schema of the format: what editors complete from, and what the checker checks by.
//!
//! It is generated from the types and their doc comments, so that documentation, completion and
//! checking cannot differ. Draft 07, since that is what the TOML plugins of editors read.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::format::Config;
use super::shape::Shape;

/// A generated schema, kept for the time of a check.
#[derive(Debug)]
pub(super) struct Schema {
    document: Value,
}

impl Schema {
    pub(super) fn new() -> Self {
        Self { document: schema() }
    }

    /// The shape of a whole file.
    pub(super) fn root(&self) -> Shape<'_> {
        Shape::new(&self.document, &self.document)
    }
}

/// The JSON Schema of a configuration file.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<Config>().to_value();
    tidy(&mut schema);
    document_defaults(&mut schema);
    schema["title"] = json!("Evenkeel configuration");
    schema["properties"]["version"]["const"] = json!(Config::VERSION);
    schema
}

/// The words behind `Default:` in a description, without the full stop.
pub(super) fn default_phrase(description: &str) -> Option<&str> {
    let (_, phrase) = description.split_once("Default: ")?;
    Some(phrase.strip_suffix('.').unwrap_or(phrase))
}

/// A description without its default.
pub(super) fn meaning(description: &str) -> &str {
    description
        .split_once("Default: ")
        .map_or(description, |(meaning, _)| meaning)
        .trim_end()
}

/// TOML has no null, texts are paragraphs, and 32 bits are a limit.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            without_null(object);
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            if object.get("format") == Some(&json!("uint32")) {
                object.entry("maximum").or_insert(json!(u32::MAX));
            }
            // Empty lists and tables are what "not written" is, no default worth completing.
            if let Some(Value::Object(properties)) = object.get_mut("properties") {
                for property in properties.values_mut().filter_map(Value::as_object_mut) {
                    property.remove("default");
                }
            }
            object.values_mut().for_each(tidy);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [single] = &types[..] {
            let single = single.clone();
            object.insert("type".to_owned(), single);
        }
    }
    if let Some(Value::Array(shapes)) = object.get_mut("anyOf") {
        shapes.retain(|shape| shape["type"] != "null");
        if shapes.len() == 1
            && let Some(shapes) = object.remove("anyOf")
        {
            object.insert("allOf".to_owned(), shapes);
        }
    }
}

/// Puts documented defaults that are values into `default`, where editors look.
fn document_defaults(schema: &mut Value) {
    let document = schema.clone();
    let fill = |shape: &mut Value| {
        // Not by an index, which would leave a null where there are none.
        let Some(Value::Object(properties)) = shape.get_mut("properties") else {
            return;
        };
        for property in properties.values_mut() {
            let read = Shape::new(&document, property);
            if let Some(default) = read.description().and_then(default_phrase)
                && let Some(value) = default_value(default, read)
            {
                property["default"] = value;
            }
        }
    };
    fill(schema);
    if let Some(definitions) = schema["definitions"].as_object_mut() {
        definitions.values_mut().for_each(fill);
    }
}

/// The value that a documented default names, if it names one: `2, which is one retry` is 2.
fn default_value(phrase: &str, shape: Shape<'_>) -> Option<Value> {
    let word = match phrase.split_once(", ") {
        Some((word, _)) if !phrase.starts_with('`') => word,
        _ => phrase,
    };
    let word = word.trim_matches('`');
    let types = shape.types();
    if types.contains(&"string") {
        let known = shape.words();
        let fits = match shape.format() {
            Some("x-time" | "x-size" | "x-ratio") => word.starts_with(|c: char| c.is_ascii_digit()),
            _ if known.is_empty() => phrase.starts_with('`') || !word.contains(' '),
            _ => known.contains(&word),
        };
        (fits && word != "none" && word != "empty").then(|| json!(word))
    } else if types.contains(&"array") || types.contains(&"integer") || types.contains(&"boolean") {
        let value: Value = serde_json::from_str(word).ok()?;
        let fits = value.is_array() == types.contains(&"array");
        fits.then_some(value)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented defaults that have to be values; the pairs are what a reader would expect.
    #[test]
    fn defaults_are_read_from_the_documentation() {
        let schema = schema();
        let default =
            |path: &str| schema.pointer(path).cloned().unwrap_or(Value::Null)["default"].clone();
        let of =
            |table: &str, key: &str| default(&format!("/definitions/{table}/properties/{key}"));
        assert_eq!(of("Timeouts", "request_head"), "10s");
        assert_eq!(of("Timeouts", "request"), Value::Null, "none is no value");
        assert_eq!(of("Log", "access"), true);
        assert_eq!(of("Log", "query"), false);
        assert_eq!(of("Log", "format"), "json");
        assert_eq!(of("Log", "output"), "stdout");
        assert_eq!(of("Listener", "protocols"), Value::Null, "it depends");
        assert_eq!(of("ListenerHttp2", "stream_window"), "64KiB");
        assert_eq!(of("ListenerHttp2", "max_age"), Value::Null);
        assert_eq!(of("Upstream", "protocol"), "http1");
        assert_eq!(of("Listener", "max_connections"), 10_000);
        assert_eq!(of("Listener", "max_head_size"), "16KiB");
        assert_eq!(of("Listener", "upstream"), Value::Null);
        assert_eq!(of("Listener", "tls"), Value::Null);
        assert_eq!(of("Tls", "min_version"), "1.2");
        assert_eq!(of("Tls", "max_handshakes"), 256);
        assert_eq!(of("Timeouts", "tls_handshake"), "10s");
        assert_eq!(of("Retry", "attempts"), 2);
        assert_eq!(of("Respond", "content_type"), "text/plain; charset=utf-8");
        assert_eq!(of("Respond", "body"), Value::Null);
        assert_eq!(of("Upstream", "balance"), "power_of_two");
        assert_eq!(of("Upstream", "panic_threshold"), "50%");
        assert_eq!(of("HealthHttp", "status"), Value::Null);
        assert_eq!(of("HealthHttp", "method"), "GET");
        assert_eq!(of("EndpointDetails", "weight"), 1);
    }

    #[test]
    fn every_setting_has_a_description() {
        let schema = schema();
        let definitions = schema["definitions"].as_object().unwrap();
        for (table, shape) in definitions {
            for (key, property) in shape["properties"].as_object().into_iter().flatten() {
                assert!(property["description"].is_string(), "{table}.{key}");
            }
        }
    }

    #[test]
    fn no_null_is_left() {
        let text = schema().to_string();
        assert!(!text.contains("\"null\"") && !text.contains(":null"));
    }
}
