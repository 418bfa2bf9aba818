//! The sockets of listeners: which stay, which are opened, and what they are made to be.
//!
//! A socket that stays keeps the connections in its queue, so an address that a reload leaves alone
//! keeps its sockets, whatever else changes. Options of theirs are tried before anything is
//! changed, and set once the new snapshot is in force.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::local_ports;
use super::prepare::{Rejection, Workshop};
use crate::config::Config;
use crate::net::{Bind, Connecting, Listening, Sockets, Transport};
use crate::snapshot::{Listener, Snapshot, effective_upstreams};

/// Sockets of datagrams with their addresses as they were written. Sessions of a listener that a
/// reload took out go on by its sockets; were new ones bound beside them to the same address, the
/// kernel would spread clients over both, and take clients from their sessions.
#[derive(Debug, Default)]
pub struct Bound {
    sockets: Mutex<Written>,
}

/// Each address as it was written, and who has it.
type Written = Vec<(String, Weak<Sockets>)>;

impl Workshop {
    /// The sockets of every listener: those in use where an address stays, even under another name,
    /// else new ones.
    pub(super) fn bind(
        &self,
        config: &Config,
        previous: Option<&Snapshot>,
    ) -> Result<BTreeMap<String, Arc<Sockets>>, Rejection> {
        let mut sockets = BTreeMap::new();
        for (name, listener) in &config.listener {
            let transport = Transport::of(&listener.bind, listener.is_udp());
            let options = Listening::of(listener);
            let kept = previous.and_then(|snapshot| {
                let mut old = snapshot.listeners.iter();
                let same = |old: &Arc<Listener>| {
                    old.sockets.transport == transport
                        && may_serve(&old.sockets, &old.bind, (&listener.bind, &options))
                };
                let stays = |sockets: &Sockets| sockets.is_open() && sockets.can_be_found();
                old.find(|old| same(old) && stays(&old.sockets))
            });
            let lingering = || self.datagrams.find(transport, (&listener.bind, &options));
            let kept = kept.map(|old| Arc::clone(&old.sockets));
            let refused = |source: io::Error| Rejection::Bind {
                listener: name.clone(),
                source,
            };
            let inherited = || {
                let wanted = (&*listener.bind, &options);
                let found = self.inherited.find(name, transport, wanted, self.workers)?;
                Some(found.map_err(io::Error::other))
            };
            let bound = if let Some(kept) = kept.or_else(lingering) {
                kept
            } else if let Some(found) = inherited() {
                let found = found.map_err(refused)?;
                if transport == Transport::Udp {
                    self.datagrams.add(&listener.bind, &found);
                }
                found
            } else {
                let bound = self.open(transport, (&listener.bind, &options), previous);
                bound.map_err(refused)?
            };
            sockets.insert(name.clone(), bound);
        }
        Ok(sockets)
    }

    /// New sockets. A port that a listener of ours is about to leave is shared with it; any other
    /// port in use belongs to somebody else, and is an error.
    fn open(
        &self,
        transport: Transport,
        (bind, options): (&str, &Listening),
        previous: Option<&Snapshot>,
    ) -> io::Result<Arc<Sockets>> {
        if transport == Transport::Unix {
            // Whoever answers there is somebody else, for what can be found of ours is kept.
            return Sockets::open(transport, bind, options, self.workers).map(Arc::new);
        }
        let port = bind.parse::<Bind>()?.address.port();
        let same =
            |sockets: &Sockets| sockets.local.port() == port && sockets.transport == transport;
        let is_ours = previous.is_some_and(|snapshot| {
            let mut listeners = snapshot.listeners.iter();
            listeners.any(|listener| same(&listener.sockets))
        });
        let was_ours = self
            .inherited
            .any(|one| one.local.port() == port && one.transport == transport);
        let lingers = transport == Transport::Udp && self.datagrams.any(same);
        let sockets = Arc::new(if is_ours || was_ours || lingers {
            Sockets::open_shared(transport, bind, options, self.workers)?
        } else {
            Sockets::open(transport, bind, options, self.workers)?
        });
        if transport == Transport::Udp {
            self.datagrams.add(bind, &sockets);
        }
        Ok(sockets)
    }
}

impl Bound {
    /// All that may still be open.
    pub(super) fn all(&self) -> Vec<Weak<Sockets>> {
        let known = self.lock();
        known
            .iter()
            .map(|(_, sockets)| Weak::clone(sockets))
            .collect()
    }

    /// Those of an address, if sessions still have them.
    fn find(&self, transport: Transport, wanted: (&str, &Listening)) -> Option<Arc<Sockets>> {
        let known = self.lock();
        let mut same = known.iter().filter_map(|(written, sockets)| {
            let sockets = sockets.upgrade()?;
            may_serve(&sockets, written, wanted).then_some(sockets)
        });
        same.next().filter(|_| transport == Transport::Udp)
    }

    fn any(&self, is_it: impl Fn(&Sockets) -> bool) -> bool {
        let known = self.lock();
        let mut alive = known.iter().filter_map(|(_, sockets)| sockets.upgrade());
        alive.any(|sockets| is_it(&sockets))
    }

    fn add(&self, bind: &str, sockets: &Arc<Sockets>) {
        let mut known = self.lock();
        known.retain(|(_, sockets)| sockets.strong_count() > 0);
        known.push((bind.to_owned(), Arc::downgrade(sockets)));
    }

    /// A panic elsewhere cannot leave a list half-changed.
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether sockets that were bound to an address as it was written can serve what is written now.
pub(super) fn may_serve(
    sockets: &Sockets,
    before: &str,
    (bind, options): (&str, &Listening),
) -> bool {
    let is_written_so = before == bind && sockets.may_become(options);
    is_written_so || sockets.are_bound_to(bind, options)
}

/// Tries every option of sockets that this machine may refuse, before anything is changed.
pub(super) fn rehearse(config: &Config) -> Result<(), Rejection> {
    let refused = |what, name: &str| {
        let name = name.to_owned();
        move |source| Rejection::Option { what, name, source }
    };
    for (name, listener) in &config.listener {
        let options = Listening::of(listener);
        let tried = options.rehearse(&listener.bind, listener.is_udp());
        tried.map_err(refused("listener", name))?;
        if options.wants_fast_open() && !knows_fast_open() {
            tracing::warn!(
                listener = name,
                "`fast_open` does nothing: net.ipv4.tcp_fastopen lacks 2"
            );
        }
    }
    if let Some(doubt) = local_ports::doubt(config, &local_ports::range()) {
        tracing::warn!("{doubt}");
    }
    for (name, upstream) in &effective_upstreams(config) {
        if let Some(options) = Connecting::new(&upstream.socket) {
            options.rehearse().map_err(refused("upstream", name))?;
        }
    }
    Ok(())
}

/// Makes the sockets of a snapshot that is in force what it says.
pub fn settle(snapshot: &Snapshot) {
    for listener in &snapshot.listeners {
        if let Err(error) = listener.sockets.become_like(&listener.options) {
            // Tried before, so it is something that has changed since.
            tracing::error!(listener = %listener.name, %error, "options of its sockets stay as they were");
        }
    }
}

/// Whether the machine lets servers take data with the first segment.
fn knows_fast_open() -> bool {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").unwrap_or_default();
    let flags: Option<u32> = text.trim().parse().ok();
    flags.is_none_or(|flags| flags & SERVERS != 0)
}

/// `TFO_SERVER_ENABLE` of the kernel.
const SERVERS: u32 = 2;
