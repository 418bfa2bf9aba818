//! What gRPC says in HTTP (its `PROTOCOL-HTTP2.md`): which requests are gRPC, how long they may
//! take, and its own statuses.
//!
//! gRPC-Web is none of this: it is ordinary HTTP, whatever it carries.

use std::time::Duration;

use http::StatusCode;

use crate::http2::ErrorCode;

/// A status of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// All went well.
    Ok,
    /// The client cancelled the call.
    Cancelled,
    /// Nothing else fits, or the number is none of these.
    Unknown,
    /// The client asks for something that makes no sense.
    InvalidArgument,
    /// The deadline has passed.
    DeadlineExceeded,
    /// What was asked for is not there.
    NotFound,
    /// What was to be made is there.
    AlreadyExists,
    /// The caller may not.
    PermissionDenied,
    /// Something is used up.
    ResourceExhausted,
    /// The system is not in the state for it.
    FailedPrecondition,
    /// Another call came in between.
    Aborted,
    /// Past the end.
    OutOfRange,
    /// The method is not there.
    Unimplemented,
    /// Something is broken.
    Internal,
    /// Nobody serves; asking again may help.
    Unavailable,
    /// Data are lost for good.
    DataLoss,
    /// The caller did not say who it is.
    Unauthenticated,
}

/// `grpc-timeout` is not what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout is not a number of at most eight digits and one of H, M, S, m, u, n")]
pub struct BadTimeout;

/// How far a body has come, message by message: each stands behind a byte of flags and four of its
/// length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages {
    /// Bytes of a prefix that have come, and the length that they say so far.
    prefix: u8,
    length: u32,
    /// What is to come of a message.
    left: u32,
}

impl Messages {
    /// Takes the next bytes.
    pub fn take(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let count = bytes.len().min(self.left as usize);
                self.left -= u32::try_from(count).unwrap_or(self.left);
                bytes = &bytes[count..];
                continue;
            }
            if self.prefix > 0 {
                self.length = self.length << 8 | u32::from(*first);
            }
            self.prefix += 1;
            bytes = rest;
            if self.prefix == PREFIX {
                *self = Self {
                    left: self.length,
                    ..Self::default()
                };
            }
        }
    }

    /// Whether no message is cut off here.
    pub fn is_between(&self) -> bool {
        self.prefix == 0 && self.left == 0
    }
}

impl Code {
    /// Every status, in the order of their numbers, so that `code as usize` is its place here.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The status that `grpc-status` says; what is no number of one is `UNKNOWN`, as clients have
    /// it.
    pub fn parse(value: &[u8]) -> Self {
        let number = match value {
            [digit @ b'0'..=b'9'] => usize::from(digit - b'0'),
            [b'1', digit @ b'0'..=b'9'] => 10 + usize::from(digit - b'0'),
            _ => return Self::Unknown,
        };
        Self::ALL.get(number).copied().unwrap_or(Self::Unknown)
    }

    /// What a client makes of an answer that has no `grpc-status`
    /// (`http-grpc-status-mapping.md`).
    pub fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a client makes of a stream that is reset (`PROTOCOL-HTTP2.md`, errors).
    pub fn of_http2(code: ErrorCode) -> Self {
        match code {
            ErrorCode::REFUSED_STREAM => Self::Unavailable,
            ErrorCode::CANCEL => Self::Cancelled,
            ErrorCode::ENHANCE_YOUR_CALM => Self::ResourceExhausted,
            _ => Self::Internal,
        }
    }

    /// As `grpc-status` has it.
    pub fn number(self) -> &'static str {
        NUMBERS[self as usize]
    }

    /// Its name, `UNAVAILABLE`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

/// Whether a message of this `Content-Type` is gRPC.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let Some((kind, rest)) = content_type.split_at_checked(GRPC.len()) else {
        return false;
    };
    kind.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// How long a call may take, from its `grpc-timeout`. Zero is a deadline that has passed.
pub fn timeout(value: &[u8]) -> Result<Duration, BadTimeout> {
    let (unit, digits) = value.split_last().ok_or(BadTimeout)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadTimeout);
    }
    let digit = |number: u64, digit: &u8| number * 10 + u64::from(digit - b'0');
    let number = digits.iter().fold(0, digit);
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_nanos(number)),
        _ => Err(BadTimeout),
    }
}

