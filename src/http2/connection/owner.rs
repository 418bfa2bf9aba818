//! What the owner of a connection asks of it, and says through it.

use std::rc::Rc;
use std::time::Duration;

use super::Connection;
use crate::http2::driven::{HeldUp, Moved, OpenError, Opening};
use crate::http2::error::{Abuse, ErrorCode};
use crate::http2::session::{Fault, Role, Session};
use crate::http2::stream::Stream;
use crate::message::RequestParts;
use crate::time::Instant;

impl Connection {
    /// Streams that are open or held.
    pub fn streams(&self) -> usize {
        self.session.borrow().stream_count()
    }

    /// A number that grows with every byte that comes.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// A number that grows with every byte that leaves.
    pub fn sent(&self) -> u64 {
        self.session.borrow().left_ever() + self.stream.sent_behind()
    }

    /// A number that grows with every byte that the other end's kernel takes. It costs a system
    /// call.
    pub fn delivered(&self) -> u64 {
        let outstanding = u64::from(self.stream.outstanding());
        self.sent().saturating_sub(outstanding)
    }

    /// Whether there are bytes that the socket does not take.
    pub fn is_held_up(&self) -> bool {
        self.is_held_up.get()
    }

    /// Of a client: the code and the text with which the endpoint has said GOAWAY, once.
    pub fn take_goodbye(&self) -> Option<(ErrorCode, Box<str>)> {
        self.session.borrow_mut().take_goodbye()
    }

    /// Bytes of bodies that have moved.
    pub fn moved(&self) -> Moved {
        self.session.borrow().moved()
    }

    /// Streams that the other end holds up, at this time. Looks at each of them.
    pub fn held_up(&self, now: Instant) -> HeldUp {
        self.session.borrow_mut().held_up(now)
    }

    /// For how long the other end may take nothing, for the sake of a stream that
    /// [may rest](Stream::may_rest); zero where there is none.
    pub fn patience(&self) -> Duration {
        self.session.borrow().patience()
    }

    /// Streams that were reset since this was last asked: by the other end, and by us.
    pub fn take_resets(&self) -> (u32, u32) {
        let resets = self.session.borrow_mut().take_resets();
        (resets.by_them, resets.by_us)
    }

    /// Of a client: streams that can be opened now; 0 once the connection is to end.
    pub fn room(&self) -> usize {
        if self.is_ending() {
            return 0;
        }
        self.session.borrow().openable()
    }

    /// Whether its end has been announced, by either side, or has come.
    pub fn is_leaving(&self) -> bool {
        self.is_ending() || self.session.borrow().is_leaving()
    }

    /// Of a client: whether the endpoint has said which stream was its last, and has taken some
    /// that are under way. Looks at each of them.
    pub fn has_taken_some(&self) -> bool {
        self.session.borrow_mut().has_taken_some()
    }

    /// Of a client: whether the endpoint has refused a stream, and others that were opened before
    /// are under way. Looks at each of them.
    pub fn keeps_some(&self) -> bool {
        self.session.borrow_mut().keeps_some()
    }

    /// Whether the other end's SETTINGS have come, behind the preface of a client.
    pub fn is_settled(&self) -> bool {
        self.session.borrow().is_settled()
    }

    /// Of a client: streams that the other end allows at once, once it has said so.
    pub fn max_streams(&self) -> Option<u32> {
        let session = self.session.borrow();
        session.is_settled().then(|| session.max_streams())
    }

    /// Of a client: whether the other end takes extended CONNECT.
    pub fn takes_connect_protocol(&self) -> bool {
        self.session.borrow().takes_connect_protocol()
    }

    /// Of a client: opens a stream and hands its head to the connection. Fields of a connection are
    /// left out, names are written small, `Host` becomes `:authority`, `Cookie` stays as it is.
    pub fn open(
        self: &Rc<Self>,
        parts: &RequestParts,
        opening: Opening<'_>,
    ) -> Result<Stream, OpenError> {
        debug_assert!(self.role == Role::Client, "a server opens no streams");
        let id = self.with(|session| session.open(parts, &opening))?;
        Ok(Stream::new(Rc::clone(self), id))
    }

    /// Holds the heads that come from now on to these limits, in bytes and lines.
    pub fn limit_heads(&self, head: usize, fields: usize) {
        self.session.borrow_mut().limit_heads(head, fields);
    }

    /// Sends a PING, unless one is under way.
    pub fn ping(&self) {
        self.with(Session::ping);
    }

    /// Whether a PING is under way.
    pub fn awaits_pong(&self) -> bool {
        self.session.borrow().awaits_pong()
    }

    /// Whether our SETTINGS are not acknowledged yet.
    pub fn awaits_settings(&self) -> bool {
        self.session.borrow().awaits_settings()
    }

    /// Of a server: says that the connection will end, while new streams are still taken: GOAWAY
    /// with the highest number (RFC 9113 §6.8).
    pub fn announce_end(&self) {
        self.with(Session::announce_end);
    }

    /// Takes no more streams and says which was the last. Those that there are go on; when there
    /// are none left, the connection ends.
    pub fn end_gently(&self) {
        self.with(Session::end_gently);
    }

    /// Ends the connection with this code and text; all streams break.
    pub fn end_now(&self, code: ErrorCode, why: &'static str) {
        self.end(Fault::of(code, why));
    }

    /// As [`Connection::end_now`], for what a client does too much of.
    pub fn end_abused(&self, abuse: Abuse) {
        self.end(abuse.into());
    }
}
