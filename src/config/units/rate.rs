//! Rates: so many in a time.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{UnitError, parsed};

/// A rate: `100/s`, `30/m`, `5/h`. At least one, at most a million in the time that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time: a second, a minute or an hour.
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let no_number = UnitError::NoNumber { examples: EXAMPLES };
        let (number, unit) = text.split_once('/').unwrap_or((text, ""));
        let (number, unit) = (number.trim_end(), unit.trim_start());
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(no_number);
        }
        if unit.is_empty() {
            return Err(UnitError::NoUnit {
                number: number.to_owned(),
                suggestion: format!("{number}/s"),
            });
        }
        let Some((_, per)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            let meant = HABITS.iter().find(|(habit, _)| *habit == unit);
            return Err(UnitError::UnknownUnit {
                unit: unit.to_owned(),
                kind: "rate",
                units: "/s, /m and /h",
                suggestion: meant.map(|(_, meant)| format!("{number}/{meant}")),
            });
        };
        match number.parse() {
            Ok(0) => Err(no_number),
            Ok(count) if count <= MOST => Ok(Self { count, per }),
            Ok(_) | Err(_) => Err(UnitError::TooLarge { most: "a million" }),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, per)| *per == self.per);
        write!(f, "{}/{}", self.count, unit.map_or("s", |(name, _)| name))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "x-rate",
            "description": "So many in a time: /s, /m or /h.",
            "pattern": "^([0-9]+/(s|m|h)|.*\\$\\{.+\\}.*)$",
            "examples": ["100/s", "30/m", "5/h"],
        })
    }
}

const UNITS: [(&str, Duration); 3] = [
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_mins(1)),
    ("h", Duration::from_hours(1)),
];

/// What people write, and what they mean.
const HABITS: [(&str, &str); 7] = [
    ("sec", "s"),
    ("second", "s"),
    ("1s", "s"),
    ("min", "m"),
    ("minute", "m"),
    ("1m", "m"),
    ("hour", "h"),
];

const EXAMPLES: &str = "100/s, 30/m";

/// A worker cannot accept as many in a second.
const MOST: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for text in ["100/s", "1/m", "1000000/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        let suggested = |text: &str| {
            let error = text.parse::<Rate>().unwrap_err();
            error.suggestion().map(str::to_owned)
        };
        assert_eq!(suggested("100").as_deref(), Some("100/s"));
        assert_eq!(suggested("5/min").as_deref(), Some("5/m"));
        for wrong in [
            "",
            "/s",
            "0/s",
            "-1/s",
            "1.5/s",
            "1000001/s",
            "1/d",
            "99999999999/s",
        ] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
