//! As little power as possible: root only for what needs it, and never again.
//!
//! Problem: ports, keys and logs may need root, and whoever finds a hole in a proxy that still is
//! root has the machine. On Linux all this belongs to threads, not to processes, so the order
//! matters:
//!
//! 1. Before there is a second thread ([`Privileges::begin`]): no program that is started may gain
//!    anything (`no_new_privs`), what nobody will need goes out of reach (the bounding set), and
//!    the kernel confines the process to its files (Landlock). Threads inherit all of it. So it
//!    is known by then which configuration will serve; or, where that is seen only once names are
//!    looked up and files are read, which two there are: no more is given up than neither needs.
//! 2. Once all is bound, read and open ([`Privileges::give_up`]), on the control thread: the C
//!    library changes the user of every thread at once, and the kernel takes the powers of each
//!    that has not asked to keep them. The control thread alone asks, keeps what is written or
//!    needed, and all workers, which it starts afterwards, have no more than that.
//!
//! So there is no moment at which a thread is forgotten, and a test looks at each of them.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::fs::CWD;
use rustix::process::{DumpableBehavior, dumpable_behavior, geteuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

use super::state::file;
use crate::config::{self, Admin, Capability, Config, Outcome};
use crate::net::{Account, Accounts, UnknownAccount};

pub mod confined;
mod rules;

pub use rules::Touched;

use confined::Confined;
use rules::Rules;

/// What is left to do before the program serves.
#[derive(Debug)]
pub struct Privileges {
    /// Whom it becomes, if it is root.
    user: Option<Account>,
    keep: CapabilitySet,
    /// Files that were made on the way and are to be that user's.
    given: Vec<PathBuf>,
    /// The directory of what is known, whose files are to be that user's.
    state: Option<PathBuf>,
    /// Whether the group of the admin socket is written.
    has_admin_group: bool,
    /// What it is confined to.
    pub confined: Confined,
    /// What is not as it should be. The log is not open yet.
    doubts: Vec<String>,
}

/// Why the program cannot become who it should be.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The machine does not know the user.
    #[error("user: {0}")]
    Unknown(UnknownAccount),
    /// Only root becomes another user.
    #[error(
        "user: started as user {0}, which cannot become user {1}: start it as root, or as that user \
         and without `user`"
    )]
    NotRoot(u32, u32),
    /// The kernel refuses.
    #[error("{what}: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl Privileges {
    /// Gives up what nothing after this needs. To be called while there is one thread.
    ///
    /// `spare` is what may have to serve instead, once it is too late to take anything back.
    /// `options` say more of the admin API than the configuration, and `confined` is what the
    /// process is confined to from its start.
    pub fn begin(
        outcome: &Outcome,
        spare: Option<&Outcome>,
        (options, confined): (&Admin, Confined),
    ) -> Result<Self, PrivilegeError> {
        let none = Self {
            confined,
            ..Self::none()
        };
        let Some(config) = &outcome.config else {
            return Ok(none); // nothing will be served
        };
        let mut privileges = none.of(config)?;
        let spare_config = spare.and_then(|spare| spare.config.as_ref());
        let limits = |config: &Config| config.user.is_some() || is_confined(config);
        if limits(config) || spare_config.is_some_and(limits) {
            set_no_new_privs(true).map_err(refused("no_new_privs"))?;
        }
        if privileges.user.is_some() {
            bound(privileges.keep | spare_config.map_or(CapabilitySet::empty(), kept));
        }
        let outcomes = [Some(outcome), spare].into_iter().flatten();
        privileges.confine(config, || Rules::new(outcomes, options));
        Ok(privileges)
    }

    /// The same for what serves instead: what is given up by now stays so.
    pub fn instead(self, outcome: &Outcome, options: &Admin) -> Result<Self, PrivilegeError> {
        let Some(config) = &outcome.config else {
            return Ok(self);
        };
        let mut privileges = self.of(config)?;
        if privileges.user.is_some() {
            bound(privileges.keep);
        }
        if !privileges.confined.is_so() {
            let outcomes = [outcome].into_iter();
            privileges.confine(config, || Rules::new(outcomes, options));
        }
        Ok(privileges)
    }

    /// For a program that is not ours to change.
    pub fn none() -> Self {
        Self {
            user: None,
            keep: CapabilitySet::empty(),
            given: Vec::new(),
            state: None,
            has_admin_group: false,
            confined: Confined::default(),
            doubts: Vec::new(),
        }
    }

    /// What this configuration asks for.
    fn of(self, config: &Config) -> Result<Self, PrivilegeError> {
        Ok(Self {
            user: account(config)?,
            keep: kept(config),
            given: made(config),
            state: config.state_dir.clone(),
            has_admin_group: config.admin.group.is_some(),
            ..self
        })
    }

    /// Confines the process, if the configuration has it confined. Also a successor, which is the
    /// user already.
    fn confine(&mut self, config: &Config, rules: impl FnOnce() -> Rules) {
        if let Some(directory) = &self.state {
            // While it can be made, and before rules are made for what is there. Who keeps what is
            // known tells why it is not.
            drop(file::make(directory));
        }
        if is_confined(config) {
            self.confined.begin(rules(), &mut self.doubts);
        } else if self.confined.is_so() {
            self.doubts.push(
                "files are confined by Landlock as they were in the instance before, although \
                 `security.landlock` is not on any more: restart the instance, an upgrade hands on \
                 what it is confined to"
                    .to_owned(),
            );
        }
        if let Some(directory) = &self.state
            && !self.confined.may_write_in(directory)
        {
            self.doubts.push(format!(
                "{} is out of reach since the start (Landlock): what is known is kept there after \
                 a restart of the instance",
                directory.display()
            ));
        }
    }

    /// Becomes the user, in all threads, and keeps what is to be kept in this one and those that it
    /// starts. `admin` is the socket of the admin API, which is to be that user's.
    pub fn give_up(&self, admin: Option<&Path>) -> Result<(), PrivilegeError> {
        for doubt in &self.doubts {
            tracing::warn!("{doubt}");
        }
        let Some(Account { user, group }) = self.user else {
            if geteuid().is_root() {
                tracing::warn!(
                    "runs as root: `user = \"evenkeel\"` in the configuration makes it become that \
                     user once its ports are bound"
                );
            }
            return Ok(());
        };
        if let Some(directory) = &self.state {
            file::give(directory, (user, group));
        }
        let own = self.given.iter().map(|path| (path.as_path(), Some(group)));
        let admin = admin.map(|path| (path, (!self.has_admin_group).then_some(group)));
        for (path, group) in own.chain(admin) {
            file::give_one((CWD, path), (user, group));
        }
        let is_dumpable = dumpable_behavior().is_ok_and(|it| it == DumpableBehavior::Dumpable);
        set_keep_capabilities(true).map_err(refused("capabilities"))?;
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(group));
        setgroups(&[]).map_err(of_user("its groups"))?;
        setresgid(gid, gid, gid).map_err(of_user("its group"))?;
        setresuid(uid, uid, uid).map_err(of_user("its user"))?;
        let before = capabilities(None).map_err(refused("capabilities"))?;
        let kept = self.keep & before.permitted;
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        };
        set_capabilities(None, sets).map_err(refused("capabilities"))?;
        for capability in kept.iter() {
            // So that another version of this program, which takes its place, has it as well.
            let ambient = configure_capability_in_ambient_set(capability, true);
            ambient.map_err(refused("capabilities"))?;
        }
        set_keep_capabilities(false).map_err(refused("capabilities"))?;
        if is_dumpable {
            // The kernel forbids it with the change; `core_dumps` says whether it is forbidden.
            _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
        let missing = self.keep - kept;
        if !missing.is_empty() {
            tracing::warn!("does not have what it should keep: {}", names(missing));
        }
        let confined = self.confined.is_so();
        let kept = names(kept);
        tracing::info!(user, group, kept, confined, "is root no more");
        Ok(())
    }
}

