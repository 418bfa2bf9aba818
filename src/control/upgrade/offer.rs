//! What an instance hands over: everything that it listens on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::channel::{Channel, ChannelError, DESCRIPTORS};
use super::frame::{Frame, Offer, Purpose};
use crate::control::admin::Gates;
use crate::control::inherited::Inherited;
use crate::net::{Description, Sockets};
use crate::snapshot::Snapshot;

/// Everything that is handed over, with copies of its descriptors.
#[derive(Debug)]
pub(super) struct Offers {
    all: Vec<One>,
}

/// Sockets of one address.
#[derive(Debug)]
struct One {
    purpose: Purpose,
    description: Description,
    descriptors: Vec<OwnedFd>,
    /// Those of ours that are left to the successor if it takes these.
    own: Vec<Arc<Sockets>>,
}

impl Offers {
    /// What this instance listens on by its snapshot in force. Lingering sockets of datagrams are
    /// not among them: no new client is taken by them.
    pub(super) fn of(
        snapshot: &Snapshot,
        inherited: &Inherited,
        gates: &Gates,
    ) -> io::Result<Self> {
        let mut all = Vec::new();
        let mut known: Vec<&Arc<Sockets>> = Vec::new();
        for listener in &snapshot.listeners {
            let sockets = &listener.sockets;
            // What nobody finds any more has to be made anew.
            if !sockets.is_open() || !sockets.can_be_found() || inherited.has_kept(sockets) {
                continue;
            }
            // Names may share an address.
            if known.iter().any(|other| Arc::ptr_eq(other, sockets)) {
                continue;
            }
            known.push(sockets);
            let purpose = Purpose::Listener {
                name: listener.name.to_string(),
                bind: listener.bind.to_string(),
            };
            all.push(One::new(purpose, sockets)?);
        }
        for gate in &gates.gates {
            let bind = gate.bind.clone();
            if gate.sockets.can_be_found() {
                all.push(One::new(Purpose::Admin { bind }, &gate.sockets)?);
            }
        }
        for (purpose, description, descriptors) in inherited.kept()? {
            let listeners = snapshot.listeners.iter().map(|one| &one.sockets);
            let own = listeners.filter(|sockets| inherited.has_kept(sockets));
            let own = own.filter(|one| one.transport == description.transport);
            let own = own.filter(|one| one.local == description.local);
            all.push(One {
                own: own.cloned().collect(),
                purpose,
                description,
                descriptors,
            });
        }
        Ok(Self { all })
    }

    /// Hands everything over, with what is known of the endpoints.
    pub(super) async fn hand_over(
        &self,
        channel: &Channel,
        known: &[u8],
    ) -> Result<(), ChannelError> {
        for (number, one) in (0..).zip(&self.all) {
            let mut parts = one.descriptors.chunks(DESCRIPTORS).peekable();
            while let Some(part) = parts.next() {
                let offer = Offer {
                    number,
                    purpose: one.purpose.clone(),
                    description: one.description.clone(),
                    more: parts.peek().is_some(),
                };
                let part: Vec<BorrowedFd<'_>> = part.iter().map(AsFd::as_fd).collect();
                channel.hand(&Frame::Socket(offer), &part).await?;
            }
        }
        for piece in Frame::state(known) {
            channel.say(&piece).await?;
        }
        channel.say(&Frame::Offered).await
    }

    /// Leaves to the successor what it takes.
    pub(super) fn pass_on(&self, taken: &[u32]) {
        let taken = (0..)
            .zip(&self.all)
            .filter(|(number, _)| taken.contains(number));
        for sockets in taken.flat_map(|(_, one)| &one.own) {
            sockets.pass_on();
        }
    }
}

impl One {
    fn new(purpose: Purpose, sockets: &Arc<Sockets>) -> io::Result<Self> {
        Ok(Self {
            purpose,
            description: sockets.description(),
            descriptors: sockets.duplicates()?,
            own: vec![Arc::clone(sockets)],
        })
    }
}
