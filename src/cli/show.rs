//! How findings and reasons look, whichever command has them.

use super::Output;
use crate::config::{Outcome, Style};
use crate::control::Rejection;
use crate::snapshot::TestFailure;

/// Everything that was found in a configuration, drawn with its places.
pub(super) fn findings(outcome: &Outcome, output: &mut Output) {
    let style = Style {
        colour: output.notes_are_colored(),
        unicode: true,
    };
    let text = outcome.render(style);
    output.note(text);
}

/// A `[[test]]` that does not hold.
pub(super) fn test_failure(failure: &TestFailure, output: &mut Output) {
    let number = failure.index + 1;
    output.error(
        format_args!("test {number} failed: {}", failure.request),
        None,
    );
    for difference in &failure.differences {
        output.note(format_args!("  {difference}\n"));
    }
}

/// Every single reason of a refusal.
pub(super) fn reasons(rejection: &Rejection, output: &mut Output) {
    for detail in rejection.details() {
        output.error(detail, None);
    }
}

/// A number with its noun.
pub(super) fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}
