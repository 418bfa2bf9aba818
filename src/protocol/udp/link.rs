//! The way from a session to an endpoint: a socket that is connected to it, and what counts it.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use tokio::time::Instant;

use super::current::Form;
use crate::balance::client_key;
use crate::endpoint::{ConnectFailure, Endpoint, OpenConnection};
use crate::net::{self, Address, Batch, Source};
use crate::protocol::local::Local;
use crate::proxy_protocol::{Addresses, Introduction, Transport};
use crate::snapshot::{Dropped, SessionTarget};
use crate::upstream::Pick;

/// The way to an endpoint.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: UdpSocket,
    /// What stands before each datagram to it, if it is told whom they are from.
    pub(super) header: Option<Rc<[u8]>>,
    pub(super) endpoint: Arc<Endpoint>,
    /// Whether the network said that nobody is there.
    pub(super) has_failed: bool,
    /// Whether the upstream has the endpoint no more.
    pub(super) is_gone: bool,
    /// Whether anything came from there since it failed last.
    pub(super) is_proved: bool,
    /// While it is tried whether the endpoint is back.
    trial: Option<Trial>,
    coming: Coming,
    _open: OpenConnection,
    _pick: Pick,
}

/// What is sent to an endpoint that had failed.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// When the first datagram of it left.
    since: Option<Instant>,
}

/// What has come by a socket, and so how it is best taken.
#[derive(Debug, Default)]
struct Coming {
    /// Receptions for which it is taken that there is one datagram at a time.
    ones: u8,
    /// Datagrams until those in quick succession are asked for as one; `None` once they are.
    few: Option<u8>,
}

/// Who asks for a way to an endpoint.
pub(super) struct Wish<'a> {
    pub(super) local: &'a Local,
    pub(super) form: &'a Form,
    pub(super) peer: SocketAddr,
    pub(super) source: Option<Source>,
    pub(super) now: Instant,
}

impl Link {
    /// Takes what has come: how many, and whether that may not be all. `is_alone` says that nobody
    /// else has anything.
    pub(super) fn receive(
        &mut self,
        batch: &mut Batch,
        is_alone: bool,
    ) -> io::Result<(usize, bool)> {
        let coming = &mut self.coming;
        // Where many have something, the last reception of each, which finds nothing, would be half
        // of them; for one alone it is cheaper than to be told of it again.
        let most = if is_alone || coming.ones == 0 {
            Batch::FEW
        } else {
            coming.ones -= 1;
            1
        };
        let count = batch.receive_few(self.socket.as_fd(), most)?;
        if most > 1 {
            coming.ones = if count == 1 { ONES } else { 0 };
        }
        if let Some(few) = coming.few {
            let came = u8::try_from(count).unwrap_or(u8::MAX);
            coming.few = few.checked_sub(came);
            if coming.few.is_none() {
                net::coalesce(self.socket.as_fd());
            }
        }
        Ok((count, count == most))
    }

    /// Datagrams have left, and nothing was heard of them so far. Whether that ends a trial.
    pub(super) fn sent(&mut self, now: Instant) -> bool {
        let Some(trial) = &mut self.trial else {
            return false;
        };
        let since = *trial.since.get_or_insert(now);
        let has_passed = now.saturating_duration_since(since) >= SILENCE;
        if has_passed {
            self.trial_passed();
        }
        has_passed
    }

    /// What was sent as a trial was not refused: of who never answers that is the only proof.
    pub(super) fn trial_passed(&mut self) {
        if self.trial.take().is_some_and(|trial| trial.since.is_some()) {
            self.endpoint.live.connect_succeeded();
        }
    }

    /// The endpoint answered.
    pub(super) fn proved(&mut self) {
        self.is_proved = true;
        self.trial = None;
        self.endpoint.live.connect_succeeded();
    }

    /// Takes in an error; whether the endpoint is to blame.
    pub(super) fn failed(&mut self, failure: ConnectFailure, now: Instant) -> bool {
        let is_its_own = self.endpoint.connect_failed(failure, now);
        if is_its_own {
            self.has_failed = true;
            self.is_proved = false;
            self.trial = Some(Trial { since: None });
        }
        is_its_own
    }

