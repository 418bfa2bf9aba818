//! The differences between hyper and us in what becomes of an endpoint's bytes, each with its
//! reason.
//!
//! What is refused is answered with 502, and its connection is not used again.

use evenkeel::http1::{FieldError, FrameError, FramingError, ResponseError};

use super::request_rules::has_no_place;
use crate::chunks::{self, Breach};
use crate::facts::Loose;
use crate::reading::Stop;
use crate::rule::Rule;
use crate::wire::{Field, Message};

/// A difference, and the answer that it is about.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) what: What<'a>,
    /// The answer as the endpoint sent it, without interim ones before it.
    pub(super) raw: Loose<'a>,
    /// Why our reading stops at this answer.
    pub(super) stop: Stop,
    /// Whether the client speaks HTTP/1.0.
    pub(super) is_old: bool,
    /// Whether it asked with HEAD.
    pub(super) is_head: bool,
}

/// How the two differ.
#[derive(Debug)]
#[expect(dead_code, reason = "it is shown where no rule accepts it")]
pub(super) enum What<'a> {
    /// We answered ourselves, or nothing (0); hyper relayed it.
    WeRefused { ours: u16, theirs: &'a Message },
    /// We relayed it; hyper answered itself, or nothing.
    WeRelayed { ours: &'a Message },
    /// Both relayed it, with another status.
    Line {
        ours: &'a Message,
        theirs: &'a Message,
    },
    /// Both relayed it, and only one to its end.
    End {
        ours: &'a Message,
        theirs: &'a Message,
    },
    /// Both relayed it, with another body.
    Body {
        ours: &'a Message,
        theirs: &'a Message,
    },
    /// Both relayed it, with other values of one field.
    Field {
        name: &'a str,
        ours: Vec<&'a [u8]>,
        theirs: Vec<&'a [u8]>,
        /// All of what hyper relayed.
        answer: &'a Message,
    },
    /// Both relayed it, with other trailers.
    Trailers {
        ours: &'a [Field],
        theirs: Vec<Field>,
    },
    /// Only one closed the client's connection behind it.
    Closed { ours: bool, theirs: bool },
}

impl Case<'_> {
    /// Panics unless a rule accepts it.
    pub(super) fn settle(&self) {
        Rule::settle(RULES.iter().find(|rule| (rule.holds)(self)), self);
    }

    /// Whether we refused the head for this.
    fn is_head_error(&self, error: ResponseError) -> bool {
        self.stop == Stop::Response(error) && matches!(self.what, What::WeRefused { ours: 502, .. })
    }

    fn is_framing(&self, error: FramingError) -> bool {
        self.is_head_error(ResponseError::Framing(error))
    }

    /// Whether we broke off in the body for this, visibly or before anything had left, and hyper
    /// did not.
    fn is_cut(&self, error: FrameError) -> bool {
        let is_visible =
            matches!(self.what, What::End { ours, theirs } if !ours.is_whole && theirs.is_whole);
        let is_silent = matches!(self.what, What::WeRefused { ours: 0, .. });
        self.stop == Stop::Body(error) && (is_visible || is_silent)
    }

    fn is_body(&self, error: FrameError, breach: Breach) -> bool {
        self.is_cut(error) && chunks::breach(self.raw.body) == Some(breach)
    }
}

