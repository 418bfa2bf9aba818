//! Sends an answer to its client, and decides what becomes of the connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use http::{Method, Version, header};
use http_body::Body as _;

use super::answer::Answer;
use super::broken;
use super::client::{Outgoing, SendError};
use super::connection::Next;
use super::exchange::Exchange;
use super::record::{Ending, Record};
use super::respond::Cause;
use super::terms::Terms;
use super::upgrade::Tunnel;
use crate::body::Body;
use crate::http1::{
    self, Framing, ResponseFraming, ResponseOptions, encode_interim, encode_response,
};
use crate::http2;
use crate::message::ResponseParts;
use crate::net::Buffer;
use crate::policy::forwarding::X_REQUEST_ID_NAME;
use crate::telemetry::access::End;

/// A response on its way. Where it is dropped, what has been sent is known.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    record: &'a Record,
    outgoing: Outgoing,
    /// What begins behind it.
    tunnel: Option<Box<Tunnel>>,
    status: u16,
    /// Whether the connection may go on after it.
    persistent: bool,
}

impl Exchange<'_> {
    /// The client has gone before there was an answer: there is nobody to tell.
    pub(super) fn abandon(&self) -> Next {
        // Unless a limit passed while it did not take what it was told.
        if self.record.end.get() == End::Ok {
            self.record.end.set(self.end_of_gone());
        }
        let mut ending = Ending {
            status: CLIENT_CLOSED_REQUEST,
            response_bytes: 0,
        };
        if self.connection.client.is_malformed() {
            self.record.cause.set(Some(Cause::BadRequest));
            ending.status = Cause::BadRequest.status().as_u16();
        }
        self.record
            .finish(self.connection, &self.terms.snapshot, self.route, ending);
        Next::Abort
    }

    /// The head of an interim response, as it is relayed.
    pub(super) fn interim(&self, parts: ResponseParts) -> Outgoing {
        if self.connection.client.http2().is_some() {
            return Outgoing::Http2(Box::new(http2::Sending::interim(parts)));
        }
        let mut head = Buffer::take();
        encode_interim(&mut head, &parts);
        Outgoing::Http1(http1::Outgoing::new(head, Body::empty(), Framing::None))
    }

    /// Relays the head of an interim response. False if its client has gone, or has not taken it in
    /// time.
    pub(super) async fn relay_interim(&self, mut interim: Outgoing) -> bool {
        // RFC 9110 §15.2: never to a client of HTTP/1.0.
        if self.message.version == Version::HTTP_10 {
            return true;
        }
        let sent = self.send(&mut interim).await;
        sent.map_err(|end| self.record.end.set(end)).is_ok()
    }

    /// Completes an answer, and makes of it what is to be sent.
    pub(super) fn start(&self, answer: Answer) -> Sending<'_> {
        let Answer {
            mut parts,
            body,
            tunnel,
            upgrade,
        } = answer;
        self.complete(&mut parts);
        let status = parts.status.as_u16();
        if let Some(stream) = self.connection.client.http2() {
            // Where others of its requests are under way, these have the place.
            if !self.keeps_its_connection() && stream.connection().streams() <= 1 {
                stream.connection().end_gently();
            }
            let sending = if tunnel.is_some() {
                http2::Sending::tunnel(parts)
            } else {
                let is_bodiless = is_bodiless(self.record.method(), &parts);
                let body = match self.record.call() {
                    Some(call) => call.watch(&parts, body),
                    None => body,
                };
                http2::Sending::response(parts, body, is_bodiless)
            };
            return Sending {
                record: self.record,
                outgoing: Outgoing::Http2(Box::new(sending)),
                tunnel,
                status,
                persistent: false,
            };
        }
        let length = body.size_hint().exact();
        let (method, version) = (self.record.method(), self.message.version);
        let framing = ResponseFraming::choose(method, version, parts.status, length);
        let persistent = tunnel.is_none() && self.persists(framing);
        let mut head = Buffer::take();
        let options = ResponseOptions {
            version: self.message.version,
            close: !persistent && tunnel.is_none(),
            upgrade: upgrade.as_deref(),
            keep_alive_1_0: persistent && version == Version::HTTP_10,
        };
        encode_response(&mut head, &parts, framing, options);
        Sending {
            record: self.record,
            outgoing: Outgoing::Http1(http1::Outgoing::new(head, body, body_framing(framing))),
            tunnel,
            status,
            persistent,
        }
    }

    /// Sends the answer, keeps the record, and decides what becomes of the connection.
    pub(super) async fn finish(&self, sending: &mut Sending<'_>) -> Next {
        let sent = self.send(&mut sending.outgoing).await;
        let goes_on = sending.persistent && self.connection.client.has_whole_request();
        let next = match sent {
            Ok(()) => match sending.tunnel.take() {
                Some(tunnel) => Next::Tunnel(self.hand_over(tunnel, sending.status)),
                None if goes_on => Next::Again,
                None => Next::Close,
            },
            Err(end) => {
                self.record.end.set(end);
                Next::Abort
            }
        };
        let Terms { snapshot, .. } = self.terms;
        self.record
            .finish(self.connection, snapshot, self.route, sending.ending());
        next
    }

    /// Leaves the line of the access log to a tunnel.
    fn hand_over(&self, mut tunnel: Box<Tunnel>, status: u16) -> Box<Tunnel> {
        let served = (&*self.terms.snapshot, self.route);
        tunnel.line = self.record.hand_over(self.connection, served, status);
        tunnel
    }

    /// Keeps the record of a request that is dropped before its end, as all are at the end of a
    /// drain that took too long.
    pub(super) fn cut(&self) {
        self.wait_over();
        self.connection
            .local
            .drain
            .of(self.terms.listener.direction)
            .request_cut();
        self.record.end.set(End::Shed);
        let nothing_sent = Ending {
            status: Cause::Draining.status().as_u16(),
            response_bytes: 0,
        };
        let cause = self.record.cause.get().unwrap_or(Cause::Draining);
        self.record.cause.set(Some(cause));
        let ending = self.record.sent.get().unwrap_or(nothing_sent);
        self.record
            .finish(self.connection, &self.terms.snapshot, self.route, ending);
    }

    /// How a request ends whose client has gone.
    fn end_of_gone(&self) -> End {
        if self.connection.client.is_malformed() {
            Cause::BadRequest.end()
        } else {
            End::ClientAbort
        }
    }

    fn send<'a>(
        &'a self,
        outgoing: &'a mut Outgoing,
    ) -> impl Future<Output = Result<(), End>> + 'a {
        let mut sending = self.connection.client.send(outgoing, self);
        poll_fn(move |cx| {
            let sent = ready!(Pin::new(&mut sending).poll(cx));
            self.wait_over();
            let error = match sent {
                Some(Ok(())) => return Poll::Ready(Ok(())),
                Some(Err(SendError::Gone)) => return Poll::Ready(Err(self.end_of_gone())),
                Some(Err(error)) => Some(error),
                None => None,
            };
            Poll::Ready(Err(match error {
                // What was waited for has been told where it was.
                None => End::Timeout,
                Some(error) => self.broke_off(&error),
            }))
        })
    }

    /// How a request ends whose answer could not be sent whole, and why: also where it has begun,
    /// somebody will ask.
    fn broke_off(&self, error: &SendError) -> End {
        self.stopped(broken::cause(error)).end()
    }

    /// Keeps why a response stopped on its way, if nothing else is known to be wrong; and says it.
    pub(super) fn stopped(&self, cause: Cause) -> Cause {
        let cause = self.late(cause);
        if self.record.cause.get().is_none() {
            self.record.cause.set(Some(cause));
        }
        cause
    }

    /// The fields that every response gets, whoever made it.
    fn complete(&self, parts: &mut ResponseParts) {
        if !parts.headers.contains_key(header::DATE) {
            let local = &self.connection.local;
            local.append_date(self.now.get(), &mut parts.headers);
        }
        if let Some(request_id) = self.record.request_id.get() {
            let name = &*X_REQUEST_ID_NAME;
            parts.headers.insert_prepared(name, request_id.value());
        }
        // After a reload the listener may have it, and this connection no TLS.
        if let Some(hsts) = &self.terms.listener.hsts
            && self.connection.client.stream().is_secure()
        {
            hsts.response(&mut parts.headers);
        }
    }

    fn persists(&self, framing: ResponseFraming) -> bool {
        // RFC 9931: what follows a CONNECT was meant for the tunnel, and is no request of this
        // client's if there is none.
        *self.record.method() != Method::CONNECT
            && self.message.persistent
            && framing != ResponseFraming::UntilClose
            && self.connection.client.has_whole_request()
            && !self.connection.client.has_failed()
            && self.keeps_its_connection()
            && !self
                .connection
                .local
                .drain
                .of(self.terms.listener.direction)
                .is_draining()
            && self
                .terms
                .hold(&self.connection.client.facts, &self.connection.local)
    }
}

impl Sending<'_> {
    fn ending(&self) -> Ending {
        Ending {
            status: self.status,
            response_bytes: self.outgoing.body_bytes(),
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.record.sent.set(Some(self.ending()));
    }
}

/// Whether nothing follows a head on a stream.
fn is_bodiless(method: &Method, parts: &ResponseParts) -> bool {
    let framing = ResponseFraming::choose(method, Version::HTTP_11, parts.status, None);
    framing == ResponseFraming::Bodiless
}

fn body_framing(framing: ResponseFraming) -> Framing {
    match framing {
        ResponseFraming::Bodiless => Framing::None,
        ResponseFraming::Length(length) => Framing::Length(length),
        ResponseFraming::Chunked => Framing::Chunked,
        ResponseFraming::UntilClose => Framing::UntilClose,
    }
}

/// nginx's status of a client that did not wait; it is only ever logged.
const CLIENT_CLOSED_REQUEST: u16 = 499;
