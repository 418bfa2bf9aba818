//! Findings as a person reads them on a terminal, and as a program reads them in JSON.

use std::collections::BTreeMap;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Patch as Edit, Renderer, Snippet,
};
use serde_json::{Value, json};

use super::codes::Severity;
use super::diagnostic::{Diagnostic, Label};
use super::source::{Place, SourceId, Sources};

/// How findings are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether colours are used (ANSI escape codes).
    pub colour: bool,
    /// Whether lines are drawn in Unicode; ASCII otherwise.
    pub unicode: bool,
}

/// Draws findings, each with its lines of the source, parted by empty lines.
pub fn text(diagnostics: &[Diagnostic], sources: &Sources, style: Style) -> String {
    let renderer = if style.colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.decor_style(if style.unicode {
        DecorStyle::Unicode
    } else {
        DecorStyle::Ascii
    });
    let mut out = String::new();
    for diagnostic in diagnostics {
        let drawn = renderer.render(&groups(diagnostic, sources));
        // The renderer pads empty lines with the width of its gutter.
        for line in drawn.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

/// Findings as JSON; the form is stable:
///
/// ```json
/// {"errors": 1, "warnings": 0, "diagnostics": [{
///   "code": "E0102", "severity": "error", "message": "unknown setting …",
///   "file": "evenkeel.toml", "line": 3, "column": 1, "end": {"line": 3, "column": 15},
///   "label": "no such setting", "related": [], "help": null,
///   "patch": {"file": "evenkeel.toml", "line": 3, "column": 1, "end": {"line": 3, "column": 15},
///             "offset": 40, "length": 14, "replacement": "max_connections"}}]}
/// ```
pub fn json(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let findings: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| finding(diagnostic, sources))
        .collect();
    json!({
        "errors": count(diagnostics, Severity::Error),
        "warnings": count(diagnostics, Severity::Warning),
        "diagnostics": findings,
    })
}

/// How many findings are of a severity.
pub(super) fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity() == severity)
        .count()
}

fn groups<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Vec<Group<'a>> {
    let level = match diagnostic.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.title.as_str())
        .id(diagnostic.code.id());
    let mut group = Group::with_title(title).elements(snippets(diagnostic, sources));
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let mut groups = vec![group];
    if let Some(patch) = &diagnostic.patch {
        let place = patch.place;
        let edit = Edit::new(place.start..place.end, patch.replacement.as_str());
        let snippet = Snippet::source(sources.text(place.source)).path(sources.name(place.source));
        let title = Level::HELP.secondary_title("did you mean");
        groups.push(Group::with_title(title).element(snippet.patch(edit)));
    }
    groups
}

/// The lines of each source that a finding touches; the primary place's source comes first.
fn snippets<'a>(
    diagnostic: &'a Diagnostic,
    sources: &'a Sources,
) -> Vec<Snippet<'a, Annotation<'a>>> {
    let Some(primary) = &diagnostic.primary else {
        return Vec::new();
    };
    let mut elsewhere: BTreeMap<SourceId, Vec<Annotation<'a>>> = BTreeMap::new();
    let mut here = vec![annotation(AnnotationKind::Primary, primary)];
    for label in &diagnostic.secondary {
        let drawn = annotation(AnnotationKind::Context, label);
        if label.place.source == primary.place.source {
            here.push(drawn);
        } else {
            elsewhere.entry(label.place.source).or_default().push(drawn);
        }
    }
    let snippet = |source: SourceId, annotations: Vec<Annotation<'a>>| {
        Snippet::source(sources.text(source))
            .path(sources.name(source))
            .annotations(annotations)
    };
    let mut snippets = vec![snippet(primary.place.source, here)];
    snippets.extend(
        elsewhere
            .into_iter()
            .map(|(source, annotations)| snippet(source, annotations)),
    );
    snippets
}

fn annotation(kind: AnnotationKind, label: &Label) -> Annotation<'_> {
    kind.span(label.place.start..label.place.end)
        .label(label.text.as_str())
}

fn finding(diagnostic: &Diagnostic, sources: &Sources) -> Value {
    let mut out = json!({
        "code": diagnostic.code.id(),
        "severity": diagnostic.severity().word(),
        "message": diagnostic.title,
        "file": null, "line": null, "column": null, "end": null, "label": null,
        "related": [],
        "help": diagnostic.help,
        "patch": null,
    });
    if let Some(label) = &diagnostic.primary {
        put_place(&mut out, label.place, sources);
        out["label"] = json!(label.text);
    }
    let related = diagnostic.secondary.iter().map(|label| {
        let mut out = json!({ "message": label.text });
        put_place(&mut out, label.place, sources);
        out
    });
    out["related"] = related.collect();
    if let Some(patch) = &diagnostic.patch {
        let place = patch.place;
        out["patch"] = json!({
            "offset": place.start,
            "length": place.end - place.start,
            "replacement": patch.replacement,
        });
        put_place(&mut out["patch"], place, sources);
    }
    out
}

fn put_place(out: &mut Value, place: Place, sources: &Sources) {
    let start = sources.position(place.source, place.start);
    let end = sources.position(place.source, place.end);
    out["file"] = json!(sources.name(place.source));
    out["line"] = json!(start.line);
    out["column"] = json!(start.column);
    out["end"] = json!({ "line": end.line, "column": end.column });
}