/// Whether a configuration has the process confined to its files.
fn is_confined(config: &Config) -> bool {
    config.security.landlock.unwrap_or(config.user.is_some())
}

/// Takes all but these powers out of reach of every program that could be started. It is a second
/// lock behind `no_new_privs`: one that cannot be closed (some containers) is no reason not to
/// start.
fn bound(keep: CapabilitySet) {
    for capability in CapabilitySet::all().iter() {
        if !keep.contains(capability) {
            _ = remove_capability_from_bounding_set(capability);
        }
    }
}

/// Whom the program is to become; `None` if it is that already.
pub fn account(config: &Config) -> Result<Option<Account>, PrivilegeError> {
    let Some(written) = &config.user else {
        return Ok(None);
    };
    let account = Accounts::read().account(written);
    let account = account.map_err(PrivilegeError::Unknown)?;
    let now = geteuid();
    match now.as_raw() {
        own if own == account.user => Ok(None),
        0 => Ok(Some(account)),
        own => Err(PrivilegeError::NotRoot(own, account.user)),
    }
}

/// That the next start could become the user of this configuration. `began_as_root` says that it
/// will be made by root, as the last one was.
pub fn could_become(config: &Config, began_as_root: bool) -> Result<(), PrivilegeError> {
    match account(config) {
        Err(PrivilegeError::NotRoot(..)) if began_as_root => Ok(()),
        other => other.map(|_| ()),
    }
}

