//! HTTP: connections, their requests, and everything that is said about them.
//!
//! `beginning` tells which version a connection speaks; `connection` waits for one request after
//! the other, `streams` for many at once; `exchange` is the life of one; `forward` asks an
//! upstream, and again where that is allowed; `broken` tells of a response that cannot go on;
//! `record` keeps what is logged and measured; `respond` alone turns causes into statuses; `terms`
//! are what a connection is served by.

mod accept;
mod answer;
mod attempt;
mod beginning;
mod broken;
mod calling;
mod client;
mod connect;
mod connection;
mod exchange;
mod forward;
mod grpc;
mod head;
mod record;
mod reply;
pub mod respond;
mod streams;
mod terms;
mod unprocessed;
mod upgrade;
mod websocket;

pub use connection::serve;

#[cfg(test)]
mod tests;
