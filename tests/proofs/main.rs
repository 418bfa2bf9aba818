//! The promises that make the product, proved under load, with their figures printed: reloads and
//! drains cost nothing, and an endpoint that dies or fails costs nobody who could be served
//! elsewhere.
//!
//! A proof takes its time and wants the machine for itself, so these are a binary of their own, and
//! one waits for the other. `EVENKEEL_PROOF_SECONDS=60 cargo test --test proofs` is
//! their full form.

#[path = "../support/mod.rs"]
mod support;

mod control;
mod datagrams;
mod failing;
mod figures;
mod h2;
mod kill;
mod many;
mod reload;
mod upgrade;

use std::sync::Mutex;

/// Held by the proof that runs. What two of them do to each other's latency would prove nothing.
static THE_MACHINE: Mutex<()> = Mutex::new(());
