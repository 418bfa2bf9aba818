//! Who gets a connection, by the name that TLS begins with.
//!
//! The bytes that decide are read here and belong to whoever gets the connection: an endpoint is
//! sent them before all others, and a session of our own begins with them. Nothing is read of a
//! connection that is no TLS but what came first, and no memory is held for one that says nothing.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::tcp::Beginning;
use crate::net::Stream;
use crate::snapshot::{ByName, HelloResult, Otherwise};
use crate::tls::{Hello, HelloReader, Unreadable};

/// Who gets a connection.
#[derive(Debug)]
pub enum Taker {
    /// A route, by the name.
    Route(Beginning),
    /// The listener itself, with what was received, and until when TLS must stand.
    Listener(Vec<u8>, Instant),
}

/// What was received, and what it says.
type Said = (Vec<u8>, Result<Hello, Unreadable>);

/// Waits until it is known who gets the connection; `None` if nobody does.
pub async fn taker(client: &Stream, by_name: &ByName) -> Option<Taker> {
    let end = Instant::now() + by_name.limit;
    let said = match timeout_at(end, said(client)).await {
        Ok(Some(said)) => said,
        Ok(None) => {
            by_name.count(HelloResult::ClientClosed);
            return None;
        }
        Err(_) => {
            by_name.count(HelloResult::TimedOut);
            client.reset_on_close();
            return None;
        }
    };
    match decide(said, by_name, end) {
        Ok(taker) => {
            by_name.count(match taker {
                Taker::Route(_) => HelloResult::Route,
                Taker::Listener(..) => HelloResult::Default,
            });
            Some(taker)
        }
        Err((result, alert)) => {
            by_name.count(result);
            // A client that does not take seven bytes has no use for them.
            drop(alert.map(|alert| client.try_write(&[21, 3, 3, 0, 2, FATAL, alert])));
            None
        }
    }
}

/// Reads until it is known what is said; `None` if the client goes away before.
async fn said(client: &Stream) -> Option<Said> {
    let ready = poll_fn(|cx| client.poll_read_ready(cx)).await;
    ready.ok()?;
    let mut reader = HelloReader::default();
    let mut received = Vec::with_capacity(PIECE);
    loop {
        if received.capacity() - received.len() < PIECE / 2 {
            received.reserve(PIECE);
        }
        let read = poll_fn(|cx| client.poll_read_into(cx, &mut received)).await;
        if read.ok()? == 0 {
            return None;
        }
        match reader.read(&received) {
            Ok(None) => {}
            Ok(Some(hello)) => return Some((received, Ok(hello))),
            Err(error) => return Some((received, Err(error))),
        }
    }
}

/// Who gets it, or what becomes of it otherwise and what the client is told.
fn decide(
    (received, said): Said,
    by_name: &ByName,
    end: Instant,
) -> Result<Taker, (HelloResult, Option<u8>)> {
    let otherwise = by_name.otherwise;
    match said {
        Ok(hello) => {
            let name = hello.server_name.as_deref();
            let found = name.and_then(|name| by_name.routes.find(name, &hello.protocols()));
            let found = found.map(|(_, route)| Arc::clone(route));
            if let Some(route) = found {
                return Ok(Taker::Route(Beginning {
                    route,
                    server_name: hello.server_name,
                    received: Bytes::from(received),
                }));
            }
            if otherwise == Otherwise::Refuses {
                return Err((HelloResult::NoRoute, Some(UNRECOGNIZED_NAME)));
            }
        }
        Err(Unreadable::NotTls) if otherwise == Otherwise::Refuses => {
            return Err((HelloResult::NoRoute, None));
        }
        Err(Unreadable::Unnamed) if otherwise == Otherwise::Refuses => {
            return Err((HelloResult::NoRoute, Some(UNRECOGNIZED_NAME)));
        }
        // What no route can be for, goes where clients go that say no name.
        Err(Unreadable::NotTls | Unreadable::Unnamed) => {}
        // Else a client could choose, by what we take for malformed and others do not, where it
        // goes.
        Err(error @ (Unreadable::Malformed(_) | Unreadable::TooLarge)) => {
            tracing::debug!(why = %error, "no name to route by");
            return Err((HelloResult::Malformed, Some(DECODE_ERROR)));
        }
    }
    Ok(Taker::Listener(received, end))
}

/// The level of an alert that ends the connection (RFC 8446 §6).
const FATAL: u8 = 2;
/// RFC 8446 §6.2.
const DECODE_ERROR: u8 = 50;
/// RFC 8446 §6.2.
const UNRECOGNIZED_NAME: u8 = 112;

/// Nearly every hello fits, also with keys of post-quantum exchanges.
const PIECE: usize = 2048;
