//! How a connection ends: in order, broken, or with our last words.

use std::cell::Ref;
use std::io;
use std::task::{Context, Poll, ready};

use super::{Connection, READS_AT_END};
use crate::http2::driven::{Driven, Ended};
use crate::http2::session::{Fault, Role};

impl Connection {
    /// The other end has closed its side.
    pub(super) fn ended_by_them(&self) {
        if self.role == Role::Client {
            // Nothing will be answered any more.
            self.session.borrow_mut().lose_output();
        }
        let is_idle = self.session.borrow().stream_count() == 0;
        self.close(if is_idle {
            Ended::Closed
        } else {
            Ended::Broken(io::ErrorKind::UnexpectedEof.into())
        });
        // There is nobody to listen.
        self.is_shut.set(true);
    }

    /// It is broken, which may have been seen before by what was written. What the other end said
    /// of it tells more than that: an alert of TLS is not the kernel's error, but one of its own.
    pub(super) fn broke(&self, error: io::Error) -> Driven {
        self.session.borrow_mut().lose_output();
        let first = self.unwritable.borrow_mut().take();
        let says_why = error.get_ref().is_some();
        self.close(Ended::Broken(first.filter(|_| !says_why).unwrap_or(error)));
        let ended = self.ending.borrow_mut().take();
        Driven::Ended(ended.unwrap_or(Ended::Closed))
    }

    /// Our last words have been said: waits until the other end has taken them, since closing while
    /// something of its is unread would destroy them on their way.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>, flushed: bool) -> Poll<Driven> {
        if self.is_unwritable() {
            return Poll::Ready(self.broke(io::ErrorKind::BrokenPipe.into()));
        }
        if !flushed {
            return Poll::Pending;
        }
        if !self.is_shut.get() {
            match ready!(self.stream.poll_shutdown_write(cx)) {
                Ok(()) => {}
                Err(error) => return Poll::Ready(self.broke(error)),
            }
            self.is_shut.set(true);
            let mut inbox = self.inbox.borrow_mut();
            for _ in 0..READS_AT_END {
                let there = inbox.bytes().len();
                inbox.consume(there);
                match inbox.poll_fill(cx, &self.stream) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => break,
                    Poll::Pending => {
                        self.is_shut.set(false);
                        return Poll::Pending;
                    }
                }
            }
        }
        let ended = self.ending.borrow_mut().take();
        Poll::Ready(Driven::Ended(ended.unwrap_or(Ended::Closed)))
    }

    /// Nothing more is said but what is there.
    pub(super) fn close(&self, ended: Ended) {
        self.session.borrow_mut().abandon();
        self.ending.borrow_mut().get_or_insert(ended);
        self.wake();
    }

    pub(super) fn end(&self, fault: Fault) {
        self.session.borrow_mut().end(fault);
        self.close(match fault.abuse {
            Some(abuse) => Ended::Abused(abuse),
            None => Ended::Refused(fault.code, fault.why),
        });
    }

    /// How the connection ends, as soon as that is known: before its last words have been taken.
    pub fn ending(&self) -> Option<Ref<'_, Ended>> {
        Ref::filter_map(self.ending.borrow(), Option::as_ref).ok()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }
}
