//! HTTP: one connection, its requests, and what is answered.

pub mod respond;