/// A time as `grpc-timeout` has it: the finest unit in which it fits, and no more than it is.
pub fn timeout_text(time: Duration) -> String {
    let units = [
        (time.as_micros(), 'u'),
        (time.as_millis(), 'm'),
        (time.as_secs().into(), 'S'),
        ((time.as_secs() / 60).into(), 'M'),
        ((time.as_secs() / 3600).into(), 'H'),
    ];
    let fits = units.into_iter().find(|(number, _)| *number < 100_000_000);
    let (number, unit) = fits.unwrap_or((99_999_999, 'H'));
    format!("{number}{unit}")
}

/// A text as `grpc-message` has it: what is not visible ASCII, and `%`, by its bytes in per cent.
pub fn message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                out.push('%');
                for half in [byte >> 4, byte & 0xf] {
                    let half = char::from_digit(u32::from(half), 16);
                    out.extend(half.map(|half| half.to_ascii_uppercase()));
                }
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

const GRPC: &[u8] = b"application/grpc";

/// Bytes before each message.
const PREFIX: u8 = 5;

const NUMBERS: [&str; Code::ALL.len()] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_type() {
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "application/grpc ; a=b",
            "Application/GRPC+json",
        ] {
            assert!(is_grpc(kind.as_bytes()), "{kind}");
        }
        for kind in [
            "",
            "application/grp",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "text/plain; application/grpc",
        ] {
            assert!(!is_grpc(kind.as_bytes()), "{kind}");
        }
    }

    #[test]
    fn timeouts_are_read() {
        for (value, time) in [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("3S", Duration::from_secs(3)),
            ("100m", Duration::from_millis(100)),
            ("99999999u", Duration::from_micros(99_999_999)),
            ("99999999H", Duration::from_hours(99_999_999)),
            ("1n", Duration::from_nanos(1)),
            ("0S", Duration::ZERO),
            ("00000001S", Duration::from_secs(1)),
        ] {
            assert_eq!(timeout(value.as_bytes()), Ok(time), "{value}");
        }
        for value in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1 S",
            "1S ",
            "100000000S",
            "1SS",
            "ém",
        ] {
            assert_eq!(timeout(value.as_bytes()), Err(BadTimeout), "{value}");
        }
    }

    #[test]
    fn a_time_is_told_as_it_is_read() {
        for (time, text) in [
            (Duration::ZERO, "0u"),
            (Duration::from_micros(1_500), "1500u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(timeout_text(time), text);
            let read = timeout(text.as_bytes()).expect("it can be read");
            assert!(
                read <= time && (read == time || time > Duration::from_hours(1)),
                "{text}"
            );
        }
    }

    #[test]
    fn statuses_have_their_numbers_and_names() {
        for (place, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place);
            assert_eq!(code.number(), place.to_string());
            assert_eq!(Code::parse(code.number().as_bytes()), code);
            assert!(!code.name().is_empty());
        }
        for value in ["", "17", "20", "99", "-1", "01", "0 ", "OK", "100"] {
            assert_eq!(Code::parse(value.as_bytes()), Code::Unknown, "{value}");
        }
    }

    #[test]
    fn statuses_of_http_are_read_as_clients_do() {
        let of = |status| Code::of_http(StatusCode::from_u16(status).unwrap());
        assert_eq!(of(400), Code::Internal);
        assert_eq!(of(401), Code::Unauthenticated);
        assert_eq!(of(403), Code::PermissionDenied);
        assert_eq!(of(404), Code::Unimplemented);
        assert_eq!(
            [429, 502, 503, 504].map(of),
            [Code::Unavailable; 4],
            "worth another try"
        );
        assert_eq!([200, 302, 413, 500].map(of), [Code::Unknown; 4]);
    }

    #[test]
    fn it_is_known_where_messages_end() {
        let two = b"\0\0\0\0\x03abc\x01\0\0\x01\0";
        let long = [0; 256];
        let all = [&two[..], &long, &[0; 5]].concat();
        let ends = [0, 8, 8 + 5 + 256, all.len()];
        for at in 0..=all.len() {
            let mut messages = Messages::default();
            let (first, second) = all.split_at(at);
            messages.take(first);
            assert_eq!(messages.is_between(), ends.contains(&at), "{at}");
            messages.take(second);
            assert!(messages.is_between());
        }
    }

    #[test]
    fn messages_are_ascii() {
        assert_eq!(message("a b~!"), "a b~!");
        assert_eq!(message("100%\r\né\u{7f}"), "100%25%0D%0A%C3%A9%7F");
    }
}
