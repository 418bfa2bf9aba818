//! Listening sockets that this process did not open itself: systemd's, and those of the instance
//! that it takes over from.
//!
//! A listener gets them by its address, since it is the address that a person wrote twice and that
//! may be wrong; by its name where several are there. What systemd opened it keeps open too, so
//! connections go on to come there whatever we do: those are kept, also while no listener is at
//! their address, and go on to the next instance. What the instance before had and no listener
//! wants any more is closed once that one has let go.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sockets::may_serve;
use super::upgrade::{Offer, Purpose};
use crate::net::{AdoptError, Description, Listening, Sockets, Transport, descriptor};

/// Sockets that were handed to this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Inherited {
    given: Arc<Mutex<Vec<Given>>>,
}

/// What systemd opened for this process, by `sd_listen_fds(3)`.
#[derive(Debug, Default)]
pub struct Activation {
    sockets: Vec<(String, OwnedFd)>,
}

/// What came from systemd, with further descriptors of it.
pub(super) type Kept = (Purpose, Description, Vec<OwnedFd>);

/// Sockets of one address.
#[derive(Debug)]
struct Given {
    purpose: Purpose,
    description: Description,
    /// What the instance before calls them.
    number: Option<u32>,
    sockets: Option<Arc<Sockets>>,
    /// Of those that are kept whatever becomes of `sockets`.
    spare: Vec<OwnedFd>,
}

impl Activation {
    /// What this process was started with, as these variables say: `LISTEN_PID`, `LISTEN_FDS` and
    /// `LISTEN_FDNAMES`. Once only, before anything else opens descriptors.
    pub fn take(variable: impl Fn(&str) -> Option<OsString>, own: u32) -> io::Result<Self> {
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        let number = |name| text(name)?.parse::<u32>().ok();
        // Another pid means another process: ours is a child of it.
        if number("LISTEN_PID") != Some(own) {
            return Ok(Self::default());
        }
        let count = number("LISTEN_FDS").unwrap_or_default();
        let names = text("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = Vec::new();
        for number in 0..count.min(MOST) {
            let name = names.next().filter(|name| !name.is_empty());
            let number = i32::try_from(FIRST + number).map_err(io::Error::other)?;
            sockets.push((name.unwrap_or("unknown").to_owned(), descriptor(number)?));
        }
        Ok(Self { sockets })
    }
}

impl Inherited {
    /// Takes what systemd opened; tells of what is no socket of a listener.
    pub fn activate(&self, activation: Activation, workers: usize) -> Vec<String> {
        let mut doubts = Vec::new();
        for (name, descriptor) in activation.sockets {
            let described = Description::of(descriptor.as_fd());
            let added = described.and_then(|description| {
                let purpose = Purpose::Activated { name: name.clone() };
                self.add((purpose, None), description, vec![descriptor], workers)
            });
            if let Err(why) = added {
                doubts.push(format!(
                    "the socket `{name}` that systemd passed is not used: {why}"
                ));
            }
        }
        doubts
    }

    /// Takes what the instance before hands over.
    pub(super) fn succeed(
        &self,
        offer: Offer,
        descriptors: Vec<OwnedFd>,
        workers: usize,
    ) -> Result<(), AdoptError> {
        let Offer {
            number,
            purpose,
            description,
            more: _,
        } = offer;
        self.add((purpose, Some(number)), description, descriptors, workers)
    }

    fn add(
        &self,
        (purpose, number): (Purpose, Option<u32>),
        description: Description,
        descriptors: Vec<OwnedFd>,
        workers: usize,
    ) -> Result<(), AdoptError> {
        let mut given = self.lock();
        let same = |other: &&mut Given| {
            matches!(other.purpose, Purpose::Activated { .. })
                && matches!(purpose, Purpose::Activated { .. })
                && other.description == description
        };
        // With `ReusePort=` there are several of one address: one each for so many workers.
        if let Some(other) = given.iter_mut().find(same) {
            other.spare.extend(descriptors);
            return Ok(());
        }
        let is_kept = matches!(purpose, Purpose::Activated { .. });
        let mut one = Given {
            purpose,
            description,
            number,
            sockets: None,
            spare: descriptors,
        };
        let made = one.make(workers)?;
        if !is_kept {
            one.spare.clear();
            one.sockets = Some(made);
        }
        given.push(one);
        Ok(())
    }

