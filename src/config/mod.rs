//! The configuration: what a person writes, checked with positions, and nothing of what it means.
//!
//! Problem: one wrong push to every machine is the classic outage. So a file is read wholly, every
//! mistake in every file is reported at once, each with its place, its reason and a patch, and only
//! a file without mistakes becomes a [`Config`]. What a setting *means* is decided by its owner,
//! which converts these plain types into its own.

mod format;
pub mod units;

pub use format::*;