    /// Goes over to another build of its endpoint. `true` if the socket is new.
    pub(super) fn adopt(&mut self, same: &Arc<Endpoint>, wish: &Wish<'_>) -> bool {
        let before = mem::replace(&mut self.endpoint, Arc::clone(same));
        if before.proxy_protocol != same.proxy_protocol {
            self.header = wish.header(same);
        }
        if before.socket == same.socket {
            return false;
        }
        let options = same.socket.as_deref();
        // What is under way to the socket would be lost with it.
        let Err(error) = net::change_options(&self.socket, options) else {
            return false;
        };
        tracing::debug!(endpoint = %same.name, %error, "a session needs another socket");
        let Address::Ip(address) = same.address else {
            return false;
        };
        match net::connected(address, options) {
            Ok(socket) => self.socket = socket,
            Err(error) => {
                self.failed(ConnectFailure::of(&error), wish.now);
                return false;
            }
        }
        true
    }
}

impl Wish<'_> {
    /// A way to an endpoint, and how many were tried. None if it is that of `before`, which is then
    /// as good as any.
    pub(super) fn link(
        &self,
        target: &SessionTarget,
        before: Option<&Arc<Endpoint>>,
    ) -> Result<(Option<Link>, u32), Dropped> {
        let upstream = &target.choice().upstream;
        let key = Some(client_key(self.peer.ip()));
        let before = before.map(|endpoint| endpoint.live.id());
        let mut tried: Vec<u64> = before.into_iter().collect();
        let mut result = Dropped::NoEndpoint;
        for attempt in 1..=ATTEMPTS {
            let pick = self
                .local
                .with_random(|random| upstream.pick_for(key, &tried, random, self.now));
            let Ok(pick) = pick else {
                break;
            };
            let id = pick.endpoint.live.id();
            if before == Some(id) {
                return Ok((None, attempt));
            }
            if tried.contains(&id) {
                break; // all have been tried
            }
            tried.push(id);
            match self.open(pick) {
                Ok(link) => return Ok((Some(link), attempt)),
                Err(why) => result = why,
            }
        }
        Err(result)
    }

    fn open(&self, pick: Pick) -> Result<Link, Dropped> {
        let endpoint = Arc::clone(&pick.endpoint);
        let Address::Ip(address) = endpoint.address else {
            return Err(Dropped::NoEndpoint);
        };
        let arrived = self.source.map(|source| source.address);
        if self.form.is_own(address, arrived) {
            return Err(Dropped::Loop);
        }
        let open = endpoint
            .live
            .open_connection(endpoint.limits.max_connections);
        let open = open.ok_or(Dropped::NoEndpoint)?;
        let is_trial = endpoint.live.is_backing_off(self.now);
        let socket = net::connected(address, endpoint.socket.as_deref()).map_err(|error| {
            let failure = ConnectFailure::of(&error);
            if endpoint.connect_failed(failure, self.now) {
                Dropped::NoEndpoint
            } else {
                Dropped::Error
            }
        })?;
        Ok(Link {
            socket,
            header: self.header(&endpoint),
            endpoint,
            has_failed: false,
            is_gone: false,
            is_proved: false,
            trial: is_trial.then_some(Trial { since: None }),
            coming: Coming {
                ones: 0,
                few: Some(ALONE),
            },
            _open: open,
            _pick: pick,
        })
    }

    /// What is said before each datagram, if the endpoint is told whom they are from.
    fn header(&self, endpoint: &Endpoint) -> Option<Rc<[u8]>> {
        let version = endpoint.proxy_protocol?;
        let own = self.form.local;
        let arrived = self
            .source
            .map(|source| (source.address, own.port()).into());
        let destination = net::canonical(arrived.unwrap_or(own));
        let addresses = Addresses::new(net::canonical(self.peer), destination, Transport::Datagram);
        let introduction = Introduction::of_addresses(version, addresses);
        Some(introduction.finished().into())
    }
}

/// Endpoints that one datagram tries, as of a TCP session.
const ATTEMPTS: u32 = 5;
/// How long what is sent to an endpoint as a trial must not be refused: a machine that is not there
/// is known after three seconds (neighbour discovery asks three times, a second each).
const SILENCE: Duration = Duration::from_secs(4);
/// How often one datagram is taken where one came last, before it is asked again whether there are
/// more: each time that there are costs a turn.
const ONES: u8 = 8;
/// Datagrams that are taken apart before it is worth a system call to take them together.
const ALONE: u8 = 8;
