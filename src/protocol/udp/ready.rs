//! Which sessions have something of their endpoints: an epoll of their sockets, which the runtime
//! watches.
//!
//! In it sockets are watched by level, so that what was left in one is announced again; the epoll
//! itself is watched by edge, and so has to be said to be empty when it is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::event::{Timespec, epoll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::net::Batch;

/// Sockets of sessions.
#[derive(Debug)]
pub(super) struct Ready {
    epoll: AsyncFd<OwnedFd>,
    /// Room for events, and the places that they said last.
    events: Events,
    places: Vec<Place>,
}

/// Whose socket has something, and whether an error is among that.
pub(super) type Place = (usize, bool);

/// Events without a text of their own.
struct Events(Vec<epoll::Event>);

impl Ready {
    /// No sockets yet. Must be called within the runtime that is to watch.
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: readable(epoll)?,
            events: Events(Vec::with_capacity(MOST)),
            places: Vec::with_capacity(MOST),
        })
    }

    /// Has what comes by a socket announced, until that is closed.
    pub(super) fn watch(&self, socket: impl AsFd, place: usize) -> io::Result<()> {
        let data = epoll::EventData::new_u64(place as u64);
        let epoll = self.epoll.get_ref();
        Ok(epoll::add(epoll, socket, data, epoll::EventFlags::IN)?)
    }

    /// Whether there may be something.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.epoll.poll_read_ready(cx).map(drop)
    }

    /// The sessions that have something, and whether these are all. To be given back.
    pub(super) fn take(&mut self) -> (Vec<Place>, bool) {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let Events(events) = &mut self.events;
        let room = rustix::buffer::spare_capacity(events);
        let is_known = epoll::wait(self.epoll.get_ref(), room, Some(&at_once)).is_ok();
        let mut places = std::mem::take(&mut self.places);
        places.extend(events.drain(..).filter_map(|event| {
            let flags = event.flags;
            let has_error = flags.contains(epoll::EventFlags::ERR);
            let place = usize::try_from(event.data.u64()).ok()?;
            Some((place, has_error))
        }));
        let is_all = is_known && places.len() < MOST;
        (places, is_all)
    }

    /// Takes back what it gave.
    pub(super) fn give_back(&mut self, mut places: Vec<Place>) {
        places.clear();
        self.places = places;
    }

    /// Every socket was emptied: wakes for what comes from now on.
    pub(super) fn is_empty(&self) {
        let none = |_: &OwnedFd| Err::<(), _>(io::ErrorKind::WouldBlock.into());
        drop(self.epoll.try_io(Interest::READABLE, none));
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Events").field(&self.0.len()).finish()
    }
}

/// Watched for what comes, and not for room to send: each datagram that leaves would make some.
pub(super) fn readable(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watched(socket, Interest::READABLE)
}

/// Watched for room to send.
pub(super) fn writable(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watched(socket, Interest::WRITABLE)
}

#[expect(
    unsafe_code,
    reason = "tokio cannot see from a type that a descriptor stays what it is"
)]
fn watched(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it owns its one descriptor, which so is open, and the same, until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    Ok(registered?)
}

/// Sessions that are looked at in one turn.
const MOST: usize = Batch::SLOTS;
