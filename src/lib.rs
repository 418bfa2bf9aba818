//! Evenkeel: a Layer 4 / Layer 7 load-balancing reverse proxy that keeps services up.
//!
//! The modules are laid out by stage of the flow, from the file format at the bottom to the
//! composition root at the top; each imports only what stands below it. `ARCHITECTURE.md` has the
//! map, and `tests/architecture.rs` holds it.

pub mod app;
pub mod balance;
pub mod body;
pub mod cli;
pub mod config;
pub mod context;
pub mod control;
pub mod drain;
pub mod endpoint;
pub mod http1;
pub mod http2;
pub mod listener;
pub mod message;
pub mod net;
pub mod policy;
pub mod pool;
pub mod protocol;
pub mod proxy_protocol;
pub mod queue;
pub mod route;
pub mod snapshot;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod upstream;
pub mod worker;
