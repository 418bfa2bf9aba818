//! The wording of what is wrong with a single value, and the patch for it.

use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::near::nearest;
use crate::config::node::{Node, Origin, Text, Value};
use crate::config::path::SettingPath;
use crate::config::shape::Shape;
use crate::config::source::{Place, Sources};
use crate::config::syntax::{self, Bounds, Fault};

/// A string that does not have its form.
pub(super) fn malformed(
    path: &SettingPath<'_>,
    place: Place,
    text: &Text,
    fault: Fault,
) -> Diagnostic {
    let title = format!("`{path}` is not {}", fault.what);
    let finding = Diagnostic::new(fault.code, title).at(place, fault.why);
    // What is not the path of a key may be the key.
    let finding = if matches!(fault.code, Code::File | Code::StickySecret) {
        finding
    } else {
        with_value(finding, text)
    };
    match fault.suggestion {
        Some(meant) if text.is_written() => finding.patch(place, quoted(&meant)),
        Some(_) | None => finding,
    }
}

/// A string that is none of the words that a setting knows.
pub(super) fn unknown_word(
    path: &SettingPath<'_>,
    place: Place,
    text: &Text,
    words: &[&str],
) -> Diagnostic {
    let title = format!("`{path}` cannot be {}", quoted(text.shown()));
    let label = format!("one of: {}", words.join(", "));
    let finding = Diagnostic::new(Code::WrongValue, title).at(place, label);
    // Nearest by its letters is what it is not.
    if words.contains(&"h2") && ["http2", "http/2"].contains(&text.text.as_str()) {
        return finding.help("HTTP/2 is `h2` within TLS and `h2c` without");
    }
    match nearest(&text.text, words.iter().copied()) {
        Some(near) if text.is_written() => finding.patch(place, quoted(near)),
        Some(_) | None => finding,
    }
}

/// A value of another type than the setting has.
pub(super) fn wrong_type(
    sources: &Sources,
    shape: Shape<'_>,
    path: &SettingPath<'_>,
    node: &Node,
) -> Diagnostic {
    let written = sources.slice(node.place);
    let is_number = matches!(node.value, Value::Integer(_) | Value::Float(_));
    let string = shape.alternative("string");
    if is_number
        && let Some(format @ ("x-time" | "x-size" | "x-ratio")) = string.format()
        && let Err(fault) = syntax::check(format, written, Bounds::default())
    {
        let title = match fault.suggestion {
            Some(_) => format!("`{path}` has no unit"),
            None => format!("`{path}` is not {}", fault.what),
        };
        let finding = Diagnostic::new(Code::Unit, title).at(node.place, fault.why);
        return match fault.suggestion {
            Some(meant) => finding.patch(node.place, quoted(&meant)),
            None => finding,
        };
    }
    let title = format!("`{path}` must be {}", expected(shape));
    let words = shape.words();
    let label = if words.is_empty() {
        format!("this is {}", node.kind())
    } else {
        format!("this is {}; one of: {}", node.kind(), words.join(", "))
    };
    let finding = Diagnostic::new(Code::WrongValue, title).at(node.place, label);
    let finding = match node.text() {
        Some(text) => with_value(finding, text),
        None => finding,
    };
    match suggestion(shape, node, written) {
        Some(meant) => finding.patch(node.place, meant),
        None => finding,
    }
}

/// A text as TOML writes it.
pub(in crate::config) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What a variable made of a string is not to be seen in the file; so it is said.
fn with_value(finding: Diagnostic, text: &Text) -> Diagnostic {
    match text.origin {
        Origin::Variable { secret: false, .. } => {
            finding.help(format!("its value is {}", quoted(&text.text)))
        }
        Origin::Variable { secret: true, .. } | Origin::Override { .. } | Origin::Written => {
            finding
        }
    }
}

/// The value that was meant when only the type is wrong.
fn suggestion(shape: Shape<'_>, node: &Node, written: &str) -> Option<String> {
    let types = shape.types();
    if let Some(items) = shape.items() {
        let fits = |kind: &str| items.types().contains(&kind);
        let alone = match &node.value {
            Value::String(text) => text.is_written() && fits("string"),
            Value::Integer(_) => fits("integer"),
            Value::Table(_) => fits("object") && written.starts_with('{'),
            Value::Float(_) | Value::Boolean(_) | Value::Datetime | Value::Array(_) => false,
        };
        return alone.then(|| format!("[{written}]"));
    }
    match &node.value {
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_)
            if types == ["string"]
                && (shape.words().is_empty() || shape.words().contains(&written))
                && shape.format().is_none() =>
        {
            Some(quoted(written))
        }
        Value::String(text) if text.is_written() && types.contains(&"integer") => text
            .text
            .parse::<i64>()
            .ok()
            .map(|number| number.to_string()),
        Value::String(text) if text.is_written() && types.contains(&"boolean") => {
            match text.text.as_str() {
                "true" | "yes" | "on" => Some("true".to_owned()),
                "false" | "no" | "off" => Some("false".to_owned()),
                _ => None,
            }
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime
        | Value::Array(_)
        | Value::Table(_) => None,
    }
}

fn expected(shape: Shape<'_>) -> String {
    let words: Vec<&str> = shape
        .types()
        .into_iter()
        .map(|kind| match kind {
            "string" => "a string",
            "integer" => "a whole number",
            "boolean" => "true or false",
            "array" => "a list",
            _ => "a table",
        })
        .collect();
    words.join(" or ")
}
