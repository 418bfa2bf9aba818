//! Connections that the firewall brought here: where they were going, and whether they are our own.
//!
//! Rules that take what this machine sends may take what this program sends as well: then each
//! connection to a destination comes back as one that wants to go there, until nothing is left to
//! make connections of. A mark keeps the rules from it, and a rule can be wrong. So both ends of a
//! connection that we make are written down, and those of a connection that we are brought: the
//! same pair on both sides is one of our own. Whichever comes second sees it. No other connection
//! can have the pair, for the kernel tells connections apart by it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::sockopt;

use super::address::canonical;
use super::stream::Stream;

/// How a firewall brings connections here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interception {
    /// By NAT: the kernel remembers where they were going.
    Redirect,
    /// By its routing: they are taken under the address to which they were going.
    Tproxy,
}

/// The connections of this process that may meet themselves.
#[derive(Debug, Default)]
pub struct OwnConnections {
    pairs: Mutex<Pairs>,
}

#[derive(Debug, Default)]
struct Pairs {
    made: Counted,
    taken: Counted,
}

/// The two ends of connections, who made one first; and how many have them.
type Counted = HashMap<(SocketAddr, SocketAddr), u32>;

/// A connection that is written down for as long as this is held.
#[derive(Debug)]
#[must_use = "dropping it forgets the connection"]
pub struct Known {
    own: Arc<OwnConnections>,
    pair: (SocketAddr, SocketAddr),
    side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Made,
    Taken,
}

impl Stream {
    /// Where a connection was going that was brought here. Fails where it was not.
    pub fn destination(&self, how: Interception) -> io::Result<SocketAddr> {
        let local = self.local_address()?;
        Ok(match how {
            Interception::Tproxy => local,
            Interception::Redirect if local.is_ipv4() => sockopt::ip_original_dst(self)?.into(),
            Interception::Redirect => canonical(sockopt::ipv6_original_dst(self)?.into()),
        })
    }
}

impl OwnConnections {
    /// Writes down a connection that was brought here, from its client to where it was going;
    /// `None` if it is one of ours.
    pub fn taken(self: &Arc<Self>, from: SocketAddr, to: SocketAddr) -> Option<Known> {
        self.note(Side::Taken, (from, to))
    }

    /// Writes down a connection that we made; `None` if it was brought here.
    pub fn made(self: &Arc<Self>, from: SocketAddr, to: SocketAddr) -> Option<Known> {
        self.note(Side::Made, (from, to))
    }

    fn note(self: &Arc<Self>, side: Side, pair: (SocketAddr, SocketAddr)) -> Option<Known> {
        let mut pairs = self.lock();
        let (own, other) = pairs.sides(side);
        if other.contains_key(&pair) {
            return None;
        }
        *own.entry(pair).or_default() += 1;
        Some(Known {
            own: Arc::clone(self),
            pair,
            side,
        })
    }

    /// A panic elsewhere cannot leave a count half-changed.
    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pairs {
    fn sides(&mut self, side: Side) -> (&mut Counted, &Counted) {
        match side {
            Side::Made => (&mut self.made, &self.taken),
            Side::Taken => (&mut self.taken, &self.made),
        }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut pairs = self.own.lock();
        let (own, _) = pairs.sides(self.side);
        if let Some(count) = own.get_mut(&self.pair) {
            *count -= 1;
            if *count == 0 {
                own.remove(&self.pair);
            }
        }
    }
}

/// Whether an address is one of this machine's own.
pub(super) fn is_local(address: IpAddr) -> bool {
    // The kernel binds to no other; nothing is sent.
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    #[test]
    fn whichever_side_comes_second_sees_that_it_is_ours() {
        let own = Arc::new(OwnConnections::default());
        let made = own.made(at(1), at(80)).expect("the first");
        assert!(own.taken(at(1), at(80)).is_none());
        assert!(own.taken(at(1), at(81)).is_some(), "going elsewhere");
        drop(made);
        let taken = own.taken(at(1), at(80)).expect("it is over");
        assert!(own.made(at(1), at(80)).is_none());
        drop(taken);
        assert!(own.lock().made.is_empty() && own.lock().taken.is_empty());
    }

    #[test]
    fn two_that_are_the_same_are_forgotten_one_by_one() {
        let own = Arc::new(OwnConnections::default());
        let both = [(); 2].map(|()| own.taken(at(1), at(80)).expect("not ours"));
        let [first, second] = both;
        drop(first);
        assert!(own.made(at(1), at(80)).is_none());
        drop(second);
        assert!(own.made(at(1), at(80)).is_some());
    }

    #[test]
    fn own_addresses_are_known() {
        assert!(is_local([127, 0, 0, 1].into()));
        assert!(
            !is_local([192, 0, 2, 1].into()),
            "for documentation (RFC 5737)"
        );
    }
}
