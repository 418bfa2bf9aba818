//! The whole program, judged by the bytes on its wires.
//!
//! One file per subject, each written from the specification that it names and not from the code.
//! Everything here runs against the real binary through the harness in `tests/support/`.

#[path = "../support/mod.rs"]
mod support;

mod smoke;
