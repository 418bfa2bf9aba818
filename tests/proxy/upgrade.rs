//! Upgrades: another process takes the place of one that serves, and nobody notices; or it does
//! not, and nobody notices either.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use crate::cases::get;
use crate::support::client::{Client, connected};
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::udp::{UdpClient, UdpEndpoint};
use crate::support::unix::{self, Sockets};
use crate::support::upgrade::{children_of, end, end_at_once, wait_until_ended};

fn start(endpoint: &Endpoint, more: &str) -> Evenkeel {
    let address = endpoint.address();
    Evenkeel::start_replaceable(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n{more}"
    ))
}

fn asks(proxy: &Evenkeel) -> u16 {
    proxy.client().send(get("")).response().status
}

#[test]
fn another_process_serves_and_the_old_one_ends() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "");
    let before = (proxy.serving(), proxy.generation());
    assert_eq!(asks(&proxy), 200);
    let mut rests = proxy.client();
    assert_eq!(rests.get("/").status, 200);
    let pid = proxy.upgrade_well();
    assert_ne!(pid, before.0);
    assert_eq!((proxy.serving(), proxy.generation()), (pid, before.1 + 1));
    assert_eq!(asks(&proxy), 200);
    // What was counted goes on, with what the old one still counts.
    assert_eq!(rests.get("/").status, 200);
    assert!(proxy.wait_for_exit().success());
    eventually("all is counted", || {
        let counted = proxy.metric("evenkeel_http_requests_total", &["code=\"200\""]);
        assert!(counted <= 4, "{counted}");
        (counted == 4).then_some(())
    });
    let log = proxy.log();
    assert!(log.contains("nothing was cut"), "{log}");
    assert_eq!(asks(&proxy), 200);
    let succeeded = proxy.metric("evenkeel_upgrades_total", &["result=\"succeeded\""]);
    assert_eq!(succeeded, 1);
}

#[test]
fn a_signal_asks_for_it_too_and_again() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "");
    let first = proxy.serving();
    proxy.signal(Signal::USR2);
    let second = eventually("another process serves", || {
        Some(proxy.serving()).filter(|pid| *pid != first)
    });
    assert!(proxy.wait_for_exit().success());
    let mut last = second;
    for _ in 0..3 {
        let next = proxy.upgrade_well();
        assert_eq!(asks(&proxy), 200);
        wait_until_ended(last);
        last = next;
    }
}

#[test]
fn what_is_open_goes_on_and_what_rests_is_told_to_go() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/chat" {
                peer.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                           Upgrade: websocket\r\n\r\n",
                );
                return peer.send_all_back();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut proxy = start(&endpoint, "");
    let mut chat = proxy.client();
    chat.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(chat.head().expect("an answer").status().ok(), Some(101));
    let mut rests = proxy.client();
    assert_eq!(rests.get("/").status, 200);
    let old = proxy.serving();
    proxy.upgrade_well();

    chat.send("still here");
    assert_eq!(chat.bytes(10), b"still here");
    let farewell = rests.get("/");
    assert_eq!(farewell.status, 200);
    assert_eq!(farewell.head.list("connection"), ["close"]);
    assert!(rests.is_closed());
    let mut fresh = proxy.client();
    assert_eq!(fresh.get("/").head.list("connection"), Vec::<String>::new());
    // And through another one.
    proxy.upgrade_well();
    chat.send("and here");
    assert_eq!(chat.bytes(8), b"and here");
    drop(chat);
    assert!(proxy.wait_for_exit().success());
    wait_until_ended(old);
}

#[test]
fn the_admin_socket_is_for_whom_the_new_one_says() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "");
    let path = proxy.socket();
    let mode = || {
        fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(), 0o600);
    let (address, socket) = (endpoint.address(), path.display());
    proxy.write_config(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n\
         [admin]\nsocket = \"{socket}\"\nhttp = \"@admin\"\nmode = \"0640\"\n"
    ));
    proxy.upgrade_well();
    assert_eq!(mode(), 0o640);
    assert!(proxy.command(&["status"]).status.success());
}

