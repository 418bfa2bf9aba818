//! HTTP: connections, their requests, and everything that is said about them.
//!
//! `beginning` tells which version a connection speaks; `connection` waits for one request after
//! the other, `streams` for many at once; `exchange` is the life of one; `forward` asks an
//! upstream, `again` whether it is asked once more, `hedge` a second endpoint meanwhile; `broken`
//! tells of a response that cannot go on; `record` keeps what is logged and measured; `respond`
//! alone turns causes into statuses; `terms` are what a connection is served by.

mod accept;
mod again;
mod answer;
mod attempt;
mod awaited;
mod beginning;
mod broken;
mod bulkhead;
mod calling;
mod client;
mod connect;
mod connection;
mod exchange;
mod forward;
mod grpc;
mod head;
mod hedge;
mod lateness;
mod queueing;
mod rare;
mod record;
mod reply;
pub mod respond;
mod rest;
mod streams;
mod terms;
mod ties;
mod told;
mod unprocessed;
mod upgrade;
mod waiting;
mod websocket;

pub use connection::serve;

#[cfg(test)]
mod tests;
