//! From endpoints to the clients of their sessions.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use tokio::time::Instant;

use super::Relay;
use super::forward::why;
use crate::net::{Batch, Outgoing, Source, send};
use crate::snapshot::Dropped;

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
        let table = &mut self.table;
        let socket = self.socket.get_ref().as_fd();
        send(socket, leaving.len(), message, |at, outcome| {
            let (count, bytes) = outcome.sent;
            let place = leaving[at].place;
            if let Some(session) = table.get_mut(place)
                && count > 0
            {
                session.received(count, bytes);
                let keeps_alive = !session.is_retired();
                if keeps_alive {
                    table.used(place, true, now);
                }
            }
            let Some(udp) = udp else {
                return true;
            };
            udp.metrics.received.add(count);
            if let Some(error) = outcome.error {
                let lost = message(at).count() - count;
                udp.metrics.drop(why(&error), lost);
            }
            true
        });
    }
}

/// Sessions of which so many have something at once that each is asked for one datagram, if it had
/// one last time.
const CROWD: usize = 4;