/// Nobody else would see it: a service manager watches its own children, and this is the old one's.
#[test]
fn when_the_new_one_dies_the_old_one_does_not_stay_behind() {
    let endpoint = Endpoint::start(|peer| {
        if peer.request().is_some() {
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                       Upgrade: websocket\r\n\r\n",
            );
            peer.send_all_back();
        }
    });
    let mut proxy = start(&endpoint, "");
    let mut chat = proxy.client();
    chat.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(chat.head().expect("an answer").status().ok(), Some(101));
    end_at_once(proxy.upgrade_well());
    assert_eq!(proxy.wait_for_exit().code(), Some(1));
    proxy.kill(); // as it is to be: it ended with 1
}

#[test]
fn who_cannot_take_over_changes_nothing() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "[upgrade]\nready_within = \"1s\"\n");
    let (pid, generation) = (proxy.serving(), proxy.generation());
    let mut rests = proxy.client();
    assert_eq!(rests.get("/").status, 200);
    let scripts = [
        ("#!/bin/sh\nexit 3\n", 1, "exit status: 3"),
        ("#!/bin/sh\nkill -9 $$\n", 1, "signal: 9"),
        ("#!/no/such/shell\n", 1, "cannot be started"),
        ("\0no program at all", 1, "cannot be started"),
        ("#!/bin/sh\nexec sleep 100\n", 8, "not ready within 1s"),
        (
            "#!/bin/bash\nprintf nonsense >&$EVENKEEL_UPGRADE_FD\nexec sleep 100\n",
            1,
            "did not speak as one of ours",
        ),
        (
            "#!/bin/bash\nprintf r >&$EVENKEEL_UPGRADE_FD\nexec sleep 100\n",
            1,
            "did not speak as one of ours",
        ),
    ];
    let mut failures = 0;
    for (script, code, why) in scripts {
        proxy.replace_program(script);
        let failed = proxy.upgrade();
        let told = failed.report["why"].as_str().unwrap_or_default();
        assert_eq!(failed.code, code, "{script}: {failed:?}");
        assert!(told.contains(why), "{script}: {failed:?}");
        failures += 1;
        let events = proxy.events("upgrade_failed");
        assert_eq!(events.len(), failures, "{script}");
        let last = events.last().and_then(|event| event["why"].as_str());
        assert_eq!(last, Some(told));
        // On a connection that was there before, and on a new one.
        assert_eq!(rests.get("/").status, 200, "{script}");
        assert_eq!(asks(&proxy), 200, "{script}");
        assert_eq!((proxy.serving(), proxy.generation()), (pid, generation));
    }
    fs::remove_file(proxy.path("program")).expect("a file");
    let failed = proxy.upgrade();
    let told = failed.report["why"].to_string();
    assert!(
        told.contains("cannot be started") && told.contains("program"),
        "{failed:?}"
    );
    fs::write(proxy.path("program"), "").expect("a writable directory");
    let closed = fs::Permissions::from_mode(0o600);
    fs::set_permissions(proxy.path("program"), closed).expect("our own file");
    let failed = proxy.upgrade();
    assert!(
        failed.report["why"].to_string().contains("denied"),
        "{failed:?}"
    );
    let count = |result| {
        let result = format!("result=\"{result}\"");
        proxy.metric("evenkeel_upgrades_total", &[&result])
    };
    assert_eq!((count("failed"), count("late")), (8, 1));

    proxy.put_program_back();
    assert_ne!(proxy.upgrade_well(), pid);
    assert_eq!(rests.get("/").head.list("connection"), ["close"]);
    assert_eq!(asks(&proxy), 200);
}

#[test]
fn a_broken_file_is_told_with_its_mistake_and_changes_nothing() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "");
    let pid = proxy.serving();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("a bound socket");
    let broken = [
        (
            "[listener.web]\nbind = \"@web\"\nnonsense = 1\n".to_owned(),
            "nonsense",
        ),
        (
            format!(
                "[listener.web]\nbind = \"@web\"\nto = [\"127.0.0.1:1\"]\n\
                 [listener.more]\nbind = \"{taken}\"\nto = [\"127.0.0.1:1\"]\n"
            ),
            "in use",
        ),
    ];
    for (config, why) in broken {
        proxy.write_config(&config);
        let failed = proxy.upgrade();
        assert_eq!(failed.code, 1);
        assert!(failed.report["why"].to_string().contains(why), "{failed:?}");
        assert_eq!((proxy.serving(), asks(&proxy)), (pid, 200));
    }
    // A good one is taken with the upgrade.
    let address = endpoint.address();
    proxy.write_config(&format!(
        "[listener.other]\nbind = \"@web\"\nto = [\"{address}\"]\n\
         [listener.more]\nbind = \"@more\"\nto = [\"{address}\"]\n"
    ));
    proxy.upgrade_well();
    assert_eq!(asks(&proxy), 200);
    assert_eq!(Client::connect(proxy.address("more")).get("/").status, 200);
    // And so is one that has less.
    proxy.write_config(&format!(
        "[listener.more]\nbind = \"@more\"\nto = [\"{address}\"]\n"
    ));
    proxy.upgrade_well();
    let web = proxy.address("web");
    eventually("nobody listens there any more", || {
        std::net::TcpStream::connect(web).is_err().then_some(())
    });
    assert_eq!(Client::connect(proxy.address("more")).get("/").status, 200);
}

