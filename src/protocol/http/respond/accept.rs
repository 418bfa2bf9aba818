//! What the client reads best, from `Accept` (RFC 9110 §12.5.1).
//!
//! For each of our forms the most specific range decides its weight, and the form of the greatest
//! weight wins. Between equals a range that names the form says more than one that takes anything:
//! `curl` (`*/*`) gets text, a browser HTML, a program that asks for JSON a problem document. A
//! client that accepts none gets text, since some answer is better than 406.

use crate::message::Value;
use crate::policy::list::split;

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// RFC 9457.
    Problem,
    Html,
    Text,
}

/// A range of `Accept` and its weight in thousandths.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    weight: u16,
}

impl Media {
    pub(super) fn choose(accept: Option<Value<'_>>) -> Self {
        let Some(accept) = accept.and_then(Value::to_str) else {
            return Self::Text;
        };
        let ranges: Vec<_> = split(accept, ',').filter_map(Range::parse).collect();
        let rated =
            [Self::Problem, Self::Html, Self::Text].map(|media| (media.rate(&ranges), media));
        let acceptable = rated.into_iter().filter(|((weight, ..), _)| *weight > 0);
        acceptable
            .max_by_key(|(rate, _)| *rate)
            .map_or(Self::Text, |(_, media)| media)
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// Weight, how specific the range is that gave it, and what breaks a tie.
    fn rate(self, ranges: &[Range<'_>]) -> (u16, u8, u8) {
        let names: &[(&str, &str)] = match self {
            Self::Problem => &[("application", "problem+json"), ("application", "json")],
            Self::Html => &[("text", "html")],
            Self::Text => &[("text", "plain")],
        };
        let rate = |&(kind, subtype)| {
            let fits = ranges
                .iter()
                .filter_map(|range| Some((range.precision(kind, subtype)?, range.weight)));
            fits.max().unwrap_or_default()
        };
        // The better of the two names of JSON: a client that knows either can read the document.
        let best = names
            .iter()
            .map(rate)
            .max_by_key(|(precision, weight)| (*weight, *precision));
        let (precision, weight) = best.unwrap_or_default();
        let is_named = precision == NAMED;
        let tie = match self {
            Self::Problem => {
                if is_named {
                    2
                } else {
                    0
                }
            }
            Self::Html => 1,
            Self::Text => {
                if is_named {
                    0
                } else {
                    2
                }
            }
        };
        (weight, precision, tie)
    }
}

impl<'a> Range<'a> {
    /// A range; one whose weight is malformed says nothing.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split(text, ';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let is_weight = |part: &&str| part.starts_with("q=") || part.starts_with("Q=");
        let weight = match parts.find(is_weight) {
            Some(part) => parse_weight(&part[2..])?,
            None => 1000,
        };
        Some(Self {
            kind,
            subtype,
            weight,
        })
    }

    /// How precisely the range takes a form; `None` if it does not. Parameters other than the
    /// weight are not looked at: our forms have one variant each.
    fn precision(&self, kind: &str, subtype: &str) -> Option<u8> {
        match (self.kind, self.subtype) {
            ("*", "*") => Some(1),
            (mine, "*") if mine.eq_ignore_ascii_case(kind) => Some(2),
            (mine, sub) if mine.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => {
                Some(NAMED)
            }
            _ => None,
        }
    }
}

/// The precision of a range that names the form.
const NAMED: u8 = 3;

/// `0`, `0.5`, `1.000` in thousandths (RFC 9110 §12.4.2).
fn parse_weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}
