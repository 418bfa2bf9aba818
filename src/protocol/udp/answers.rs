//! From endpoints to the clients of their sessions.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::time::Instant;

use super::Relay;
use super::forward::why;
use super::held::{Held, Waiting};
use super::session::{Ending, Session};
use super::table::Table;
use crate::net::{Batch, Outcome, Outgoing, Source, send};
use crate::snapshot::{Dropped, UdpListener};

/// Room for what is known of answers while they are in a batch; kept, so that no turn asks for
/// memory.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The session of each datagram in the batch.
    places: Vec<usize>,
    leaving: Vec<Answer>,
}

/// One that leaves.
#[derive(Debug)]
struct Answer {
    /// Which of the batch it is.
    at: usize,
    place: usize,
    peer: SocketAddr,
    source: Option<Source>,
}

/// Who takes in how messages to clients went.
pub(super) struct Counting<'a> {
    pub(super) table: &'a mut Table<Session>,
    pub(super) udp: Option<&'a Arc<UdpListener>>,
}

impl Relay {
    /// Sends to clients what endpoints sent. Whether it was from as many as can be looked at at
    /// once.
    pub(super) fn take_from_endpoints(&mut self, batch: &mut Batch, now: Instant) -> bool {
        batch.clear();
        let (places, mut is_all) = self.ready.take();
        let is_full = places.len() == Batch::SLOTS;
        let are_few = places.len() < CROWD;
        for &(place, has_error) in &places {
            if batch.room() < Batch::FEW {
                self.answer(batch, now);
                batch.clear();
            }
            if self.held.is_some() {
                is_all = false;
                break;
            }
            let Some(session) = self.table.get_mut(place) else {
                continue;
            };
            if has_error {
                session.hear(now);
                is_all = false; // there may be more than was taken
            }
            match session.receive(batch, are_few) {
                Ok((count, may_be_more)) => {
                    session.answered(now);
                    self.answers
                        .places
                        .extend(std::iter::repeat_n(place, count));
                    is_all &= !may_be_more;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    session.failed(&error, now);
                    is_all = false; // behind the error there may be something
                }
            }
        }
        self.answer(batch, now);
        self.ready.give_back(places);
        if is_all {
            self.ready.is_empty();
        }
        is_full
    }

    /// Sends to clients what was received.
    fn answer(&mut self, batch: &Batch, now: Instant) {
        let Answers { places, leaving } = &mut self.answers;
        leaving.clear();
        let udp = self.form.listener.udp();
        for (at, (datagram, place)) in batch.datagrams().iter().zip(places.drain(..)).enumerate() {
            if datagram.is_truncated {
                if let Some(udp) = udp {
                    udp.metrics.drop(Dropped::Truncated, datagram.count());
                }
                continue;
            }
            if let Some(session) = self.table.get_mut(place) {
                leaving.push(Answer {
                    at,
                    place,
                    peer: session.peer,
                    source: session.source,
                });
            }
        }
        let message = |at: usize| {
            let answer = &leaving[at];
            let datagram = &batch.datagrams()[answer.at];
            Outgoing {
                bytes: batch.bytes(datagram),
                segment: datagram.segment,
                to: Some(answer.peer),
                from: answer.source,
            }
        };
        let socket = self.socket.get_ref().as_fd();
        let table = &mut self.table;
        let mut counting = Counting { table, udp };
        let mut stopped = None;
        send(socket, leaving.len(), message, |at, outcome| {
            let of = (leaving[at].place, leaving[at].peer);
            let left = counting.count(of, &message(at), outcome, now);
            stopped = left.map(|from| (at, from));
            stopped.is_none()
        });
        let Some((first, mut from)) = stopped else {
            return;
        };
        let mut held = Held::new(socket, now).ok();
        for (at, answer) in leaving.iter().enumerate().skip(first) {
            let message = message(at);
            if let Some(held) = &mut held {
                held.push(Waiting {
                    bytes: message.bytes[from..].into(),
                    segment: message.segment,
                    place: answer.place,
                    peer: answer.peer,
                    source: answer.source,
                });
            } else if let Some(udp) = udp {
                udp.metrics.drop(Dropped::SendBuffer, message.count());
            }
            from = 0;
        }
        self.held = held;
    }
}

impl Counting<'_> {
    /// Takes in how a message went. What the kernel has no room for is not lost yet: from which of
    /// its bytes on that is.
    pub(super) fn count(
        &mut self,
        (place, peer): (usize, SocketAddr),
        message: &Outgoing<'_>,
        outcome: Outcome,
        now: Instant,
    ) -> Option<usize> {
        let (count, bytes) = outcome.sent;
        let session = self.table.get_mut(place);
        // One that had to wait may have lost its session, and another one have its place.
        if let Some(session) = session.filter(|session| session.peer == peer)
            && count > 0
        {
            session.received(count, bytes);
            let responses = self.udp.and_then(|udp| udp.responses);
            if responses.is_some_and(|responses| session.has_answers(responses)) {
                session.ending = Ending::Idle;
                self.table.remove(place);
            } else if !session.is_retired() {
                self.table.used(place, true, now);
            }
        }
        if let Some(udp) = self.udp {
            udp.metrics.received.add(count);
        }
        let error = outcome.error?;
        if error.kind() == io::ErrorKind::WouldBlock {
            return usize::try_from(bytes).ok();
        }
        if let Some(udp) = self.udp {
            udp.metrics.drop(why(&error), message.count() - count);
        }
        None
    }
}

/// Sessions of which so many have something at once that each is asked for one datagram, if it had
/// one last time.
const CROWD: usize = 4;