#[test]
fn fewer_workers_wait_for_a_start_and_more_do_not() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "");
    let address = endpoint.address();
    let mut with = |workers: u32| {
        proxy.write_config(&format!(
            "workers = {workers}\n[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
        ));
        let upgraded = proxy.upgrade();
        assert_eq!(upgraded.code, 0, "{upgraded:?}");
        for _ in 0..20 {
            assert_eq!(asks(&proxy), 200);
        }
        let workers = proxy.admin_json("/v1/info")["workers"].as_u64();
        (workers, upgraded.report["notes"].to_string())
    };
    assert_eq!(with(3), (Some(3), "[]".to_owned()));
    let (workers, notes) = with(2);
    assert_eq!(workers, Some(3));
    assert!(notes.contains("3 workers go on, not 2"), "{notes}");
}

#[test]
fn a_unix_socket_keeps_its_file() {
    let endpoint = Endpoint::echo();
    let sockets = Sockets::new("upgraded");
    let (path, written) = (sockets.path("web.sock"), sockets.written("web.sock"));
    let address = endpoint.address();
    let mut proxy = Evenkeel::start_replaceable(&format!(
        "[listener.web]\nbind = \"{written}\"\nto = [\"{address}\"]\n"
    ));
    let mut rests = unix::client(&path);
    assert_eq!(rests.get("/").status, 200);
    let pid = proxy.upgrade_well();
    assert_eq!(rests.get("/").head.list("connection"), ["close"]);
    assert!(proxy.wait_for_exit().success());
    assert_eq!(unix::client(&path).get("/").status, 200);
    assert_eq!(
        fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777,
        0o660
    );
    // A failure leaves it as well.
    proxy.replace_program("#!/bin/sh\nexit 1\n");
    assert_eq!(proxy.upgrade().code, 1);
    assert_eq!(unix::client(&path).get("/").status, 200);
    // With the last one it is gone.
    end(pid);
    unix::wait_until_gone(&path);
    // That of the admin API as well, in whichever order.
    unix::wait_until_gone(&proxy.socket());
}

#[test]
fn clients_of_datagrams_are_heard_by_the_new_one() {
    let endpoint = UdpEndpoint::sends_back();
    let address = endpoint.address();
    let proxy = Evenkeel::start_replaceable(&format!(
        "[listener.dns]\nbind = \"@dns\"\nprotocols = [\"udp\"]\nupstream = \"dns\"\n\
         [upstream.dns]\nendpoints = [\"{address}\"]\n"
    ));
    let client = UdpClient::of(proxy.address("dns"));
    assert_eq!(client.ask("one"), "one");
    for round in 0..3 {
        proxy.upgrade_well();
        for number in 0..20 {
            let text = format!("{round}/{number}");
            assert_eq!(client.ask(&text), text);
            assert_eq!(UdpClient::of(proxy.address("dns")).ask(&text), text);
        }
    }
}

#[test]
fn what_an_endpoint_still_answers_goes_out() {
    let endpoint = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = endpoint.local_addr().expect("a bound socket");
    let proxy = Evenkeel::start_replaceable(&format!(
        "[listener.dns]\nbind = \"@dns\"\nprotocols = [\"udp\"]\nupstream = \"dns\"\n\
         [upstream.dns]\nendpoints = [\"{address}\"]\n"
    ));
    let client = UdpClient::of(proxy.address("dns"));
    client.send("early");
    let mut buffer = [0; 100];
    let (_, session) = endpoint.recv_from(&mut buffer).expect("it is sent on");
    proxy.upgrade_well();
    endpoint.send_to(b"late", session).expect("it leaves");
    assert_eq!(client.receive(), b"late");
}

