//! Why we refuse what another proxy forwards, rule by rule.
//!
//! Problem: "we are stricter" explains any difference, and so none. A rule here names what is
//! wrong with the request, the section of the RFC that has it so, and the status that says so; and
//! it looks at the bytes of the request, not only at what our parser says of them.

use evenkeel::http1::{FieldError, FrameError, FramingError, RequestError};

use crate::align::{Case, What};
use crate::chunks::{self, Breach};
use crate::facts::{authority, is_ambiguous_path, is_host, is_token};
use crate::reading::Stop;
use crate::rule::Rule;

impl Case<'_> {
    /// The status that we refused with what the other forwarded, and whether we closed after it.
    fn refusal(&self) -> Option<(u16, bool)> {
        match self.what {
            What::WeRefused { status, is_end, .. } => Some((status, is_end)),
            What::WeSaidNothing { .. }
            | What::WeForwarded { .. }
            | What::GoesOn { .. }
            | What::Both { .. }
            | What::Closed { .. } => None,
        }
    }

    /// Whether we refused the head for this, said so with this status and closed.
    fn is_head(&self, error: RequestError, status: u16) -> bool {
        self.is_refused_head
            && (self.stop == Stop::Request(error) || self.early.contains(&error))
            && self.refusal() == Some((status, true))
    }

    fn is_field(&self, error: FieldError, status: u16) -> bool {
        self.is_head(RequestError::Field(error), status)
    }

    fn is_framing(&self, error: FramingError, status: u16) -> bool {
        self.is_head(RequestError::Framing(error), status)
    }

    /// Whether we broke off in the body for this, said so and closed.
    fn is_cut(&self, error: FrameError) -> bool {
        !self.is_refused_head
            && self.stop == Stop::Body(error)
            && self.refusal() == Some((400, true))
    }

    fn is_body(&self, error: FrameError, breach: Breach) -> bool {
        self.is_cut(error) && chunks::breach(self.raw.body) == Some(breach)
    }

    /// Whether we answered with this status because of a policy.
    fn is_policy(&self, status: u16) -> bool {
        !self.is_refused_head && self.refusal().is_some_and(|(said, _)| said == status)
    }
}

