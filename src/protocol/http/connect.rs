//! Gets a connection to the endpoint that was picked.

use std::future::poll_fn;
use std::task::Poll;

use http::header;
use rustls::pki_types::ServerName;
use tokio::time::Instant;

use super::attempt::{Attempt, failed_connect};
use super::exchange::Exchange;
use crate::endpoint::{Endpoint, FAIR, Protocol};
use crate::message::{RequestParts, Value};
use crate::policy::RequestId;
use crate::pool::{Carrier, ConnectError, Progress, Wanted};
use crate::protocol::introduction::{Known, introduction};
use crate::proxy_protocol::Introduction;
use crate::snapshot::Choice;
use crate::tls::{Purpose, server_name};
use crate::upstream::Pick;

/// What a request needs of its connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// It may be sent again.
    pub(super) repeatable: bool,
    /// The connection may have been used before.
    pub(super) may_reuse: bool,
    /// What is spoken on it.
    pub(super) purpose: Purpose,
}

/// What carries the next call: a connection from the pool, or a new one.
pub(super) async fn carrier(
    exchange: &Exchange<'_>,
    choice: &Choice,
    pick: &Pick,
    parts: &RequestParts,
    need: Need,
) -> Result<Carrier, Attempt> {
    let endpoint = pick.endpoint();
    let host = host(endpoint, parts);
    let client = introduced(exchange, endpoint);
    let wanted = Wanted {
        host: host.as_ref(),
        client: client.as_deref(),
    };
    let pool = &exchange.connection.local.pool;
    let now = exchange.now.get();
    if endpoint.protocol != Protocol::Http1
        && need.purpose == Purpose::Http
        && let Some(carrier) = pool.share(endpoint, wanted, now, &exchange.avoided())
    {
        return Ok(carrier);
    }
    let fresh = !need.repeatable;
    if need.may_reuse
        && let Some(connection) = pool.checkout(endpoint, wanted, now, fresh)
    {
        return Ok(Carrier::Own(connection));
    }
    let purpose = match (endpoint.protocol, need.purpose) {
        (Protocol::Either, Purpose::Http) if pool.requires_http1(endpoint, wanted, now) => {
            Purpose::Http1
        }
        (_, purpose) => purpose,
    };
    // In a box: most requests find one in the pool, and do not carry the room for opening one.
    Box::pin(open(exchange, choice, pick, wanted, purpose)).await
}

/// How the client is introduced to an endpoint, if that is told. The id is that of the request that
/// the connection is opened for; others of the same client may follow on it.
fn introduced(exchange: &Exchange<'_>, endpoint: &Endpoint) -> Option<Box<Introduction>> {
    endpoint.proxy_protocol?;
    let client = &exchange.connection.client;
    let id = exchange.record.request_id.get();
    let known = Known {
        server_name: None,
        unique_id: id.map(RequestId::bytes),
    };
    introduction(endpoint, &client.facts, client.stream(), known)
}

/// The endpoint, which may choose, wants HTTP/1.1 for the request.
pub(super) fn wants_http1(exchange: &Exchange<'_>, endpoint: &Endpoint, parts: &RequestParts) {
    let host = host(endpoint, parts);
    let client = introduced(exchange, endpoint);
    let wanted = Wanted {
        host: host.as_ref(),
        client: client.as_deref(),
    };
    let pool = &exchange.connection.local.pool;
    pool.wants_http1(endpoint, wanted, exchange.now.get());
}

/// The host that a request is for, where it matters for the connection to an endpoint.
fn host(endpoint: &Endpoint, parts: &RequestParts) -> Option<ServerName<'static>> {
    let peer = endpoint.tls.as_ref()?;
    if !peer.asks_by_request() {
        return None;
    }
    let host = parts.headers.get(header::HOST).and_then(Value::to_str)?;
    server_name(host)
}

/// Opens a connection.
async fn open(
    exchange: &Exchange<'_>,
    choice: &Choice,
    pick: &Pick,
    wanted: Wanted<'_>,
    purpose: Purpose,
) -> Result<Carrier, Attempt> {
    let endpoint = pick.endpoint();
    let pool = &exchange.connection.local.pool;
    let began = Instant::now();
    let client = &exchange.connection.client;
    exchange.wait_at_most(choice.timeouts.connect);
    let progress = Progress::default();
    let avoided = exchange.avoided();
    let terms = (began, choice.timeouts.connect, avoided.as_slice());
    let opening = pool.open(endpoint, wanted, purpose, terms, &progress);
    let mut opening = std::pin::pin!(opening);
    let opened = poll_fn(|cx| {
        if let Poll::Ready(result) = opening.as_mut().poll(cx) {
            return Poll::Ready(Some(result));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(None);
        }
        let passed = exchange.deadline().poll_passed(cx);
        passed.map(|()| Some(Err(ConnectError::overdue(&progress))))
    })
    .await;
    exchange.wait_over();
    // What passed before was not spent on the endpoint.
    let took = progress
        .allowed
        .get()
        .unwrap_or_else(Instant::now)
        .elapsed();
    match opened {
        None => {
            // How long that takes is in no client's hands.
            if took >= FAIR {
                failed_connect(pick, &ConnectError::overdue(&progress), true);
            }
            Err(Attempt::ClientGone)
        }
        Some(Ok(carrier)) => {
            exchange.record.connect.set(Some(began.elapsed()));
            Ok(carrier)
        }
        Some(Err(error)) => {
            let in_vain = exchange.was_fair(took, choice.timeouts.connect);
            Err(Attempt::Failed(failed_connect(pick, &error, in_vain)))
        }
    }
}