/// Whether a rule is the reason.
type Holds = fn(&Case<'_>) -> bool;

/// The first rule that holds is told.
const RULES: &[Rule<Holds>] = &[
    Rule {
        what: "a lone CR or LF is no line end",
        because: "RFC 9112 §2.2 lets a recipient take LF, but the next hop may not",
        holds: |case| {
            case.is_head_error(ResponseError::Field(FieldError::LineEnd))
                && case.raw.has_lone_line_end()
        },
    },
    Rule {
        what: "the status line is none",
        because: "RFC 9112 §4; only before requests may there be empty lines (§2.2)",
        holds: |case| {
            case.is_head_error(ResponseError::Line)
                && (case.raw.before > 0 || !is_status_line(case.raw.line))
        },
    },
    Rule {
        what: "a status that no class has",
        because: "RFC 9110 §15: a status above 599 or below 100 is invalid",
        holds: |case| {
            let status = case
                .raw
                .words()
                .get(1)
                .and_then(|word| word.first())
                .copied();
            case.is_head_error(ResponseError::Status) && !matches!(status, Some(b'1'..=b'5'))
        },
    },
    Rule {
        what: "Content-Length comes twice, with one value",
        because: "RFC 9112 §6.3(5) lets us choose between that and an error",
        holds: |case| {
            case.is_framing(FramingError::RepeatedLength) && case.raw.count("content-length") > 1
        },
    },
    Rule {
        what: "Content-Length is no number",
        because: "RFC 9112 §6.3(5): MUST be answered with 502",
        holds: |case| {
            let is_number =
                |value: &[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            case.is_framing(FramingError::Length)
                && !case.raw.values("content-length").all(is_number)
        },
    },
    Rule {
        what: "both Transfer-Encoding and Content-Length",
        because: "RFC 9112 §6.1: it ought to be handled as an error",
        holds: |case| {
            case.is_framing(FramingError::LengthAndCoding)
                && case.raw.count("content-length") > 0
                && case.raw.count("transfer-encoding") > 0
        },
    },
    Rule {
        what: "another coding than chunked, or chunked twice",
        because: "RFC 9112 §6.1: it cannot be decoded, and was not asked for",
        holds: |case| {
            let is_coding = case.is_framing(FramingError::Coding)
                || case.is_framing(FramingError::UnknownCoding);
            let mut values = case.raw.values("transfer-encoding");
            is_coding
                && (case.raw.count("transfer-encoding") > 1
                    || values.any(|value| !value.eq_ignore_ascii_case(b"chunked")))
        },
    },
    Rule {
        what: "Transfer-Encoding in HTTP/1.0",
        because: "RFC 9112 §6.1: its framing is to be taken for faulty",
        holds: |case| {
            case.is_framing(FramingError::CodingInHttp10)
                && case.raw.line.starts_with(b"HTTP/1.0 ")
                && case.raw.count("transfer-encoding") > 0
        },
    },
    Rule {
        what: "a chunk size is not 1 to 16 hexadecimal digits",
        because: "RFC 9112 §7.1: overflows MUST be prevented, and nobody needs more",
        holds: |case| case.is_body(FrameError::ChunkSize, Breach::Size),
    },
    Rule {
        what: "a chunk extension is not as the grammar has it",
        because: "RFC 9112 §7.1.1",
        holds: |case| case.is_body(FrameError::Extension, Breach::Extension),
    },
    Rule {
        what: "a chunk does not end with CRLF",
        because: "RFC 9112 §7.1; the leniency of §2.2 is for heads only",
        holds: |case| case.is_body(FrameError::ChunkEnd, Breach::LineEnd),
    },
    Rule {
        what: "an extension of a chunk is very long",
        because: "RFC 9112 §7.1.1: their total length ought to be limited",
        holds: |case| {
            case.is_cut(FrameError::ExtensionsTooLong) && chunks::has_long_line(case.raw.body)
        },
    },
    Rule {
        what: "more fields, or more trailers, than anybody has",
        because: "RFC 9110 §5.4: each has limits of its own; we forget none of them",
        holds: |case| {
            let trailers = chunks::trailers(case.raw.body);
            let lines = trailers.iter().filter(|&&byte| byte == b'\n').count();
            let fields = case.raw.fields.len();
            case.is_head_error(ResponseError::Field(FieldError::TooMany)) && fields > 200
                || matches!(case.what, What::WeRelayed { .. }) && fields > 100
                || case.is_cut(FrameError::TrailersTooLarge) && lines > 64
        },
    },
    Rule {
        what: "a trailer is no field",
        because: "RFC 9112 §7.1.2, §5.1",
        holds: |case| case.is_body(FrameError::Trailer, Breach::Trailer),
    },
    Rule {
        what: "a body that breaks off reaches the client up to there, but not from hyper",
        because: "RFC 9112 §8: it is incomplete, and looks so",
        holds: |case| {
            // Of an answer until the close it is not known whether it was cut.
            let is_cut = matches!(case.stop, Stop::Body(_)) || !case.is_old;
            is_cut && matches!(case.what, What::WeRelayed { ours } if !ours.is_whole)
        },
    },
    Rule {
        what: "204 to HEAD loses its Content-Length, and hyper relays it",
        because: "RFC 9110 §8.6: a server MUST NOT send one in any response with 204",
        holds: |case| {
            let is_bare = matches!(case.what, What::WeRelayed { ours }
                if ours.status() == 204 && ours.is_whole
                    && ours.values("content-length").next().is_none());
            is_bare && case.is_head && case.raw.count("content-length") > 0
        },
    },
    Rule {
        what: "a body that breaks off before the head has left: nothing, where hyper relays the head",
        because: "RFC 9112 §8: it is incomplete with either",
        holds: |case| {
            let is_cut =
                matches!(case.what, What::WeRefused { ours: 0, theirs } if !theirs.is_whole);
            is_cut && matches!(case.stop, Stop::Body(_))
        },
    },
    Rule {
        what: "a switch that nobody asked for",
        because: "RFC 9110 §7.8: a server MUST NOT switch to what the client did not name",
        holds: |case| {
            let is_switch = matches!(case.what, What::WeRefused { ours: 502, theirs } if theirs.status() == 101);
            is_switch && case.raw.words().get(1) == Some(&&b"101"[..])
        },
    },
    Rule {
        what: "trailers that have no place behind a body are left out",
        because: "RFC 9110 §6.5.1; what Connection names ends here wherever it stands (§7.6.1)",
        holds: |case| {
            let What::Trailers { ours, theirs } = &case.what else {
                return false;
            };
            let may_travel = |field: &&Field| !case.raw.names_fields() && !has_no_place(&field.0);
            theirs.iter().filter(may_travel).eq(ours.iter())
        },
    },
    Rule {
        what: "trailers do not reach a client of HTTP/1.0",
        because: "RFC 9112 §7.1: it knows no chunks, so there is nothing to put them in",
        holds: |case| case.is_old && matches!(&case.what, What::Trailers { ours: [], .. }),
    },
    Rule {
        what: "hyper writes Trailer only where chunks follow, and in one line",
        because: "RFC 9110 §6.6.2: it announces what may come, and there none can; §5.3 on lines",
        holds: |case| {
            let What::Field {
                name: "trailer",
                ours,
                theirs,
                answer,
                ..
            } = &case.what
            else {
                return false;
            };
            let has_chunks = answer.values("transfer-encoding").next().is_some();
            *theirs == [ours.join(&b", "[..]).trim_ascii()] || theirs.is_empty() && !has_chunks
        },
    },
];

/// Whether this is a status line (RFC 9112 §4).
fn is_status_line(line: &[u8]) -> bool {
    let Some([b'0' | b'1', b' ', a, b, c, reason @ ..]) = line.strip_prefix(b"HTTP/1.") else {
        return false;
    };
    [a, b, c].iter().all(|digit| digit.is_ascii_digit()) && matches!(reason, [] | [b' ', ..])
}
