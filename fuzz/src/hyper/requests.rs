//! Compares what became of a client's bytes.

use http::HeaderMap;

use super::oracle::{ORDER, Trailers};
use super::request_rules::{DETAILS, Detail, Part, RULES};
use crate::align::{Case, What, align, check};
use crate::facts::tells_who_asks;
use crate::refusals::REFUSALS;
use crate::rule::Rule;
use crate::run::Outcome;
use crate::wire::{Field, Message};

/// Panics if the engine did otherwise than hyper, and no rule accepts that.
pub(super) fn compare(bytes: &[u8], ours: &Outcome, theirs: &Outcome, trailers: &[Trailers]) {
    check(bytes, ours);
    align(bytes, ours, theirs, &mut |case| match case.what {
        What::Both { ours, theirs } => same(ours, theirs, trailers, case),
        What::WeRefused { .. }
        | What::WeSaidNothing { .. }
        | What::WeForwarded { .. }
        | What::GoesOn { .. }
        | What::Closed { .. } => {
            let mut rules = REFUSALS.iter().chain(RULES);
            Rule::settle(rules.find(|rule| (rule.holds)(case)), case);
        }
    });
}

/// Compares one request as the two have forwarded it.
fn same(ours: &Message, theirs: &Message, trailers: &[Trailers], case: &Case<'_>) {
    let differ = |what| {
        let raw = &case.raw;
        let detail = Detail { what, raw };
        Rule::settle(DETAILS.iter().find(|rule| (rule.holds)(&detail)), &detail);
    };
    if (ours.method(), ours.target()) != (theirs.method(), theirs.target()) {
        differ(Part::Line { ours, theirs });
    }
    if ours.body != theirs.body {
        differ(Part::Body { ours, theirs });
    }
    for name in names(ours, theirs) {
        let mut mine: Vec<&[u8]> = ours.values(name).collect();
        let their: Vec<&[u8]> = theirs.values(name).collect();
        if name == "via" {
            // Ours is the last; it is what a proxy must add (RFC 9110 §7.6.3).
            assert!(mine.pop().is_some_and(|own| own.starts_with(b"1.")));
        }
        if mine != their {
            differ(Part::Field {
                name,
                ours: mine,
                theirs: their,
            });
        }
    }
    let read = flat(&trailers[order(theirs)].borrow());
    if ours.trailers != read {
        differ(Part::Trailers {
            ours: &ours.trailers,
            theirs: read,
        });
    }
}

/// The names of all fields that a proxy passes on.
fn names<'a>(ours: &'a Message, theirs: &'a Message) -> Vec<&'a str> {
    let fields = ours.fields.iter().chain(&theirs.fields);
    let is_of_the_hop = |name: &str| HOP.contains(&name) || tells_who_asks(name);
    let mut names: Vec<&str> = fields
        .map(|field| field.0.as_str())
        .filter(|name| !is_of_the_hop(name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Which of the requests that the oracle has read this is.
fn order(request: &Message) -> usize {
    let order = request.values(ORDER).last().expect("the oracle says so");
    let order = std::str::from_utf8(order).expect("digits");
    order.parse().expect("digits")
}

/// The lines of a map.
pub(super) fn flat(trailers: &HeaderMap) -> Vec<Field> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    trailers.iter().map(line).collect()
}

/// The connection's, the framing's (bodies are compared instead), and the oracle's own.
const HOP: [&str; 6] = [
    "connection",
    "content-length",
    "te",
    "transfer-encoding",
    "upgrade",
    ORDER,
];
