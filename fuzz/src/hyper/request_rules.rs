//! The differences between hyper and us in what becomes of a client's bytes, each with its reason,
//! besides those that are [refusals](crate::refusals) of ours.
//!
//! Where we forward what hyper refuses, the rule must show that no one can read it in two ways.

use evenkeel::message::header_name_is_forbidden_in_trailers;

use crate::align::What;
use crate::facts::{Loose, authority, is_host, tells_who_asks};
use crate::refusals::Holds;
use crate::rule::Rule;
use crate::wire::{Field, Message};

/// How a request that both have forwarded differs.
#[derive(Debug)]
pub(super) struct Detail<'a> {
    pub(super) what: Part<'a>,
    /// The request as the client sent it.
    pub(super) raw: &'a Loose<'a>,
}

/// The part that differs.
#[derive(Debug)]
#[expect(dead_code, reason = "it is shown where no rule accepts it")]
pub(super) enum Part<'a> {
    /// Method or target.
    Line {
        ours: &'a Message,
        theirs: &'a Message,
    },
    /// The body.
    Body {
        ours: &'a Message,
        theirs: &'a Message,
    },
    /// The values of one field.
    Field {
        name: &'a str,
        ours: Vec<&'a [u8]>,
        theirs: Vec<&'a [u8]>,
    },
    /// The trailers.
    Trailers {
        ours: &'a [Field],
        theirs: Vec<Field>,
    },
}

/// What becomes of a request.
pub(super) const RULES: &[Rule<Holds>] = &[
    Rule {
        what: "CONNECT is refused by both, and we close if it is malformed or has a body",
        because: "RFC 9110 §9.3.6: what follows is meant for the tunnel; RFC 9112 §3.2, §6.3",
        holds: |case| {
            matches!(case.what, What::GoesOn { ours: false, .. }) && case.raw.is_method(b"CONNECT")
        },
    },
    Rule {
        what: "a later minor version is read as HTTP/1.1",
        because: "RFC 9110 §6.2: as the highest minor version that the recipient knows",
        holds: |case| {
            let version = case
                .raw
                .words()
                .last()
                .and_then(|word| word.strip_prefix(b"HTTP/1."));
            let we_go_on = matches!(
                case.what,
                What::WeForwarded {
                    status: Some(400) | None,
                    ..
                } | What::GoesOn { ours: true, .. }
            );
            we_go_on && matches!(version, Some([b'2'..=b'9']))
        },
    },
    Rule {
        what: "an absolute target's host may have escapes, of which hyper knows none",
        because: "RFC 3986 §3.2.2: a name is made of them too; it is forwarded as it came",
        holds: |case| {
            let authority = authority(case.raw.target()).unwrap_or_default();
            matches!(
                case.what,
                What::WeForwarded {
                    status: Some(400),
                    ..
                }
            ) && authority.contains(&b'%')
                && is_host(authority)
        },
    },
];

/// Whether a rule is the reason why it differs in a part.
pub(super) type HoldsOfPart = fn(&Detail<'_>) -> bool;

/// What is forwarded of it.
pub(super) const DETAILS: &[Rule<HoldsOfPart>] = &[
    Rule {
        what: "OPTIONS loses one of its Max-Forwards",
        because: "RFC 9110 §7.6.2: it is decremented",
        holds: |detail| {
            let Part::Field {
                name: "max-forwards",
                ours,
                theirs,
                ..
            } = &detail.what
            else {
                return false;
            };
            let ([ours], [theirs]) = (ours.as_slice(), theirs.as_slice()) else {
                return false;
            };
            detail.raw.is_method(b"OPTIONS") && count(ours) + 1 == count(theirs)
        },
    },
    Rule {
        what: "OPTIONS of an absolute target without a path asks about the server",
        because: "RFC 9112 §3.2.4: the last proxy MUST send an asterisk; hyper knows only a slash",
        holds: |detail| {
            let is_it = |ours: &Message, theirs: &Message| {
                (ours.method(), ours.target(), theirs.target()) == (b"OPTIONS", b"*", b"/")
            };
            let slashes = detail
                .raw
                .target()
                .iter()
                .filter(|&&byte| byte == b'/')
                .count();
            matches!(detail.what, Part::Line { ours, theirs } if is_it(ours, theirs))
                && slashes == 2
        },
    },
    Rule {
        what: "HTTP/1.0 without Host is forwarded with an empty one",
        because: "RFC 9110 §7.2: HTTP/1.1 needs the field, and there is nothing to say",
        holds: |detail| {
            matches!(&detail.what, Part::Field { name: "host", ours, theirs, .. }
                if ours.as_slice() == [b""] && theirs.is_empty())
                && detail.raw.is_version(b"HTTP/1.0")
                && detail.raw.count("host") == 0
        },
    },
    Rule {
        what: "HTTP/1.0 expects nothing",
        because: "RFC 9110 §10.1.1: a server MUST ignore it there",
        holds: |detail| {
            matches!(&detail.what, Part::Field { name: "expect", ours, .. } if ours.is_empty())
                && detail.raw.is_version(b"HTTP/1.0")
        },
    },
    Rule {
        what: "trailers that have no place behind a body are left out",
        because: "RFC 9110 §6.5.1; what Connection names ends here wherever it stands (§7.6.1)",
        holds: |detail| {
            let Part::Trailers { ours, theirs, .. } = &detail.what else {
                return false;
            };
            let may_travel = |field: &&Field| !detail.raw.names_fields() && !has_no_place(&field.0);
            theirs.iter().filter(may_travel).eq(ours.iter())
        },
    },
];

/// What frames, routes, authenticates or is vouched for (RFC 9110 §6.5.1).
pub(super) fn has_no_place(name: &str) -> bool {
    let families = ["x-forwarded-", "proxy-", "if-"];
    families.iter().any(|family| name.starts_with(family))
        || tells_who_asks(name)
        || header_name_is_forbidden_in_trailers(
            &http::HeaderName::from_bytes(name.as_bytes()).expect("it was one"),
        )
}

/// A number; one that is too large counts as the largest.
fn count(digits: &[u8]) -> u64 {
    digits.iter().fold(0_u64, |count, digit| {
        count
            .saturating_mul(10)
            .saturating_add(u64::from(digit.wrapping_sub(b'0')))
    })
}
