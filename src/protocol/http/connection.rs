//! A client's connection from its first byte to its last: one task, one request after the other.
//!
//! What only a request needs lives in the box of its exchange and goes with it; a connection that
//! waits holds its stream, a place in the roster, and no buffer. There may be a hundred thousand of
//! them, so what they are made of is kept small: a task of 256 bytes, and as much for the client.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::beginning::{self, Beginning};
use super::client::{Client, Http1};
use super::exchange;
use super::streams;
use super::terms::Terms;
use super::upgrade::Tunnel;
use crate::context::ConnectionFacts;
use crate::net::Stream;
use crate::protocol::local::{Local, Member};
use crate::snapshot::{ConnectionGuard, ConnectionProtocol, HttpListener};

/// What an exchange needs of the connection that it runs on.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Rc<Client>,
    pub(super) local: Rc<Local>,
}

/// A connection at rest: it waits for the first bytes of a request.
struct Rest<'a> {
    connection: &'a Connection,
    member: &'a Member,
    terms: &'a mut Terms,
    /// Whether there was no request before.
    is_new: bool,
    /// Empty lines that may still come.
    empty_lines: u32,
    /// Whether the connection is to end, and how long it may rest, as the deadline has it.
    armed: Option<(bool, Duration)>,
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

/// Serves a client, whom this listener let in, until its connection ends. The guard is held
/// meanwhile.
///
/// No `async fn`: its future would hold the arguments beside what is made of them.
pub fn serve<G: ConnectionGuard>(
    stream: Stream,
    facts: ConnectionFacts,
    listener: Arc<HttpListener>,
    local: Rc<Local>,
    mut guard: G,
) -> impl Future<Output = ()> {
    let member = local.join();
    let mut terms = Terms::new(listener, &facts, &local);
    let connection = Connection {
        client: Rc::new(Client::new(stream, facts)),
        local,
    };
    async move {
        if terms.listener.http2.is_some() {
            match Box::pin(beginning::told(&connection, &member, &mut terms)).await {
                Beginning::Http1 => guard.speaks(ConnectionProtocol::Http1),
                Beginning::Http2 => {
                    guard.speaks(ConnectionProtocol::Http2);
                    return boxed(|| streams::serve(connection, (member, terms), guard)).await;
                }
                Beginning::Neither => {
                    drop(connection);
                    drop(guard);
                    return;
                }
            }
        }
        let mut is_new = true;
        while connection.request_begins(&member, &mut terms, is_new).await {
            is_new = false;
            // It may have come together with a reload.
            terms.renew(&connection.client.facts, &connection.local);
            match boxed(|| exchange::run(&connection, &terms)).await {
                Next::Again => {}
                Next::Close => {
                    if !connection.is_silent() {
                        Box::pin(connection.client.linger()).await;
                    }
                    break;
                }
                Next::Ended => break,
                Next::Abort => {
                    connection.client.cut();
                    break;
                }
                Next::Tunnel(tunnel) => {
                    drop(member);
                    // A tunnel may outlive many snapshots, and must not keep its own alive.
                    drop(terms);
                    Box::pin(tunnel.run(connection.client)).await;
                    drop(guard);
                    return;
                }
            }
        }
        drop(connection);
        drop(guard); // whoever counts must find what is still there
    }
}

/// A future that is made in its box, and not moved there.
#[inline]
pub(super) fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), make()))
}

impl Connection {
    /// Waits for the first bytes of a request, without a buffer. False when there will be none: the
    /// client has gone or was silent for too long, or the listener is to end.
    pub(super) fn request_begins<'a>(
        &'a self,
        member: &'a Member,
        terms: &'a mut Terms,
        is_new: bool,
    ) -> impl Future<Output = bool> + 'a {
        let mut rest = Rest {
            connection: self,
            member,
            terms,
            is_new,
            empty_lines: EMPTY_LINES,
            armed: None,
        };
        poll_fn(move |cx| rest.poll_over(cx))
    }

    /// Whether it can be closed at once without a reset.
    fn is_silent(&self) -> bool {
        self.client.http1().is_none_or(Http1::is_silent)
    }
}

impl Rest<'_> {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Connection { client, local } = self.connection;
        let Some(http1) = client.http1() else {
            return Poll::Ready(false);
        };
        // Asked first: a request that has arrived is served, whatever is to end.
        while !http1.has_request_begun(&mut self.empty_lines) {
            let Poll::Ready(received) = http1.poll_receive(cx) else {
                self.terms.renew(&client.facts, local);
                ready!(self.poll_end(cx));
                return Poll::Ready(false);
            };
            if !received.is_ok_and(|count| count > 0) {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    }

    /// Ready when there is no more waiting.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Connection { client, local } = self.connection;
        let is_draining = local.drain.of(self.terms.listener.direction).is_closed();
        // During the grace of the drain every answer has said so.
        if is_draining && !self.is_new {
            return Poll::Ready(());
        }
        // A request may be on its way, or in the socket without our knowing yet, to a listener
        // that has just gone, or from a client that was let in just now.
        let is_leaving = is_draining || self.terms.is_over();
        let limit = if is_leaving {
            LAST_REQUEST
        } else {
            self.terms.listener.timeouts.idle
        };
        if self.armed != Some((is_leaving, limit)) {
            self.armed = Some((is_leaving, limit));
            let since = if is_leaving {
                Instant::now()
            } else {
                client.rests_since()
            };
            client.deadline.set_at(since + limit);
            self.member.register(cx.waker());
        }
        client.deadline.poll_passed(cx)
    }
}

/// Empty lines between two requests that begin none: what old clients leave behind a body
/// (RFC 9112 §2.2). Another one counts as the beginning of a head, which has little time.
const EMPTY_LINES: u32 = 1;

/// How long a connection that is to end is kept for a request that may be on its way: two round
/// trips around the world.
pub(super) const LAST_REQUEST: Duration = Duration::from_secs(1);