/// Whether a rule is the reason.
pub type Holds = fn(&Case<'_>) -> bool;

/// The first rule that holds is told.
pub const REFUSALS: &[Rule<Holds>] = &[
    Rule {
        what: "a lone CR or LF is no line end",
        because: "RFC 9112 §2.2 lets a recipient take LF, but the next hop may not",
        holds: |case| case.is_field(FieldError::LineEnd, 400) && case.raw.has_lone_line_end(),
    },
    Rule {
        what: "a name that is no token, or none, or a folded line",
        because: "RFC 9110 §5.1; RFC 9112 §5.1 (a space before the colon), §5.2 (folded lines)",
        holds: |case| case.is_field(FieldError::Name, 400) && case.raw.has_strange_name(),
    },
    Rule {
        what: "a control byte in a value",
        because: "RFC 9110 §5.5: CR, LF and NUL are dangerous, the others are invalid",
        holds: |case| case.is_field(FieldError::Value, 400) && case.raw.has_control_byte(),
    },
    Rule {
        what: "another major version than 1",
        because: "RFC 9110 §15.6.6: 505",
        holds: |case| {
            let words = case.raw.words();
            case.is_head(RequestError::Version, 505)
                && words
                    .last()
                    .is_some_and(|word| !word.starts_with(b"HTTP/1."))
        },
    },
    Rule {
        what: "more than two empty lines, or half ones, before a request",
        because: "RFC 9112 §2.2 asks that at least one be ignored",
        holds: |case| case.is_head(RequestError::Line, 400) && case.raw.before > 0,
    },
    Rule {
        what: "Content-Length comes twice, with one value",
        because: "RFC 9112 §6.3(5) lets us choose between that and an error",
        holds: |case| {
            case.is_framing(FramingError::RepeatedLength, 400)
                && case.raw.count("content-length") > 1
        },
    },
    Rule {
        what: "Content-Length is no number",
        because: "RFC 9110 §8.6: digits only, so neither a sign nor a list; and no overflow",
        holds: |case| {
            // HAProxy 2.6 takes 2⁶⁴ for 0, and the body for a request.
            let is_number = |value: &[u8]| {
                let text = std::str::from_utf8(value).unwrap_or_default();
                value.iter().all(u8::is_ascii_digit) && text.parse::<u64>().is_ok()
            };
            case.is_framing(FramingError::Length, 400)
                && !case.raw.values("content-length").all(is_number)
        },
    },
    Rule {
        what: "both Transfer-Encoding and Content-Length",
        because: "RFC 9112 §6.1: it ought to be handled as an error",
        holds: |case| {
            case.is_framing(FramingError::LengthAndCoding, 400)
                && case.raw.count("content-length") > 0
                && case.raw.count("transfer-encoding") > 0
        },
    },
    Rule {
        what: "another coding than chunked, or chunked twice",
        because: "RFC 9112 §6.1, §6.3(4): 501 for what is not known, 400 for what has no end",
        holds: |case| {
            let is_coding = case.is_framing(FramingError::Coding, 400)
                || case.is_framing(FramingError::UnknownCoding, 501);
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
            case.is_framing(FramingError::CodingInHttp10, 400)
                && case.raw.is_version(b"HTTP/1.0")
                && case.raw.count("transfer-encoding") > 0
        },
    },
    Rule {
        what: "no Host in HTTP/1.1",
        because: "RFC 9112 §3.2: MUST be answered with 400",
        holds: |case| {
            case.is_head(RequestError::HostMissing, 400)
                && !case.raw.is_version(b"HTTP/1.0")
                && case.raw.count("host") == 0
        },
    },
    Rule {
        what: "more than one Host",
        because: "RFC 9112 §3.2: MUST be answered with 400",
        holds: |case| case.is_head(RequestError::HostRepeated, 400) && case.raw.count("host") > 1,
    },
    Rule {
        what: "Host is no host",
        because: "RFC 9112 §3.2: MUST be answered with 400",
        holds: |case| {
            case.is_head(RequestError::HostMalformed, 400) && !case.raw.values("host").all(is_host)
        },
    },
    Rule {
        what: "the target has none of the four forms",
        because: "RFC 9112 §3.2; of RFC 3986 §3.2 a userinfo and an empty host are out",
        holds: |case| case.is_head(RequestError::Target, 400) && !is_target(case),
    },
    Rule {
        what: "the request line is not three words with a space between each",
        because: "RFC 9112 §3: to split it leniently can be exploited",
        holds: |case| {
            let is_line = match case.raw.words().as_slice() {
                [method, _, version] => {
                    let is_version = matches!(version.strip_prefix(b"HTTP/"),
                        Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit());
                    is_token(method) && is_version
                }
                _ => false,
            };
            let is_refused = [RequestError::Line, RequestError::Target]
                .iter()
                .any(|error| case.is_head(*error, 400));
            is_refused && !is_line
        },
    },
    Rule {
        what: "a method longer than any",
        because: "RFC 9112 §3: 501 for a method that is longer than any that is implemented",
        holds: |case| {
            let words = case.raw.words();
            case.is_head(RequestError::MethodTooLong, 501)
                && words.first().is_some_and(|method| method.len() > 32)
        },
    },
    Rule {
        what: "a member of Connection is no token, or there are very many",
        because: "RFC 9110 §7.6.1: which fields end here is not known",
        holds: |case| {
            let mut members = case.raw.members("connection");
            case.is_head(RequestError::Connection, 400)
                && (case.raw.members("connection").count() > 16
                    || members.any(|member| !is_token(member)))
        },
    },
    Rule {
        what: "an expectation other than 100-continue",
        because: "RFC 9110 §10.1.1: 417",
        holds: |case| {
            let mut members = case.raw.members("expect");
            case.is_head(RequestError::Expectation, 417)
                && members.any(|member| !member.eq_ignore_ascii_case(b"100-continue"))
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
        because: "RFC 9110 §5.4: 431, or 400 for trailers, rather than to forget some",
        holds: |case| {
            let trailers = chunks::trailers(case.raw.body);
            let lines = trailers.iter().filter(|&&byte| byte == b'\n').count();
            case.is_field(FieldError::TooMany, 431) && case.raw.fields.len() > 100
                || case.is_cut(FrameError::TrailersTooLarge) && lines > 64
        },
    },
    Rule {
        what: "a trailer is no field",
        because: "RFC 9112 §7.1.2, §5.1",
        holds: |case| case.is_body(FrameError::Trailer, Breach::Trailer),
    },
    Rule {
        what: "CONNECT is not forwarded, unless the route says so",
        because: "RFC 9110 §9.3.6: a proxy that tunnels to anywhere is open to abuse",
        holds: |case| {
            let has_body =
                case.raw.count("content-length") + case.raw.count("transfer-encoding") > 0;
            // What follows is the tunnel, or the body: two readings.
            case.raw.is_method(b"CONNECT")
                && (case.is_policy(405) || case.is_policy(400) && has_body)
        },
    },
    Rule {
        what: "TRACE is not forwarded",
        because: "RFC 9110 §9.3.8: it would show the client's fields to whoever asks",
        holds: |case| case.is_policy(405) && case.raw.is_method(b"TRACE"),
    },
    Rule {
        what: "a path that servers read differently",
        because: "RFC 3986 §6.2.2.3: dot segments are for whoever makes a target to remove",
        holds: |case| case.is_policy(400) && is_ambiguous_path(case.raw.target()),
    },
    Rule {
        what: "OPTIONS that goes no further",
        because: "RFC 9110 §7.6.2: Max-Forwards of 0 MUST NOT be forwarded",
        holds: |case| {
            let is_zero =
                |value: &[u8]| !value.is_empty() && value.iter().all(|&byte| byte == b'0');
            case.is_policy(200)
                && case.raw.is_method(b"OPTIONS")
                && case.raw.values("max-forwards").all(is_zero)
        },
    },
    Rule {
        what: "OPTIONS with a Max-Forwards that is not one number",
        because: "RFC 9110 §7.6.2: guessing could forward what must not be",
        holds: |case| {
            let is_number =
                |value: &[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            case.is_policy(400)
                && case.raw.is_method(b"OPTIONS")
                && (case.raw.count("max-forwards") > 1
                    || !case.raw.values("max-forwards").all(is_number))
        },
    },
];

/// Whether the target has one of the forms of RFC 9112 §3.2, as far as bytes tell.
fn is_target(case: &Case<'_>) -> bool {
    let target = case.raw.target();
    // Of what RFC 3986 has no place for, these are no part of a target anywhere.
    let is_strange = |byte: &u8| !byte.is_ascii_graphic() || b"\"#<>`".contains(byte);
    let is_plain = !target.iter().any(is_strange);
    let is_absolute = authority(target)
        .is_some_and(|authority| !authority.starts_with(b":") && is_host(authority));
    let is_asterisk = case.raw.is_method(b"OPTIONS") && target == b"*";
    is_plain && (target.starts_with(b"/") || is_asterisk || is_absolute)
}