    /// Those for a listener, if there are such. They are given once.
    pub(super) fn find(
        &self,
        name: &str,
        transport: Transport,
        wanted: (&str, &Listening),
        workers: usize,
    ) -> Option<Result<Arc<Sockets>, AdoptError>> {
        let mut given = self.lock();
        let serves = |one: &Given| one.serves(transport, wanted, workers);
        let named = given.iter().position(|one| one.is_for(name) && serves(one));
        let place = named.or_else(|| given.iter().position(serves))?;
        let one = &mut given[place];
        if !one.is_kept() {
            return one.sockets.clone().map(Ok);
        }
        let made = one.make(workers);
        Some(made.inspect(|made| one.sockets = Some(Arc::clone(made))))
    }

    /// That of the admin API at an address as it was written.
    pub(super) fn admin(&self, bind: &str) -> Option<Arc<Sockets>> {
        let given = self.lock();
        let mut found = given
            .iter()
            .filter(|one| matches!(&one.purpose, Purpose::Admin { bind: own } if own == bind));
        let sockets = found.next()?.sockets.clone()?;
        sockets.can_be_found().then_some(sockets)
    }

    /// Whether there is one like this.
    pub(super) fn any(&self, is_it: impl Fn(&Description) -> bool) -> bool {
        self.lock().iter().any(|one| is_it(&one.description))
    }

    /// Those that came from systemd, to be handed on.
    pub(super) fn kept(&self) -> io::Result<Vec<Kept>> {
        let given = self.lock();
        let kept = given.iter().filter(|one| one.is_kept());
        let copies = kept.map(|one| {
            let copies = one.spare.iter().map(OwnedFd::try_clone);
            let copies = copies.collect::<io::Result<_>>()?;
            Ok((one.purpose.clone(), one.description.clone(), copies))
        });
        copies.collect()
    }

    /// The numbers of those that these sockets were made of.
    pub fn taken(&self, in_use: &[Arc<Sockets>]) -> Vec<u32> {
        let given = self.lock();
        let is_used = |one: &&Given| {
            let sockets = one.sockets.as_ref();
            one.is_kept() || sockets.is_some_and(|own| in_use.iter().any(|it| Arc::ptr_eq(it, own)))
        };
        let used = given.iter().filter(is_used);
        used.filter_map(|one| one.number).collect()
    }

    /// Whether these came from systemd.
    pub(super) fn has_kept(&self, sockets: &Arc<Sockets>) -> bool {
        let given = self.lock();
        let mut kept = given.iter().filter(|one| one.is_kept());
        kept.any(|one| {
            one.sockets
                .as_ref()
                .is_some_and(|own| Arc::ptr_eq(own, sockets))
        })
    }

    /// Lets go of what the instance before had and no listener has taken.
    pub fn settle(&self) {
        self.lock().retain(Given::is_kept);
    }

    /// What was passed by systemd and no listener has taken, in words.
    pub fn unused(&self) -> Vec<String> {
        let given = self.lock();
        let unused = given
            .iter()
            .filter(|one| one.is_kept() && one.sockets.is_none());
        let told = unused.map(|one| {
            let place = one.description.place();
            let name = one.name();
            format!(
                "systemd passed a socket at {place} (`{name}`) that no listener's `bind` asks for: \
                 connections wait there in vain"
            )
        });
        told.collect()
    }

    /// A panic elsewhere cannot leave a list half-changed.
    fn lock(&self) -> MutexGuard<'_, Vec<Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    fn is_kept(&self) -> bool {
        matches!(self.purpose, Purpose::Activated { .. })
    }

    fn name(&self) -> &str {
        match &self.purpose {
            Purpose::Listener { name, .. } | Purpose::Activated { name } => name,
            Purpose::Admin { bind } => bind,
        }
    }

    /// Whether it was meant for the listener of this name.
    fn is_for(&self, name: &str) -> bool {
        match &self.purpose {
            Purpose::Listener { name: own, .. } => own == name,
            Purpose::Activated { name: own } => {
                own.strip_prefix("listener.").unwrap_or(own) == name
            }
            Purpose::Admin { .. } => false,
        }
    }

