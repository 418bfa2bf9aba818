//! A client's connection from its first byte to its last: one task, one request after the other.
//!
//! What only a request needs lives in the box of its exchange and goes with it; a connection that
//! waits holds its stream, a place in the roster, and no buffer.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;

use super::client::Client;
use super::exchange;
use super::terms::Terms;
use super::upgrade::Tunnel;
use crate::context::ConnectionFacts;
use crate::net::Stream;
use crate::protocol::local::{Local, Member};
use crate::snapshot::HttpListener;

/// What an exchange needs of the connection that it runs on.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Rc<Client>,
    pub(super) facts: ConnectionFacts,
    pub(super) local: Rc<Local>,
    /// When the last request ended, until it is asked.
    pub(super) rests_since: Cell<Option<Instant>>,
}

/// What becomes of a connection after an exchange.
#[derive(Debug)]
pub(super) enum Next {
    /// It waits for the next request.
    Again,
    /// It ends, gently: the response must arrive.
    Close,
    /// It has ended: the client closed it.
    Ended,
    /// It is cut: there is nobody to be gentle to, or a truncation that must be seen.
    Abort,
    /// It has left HTTP.
    Tunnel(Box<Tunnel>),
}

/// Serves a client, whom this listener let in, until its connection ends.
///
/// No `async fn`: its future would hold the arguments beside what is made of them.
pub fn serve(
    stream: Stream,
    facts: ConnectionFacts,
    listener: Arc<HttpListener>,
    local: Rc<Local>,
) -> impl Future<Output = ()> {
    let member = local.join();
    let mut terms = Terms::new(listener, &facts, &local);
    let connection = Connection {
        client: Rc::new(Client::new(stream)),
        facts,
        local,
        rests_since: Cell::new(None),
    };
    async move {
        let mut is_new = true;
        while connection.request_begins(&member, &mut terms, is_new).await {
            is_new = false;
            // It may have come together with a reload.
            terms.renew(&connection.facts, &connection.local);
            match Box::pin(exchange::run(&connection, &terms)).await {
                Next::Again => {}
                Next::Close if connection.client.is_silent() => return,
                Next::Close => return Box::pin(connection.client.linger()).await,
                Next::Ended => return,
                Next::Abort => return connection.client.stream.reset_on_close(),
                Next::Tunnel(tunnel) => {
                    drop(member);
                    // A tunnel may outlive many snapshots, and must not keep its own alive.
                    drop(terms);
                    let Connection { client, facts, .. } = connection;
                    // Whatever shared the client has ended with the exchange.
                    if let Some(client) = Rc::into_inner(client) {
                        Box::pin(tunnel.run(client, facts)).await;
                    }
                    return;
                }
            }
        }
    }
}

impl Connection {
    /// Waits for the first bytes of a request, without a buffer. False when there will be none: the
    /// client has gone or was silent for too long, or the listener is to end.
    async fn request_begins(&self, member: &Member, terms: &mut Terms, is_new: bool) -> bool {
        let mut empty_lines = EMPTY_LINES;
        if self.client.has_request_begun(&mut empty_lines) {
            return true;
        }
        let mut armed = None;
        let mut since = self.rests_since.take();
        poll_fn(|cx| {
            // Asked first: a request that has arrived is served, whatever is to end.
            while let Poll::Ready(result) = self.client.poll_receive(cx) {
                if !result.is_ok_and(|count| count > 0) {
                    return Poll::Ready(false);
                }
                if self.client.has_request_begun(&mut empty_lines) {
                    return Poll::Ready(true);
                }
            }
            terms.renew(&self.facts, &self.local);
            let is_draining = self.local.drain.is_closed();
            // During the grace of the drain every answer has said so.
            if is_draining && !is_new {
                return Poll::Ready(false);
            }
            // A request may be on its way, or in the socket without our knowing yet, to a listener
            // that has just gone, or from a client that was let in just now.
            let is_leaving = is_draining || terms.is_over();
            let limit = if is_leaving {
                LAST_REQUEST
            } else {
                terms.listener.timeouts.idle
            };
            if armed != Some((is_leaving, limit)) {
                armed = Some((is_leaving, limit));
                let since = if is_leaving {
                    Instant::now()
                } else {
                    *since.get_or_insert_with(Instant::now)
                };
                self.client.deadline.set_at(since + limit);
                member.register(cx.waker());
            }
            self.client.deadline.poll_passed(cx).map(|()| false)
        })
        .await
    }
}

/// Empty lines between two requests that begin none: what old clients leave behind a body
/// (RFC 9112 §2.2). Another one counts as the beginning of a head, which has little time.
const EMPTY_LINES: u32 = 1;

/// How long a connection that is to end is kept for a request that may be on its way: two round
/// trips around the world.
const LAST_REQUEST: std::time::Duration = std::time::Duration::from_secs(1);
