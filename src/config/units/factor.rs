//! Factors: more than a whole, in per cent of it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{UnitError, parsed};

/// More than a whole, written in per cent: `125%`. From 101 % to 1000 %, held as a factor: 1.25.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Factor(pub f64);

impl FromStr for Factor {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let no_number = UnitError::NoNumber { examples: EXAMPLES };
        let percent: u32 = number.parse().map_err(|_| no_number.clone())?;
        match unit.trim_start() {
            "%" if percent > MOST => Err(UnitError::TooLarge { most: "1000%" }),
            "%" if percent > WHOLE => Ok(Self(f64::from(percent) / f64::from(WHOLE))),
            "%" => Err(no_number),
            "" => Err(UnitError::NoUnit {
                number: number.to_owned(),
                suggestion: format!("{percent}%"),
            }),
            other => Err(UnitError::UnknownUnit {
                unit: other.to_owned(),
                kind: "share of a whole",
                units: "%",
                suggestion: None,
            }),
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * f64::from(WHOLE)).round())
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl Serialize for Factor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Factor {
    fn schema_name() -> Cow<'static, str> {
        "Factor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "x-factor",
            "description": "More than a whole, in per cent of it.",
            "pattern": "^([0-9]+ *%|.*\\$\\{.+\\}.*)$",
            "examples": ["125%", "150%"],
        })
    }
}

const WHOLE: u32 = 100;

const EXAMPLES: &str = "more than 100%, such as 125%";

/// Beyond that it bounds nothing.
const MOST: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_read_and_written() {
        assert_eq!("125%".parse::<Factor>(), Ok(Factor(1.25)));
        assert_eq!("125%".parse::<Factor>().unwrap().to_string(), "125%");
        let error = "125".parse::<Factor>().unwrap_err();
        assert_eq!(error.suggestion(), Some("125%"));
        for wrong in ["", "%", "100%", "99%", "1001%", "1.25", "125 x", "-125%"] {
            assert!(wrong.parse::<Factor>().is_err(), "{wrong}");
        }
    }
}
