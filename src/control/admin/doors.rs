//! Who may ask for what.
//!
//! Problem: whoever controls a proxy has all that passes it, and many can reach its entrances. So
//! each question is judged by where it comes from. Through the socket the kernel says who asks:
//! root, the user that this program runs as, and those who are written may, whatever the mode of
//! the file has become. Over TCP nobody knows who asks: probes are for all, metrics are for all
//! unless they are withheld, and the rest is for who comes from this machine, and only to be looked
//! at; or, where there is a token, for who has it, wherever he is.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use rustix::process::geteuid;
use tokio::time::Instant;

use super::answer::Problem;
use super::entrances::EntranceError;
use super::server::Entrance;
use super::target::Resource;
use super::token::TokenFile;
use crate::config;
use crate::net::Accounts;
use crate::telemetry::events::{Event, Events};
use crate::telemetry::metrics::{Counter, Family, Kind, Registry};

/// Who may come in, and with what.
#[derive(Debug, Default)]
pub(super) struct Doors {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
    pub(super) token: Option<TokenFile>,
    withholds_metrics: bool,
}

/// Counts who is turned away, and tells of it now and then.
#[derive(Debug)]
pub(super) struct TurnedAway {
    events: Events,
    peer: Counter,
    address: Counter,
    token: Counter,
    told: Mutex<Option<Instant>>,
}

/// Why somebody is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Another user of this machine.
    Peer(u32),
    /// From another machine, or to make a change over TCP.
    Address(&'static str),
    /// Without the token, or with another one.
    Token,
}

impl Doors {
    /// Those that are written.
    pub(super) fn new(written: &config::Admin) -> Result<Self, EntranceError> {
        let accounts = Accounts::read();
        let mut doors = Self {
            withholds_metrics: written.public_metrics == Some(false),
            ..Self::default()
        };
        for user in &written.allow_users {
            let user = accounts.user(user);
            doors.users.insert(user.map_err(EntranceError::Account)?);
        }
        for group in written.allow_groups.iter().chain(&written.group) {
            let group = accounts.group(group).map_err(EntranceError::Account)?;
            doors.users.extend(accounts.members(group));
            doors.groups.insert(group);
        }
        let token = written.token_file.as_deref();
        doors.token = token.map(TokenFile::read).transpose()?;
        Ok(doors)
    }

    /// Whether a question may be asked.
    pub(super) fn judge(
        &self,
        entrance: Entrance,
        resource: &Resource,
        headers: &HeaderMap,
    ) -> Result<(), Refused> {
        let is_local = match entrance {
            Entrance::Socket(user, group) if self.admits(user, group) => return Ok(()),
            Entrance::Socket(user, _) => return Err(Refused::Peer(user)),
            Entrance::Http { is_local } => is_local,
        };
        if resource.is_probe() || *resource == Resource::Metrics && !self.withholds_metrics {
            return Ok(());
        }
        match &self.token {
            Some(token) if token.is_in(headers.get(header::AUTHORIZATION)) => Ok(()),
            Some(_) => Err(Refused::Token),
            None if !is_local => Err(Refused::Address(
                "from another machine only probes and metrics are shown: ask there, through the \
                 socket, or set admin.token_file",
            )),
            None if resource.changes() => Err(Refused::Address(
                "changes are made through the Unix socket (admin.socket), or with a token \
                 (admin.token_file)",
            )),
            None => Ok(()),
        }
    }

    /// Whether a user, with the group of its process, may ask through the socket.
    fn admits(&self, user: u32, group: u32) -> bool {
        // Asked now: the program may have become another user since it was bound.
        user == 0
            || user == geteuid().as_raw()
            || self.users.contains(&user)
            || self.groups.contains(&group)
    }
}

impl TurnedAway {
    pub(super) fn new(registry: &Registry, events: Events) -> Self {
        let reason = |reason| registry.counter(&REFUSED, &[("reason", reason)]);
        Self {
            events,
            peer: reason("peer"),
            address: reason("address"),
            token: reason("token"),
            told: Mutex::default(),
        }
    }

    /// Counts somebody, and has the answer.
    pub(super) fn count(&self, refused: Refused) -> Problem {
        let (counter, problem) = match refused {
            Refused::Peer(user) => {
                let why = format!(
                    "user {user} may not ask here: admin.allow_users and admin.allow_groups say who may"
                );
                (&self.peer, Problem::new(StatusCode::FORBIDDEN, why))
            }
            Refused::Address(why) => (&self.address, Problem::new(StatusCode::FORBIDDEN, why)),
            Refused::Token => (&self.token, Problem::unauthorized()),
        };
        counter.inc();
        if self.may_tell() {
            self.events.publish(Event {
                kind: "admin_refused",
                why: problem.detail().to_owned(),
                fields: Vec::new(),
            });
        }
        problem
    }

    /// One event now and then: whoever asks in a loop must not push out all others.
    fn may_tell(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        if may {
            *told = Some(now);
        }
        may
    }
}

/// As often as a person would want to hear of it.
const TELL_EVERY: Duration = Duration::from_mins(1);

static REFUSED: Family = Family {
    name: "evenkeel_admin_refused_total",
    help: "Questions to the admin API of those who may not ask, by reason.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(doors: &Doors, entrance: Entrance, path: &str) -> Result<(), Refused> {
        let resource = Resource::at(path).expect("it is there");
        doors.judge(entrance, &resource, &HeaderMap::new())
    }

    const FROM_HERE: Entrance = Entrance::Http { is_local: true };
    const FROM_AFAR: Entrance = Entrance::Http { is_local: false };

    #[test]
    fn over_tcp_others_are_shown_probes_and_metrics() {
        let open = Doors::default();
        for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
            assert_eq!(judged(&open, FROM_AFAR, path), Ok(()), "{path}");
        }
        for path in ["/v1/status", "/v1/config", "/v1/events", "/v1/reload"] {
            let refused = judged(&open, FROM_AFAR, path);
            assert!(matches!(refused, Err(Refused::Address(_))), "{path}");
        }
        assert_eq!(judged(&open, FROM_HERE, "/v1/config"), Ok(()));
        assert!(judged(&open, FROM_HERE, "/v1/reload").is_err());
        let closed = Doors {
            withholds_metrics: true,
            ..Doors::default()
        };
        assert!(judged(&closed, FROM_AFAR, "/metrics").is_err());
        assert_eq!(judged(&closed, FROM_HERE, "/metrics"), Ok(()));
        assert_eq!(judged(&closed, FROM_AFAR, "/readyz"), Ok(()));
    }

    #[test]
    fn through_the_socket_those_come_who_are_written() {
        let doors = Doors {
            users: [1_000].into(),
            groups: [50].into(),
            ..Doors::default()
        };
        let may = |user, group| judged(&doors, Entrance::Socket(user, group), "/v1/reload");
        let own = geteuid().as_raw();
        for (user, group) in [(0, 0), (own, 9), (1_000, 9), (4_711, 50)] {
            assert_eq!(may(user, group), Ok(()), "{user}");
        }
        assert_eq!(may(4_711, 51), Err(Refused::Peer(4_711)));
        let probe = judged(&doors, Entrance::Socket(4_711, 51), "/livez");
        assert_eq!(probe, Err(Refused::Peer(4_711)));
    }
}
