//! Whole numbers with a unit: the scale of times and that of sizes.

use std::fmt;

use super::UnitError;

/// A kind of whole value: its units, from the smallest to the largest.
pub(super) struct Scale {
    kind: &'static str,
    units: &'static [(&'static str, u64)],
    listed: &'static str,
    examples: &'static str,
    /// Unit that is suggested for a number alone.
    usual: &'static str,
    /// Spellings that people use, and the one that is meant.
    habits: &'static [(&'static str, &'static str)],
    most: u64,
    most_written: &'static str,
}

impl Scale {
    pub(super) fn whole(&self, text: &str) -> Result<u64, UnitError> {
        let (number, unit) = split(text, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(UnitError::NoNumber {
                examples: self.examples,
            });
        }
        if unit.is_empty() {
            return Err(UnitError::NoUnit {
                number: number.to_owned(),
                suggestion: format!("{number}{}", self.usual),
            });
        }
        if unit.starts_with('.') {
            return Err(UnitError::Fraction);
        }
        let Some((_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            return Err(self.unknown(number, unit));
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor))
            .filter(|value| *value <= self.most)
            .ok_or(UnitError::TooLarge {
                most: self.most_written,
            })
    }

    fn unknown(&self, number: &str, unit: &str) -> UnitError {
        let meant = self
            .habits
            .iter()
            .find(|(habit, _)| habit.eq_ignore_ascii_case(unit.trim()));
        UnitError::UnknownUnit {
            unit: unit.to_owned(),
            kind: self.kind,
            units: self.listed,
            suggestion: meant.map(|(_, meant)| format!("{number}{meant}")),
        }
    }

    /// Writes a value in the largest unit that divides it.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, value: u64) -> fmt::Result {
        let unit = self
            .units
            .iter()
            .rev()
            .find(|(_, factor)| value.is_multiple_of(*factor) && value >= *factor);
        match unit {
            Some((name, factor)) => write!(f, "{}{name}", value / factor),
            None => write!(f, "0{}", self.usual),
        }
    }
}

/// Splits a text behind the leading characters that belong to a number.
pub(super) fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

pub(super) const TIME: Scale = Scale {
    kind: "time",
    units: &[
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ],
    listed: "ms, s, m, h and d",
    examples: "500ms, 30s, 5m, 2h, 1d",
    usual: "s",
    habits: &[
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hour", "h"),
        ("hours", "h"),
        ("day", "d"),
        ("days", "d"),
        ("msec", "ms"),
        ("millis", "ms"),
        ("milliseconds", "ms"),
        ("ms", "ms"),
        ("s", "s"),
        ("m", "m"),
        ("h", "h"),
        ("d", "d"),
    ],
    // An instant plus a longer time may overflow the clock's own type, which panics.
    most: 365 * 86_400_000,
    most_written: "365d",
};

pub(super) const SIZE: Scale = Scale {
    kind: "size",
    units: &[
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ],
    listed: "B, KiB, MiB and GiB",
    examples: "512B, 64KiB, 1MiB, 2GiB",
    usual: "B",
    habits: &[
        ("b", "B"),
        ("bytes", "B"),
        ("k", "KiB"),
        ("kb", "KiB"),
        ("kib", "KiB"),
        ("m", "MiB"),
        ("mb", "MiB"),
        ("mib", "MiB"),
        ("g", "GiB"),
        ("gb", "GiB"),
        ("gib", "GiB"),
    ],
    // Far above any machine's memory, far below any overflow.
    most: 1 << 40,
    most_written: "1024GiB",
};
