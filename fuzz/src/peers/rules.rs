//! The differences between nginx or HAProxy and us in what is forwarded, each with its reason,
//! besides those that are [refusals](crate::refusals) of ours.

use crate::align::{Case, What};
use crate::chunks;
use crate::facts::{Loose, authority, is_ambiguous_path, is_host, is_token};
use crate::rule::Rule;
use crate::wire::Message;

/// A difference, and who it is that differs.
#[derive(Debug)]
pub(super) struct Compared<'a> {
    pub(super) name: &'static str,
    pub(super) case: &'a Case<'a>,
}

impl Compared<'_> {
    /// Whether this one refuses, with this status, what we have forwarded.
    fn refuses(&self, name: &str, with: u16) -> bool {
        let is_refused =
            matches!(self.case.what, What::WeForwarded { status, .. } if status == Some(with));
        self.name == name && is_refused
    }
}

/// The target without what an absolute one says before its path: HAProxy forwards that, and nginx
/// does not (RFC 9112 §3.2.2 leaves it to who forwards).
pub(super) fn path(request: &Message) -> &[u8] {
    let target = request.target();
    let Some(start) = target.windows(3).position(|part| part == b"://") else {
        return target;
    };
    if target.starts_with(b"/") {
        return target;
    }
    let rest = &target[start + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    end.map_or(b"/", |end| &rest[end..])
}

/// Whether a rule is the reason.
pub(super) type Holds = fn(&Compared<'_>) -> bool;

/// The first rule that holds is told.
pub(super) const RULES: &[Rule<Holds>] = &[
    Rule {
        what: "OPTIONS of an absolute target without a path asks about the server",
        because: "RFC 9112 §3.2.4: the last proxy MUST send an asterisk; others send a slash",
        holds: |it| {
            let is_it = |ours: &Message, theirs: &Message| {
                (ours.method(), ours.target(), path(theirs)) == (b"OPTIONS", b"*", b"/")
            };
            matches!(it.case.what, What::Both { ours, theirs } if is_it(ours, theirs))
        },
    },
    Rule {
        what: "both refuse it, and we go on with what follows",
        because: "RFC 9112 §9.3: its end is known, so nothing is read in two ways",
        holds: |it| {
            matches!(it.case.what, What::GoesOn { ours: true, .. }) && is_refused_by_policy(it.case)
        },
    },
    Rule {
        what: "nginx knows no method with other bytes than capitals, dash and underscore",
        because: "RFC 9110 §9.1: a method is any token",
        holds: |it| {
            let method = it.case.raw.words().first().copied().unwrap_or_default();
            let is_known = |byte: &u8| byte.is_ascii_uppercase() || b"-_".contains(byte);
            it.refuses("nginx", 400) && is_token(method) && !method.iter().all(is_known)
        },
    },
    Rule {
        what: "nginx refuses an empty Host beside an absolute target",
        because: "RFC 9112 §3.2.2: whatever Host says is ignored there, and replaced",
        holds: |it| {
            let raw = &it.case.raw;
            it.refuses("nginx", 400)
                && authority(raw.target()).is_some()
                && raw.values("host").eq([&b""[..]])
        },
    },
    Rule {
        what: "nginx finds close and keep-alive within other words of Connection",
        because: "RFC 9110 §7.6.1: its members are whole tokens",
        holds: |it| {
            let hides = |raw: &Loose<'_>, word: &str| {
                let is_within = |value: &[u8]| {
                    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
                    text.contains(word)
                };
                let is_it = |member: &[u8]| member.eq_ignore_ascii_case(word.as_bytes());
                raw.values("connection").any(is_within) && !raw.members("connection").any(is_it)
            };
            let (before, what) = (&it.case.before, &it.case.what);
            let they_go_on = matches!(what, What::WeSaidNothing { .. });
            let they_end = matches!(what, What::WeForwarded { status: None, .. });
            let is_wrong = before.as_ref().is_some_and(|before| {
                they_go_on && hides(before, "keep-alive") || they_end && hides(before, "close")
            });
            it.name == "nginx" && is_wrong
        },
    },
    Rule {
        what: "nginx knows no host in an absolute target but letters, digits, dots and dashes",
        because: "RFC 3986 §3.2.2: a name may have other bytes, and escapes",
        holds: |it| {
            let authority = authority(it.case.raw.target()).unwrap_or_default();
            let is_known = |byte: &u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(byte);
            it.refuses("nginx", 400) && is_host(authority) && !authority.iter().all(is_known)
        },
    },
    Rule {
        what: "nginx refuses a host with an empty label, or none but that",
        because: "RFC 3986 §3.2.2: a name of its grammar; what it means is not ours to say",
        holds: |it| {
            let is_dotted = |host: &[u8]| {
                host.windows(2).any(|part| part == b"..")
                    || matches!(host, [b'.'] | [b'.', b':', ..])
            };
            let authority = authority(it.case.raw.target()).unwrap_or_default();
            it.refuses("nginx", 400)
                && (is_dotted(authority) || it.case.raw.values("host").any(is_dotted))
        },
    },
    Rule {
        what: "nginx refuses some fields that come twice",
        because: "RFC 9110 §5.3: lists may, and the others mean nothing to who forwards",
        holds: |it| {
            it.refuses("nginx", 400) && UNIQUE.iter().any(|name| it.case.raw.count(name) > 1)
        },
    },
    Rule {
        what: "nginx decodes a path, and refuses escapes that are none",
        because: "RFC 3986 §2.4: who does not decode forwards what was said",
        holds: |it| it.refuses("nginx", 400) && has_strange_escape(it.case.raw.target()),
    },
    Rule {
        what: "nginx knows no OPTIONS of an asterisk",
        because: "RFC 9110 §9.3.7 has it",
        holds: |it| {
            it.refuses("nginx", 400)
                && it.case.raw.is_method(b"OPTIONS")
                && it.case.raw.target() == b"*"
        },
    },
    Rule {
        what: "HAProxy refuses a Host that is not the target's",
        because: "RFC 9112 §3.2.2: the target wins, and Host is replaced",
        holds: |it| {
            let raw = &it.case.raw;
            it.refuses("haproxy", 400)
                && authority(raw.target()).is_some()
                && raw.count("host") == 1
        },
    },
    Rule {
        what: "HAProxy refuses the body of a GET, HEAD or DELETE of HTTP/1.0",
        because: "RFC 9112 §6: the fields frame a body, whatever the method; so we send it on framed",
        holds: |it| {
            let raw = &it.case.raw;
            let methods = [&b"GET"[..], b"HEAD", b"DELETE"];
            it.refuses("haproxy", 413)
                && raw.is_version(b"HTTP/1.0")
                && methods.iter().any(|method| raw.is_method(method))
                && raw.count("content-length") == 1
        },
    },
    Rule {
        what: "HAProxy refuses a name of more than 255 bytes",
        because: "RFC 9110 §5.4: each has limits of its own; ours is that of the head",
        holds: |it| {
            let is_long = |field: &(&[u8], &[u8])| field.0.len() > 255;
            it.refuses("haproxy", 400) && it.case.raw.fields.iter().any(is_long)
        },
    },
    Rule {
        what: "HAProxy looks at the Host and the framing that stand behind a body",
        because: "RFC 9110 §6.5.1: no place for them; they are ignored, and end here",
        holds: |it| {
            let behind = [&b"x\r\n"[..], chunks::trailers(it.case.raw.body)].concat();
            let behind = Loose::new(&behind);
            let names = ["host", "content-length", "transfer-encoding"];
            it.refuses("haproxy", 400)
                && it.case.raw.count("transfer-encoding") == 1
                && names.iter().any(|name| behind.count(name) > 0)
        },
    },
    Rule {
        what: "HAProxy wants a key with each Upgrade to websocket",
        because: "RFC 6455 §4.1 has it, but the endpoint can say so itself",
        holds: |it| {
            it.refuses("haproxy", 400)
                && it
                    .case
                    .raw
                    .members("upgrade")
                    .any(|name| name.eq_ignore_ascii_case(b"websocket"))
                && it.case.raw.count("sec-websocket-key") == 0
        },
    },
];

/// What nginx takes once, besides what frames and addresses a request.
const UNIQUE: [&str; 8] = [
    "authorization",
    "content-range",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
];

/// Whether a percent sign begins no escape.
fn has_strange_escape(target: &[u8]) -> bool {
    let path = target
        .split(|&byte| byte == b'?')
        .next()
        .unwrap_or_default();
    let mut escapes = path.split(|&byte| byte == b'%').skip(1);
    escapes
        .any(|rest| !matches!(rest, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

/// Whether this is one of the requests that we answer ourselves although we understand them.
fn is_refused_by_policy(case: &Case<'_>) -> bool {
    let raw = &case.raw;
    !case.is_refused_head
        && (raw.is_method(b"CONNECT")
            || raw.is_method(b"TRACE")
            || raw.is_method(b"OPTIONS") && raw.count("max-forwards") > 0
            || is_ambiguous_path(raw.target()))
}
