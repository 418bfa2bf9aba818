//! The two text formats that scrapers ask for: Prometheus text 0.0.4 and `OpenMetrics` 1.0.

use std::fmt::Write as _;

use super::{Family, Kind, Listing, Series, Values};

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` field prefers; text where it is silent or undecided.
    pub fn from_accept(accept: &str) -> Self {
        let mut open_metrics = 0.0;
        let mut text = 0.0;
        for range in accept.split(',') {
            let (media, quality) = quality(range);
            match media {
                "application/openmetrics-text" => open_metrics = quality.max(open_metrics),
                "text/plain" | "text/*" | "*/*" => text = quality.max(text),
                _ => {}
            }
        }
        if open_metrics > text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// What to put into `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Appends all families.
pub(super) fn write(listing: &Listing, format: Format, out: &mut String) {
    for (family, series) in listing {
        if series.is_empty() {
            continue;
        }
        let (name, kind) = match format {
            Format::Text => (family.name, family.kind.as_str()),
            Format::OpenMetrics => open_metrics_name(family, listing),
        };
        head(name, kind, family.help, format, out);
        for series in series {
            match series.values {
                Values::Whole => line(out, series, "", "", &series.cells.sum(0)),
                Values::Float | Values::Level => {
                    line(out, series, "", "", &number(series.cells.sum_float(0)));
                }
                Values::Buckets => histogram(series, format, out),
            }
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
}

/// Labels as they are printed between braces: `a="x",b="y"`.
pub(super) fn labels(labels: &[(&'static str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(value, true, &mut text);
        text.push('"');
    }
    text
}

fn quality(range: &str) -> (&str, f64) {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let quality = parts
        .find_map(|part| part.strip_prefix("q="))
        .map_or(Some(1.0), |written| written.parse().ok());
    (media, quality.unwrap_or(0.0))
}

/// `OpenMetrics` names a counter's family without the suffix of its samples. Where another family
/// has that name (a gauge of what is there beside a counter of what there was), the counter's
/// samples can only keep their name as a family of their own, whose kind is then not told.
fn open_metrics_name(family: &Family, listing: &Listing) -> (&'static str, &'static str) {
    let kind = family.kind.as_str();
    if !matches!(family.kind, Kind::Counter) {
        return (family.name, kind);
    }
    let name = family.name.strip_suffix("_total").unwrap_or(family.name);
    let is_taken = listing.iter().any(|(other, _)| other.name == name);
    if is_taken {
        (family.name, "unknown")
    } else {
        (name, kind)
    }
}

fn head(name: &str, kind: &str, help: &str, format: Format, out: &mut String) {
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    escape(help, format == Format::OpenMetrics, out);
    out.push_str("\n# TYPE ");
    out.push_str(name);
    out.push(' ');
    out.push_str(kind);
    out.push('\n');
}

fn histogram(series: &Series, format: Format, out: &mut String) {
    let bounds = series.family.bounds();
    let mut count = 0;
    for (bucket, bound) in bounds.iter().enumerate() {
        count += series.cells.sum(bucket);
        line(out, series, "_bucket", &bound_text(*bound, format), &count);
    }
    count += series.cells.sum(bounds.len());
    line(out, series, "_bucket", "+Inf", &count);
    let sum = series.cells.sum_float(bounds.len() + 1);
    line(out, series, "_sum", "", &number(sum));
    line(out, series, "_count", "", &count);
}

fn line(
    out: &mut String,
    series: &Series,
    suffix: &str,
    bound: &str,
    value: &dyn std::fmt::Display,
) {
    out.push_str(series.family.name);
    out.push_str(suffix);
    if !series.labels.is_empty() || !bound.is_empty() {
        out.push('{');
        out.push_str(&series.labels);
        if !bound.is_empty() {
            if !series.labels.is_empty() {
                out.push(',');
            }
            out.push_str("le=\"");
            out.push_str(bound);
            out.push('"');
        }
        out.push('}');
    }
    out.push(' ');
    // Writing to a String cannot fail.
    _ = write!(out, "{value}");
    out.push('\n');
}

/// `OpenMetrics` wants bounds to look like floats (`1.0`), the older format has always had `1`.
fn bound_text(bound: f64, format: Format) -> String {
    match format {
        Format::Text => number(bound),
        Format::OpenMetrics => format!("{bound:?}"),
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        let sign = if value > 0.0 { '+' } else { '-' };
        format!("{sign}Inf")
    } else {
        // Positive zero, since a sum of drops may be -0.
        format!("{}", value + 0.0)
    }
}

fn escape(value: &str, quotes: bool, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}