#[test]
fn the_admin_api_goes_on_at_its_place() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "");
    let mut admin = Client::connect(proxy.address("admin"));
    admin.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(admin.response().status, 200);
    let inode = fs::metadata(proxy.socket()).map(|file| std::os::unix::fs::MetadataExt::ino(&file));
    for _ in 0..3 {
        proxy.upgrade_well();
        assert_eq!(proxy.command(&["status"]).status.code(), Some(0));
        assert_eq!(proxy.admin("/readyz").status, 200);
    }
    let now = fs::metadata(proxy.socket()).map(|file| std::os::unix::fs::MetadataExt::ino(&file));
    assert_eq!(inode.expect("it is there"), now.expect("it is there"));
}

#[test]
fn a_second_one_is_refused_while_one_runs_and_a_reload_waits() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "[upgrade]\nready_within = \"3s\"\n");
    proxy.replace_program("#!/bin/sh\nexec sleep 100\n");
    std::thread::scope(|scope| {
        let late = scope.spawn(|| proxy.upgrade());
        eventually("it runs", || proxy.events("upgrade_started").pop());
        let refused = proxy.upgrade();
        assert_eq!(refused.code, 1);
        assert!(
            refused.report["why"].to_string().contains("under way"),
            "{refused:?}"
        );
        let generation = proxy.generation();
        assert!(proxy.command(&["reload"]).status.success());
        assert_eq!(proxy.events("upgrade_failed").len(), 1, "it did not wait");
        assert_eq!(proxy.generation(), generation + 1);
        assert_eq!(late.join().expect("no panic").code, 8);
    });
}

#[test]
fn connections_that_nobody_has_accepted_are_served() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "");
    let web = proxy.address("web");
    // Connections come all the time, faster than they are let in.
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..100)
                        .map(|_| Client::over(connected(web)).send(get("")).response().status)
                        .filter(|status| *status == 200)
                        .count()
                })
            })
            .collect();
        for _ in 0..3 {
            proxy.upgrade_well();
        }
        let served: usize = clients
            .into_iter()
            .map(|one| one.join().expect("served"))
            .sum();
        assert_eq!(served, 800);
    });
}

#[test]
fn nobody_at_the_socket_is_exit_code_3() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "");
    proxy.kill();
    assert_eq!(proxy.command(&["upgrade"]).status.code(), Some(3));
}

#[test]
fn one_that_is_killed_on_its_way_is_as_if_it_had_never_been() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "");
    let (pid, generation) = (proxy.serving(), proxy.generation());
    // It reads its configuration, and goes on reading.
    let config = proxy.path("evenkeel.toml");
    fs::remove_file(&config).expect("a file");
    let made = Command::new("mkfifo").arg(&config).status();
    assert!(made.expect("it is installed").success());
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| {
            // The command itself must not read that file: it has the socket's name.
            let arguments = ["upgrade", "--json", "--config", "/nonexistent"];
            proxy.command(&arguments)
        });
        let child = eventually("there is another process", || children_of(pid).pop());
        end_at_once(child);
        let output = upgrade.join().expect("no panic");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("signal: 9"), "{said}");
    });
    assert_eq!((proxy.serving(), proxy.generation()), (pid, generation));
    assert_eq!(asks(&proxy), 200);
    assert_eq!(proxy.events("upgrade_failed").len(), 1);
}

#[test]
fn what_is_known_of_endpoints_goes_over() {
    let good = [(); 3].map(|()| Endpoint::echo());
    let [one, two, three] = good.each_ref().map(Endpoint::address);
    let bad = Endpoint::answers("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
    let proxy = Evenkeel::start_replaceable(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = [\"{}\", \
         \"{one}\", \"{two}\", \"{three}\"]\n",
        bad.address()
    ));
    let bad = bad.address().to_string();
    eventually("it is ejected", || {
        asks(&proxy);
        (proxy.endpoint("app", &bad)["state"] == "ejected").then_some(())
    });
    proxy.upgrade_well();
    assert_eq!(proxy.endpoint("app", &bad)["state"], "ejected");
    assert_eq!(proxy.events("state_restored").len(), 1);
    for _ in 0..10 {
        assert_eq!(asks(&proxy), 200);
    }
}
