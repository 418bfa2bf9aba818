//! Rules: what differs, and why that is no mistake of ours.

use std::fmt;

/// Why a difference is accepted; `F` says whether it is such a one.
#[derive(Debug)]
pub struct Rule<F> {
    /// What differs.
    pub what: &'static str,
    /// Why ours is right, or as good.
    pub because: &'static str,
    /// Whether this is such a difference.
    pub holds: F,
}

impl<F> Rule<F> {
    /// Panics unless there is a rule for this difference.
    pub fn settle(rule: Option<&Self>, difference: &dyn fmt::Debug) {
        if let Err(difference) = Self::judge(rule, difference) {
            panic!("no rule accepts {difference}");
        }
    }

    /// Takes a difference that there is a rule for; without one it comes back as a text.
    pub fn judge(rule: Option<&Self>, difference: &dyn fmt::Debug) -> Result<(), String> {
        let rule = rule.ok_or_else(|| format!("{difference:#?}"))?;
        if std::env::var_os(EXPLAIN).is_some() {
            eprintln!("accepted: {} ({})", rule.what, rule.because);
        }
        Ok(())
    }
}

/// The environment variable that has accepted differences told, to look into an input.
const EXPLAIN: &str = "EVENKEEL_FUZZ_EXPLAIN";
