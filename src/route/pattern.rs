//! Values as a person writes them: `*` for any, `~` before a regular expression, else the value.
//!
//! Regular expressions come from the file but run on what strangers send, so the engine is one that
//! takes linear time whatever the input, and its size is bounded whatever the file says. They match
//! anywhere in the value: who wants an anchor writes `^` or `$`.

use regex_automata::meta;
use regex_automata::util::syntax;

/// Memory that one compiled expression may take. Paths and field values need a hundredth of it; a
/// repetition such as `(\w{100}){100}` would take gigabytes.
const COMPILED_SIZE: usize = 1024 * 1024;

/// Memory for the states that one thread keeps of an expression while searching.
const CACHE_SIZE: usize = 256 * 1024;

/// A regular expression that does not compile, or grows too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the regular expression `{written}` does not work: {reason}")]
pub struct PatternError {
    /// The expression.
    pub written: String,
    /// What the compiler said, on one line.
    pub reason: String,
}

/// A regular expression.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    written: Box<str>,
    regex: meta::Regex,
}

/// What a field or a query parameter must hold.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Any,
    Exact(Box<str>),
    Matching(Pattern),
}

impl Pattern {
    pub(super) fn new(written: &str) -> Result<Self, PatternError> {
        let config = meta::Config::new()
            .nfa_size_limit(Some(COMPILED_SIZE))
            .onepass_size_limit(Some(COMPILED_SIZE))
            .hybrid_cache_capacity(CACHE_SIZE)
            .utf8_empty(false);
        // Field values are bytes, so an expression may match what is not UTF-8.
        let regex = meta::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().utf8(false))
            .build(written)
            .map_err(|error| PatternError {
                written: written.to_owned(),
                reason: last_line(&error),
            })?;
        Ok(Self {
            written: written.into(),
            regex,
        })
    }

    pub(super) fn matches(&self, value: &[u8]) -> bool {
        self.regex.is_match(value)
    }

    /// Bytes that the match takes if it starts at the beginning, 0 if it starts later.
    pub(super) fn matched_prefix(&self, value: &str) -> Option<usize> {
        let found = self.regex.find(value)?;
        Some(if found.start() == 0 { found.end() } else { 0 })
    }

    pub(super) fn written(&self) -> &str {
        &self.written
    }
}

impl Value {
    pub(super) fn new(written: &str) -> Result<Self, PatternError> {
        Ok(match written.strip_prefix('~') {
            Some(expression) => Self::Matching(Pattern::new(expression)?),
            None if written == "*" => Self::Any,
            None => Self::Exact(written.into()),
        })
    }

    /// Whether this will do.
    pub(super) fn admits(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(value) => bytes == value.as_bytes(),
            Self::Matching(pattern) => pattern.matches(bytes),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any value"),
            Self::Exact(value) => write!(f, "`{value}`"),
            Self::Matching(pattern) => write!(f, "`~{}`", pattern.written()),
        }
    }
}

/// The compiler draws a picture of the expression on several lines and says on the last what is
/// wrong; the picture has no place in a diagnostic that has its own. Its outer error only says
/// which stage failed, the source says why.
fn last_line(error: &meta::BuildError) -> String {
    let innermost = error
        .syntax_error()
        .map_or_else(|| size_or_other(error), ToString::to_string);
    let line = innermost.lines().last().unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}

fn size_or_other(error: &meta::BuildError) -> String {
    match error.size_limit() {
        Some(limit) => format!("compiled it would take more than {limit} bytes"),
        None => error.to_string(),
    }
}
