//! How much time a client gives its request, told in a field of a name that the operations agree
//! on: read, and told on.
//!
//! Problem: a service that works on an answer nobody waits for any more does so at the expense of
//! those who still wait, most of all when it is slow already. gRPC has `grpc-timeout` for that;
//! HTTP has nothing, so that houses have their own: `X-Request-Timeout-Ms: 1500` of one, 2s of the
//! other. What is read here are milliseconds, or a number with `ms` or `s`. What is told on is what
//! is left, in the unit that came.
//!
//! A client can only shorten the time that the route gives: so it need not be trusted.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;

use crate::message::{Fields, Value};

/// The field that says how much time a request has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlineField {
    name: HeaderName,
}

/// What a client said of its time, in one word, since every request has room for it: milliseconds,
/// of which more than twelve days are as good as those, and a bit for whether a unit came with
/// them; one more, and none is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given(NonZeroU32);

/// The field is not what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time is not one number of at most nine digits, of milliseconds or with `ms` or `s`")]
pub struct BadDeadline;

impl DeadlineField {
    /// The field of this name, which is one; `None` if it is not.
    pub fn new(name: &str) -> Option<Self> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some(Self { name })
    }

    /// What these fields say. Two of them could be read in two ways, and so are refused.
    pub fn read(&self, fields: &Fields) -> Result<Option<Given>, BadDeadline> {
        let mut values = fields.get_all(self.name.as_str());
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(BadDeadline);
        }
        Given::parse(value.as_bytes()).map(Some)
    }

    /// Says how much is left. Without what a client said, in milliseconds.
    pub fn write(&self, fields: &mut Fields, given: Option<Given>, left: Duration) {
        let left = left.as_millis();
        // Whole seconds would be cut to none.
        let text = if given.is_some_and(Given::has_unit) {
            format!("{left}ms")
        } else {
            left.to_string()
        };
        fields.insert(&self.name, Value::of_ascii(text.as_bytes()));
    }
}

impl Given {
    fn parse(value: &[u8]) -> Result<Self, BadDeadline> {
        let (digits, scale, has_unit) = match value {
            [digits @ .., b'm', b's'] => (digits, 1, true),
            [digits @ .., b's'] => (digits, 1_000, true),
            digits => (digits, 1, false),
        };
        if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(BadDeadline);
        }
        let digit = |number: u64, digit: &u8| number * 10 + u64::from(digit - b'0');
        let number = digits.iter().fold(0, digit);
        let millis = u32::try_from(number * scale).map_or(MOST, |millis| millis.min(MOST));
        let word = millis << 2 | u32::from(has_unit) << 1 | 1;
        NonZeroU32::new(word).map(Self).ok_or(BadDeadline)
    }

    /// How much it is.
    pub fn time(self) -> Duration {
        Duration::from_millis((self.0.get() >> 2).into())
    }

    fn has_unit(self) -> bool {
        self.0.get() & 2 != 0
    }
}

/// In the 30 bits that there are for it.
const MOST: u32 = u32::MAX >> 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn field() -> DeadlineField {
        DeadlineField::new("x-time").expect("a name")
    }

    fn read(values: &[&str]) -> Result<Option<Duration>, BadDeadline> {
        let mut fields = Fields::new();
        let name = HeaderName::from_static("x-time");
        for value in values {
            let value = http::HeaderValue::from_str(value).expect("a value");
            fields.append(&name, &value);
        }
        let given = field().read(&fields)?;
        Ok(given.map(Given::time))
    }

    #[test]
    fn times_are_read() {
        assert_eq!(read(&[]), Ok(None));
        for (value, millis) in [
            ("1500", 1_500),
            ("0", 0),
            ("250ms", 250),
            ("2s", 2_000),
            ("007", 7),
            ("999999999", 999_999_999),
            ("999999999s", u64::from(MOST)),
        ] {
            let time = Duration::from_millis(millis);
            assert_eq!(read(&[value]), Ok(Some(time)), "{value}");
        }
        for value in [
            "",
            "s",
            "ms",
            "1.5s",
            "-1",
            "+1",
            "1 s",
            "1m",
            "1000000000",
            "0x1",
            "soon",
        ] {
            assert_eq!(read(&[value]), Err(BadDeadline), "{value}");
        }
        assert_eq!(read(&["1", "1"]), Err(BadDeadline));
    }

    #[test]
    fn what_is_left_is_told_in_the_unit_that_came() {
        for (came, told) in [
            (None, "1480"),
            (Some("1500"), "1480"),
            (Some("1500ms"), "1480ms"),
            (Some("2s"), "1480ms"),
        ] {
            let mut fields = Fields::new();
            let given = came.map(|came| Given::parse(came.as_bytes()).expect("a time"));
            field().write(&mut fields, given, Duration::from_micros(1_480_900));
            let value = fields.get("x-time").expect("it is told");
            assert_eq!(value.as_bytes(), told.as_bytes(), "{came:?}");
        }
    }
}
