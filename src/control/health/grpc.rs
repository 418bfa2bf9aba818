//! What the gRPC health service is asked, and what its answer says. Pure.
//!
//! The protocol is `grpc.health.v1.Health/Check`: a message with the name of a service, and one
//! with its state. Two messages of one field each need no library for Protocol Buffers.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;

use crate::policy::grpc::{Code, is_grpc};

/// What came back, as far as it matters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answer<'a> {
    /// The status of HTTP.
    pub(super) status: u16,
    /// `Content-Type`.
    pub(super) content_type: &'a [u8],
    /// `grpc-status`, of the trailers or, where there is no body, of the head.
    pub(super) grpc_status: Option<&'a [u8]>,
    /// The messages.
    pub(super) body: &'a [u8],
}

/// What a service's state is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// It serves.
    Serving,
    /// It says that it does not.
    NotServing,
    /// The server has no such service.
    UnknownService,
    /// Something else that the protocol has, or will have, a number for.
    Other(u64),
    /// The call failed.
    Failed(Code),
}

/// Where the question goes.
pub(super) static TARGET: LazyLock<PathAndQuery> =
    LazyLock::new(|| PathAndQuery::from_static("/grpc.health.v1.Health/Check"));

/// The type of what is asked.
pub(super) const TYPE: &str = "application/grpc";

/// The field in which a call's end is told.
pub(super) const STATUS: &str = "grpc-status";

/// The field in which a server is told how long an answer is waited for.
pub(super) const TIMEOUT: &str = "grpc-timeout";

/// So much time as that field has it: eight digits at most, and a unit. More than 0, which some
/// servers refuse.
pub(super) fn timeout(left: Duration) -> String {
    let millis = left.as_millis().clamp(1, MOST);
    format!("{millis}m")
}

/// The question: a frame of gRPC (no compression, length) around the field `service`.
pub(super) fn question(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 8);
    if !service.is_empty() {
        message.push(NAME);
        varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    // A service's name has at most 256 characters.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![0];
    framed.extend(length.to_be_bytes());
    framed.append(&mut message);
    framed.into()
}

/// What an answer says, or why it is none.
pub(super) fn read(answer: Answer<'_>) -> Result<Reply, String> {
    if answer.status != 200 {
        return Err(format!("it answered with the status {}", answer.status));
    }
    if !is_grpc(answer.content_type) {
        return Err("it is not gRPC".to_owned());
    }
    let Some(code) = answer.grpc_status else {
        return Err("it has no grpc-status".to_owned());
    };
    match Code::parse(code) {
        Code::Ok => state(answer.body).ok_or_else(|| "it is not a state of health".to_owned()),
        // As the protocol has it for a service that it has never heard of.
        Code::NotFound => Ok(Reply::UnknownService),
        other => Ok(Reply::Failed(other)),
    }
}

/// The field `status` of the one message.
fn state(body: &[u8]) -> Option<Reply> {
    let (prefix, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || u32::try_from(message.len()) != Ok(length) {
        return None;
    }
    let mut rest = message;
    // Without the field it is 0: what is 0 is not written.
    let mut status = 0;
    while !rest.is_empty() {
        let key = read_varint(&mut rest)?;
        // What kind of value it is (https://protobuf.dev/programming-guides/encoding/).
        match key & 0b111 {
            0 => {
                let value = read_varint(&mut rest)?;
                if key == STATE {
                    status = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(match status {
        1 => Reply::Serving,
        2 => Reply::NotServing,
        3 => Reply::UnknownService,
        other => Reply::Other(other),
    })
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.write_str("SERVING"),
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::UnknownService => f.write_str("NOT_FOUND: it has no such service"),
            Self::Other(number) => write!(f, "the state {number}"),
            Self::Failed(Code::Unimplemented) => {
                f.write_str("UNIMPLEMENTED: it has no health service")
            }
            Self::Failed(code) => f.write_str(code.name()),
        }
    }
}

/// Eight digits, which is more than a day.
const MOST: u128 = 99_999_999;
/// The key of `service`, field 1, a string.
const NAME: u8 = 0x0a;
/// The key of `status`, field 1, a number.
const STATE: u64 = 0x08;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &[u8]) -> Answer<'_> {
        Answer {
            status: 200,
            content_type: b"application/grpc",
            grpc_status: Some(b"0"),
            body,
        }
    }

    #[test]
    fn questions_are_as_protocol_buffers_write_them() {
        assert_eq!(&question("")[..], b"\0\0\0\0\0");
        assert_eq!(&question("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = question(&"x".repeat(200));
        assert_eq!(&long[..8], b"\0\0\0\0\xcb\x0a\xc8\x01");
    }

    #[test]
    fn timeouts_have_eight_digits() {
        for (left, written) in [
            (Duration::ZERO, "1m"),
            (Duration::from_micros(999_999), "999m"),
            (Duration::from_secs(1), "1000m"),
            (Duration::MAX, "99999999m"),
        ] {
            assert_eq!(timeout(left), written);
        }
    }

    #[test]
    fn states_are_read() {
        for (body, reply) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Reply::Serving),
            (b"\0\0\0\0\x02\x08\x02", Reply::NotServing),
            (b"\0\0\0\0\x02\x08\x03", Reply::UnknownService),
            (b"\0\0\0\0\0", Reply::Other(0)),
            (b"\0\0\0\0\x03\x08\x81\x00", Reply::Serving),
            // A field of a later version, before and behind.
            (b"\0\0\0\0\x06\x12\x02ab\x08\x01", Reply::Serving),
            (b"\0\0\0\0\x07\x08\x01\x1d\x01\x02\x03\x04", Reply::Serving),
        ] {
            assert_eq!(read(answer(body)), Ok(reply), "{body:?}");
        }
    }

    #[test]
    fn what_is_no_state_is_refused() {
        for body in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x01\x08\x01",
            b"\0\0\0\0\x01\x08",
            b"\0\0\0\0\x03\x12\x09a",
            b"\0\0\0\0\x02\x0b\x01",
            b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(read(answer(body)).is_err(), "{body:?}");
        }
        let told = |answer: Answer<'_>| read(answer).unwrap_err();
        let serving = b"\0\0\0\0\x02\x08\x01";
        let bad = Answer {
            status: 503,
            ..answer(serving)
        };
        assert_eq!(told(bad), "it answered with the status 503");
        let bad = Answer {
            content_type: b"text/html",
            ..answer(serving)
        };
        assert_eq!(told(bad), "it is not gRPC");
        let bad = Answer {
            grpc_status: None,
            ..answer(serving)
        };
        assert_eq!(told(bad), "it has no grpc-status");
    }

    #[test]
    fn failures_are_told() {
        let failed = |status: &'static [u8]| {
            let answer = Answer {
                grpc_status: Some(status),
                ..answer(b"")
            };
            read(answer).map(|reply| reply.to_string())
        };
        assert_eq!(
            failed(b"5"),
            Ok("NOT_FOUND: it has no such service".to_owned())
        );
        assert_eq!(
            failed(b"12"),
            Ok("UNIMPLEMENTED: it has no health service".to_owned())
        );
        assert_eq!(failed(b"14"), Ok("UNAVAILABLE".to_owned()));
        assert_eq!(failed(b"many"), Ok("UNKNOWN".to_owned()));
    }
}
