//! Values with a unit: times, sizes and ratios as a person writes them.
//!
//! Problem: `timeout = 30` has meant seconds, milliseconds and minutes in one configuration or
//! another, and the mistake shows only in the outage. So every such value carries its unit,
//! there is one spelling for each unit, and what would overflow a timer is refused here and
//! not at run time.
//!
//! ```
//! use evenkeel::config::Time;
//!
//! let time: Time = "1500ms".parse().unwrap();
//! assert_eq!(time.to_string(), "1500ms");
//! assert!("1500".parse::<Time>().is_err());
//! ```

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod factor;
mod rate;
mod scale;
#[cfg(test)]
mod tests;

pub use self::factor::Factor;
pub use self::rate::Rate;
use self::scale::{SIZE, TIME, split};

/// A time with a unit: `500ms`, `30s`, `5m`, `2h`, `1d`. At most a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A size in bytes with a unit: `512B`, `64KiB`, `1MiB`, `2GiB`. At most 1024 GiB.
///
/// Decimal units (`kB`, `MB`) are refused with the binary one as the suggestion: nobody who writes
/// `64KB` for a buffer can be asked afterwards which of the two was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A share of a whole, written in per cent: `20%`, `0.5%`. Held as a fraction, `0.2`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(pub f64);

/// Why a text is not a value with a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A number alone.
    #[error("{number} of what?")]
    NoUnit {
        /// The number.
        number: String,
        /// What was probably meant.
        suggestion: String,
    },
    /// A unit that does not exist here.
    #[error("`{unit}` is not a unit of {kind}; there are {units}")]
    UnknownUnit {
        /// What was written.
        unit: String,
        /// `time`, `size` or `ratio`.
        kind: &'static str,
        /// The units that exist.
        units: &'static str,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// No number before the unit.
    #[error("a number and a unit are expected here: {examples}")]
    NoNumber {
        /// Good values.
        examples: &'static str,
    },
    /// A fraction where only whole numbers are.
    #[error("a smaller unit writes a fraction as a whole number")]
    Fraction,
    /// More than fits.
    #[error("more than {most}")]
    TooLarge {
        /// The largest value.
        most: &'static str,
    },
}

impl UnitError {
    /// What was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::NoUnit { suggestion, .. } => Some(suggestion),
            Self::UnknownUnit { suggestion, .. } => suggestion.as_deref(),
            Self::NoNumber { .. } | Self::Fraction | Self::TooLarge { .. } => None,
        }
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        TIME.whole(text)
            .map(|milliseconds| Self(Duration::from_millis(milliseconds)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        TIME.write(f, milliseconds)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        SIZE.whole(text).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SIZE.write(f, self.0)
    }
}

impl FromStr for Ratio {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, |c| c.is_ascii_digit() || c == '.');
        let no_number = UnitError::NoNumber {
            examples: RATIO_EXAMPLES,
        };
        if !number.starts_with(|c: char| c.is_ascii_digit()) || number.ends_with('.') {
            return Err(no_number);
        }
        let percent: f64 = number.parse().map_err(|_| no_number)?;
        match unit {
            "%" if percent > 100.0 => Err(UnitError::TooLarge { most: "100%" }),
            "%" => Ok(Self(percent / 100.0)),
            "" => Err(UnitError::NoUnit {
                number: number.to_owned(),
                suggestion: Self::suggestion_for(percent),
            }),
            other => Err(UnitError::UnknownUnit {
                unit: other.to_owned(),
                kind: "ratio",
                units: "%",
                suggestion: None,
            }),
        }
    }
}

impl Ratio {
    /// `0.2` and `20` both mean 20 % when somebody leaves the unit out.
    fn suggestion_for(number: f64) -> String {
        let fraction = if number <= 1.0 {
            number
        } else {
            number.min(100.0) / 100.0
        };
        Self(fraction).to_string()
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounding hides that 0.07 * 100.0 is 7.000000000000001.
        let percent = (self.0 * 100.0 * PERCENT_DIGITS).round() / PERCENT_DIGITS;
        write!(f, "{percent}%")
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "x-time",
            "description": "A time with a unit: ms, s, m, h or d.",
            "pattern": "^([0-9]+(ms|s|m|h|d)|.*\\$\\{.+\\}.*)$",
            "examples": ["500ms", "30s", "5m", "2h", "1d"],
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "x-size",
            "description": "A size in bytes with a unit: B, KiB, MiB or GiB.",
            "pattern": "^([0-9]+(B|KiB|MiB|GiB)|.*\\$\\{.+\\}.*)$",
            "examples": ["512B", "64KiB", "1MiB", "2GiB"],
        })
    }
}

impl JsonSchema for Ratio {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "x-ratio",
            "description": "A share in per cent.",
            "pattern": "^([0-9]+(\\.[0-9]+)?%|.*\\$\\{.+\\}.*)$",
            "examples": ["20%", "0.5%"],
        })
    }
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = UnitError>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Cow::<'_, str>::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
}

const RATIO_EXAMPLES: &str = "20%, 0.5%";

/// Four digits behind the point of a per cent value are kept.
const PERCENT_DIGITS: f64 = 10_000.0;
