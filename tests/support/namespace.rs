//! Network namespaces: a network of one's own, with addresses, links and firewall rules.
//!
//! They take root, `ip` and `nft`. A thread that has entered one has its sockets there, and so have
//! the threads and processes that it starts: whatever this harness does within a namespace is done
//! in its network, and nothing of it is seen outside.

use std::env;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network of its own, which goes with this value.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// A namespace with a loopback device; `None` where none can be had, which it says. Where
    /// `EVENKEEL_NETNS` is `required`, it has to be there.
    pub(crate) fn create() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("evenkeel-{}-{number}", process::id());
        for program in ["ip", "nft"] {
            if Command::new(program).arg("-V").output().is_err() {
                return skipped(&format!("{program} is not installed"));
            }
        }
        if let Err(why) = run(Command::new("ip").args(["netns", "add", &name])) {
            return skipped(&format!("no network namespace: {why}"));
        }
        let namespace = Self { name };
        namespace.run("ip link set lo up");
        // Or an IPv6 address could be used only after a second.
        namespace
            .run("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
        Some(namespace)
    }

    /// Its name, as `ip netns` has it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Joins two namespaces by a link, `left` in this one and `right` in the other.
    pub(crate) fn join(&self, other: &Self, left: &str, right: &str) {
        let (here, there) = (&self.name, &other.name);
        let add = format!("ip link add {left} netns {here} type veth peer {right} netns {there}");
        must(Command::new("sh").args(["-c", &add]));
        for (namespace, link) in [(self, left), (other, right)] {
            namespace.run(&format!("ip link set {link} up"));
        }
    }

    /// Runs a command there.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) fn run(&self, command: &str) {
        must(Command::new("ip").args(["netns", "exec", &self.name, "sh", "-c", command]));
    }

    /// The same of one that may not be there, or not be allowed.
    pub(crate) fn try_run(&self, command: &str) -> Result<(), String> {
        run(Command::new("ip").args(["netns", "exec", &self.name, "sh", "-c", command]))
    }

    /// Does something there.
    pub(crate) fn within<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("it was made");
        let entered = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("it may be entered");
            what()
        };
        // The test's own thread stays where it is.
        let done = thread::scope(|scope| scope.spawn(entered).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(run(Command::new("ip").args(["netns", "del", &self.name])));
    }
}

fn must(command: &mut Command) {
    if let Err(why) = run(command) {
        panic!("{command:?}: {why}");
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Says that a test does not run for want of something.
#[expect(
    clippy::print_stderr,
    reason = "a test that did not run must not look as if it had"
)]
pub(crate) fn skipped<T>(why: &str) -> Option<T> {
    let required = env::var("EVENKEEL_NETNS").is_ok_and(|value| value == "required");
    assert!(!required, "{why}");
    eprintln!("skipped: {why}");
    None
}
