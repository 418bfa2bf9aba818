//! Upgrades and starts under a service manager and in a container: who is the service, who is fed,
//! which sockets were there before, and who is the first process.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cases::get;
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::frozen::Frozen;
use crate::support::manager::{Manager, passing};
use crate::support::namespace::skipped;
use crate::support::udp::{UdpClient, UdpEndpoint};
use crate::support::unix::{self, Sockets};
use crate::support::upgrade::{children_of, end, end_at_once, wait_until_ended};

fn start(endpoint: &Endpoint, environment: &str, program: &str, more: &str) -> Evenkeel {
    let address = endpoint.address();
    let files = [("environment", environment), ("program", program)];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    Evenkeel::start_among(
        &files,
        &format!("{more}[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"),
    )
}

fn asks(proxy: &Evenkeel) -> u16 {
    proxy.client().send(get("")).response().status
}

#[test]
fn the_service_manager_is_told_who_serves() {
    let (endpoint, manager) = (Endpoint::echo(), Manager::new("told"));
    let mut proxy = start(&endpoint, &manager.variable(), "", "");
    manager.hear_of("READY=1");
    let mut last = u64::from(proxy.id());
    for _ in 0..2 {
        let pid = proxy.upgrade_well();
        // By the old one, since only that one is believed; and then by the new one.
        let (told, before) = manager.hear_of("READY=1");
        let main_pid = format!("MAINPID={pid}");
        assert!(
            before.iter().any(|message| message.contains(&main_pid)),
            "{told} {before:?}"
        );
        let stops = before.iter().any(|message| message.contains("STOPPING"));
        assert!(!stops, "{before:?}");
        wait_until_ended(last);
        last = pid;
    }
    assert!(proxy.wait_for_exit().success());
    let rest = manager.backlog();
    assert!(
        !rest.iter().any(|message| message.contains("STOPPING")),
        "{rest:?}"
    );
    end(last);
    manager.hear_of("STOPPING=1");
}

#[test]
fn a_failed_upgrade_is_nobody_elses_business() {
    let (endpoint, manager) = (Endpoint::echo(), Manager::new("failed"));
    let proxy = start(&endpoint, &manager.variable(), "", "");
    manager.hear_of("READY=1");
    proxy.replace_program("#!/bin/sh\nexit 1\n");
    assert_eq!(proxy.upgrade().code, 1);
    assert_eq!(manager.backlog(), Vec::<String>::new());
}

#[test]
fn the_watchdog_is_fed_until_a_worker_hangs() {
    let (endpoint, manager) = (Endpoint::echo(), Manager::new("fed"));
    let environment = format!("{}WATCHDOG_USEC=2000000\n", manager.variable());
    let script = "#!/bin/sh\nexport WATCHDOG_PID=$$\nexec PROGRAM \"$@\"\n";
    let proxy = start(&endpoint, &environment, script, "workers = 2\n");
    manager.hear_of("WATCHDOG=1");
    let Some(frozen) = Frozen::thread(&proxy, "worker-1") else {
        return;
    };
    let told = eventually("it is told", || proxy.events("worker_stuck").pop());
    assert_eq!(told["worker"], "1");
    drop(manager.backlog());
    pause(Duration::from_secs(2));
    assert_eq!(manager.backlog(), Vec::<String>::new());
    drop(frozen);
    manager.hear_of("WATCHDOG=1");
    // The process that takes over is not the one that was named, and is fed as well.
    proxy.upgrade_well();
    manager.hear_of("READY=1");
    manager.hear_of("WATCHDOG=1");
    let Some(_frozen) = Frozen::thread_of(proxy.serving(), "control") else {
        return;
    };
    drop(manager.backlog());
    pause(Duration::from_secs(2));
    assert_eq!(manager.backlog(), Vec::<String>::new());
}

