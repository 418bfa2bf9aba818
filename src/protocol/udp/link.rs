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
use crate::endpoint::{ConnectFailure, Endpoint, OpenConnection, Outcome};
use crate::net::{self, Address, Batch, Source};
use crate::protocol::local::Local;
use crate::proxy_protocol::{Addresses, Introduction, Transport};
use crate::snapshot::{Dropped, SessionTarget};
use crate::upstream::{Haste, Pick};

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
    pub(super) coming: Coming,
    _open: OpenConnection,
    pick: Pick,
}

/// What is sent to an endpoint that had failed.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// When the first datagram of it left.
    since: Option<Instant>,
}

/// What has come by a socket, and so how it is best taken.
#[derive(Debug)]
pub(super) struct Coming {
    /// Whether anybody is told of it.
    pub(super) is_watched: bool,
    /// Receptions for which it is taken that there is one datagram at a time.
    ones: u8,
    /// Receptions of several until those in quick succession are asked for as one; `None` once they
    /// are.
    bursts: Option<u8>,
}

/// A way that was asked for.
pub(super) enum Way {
    Other(Link),
    /// That which there is.
    Same(Pick),
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
        let socket = self.socket.as_fd();
        if most == 1 && coming.bursts.is_some() {
            let count = batch.receive_one(socket)?;
            return Ok((count, count == most));
        }
        let count = batch.receive_few(socket, most)?;
        if most > 1 {
            coming.ones = if count == 1 { ONES } else { 0 };
        }
        if let Some(bursts) = coming.bursts
            && count > 1
        {
            coming.bursts = bursts.checked_sub(1);
            if coming.bursts.is_none() {
                net::coalesce(socket);
            }
        }
        Ok((count, count == most))
    }

    /// Datagrams have left, and nothing was heard of them so far. Whether that ends a trial.
    pub(super) fn sent(&mut self, now: Instant) -> bool {
        if let Some(trial) = &mut self.trial {
            trial.since.get_or_insert(now);
        }
        self.end_trial(now)
    }

    /// Ends a trial if that has passed: what was sent was not refused for long enough. Of who never
    /// answers that is the only proof.
    pub(super) fn end_trial(&mut self, now: Instant) -> bool {
        let has_passed = self.trial.is_some_and(|trial| trial.has_passed(now));
        if has_passed {
            self.trial = None;
            self.learn(Outcome::Proved, now);
        }
        has_passed
    }

    /// Whether something was sent as a trial, and may yet be refused.
    pub(super) fn is_trying(&self, now: Instant) -> bool {
        self.trial.is_some_and(|trial| trial.is_open(now))
    }

    /// The endpoint answered.
    pub(super) fn proved(&mut self) {
        self.is_proved = true;
        self.trial = None;
        self.learn(Outcome::Proved, Instant::now());
    }

    /// Takes in an error; whether the endpoint is to blame.
    pub(super) fn failed(&mut self, failure: ConnectFailure, now: Instant) -> bool {
        let is_its_own = self.learn(Outcome::NoConnection(failure), now);
        if is_its_own {
            self.has_failed = true;
            self.is_proved = false;
            self.trial = Some(Trial { since: None });
        }
        is_its_own
    }

    /// Tells the endpoint, as it is known now, how it fares.
    fn learn(&self, outcome: Outcome, now: Instant) -> bool {
        self.endpoint.learn_of(self.pick.of(), outcome, || now)
    }

    /// Tries the same endpoint once more, as it was picked again.
    pub(super) fn tries_again(&mut self, pick: Pick) {
        self.pick = pick;
    }

    /// Goes over to another build of its endpoint, and to another socket if it must.
    pub(super) fn adopt(&mut self, same: &Arc<Endpoint>, wish: &Wish<'_>) {
        let before = mem::replace(&mut self.endpoint, Arc::clone(same));
        if before.proxy_protocol != same.proxy_protocol {
            self.header = wish.header(same);
        }
        if before.socket == same.socket {
            return;
        }
        let options = same.socket.as_deref();
        // What is under way to the socket would be lost with it.
        let Err(error) = net::change_options(&self.socket, options) else {
            return;
        };
        tracing::debug!(endpoint = %same.name, %error, "a session needs another socket");
        let Address::Ip(address) = same.address else {
            return;
        };
        match net::connected(address, options) {
            Ok(socket) => (self.socket, self.coming) = (socket, Coming::by_a_new_socket()),
            Err(error) => {
                self.failed(ConnectFailure::of(&error), wish.now);
            }
        }
    }
}

