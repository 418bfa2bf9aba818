//! Placeholder.

pub mod health;