#[test]
fn sockets_that_were_there_before_are_used_and_handed_on() {
    let (endpoint, datagrams) = (Endpoint::echo(), UdpEndpoint::sends_back());
    let folder = Sockets::new("passed");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let local = UnixListener::bind(folder.path("web")).expect("a free path");
    let [at, unused] = [&tcp, &other].map(|one| one.local_addr().expect("it is bound"));
    let udp_at = udp.local_addr().expect("it is bound");
    // It is let in by the program that is not there yet.
    let mut early = Client::connect(at);
    early.send(get(""));
    let [tcp, other, udp, local]: [OwnedFd; 4] =
        [tcp.into(), other.into(), udp.into(), local.into()];
    let script = passing(&[
        ("listener.passed", &tcp),
        ("spare", &other),
        ("dns", &udp),
        ("unknown", &local),
    ]);
    let (address, asked) = (endpoint.address(), datagrams.address());
    let unix_at = folder.written("web");
    let mut proxy = start(
        &endpoint,
        "",
        &script,
        &format!(
            "workers = 2\n[shutdown]\ngrace = \"0s\"\ndrain = \"1s\"\n[listener.passed]\nbind = \"{at}\"\nto = [\"{address}\"]\n\
             [listener.local]\nbind = \"{unix_at}\"\nto = [\"{address}\"]\n\
             [listener.dns]\nbind = \"{udp_at}\"\nprotocols = [\"udp\"]\nupstream = \"dns\"\n\
             [upstream.dns]\nendpoints = [\"{asked}\"]\n"
        ),
    );
    assert_eq!(early.response().status, 200);
    let log = proxy.log();
    let told = format!("systemd passed a socket at {unused} (`spare`)");
    assert!(log.contains(&told), "{log}");
    let serves = || {
        assert_eq!(Client::connect(at).get("/").status, 200);
        assert_eq!(unix::client(&folder.path("web")).get("/").status, 200);
        assert_eq!(UdpClient::of(udp_at).ask("x"), "x");
    };
    serves();
    for _ in 0..2 {
        proxy.upgrade_well();
        serves();
    }
    // What no listener has any more is still to be had.
    proxy.write_config("[listener.web]\nbind = \"@web\"\nto = [\"127.0.0.1:1\"]\n");
    assert!(proxy.command(&["reload"]).status.success());
    let more = format!(
        "[shutdown]\ngrace = \"0s\"\ndrain = \"1s\"\n[listener.again]\nbind = \"{at}\"\nto = [\"{address}\"]\n\
         [listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
    );
    proxy.reload(&more);
    assert_eq!(Client::connect(at).get("/").status, 200);
    let pid = proxy.serving();
    end(pid);
    wait_until_ended(pid);
    // systemd has it, so its file stays, and who comes now waits for the next start.
    assert!(folder.path("web").exists());
    assert!(std::net::TcpStream::connect(at).is_ok());
}

/// A container, as far as its processes are concerned.
struct Contained {
    proxy: Evenkeel,
    /// The first process of it, as it is known outside.
    first: Pid,
}

impl Contained {
    fn start(endpoint: &Endpoint) -> Option<Self> {
        let tried = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "true"])
            .output();
        if !tried.is_ok_and(|done| done.status.success()) {
            return skipped("no namespace of processes");
        }
        let script = "#!/bin/sh\n\
            exec unshare --pid --fork --kill-child --mount-proc PROGRAM \"$@\"\n";
        let proxy = start(endpoint, "", script, "[shutdown]\ngrace = \"0s\"\n");
        let id = proxy.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let first = children
            .expect("it runs")
            .trim()
            .parse()
            .expect("one process");
        let first = Pid::from_raw(first).expect("a number");
        assert_eq!(proxy.serving(), 1, "it is the first process");
        Some(Self { proxy, first })
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.first, signal).expect("it runs");
    }
}

#[test]
fn the_first_process_of_a_container_stays_and_speaks_for_the_one_that_serves() {
    let endpoint = Endpoint::echo();
    let Some(mut contained) = Contained::start(&endpoint) else {
        return;
    };
    let mut last = 1;
    for round in 0..4 {
        // By the admin API and by its signal, in turns; that goes to the first process.
        if round % 2 == 0 {
            contained.proxy.upgrade_well();
        } else {
            contained.signal(Signal::USR2);
        }
        let proxy = &contained.proxy;
        last = eventually("another one serves", || {
            Some(proxy.serving()).filter(|pid| *pid != last)
        });
        assert_eq!(asks(proxy), 200);
    }
    let generation = contained.proxy.generation();
    contained.signal(Signal::HUP);
    eventually("it is reloaded", || {
        (contained.proxy.generation() == generation + 1).then_some(())
    });
    contained.signal(Signal::TERM);
    assert!(contained.proxy.wait_for_exit().success());
}

#[test]
fn the_container_ends_as_the_one_that_serves_does() {
    let endpoint = Endpoint::echo();
    let Some(mut contained) = Contained::start(&endpoint) else {
        return;
    };
    contained.proxy.upgrade_well();
    let first = u64::try_from(contained.first.as_raw_nonzero().get()).expect("an id");
    let serving = eventually("it has one child", || children_of(first).pop());
    end_at_once(serving);
    let status = contained.proxy.wait_for_exit_of_any_kind();
    assert_eq!(status.code(), Some(128 + 9));
}