impl Coming {
    fn by_a_new_socket() -> Self {
        Self {
            is_watched: false,
            ones: 0,
            bursts: Some(BURSTS),
        }
    }
}

impl Trial {
    fn has_passed(self, now: Instant) -> bool {
        let silence = |since| now.saturating_duration_since(since);
        self.since.is_some_and(|since| silence(since) >= SILENCE)
    }

    fn is_open(self, now: Instant) -> bool {
        self.since.is_some() && !self.has_passed(now)
    }
}

impl Wish<'_> {
    /// A way to an endpoint, and how many were tried. It is that of `before` if this is as good as
    /// any.
    pub(super) fn link(
        &self,
        target: &SessionTarget,
        before: Option<&Arc<Endpoint>>,
    ) -> Result<(Way, u32), Dropped> {
        let upstream = &target.choice().upstream;
        let key = Some(client_key(self.peer.ip()));
        let before = before.map(|endpoint| endpoint.live.id());
        let mut tried: Vec<u64> = before.into_iter().collect();
        let mut result = Dropped::NoEndpoint;
        for attempt in 1..=ATTEMPTS {
            // Nobody waits for a connection here, so one that may be back is tried at once.
            let when = (self.now, Haste::Now);
            let pick = self
                .local
                .with_random(|random| upstream.pick_by(key, &tried, when, random));
            let Ok(pick) = pick else {
                break;
            };
            let id = pick.endpoint().live.id();
            if before == Some(id) {
                return Ok((Way::Same(pick), attempt));
            }
            if tried.contains(&id) {
                break; // all have been tried
            }
            tried.push(id);
            match self.open(pick) {
                Ok(link) => return Ok((Way::Other(link), attempt)),
                Err(why) => result = why,
            }
        }
        Err(result)
    }

    fn open(&self, pick: Pick) -> Result<Link, Dropped> {
        let endpoint = Arc::clone(pick.endpoint());
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
            if pick.learn(Outcome::NoConnection(failure), self.now) {
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
            coming: Coming::by_a_new_socket(),
            _open: open,
            pick,
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
/// Receptions of several datagrams before it is worth a system call to take them together. Where
/// one comes at a time it never is.
const BURSTS: u8 = 2;

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::endpoint::{self, Health};
    use crate::upstream::Upstream;
    use crate::upstream::tests::of_one;

    fn pick(upstream: &Upstream) -> Pick {
        let pick = upstream.pick(&[], &mut Rng::with_seed(1), Instant::now());
        pick.expect("there is one")
    }

    fn link(pick: Pick) -> Link {
        let endpoint = Arc::clone(pick.endpoint());
        Link {
            socket: UdpSocket::bind("127.0.0.1:0").expect("a port"),
            header: None,
            has_failed: false,
            is_gone: false,
            is_proved: false,
            trial: None,
            coming: Coming::by_a_new_socket(),
            _open: endpoint.live.open_connection(u32::MAX).expect("no limit"),
            endpoint,
            pick,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_of_before_decide_nothing_about_an_endpoint_that_is_tried() {
        let upstream = of_one();
        let mut before = link(pick(&upstream));
        tokio::time::advance(Duration::from_mins(1)).await;
        let live = Arc::clone(&before.endpoint.live);
        live.set_health(Health::HalfOpen, None);
        let mut trial = link(pick(&upstream));
        before.proved();
        assert_eq!(live.take_trial(), None);
        before.failed(ConnectFailure::Refused, Instant::now());
        assert_eq!(live.take_trial(), None);
        trial.proved();
        assert_eq!(live.take_trial(), Some(endpoint::Trial::Passed));
        // It was picked again, for the one that had failed.
        before.tries_again(pick(&upstream));
        before.failed(ConnectFailure::Refused, Instant::now());
        assert_eq!(live.take_trial(), Some(endpoint::Trial::Failed));
    }

    #[test]
    fn a_trial_has_passed_once_a_dead_machine_would_be_known() {
        let now = Instant::now();
        let nothing_left = Trial { since: None };
        assert!(!nothing_left.has_passed(now + SILENCE));
        assert!(!nothing_left.is_open(now));
        let trial = Trial { since: Some(now) };
        let early = now + SILENCE - Duration::from_millis(1);
        assert!(trial.is_open(now) && !trial.has_passed(now));
        assert!(trial.is_open(early) && !trial.has_passed(early));
        let late = now + SILENCE;
        assert!(!trial.is_open(late) && trial.has_passed(late));
    }
}