    /// Whether a listener can have them as they are.
    fn serves(&self, transport: Transport, wanted: (&str, &Listening), workers: usize) -> bool {
        let bind = match &self.purpose {
            Purpose::Listener { bind, .. } => bind.clone(),
            Purpose::Activated { .. } => self.description.place(),
            Purpose::Admin { .. } => return false,
        };
        // Of those that are kept, it is new ones that a listener gets.
        let fresh = || self.make(workers).ok();
        let sockets = self.sockets.clone().filter(|_| !self.is_kept());
        let sockets = sockets.or_else(fresh);
        sockets.is_some_and(|sockets| {
            sockets.transport == transport
                && may_serve(&sockets, &bind, wanted)
                && sockets.is_open()
                && sockets.can_be_found()
        })
    }

    /// Sockets of the spare descriptors.
    fn make(&self, workers: usize) -> Result<Arc<Sockets>, AdoptError> {
        let copies = self.spare.iter().map(OwnedFd::try_clone);
        let copies = copies.collect::<io::Result<_>>()?;
        Sockets::adopt(&self.description, copies, workers).map(Arc::new)
    }
}

/// The first descriptor that systemd passes.
const FIRST: u32 = 3;

/// More sockets than any unit has: a number from the environment may be any.
const MOST: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn activation(sockets: Vec<(&str, OwnedFd)>) -> Activation {
        let named = sockets.into_iter();
        Activation {
            sockets: named
                .map(|(name, socket)| (name.to_owned(), socket))
                .collect(),
        }
    }

    #[test]
    fn sockets_are_for_the_process_that_is_named() {
        let variable = |name: &str| match name {
            "LISTEN_PID" => Some("7".into()),
            "LISTEN_FDS" => Some("1".into()),
            _ => None,
        };
        assert!(Activation::take(variable, 8).unwrap().sockets.is_empty());
        let none = |_: &str| None;
        assert!(Activation::take(none, 8).unwrap().sockets.is_empty());
    }

    #[test]
    fn a_listener_gets_what_is_bound_where_it_wants_to_be() {
        let [one, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [&one, &other].map(|one| one.local_addr().unwrap().to_string());
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = datagrams.local_addr().unwrap().to_string();
        let inherited = Inherited::default();
        let passed = activation(vec![
            ("web", one.into()),
            ("unknown", other.into()),
            ("dns", datagrams.into()),
        ]);
        assert_eq!(inherited.activate(passed, 2), Vec::<String>::new());
        assert_eq!(inherited.unused().len(), 3);
        let options = Listening::default();
        let find = |name, transport, bind: &str| {
            let found = inherited.find(name, transport, (bind, &options), 2);
            found.map(|found| found.unwrap())
        };
        let found = find("other", Transport::Tcp, &addresses[1]).unwrap();
        assert_eq!(
            (found.local.to_string(), found.workers()),
            (addresses[1].clone(), 2)
        );
        assert!(
            find("web", Transport::Tcp, "127.0.0.1:1").is_none(),
            "its name is not enough"
        );
        assert!(find("web", Transport::Udp, &addresses[0]).is_none());
        // Sessions belong to workers.
        assert_eq!(find("dns", Transport::Udp, &at).unwrap().workers(), 1);
        assert_eq!(inherited.unused().len(), 1);
        // What systemd has open is to be had again, also after a listener has closed its own.
        found.close(0);
        assert!(
            find("again", Transport::Tcp, &addresses[1])
                .unwrap()
                .is_open()
        );
        inherited.settle();
        assert_eq!(inherited.kept().unwrap().len(), 3);
    }

    #[test]
    fn what_does_not_listen_is_told() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            None::<socket2::Protocol>,
        );
        let passed = activation(vec![("a", file.into()), ("b", socket.unwrap().into())]);
        let doubts = Inherited::default().activate(passed, 1);
        assert!(
            doubts[0].contains("`a`") && doubts[0].contains("no socket"),
            "{doubts:?}"
        );
        assert!(doubts[1].contains("does not listen"), "{doubts:?}");
    }
}
