//! How findings and reasons look, whichever command has them.

use super::Output;
use crate::config::{Diagnostic, Outcome, Sources, Style, diagnostics_text};

/// Everything that was found in a configuration, drawn with its places.
pub(super) fn findings(outcome: &Outcome, output: &mut Output) {
    drawn(&outcome.diagnostics, &outcome.sources, output);
}

/// Findings, drawn with their places.
pub(super) fn drawn(findings: &[Diagnostic], sources: &Sources, output: &mut Output) {
    let style = Style {
        colour: output.notes_are_colored(),
        unicode: true,
    };
    output.note(diagnostics_text(findings, sources, style));
}

/// A number with its noun.
pub(super) fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