/// What is written, and what traffic needs.
fn kept(config: &Config) -> CapabilitySet {
    let written = config.security.keep_capabilities.iter();
    let written = written.map(|capability| match capability {
        Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        Capability::NetAdmin => CapabilitySet::NET_ADMIN,
        Capability::NetRaw => CapabilitySet::NET_RAW,
    });
    let mut kept: CapabilitySet = written.collect();
    let mut listeners = config.listener.values();
    let mut upstreams = config.upstream.values();
    let marks = config.defaults.mark.is_some()
        || upstreams.any(|upstream| upstream.socket.mark.is_some())
        || listeners.any(|listener| {
            listener.socket.mark.is_some() || listener.intercept == Some(config::Intercept::Tproxy)
        });
    if marks {
        kept |= CapabilitySet::NET_ADMIN;
    }
    kept
}

/// Capabilities by their names.
fn names(capabilities: CapabilitySet) -> String {
    let names = capabilities.iter_names().map(|(name, _)| name);
    names.collect::<Vec<_>>().join(", ")
}

/// The files that a start makes, and that the user has to be able to open again.
fn made(config: &Config) -> Vec<PathBuf> {
    let log = config.log.output.as_deref();
    let log = log.filter(|output| !["stdout", "stderr"].contains(output));
    let log = log.map(PathBuf::from);
    log.into_iter().chain(config.state_dir.clone()).collect()
}

fn refused<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> PrivilegeError {
    move |error| PrivilegeError::Refused {
        what,
        source: error.into(),
    }
}

fn of_user(what: &'static str) -> impl Fn(nix::Error) -> PrivilegeError {
    move |error| PrivilegeError::Refused {
        what,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("a configuration")
    }

    #[test]
    fn what_traffic_needs_is_kept_and_nothing_else() {
        assert_eq!(kept(&config("")), CapabilitySet::empty());
        for needs in [
            "[defaults]\nmark = 1",
            "[listener.a]\nbind = ':1'\nintercept = 'tproxy'",
            "[listener.a]\nbind = ':1'\nsocket.mark = 1",
            "[upstream.a]\nsocket.mark = 1",
        ] {
            assert_eq!(kept(&config(needs)), CapabilitySet::NET_ADMIN, "{needs}");
        }
        let written = config("security.keep_capabilities = ['net_bind_service']");
        assert_eq!(kept(&written), CapabilitySet::NET_BIND_SERVICE);
    }
}
