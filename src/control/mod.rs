//! The control plane.
pub mod cpus;
pub mod resolve;
pub mod signal;
