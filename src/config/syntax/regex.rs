//! Regular expressions, and the values that may be one.

use regex_automata::meta;
use regex_automata::util::syntax;

use super::{Fault, field};
use crate::config::codes::Code;

/// Compiles an expression within a bound of memory. It runs on bytes, as fields are bytes.
pub(in crate::config) fn compile(expression: &str) -> Result<meta::Regex, Fault> {
    let config = meta::Config::new()
        .nfa_size_limit(Some(COMPILED_SIZE))
        .onepass_size_limit(Some(COMPILED_SIZE))
        .utf8_empty(false);
    meta::Builder::new()
        .configure(config)
        .syntax(syntax::Config::new().utf8(false))
        .build(expression)
        .map_err(|error| Fault::new(Code::Regex, "a regular expression", reason(&error)))
}

/// What a field or query parameter must have: a value, `~regex`, or `*`.
pub(super) fn value_pattern(text: &str) -> Result<(), Fault> {
    match text.strip_prefix('~') {
        Some(expression) => compile(expression).map(drop),
        None => field::value(text),
    }
}

/// The compiler's reason on one line; its picture of the expression has no place beside ours.
fn reason(error: &meta::BuildError) -> String {
    if let Some(limit) = error.size_limit() {
        return format!("compiled it would take more than {limit} bytes");
    }
    let text = match error.syntax_error() {
        Some(syntax) => syntax.to_string(),
        None => error.to_string(),
    };
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

/// Paths and values need a hundredth of this; `(\w{100}){100}` would take gigabytes.
const COMPILED_SIZE: usize = 1024 * 1024;
