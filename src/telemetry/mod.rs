//! Telemetry: how the program is seen from outside, without ever holding up what it does.
//!
//! Problem: logs, metrics and traces are where proxies die on a bad day: a log pipe that nobody
//! reads, a full disk, a label that grows without end. So everything here is bounded. A metric is a
//! few adds into cells that belong to the worker; a log line is formatted into a buffer
//! that belongs to the worker and written by a thread of its own; what does not fit is
//! dropped and counted.
//!
//! This room owns the means, not the measures: each metric family is declared next to what it
//! measures, and handles are resolved when a snapshot is built, never looked up per request.

pub mod access;
pub mod beats;
pub mod events;
pub mod metrics;
pub mod panics;
pub mod process;
mod program;
pub mod tcp;
mod text;

pub use program::{AlreadySet, LevelHandle, init_tracing};
pub use text::rfc3339;
