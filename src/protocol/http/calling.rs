//! Gives a request to the connection that carries it.

use std::rc::Rc;

use http::Method;
use http_body::Body as _;

use super::exchange::Exchange;
use crate::body::{Body, Keeping};
use crate::http1::{Framing, RequestOptions, encode_request};
use crate::http2::Opening;
use crate::message::RequestParts;
use crate::net::Buffer;
use crate::pool::{Call, Carrier, Keep, OwnCall, RESPONSE_LIMITS, Shared};
use crate::snapshot::Choice;

/// Gives a request to what carries it, and tells whether that has brought a response before. `None`
/// if it can carry nothing more.
pub(super) fn call(
    exchange: &Exchange<'_>,
    choice: &Choice,
    carrier: Carrier,
    parts: &RequestParts,
    body: &mut Body,
) -> Option<(Call, bool)> {
    let message = &exchange.message;
    let framing = match message.framing {
        // What has no body needs no framing.
        Framing::None | Framing::UntilClose => Framing::None,
        framing => framing,
    };
    let connection = match carrier {
        Carrier::Own(connection) => connection,
        Carrier::Shared(shared) => {
            return share(exchange, choice, &shared, (parts, framing), body);
        }
    };
    // The end of its stream tells that a request of HTTP/2 has no body. Where its method suggests
    // one, some servers of HTTP/1.1 want to be told so (RFC 9110 §8.6), and answer 411 otherwise.
    let framing = match framing {
        Framing::None if exchange.connection.client.http2().is_some() => bodiless(&parts.method),
        framing => framing,
    };
    let reused = connection.is_reused();
    let mut head = Buffer::take();
    let options = RequestOptions {
        upgrade: message.upgrade.as_deref(),
        te_trailers: message.te_trailers,
    };
    encode_request(&mut head, parts, framing, options);
    let keeping = keeping(exchange, body);
    let body = (std::mem::take(body), framing, keeping);
    let method = parts.method.clone();
    let call = OwnCall::new(connection, head, body, method, RESPONSE_LIMITS);
    Some((Call::Own(call), reused))
}

/// The framing of a request without a body.
fn bodiless(method: &Method) -> Framing {
    match *method {
        Method::POST | Method::PUT | Method::PATCH => Framing::Length(0),
        _ => Framing::None,
    }
}

/// How much of a body is kept while it is sent: nothing of one that is known to be longer.
fn keeping(exchange: &Exchange<'_>, body: &Body) -> Keeping {
    let most = exchange.route.retry.kept_body;
    if body.is_end_stream() || body.size_hint().lower() > most.into() {
        return Keeping::default();
    }
    let room = &exchange.connection.local.kept_bodies;
    // A route is the same one over reloads as long as what is measured about it is.
    let of = std::ptr::from_ref(&*exchange.route.metrics).addr();
    Keeping::new(most, room, of)
}

/// Gives a request to a connection that others share.
fn share(
    exchange: &Exchange<'_>,
    choice: &Choice,
    shared: &Rc<Shared>,
    (parts, framing): (&RequestParts, Framing),
    body: &mut Body,
) -> Option<(Call, bool)> {
    let length = match framing {
        Framing::Length(length) => Some(length),
        Framing::None | Framing::Chunked | Framing::UntilClose => None,
    };
    let opening = Opening {
        is_https: shared.endpoint().tls.is_some(),
        ends: !framing.has_body() || body.is_end_stream() && length.is_none_or(|it| it == 0),
        length,
        te_trailers: exchange.message.te_trailers,
        protocol: None,
    };
    let keep = Keep {
        idle: choice.timeouts.shared_idle,
        count: choice.upstream.max_idle_per_endpoint as usize,
    };
    let keeping = keeping(exchange, body);
    let body_and_keeping = (std::mem::take(body), keeping);
    match Call::share(shared, parts, opening, body_and_keeping, keep) {
        Ok(called) => Some(called),
        Err(back) => {
            *body = back;
            None
        }
    }
}
