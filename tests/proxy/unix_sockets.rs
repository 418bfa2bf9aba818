//! Unix sockets: listeners and endpoints at them, their files, and what is said of clients that
//! have no address.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::unix::{LocalEndpoint, Sockets, client, is_there, wait_until_gone};

/// An HTTP listener at one Unix socket, in front of an endpoint at another.
fn config(bind: &str, endpoint: &str, lines: &str) -> String {
    format!("[listener.web]\nbind = \"{bind}\"\nto = [\"{endpoint}\"]\n{lines}\n")
}

fn sends(client: &mut Client<UnixStream>, fields: &str) -> String {
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    let response = client.response();
    assert_eq!(response.status, 200);
    response.body.text().to_ascii_lowercase()
}

fn mode(path: &Path) -> u32 {
    let file = fs::symlink_metadata(path).expect("a file");
    assert!(file.file_type().is_socket());
    file.permissions().mode() & 0o777
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).expect("a file").ino()
}

#[test]
fn requests_come_and_go_by_paths_and_abstract_names() {
    let sockets = Sockets::new("ways");
    let name = format!("@evenkeel-test-{}", std::process::id());
    let (in_front, behind) = (format!("{name}-front"), format!("{name}-behind"));
    let at_path = LocalEndpoint::at(&sockets.path("app.sock"));
    let at_name = LocalEndpoint::at(Path::new(&behind));
    for (bind, path, endpoint, served) in [
        (
            sockets.written("web.sock"),
            sockets.path("web.sock"),
            sockets.written("app.sock"),
            &at_path,
        ),
        (
            format!("unix:{in_front}"),
            PathBuf::from(&in_front),
            format!("unix:{behind}"),
            &at_name,
        ),
    ] {
        let proxy = Evenkeel::start(&config(&bind, &endpoint, ""));
        let mut one = client(&path);
        for _ in 0..3 {
            assert_eq!(one.get("/").status, 200);
        }
        assert_eq!(served.connections(), 1, "it is used again");
        let listeners = proxy.admin_json("/v1/listeners");
        assert!(listeners.to_string().contains(&bind), "{listeners}");
    }
    assert!(!is_there(Path::new(&in_front)), "gone with the program");
}

#[test]
fn a_client_without_an_address_adds_none() {
    let sockets = Sockets::new("forwarding");
    let _endpoint = LocalEndpoint::at(&sockets.path("app.sock"));
    let (bind, to) = (sockets.written("web.sock"), sockets.written("app.sock"));
    let mut proxy = Evenkeel::start(&config(&bind, &to, "forwarded = true"));
    let path = sockets.path("web.sock");
    let spoofed = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n\
                   X-Forwarded-Proto: https\r\n";
    let seen = sends(&mut client(&path), spoofed);
    assert!(!seen.contains("x-forwarded-for"), "{seen}");
    assert!(!seen.contains("192.0.2.1"), "{seen}");
    assert!(
        seen.contains("forwarded: for=unknown;host=a;proto=http\r\n"),
        "{seen}"
    );
    assert!(seen.contains("x-forwarded-proto: http\r\n"), "{seen}");
    let told = proxy.access_lines(1)[0]["client.address"].clone();
    assert_eq!(told, "unix:");
    // A proxy in front on this machine is believed where that is written.
    let lines = "forwarded = true\ntrusted_proxies = [\"unix\"]";
    proxy.reload(&config(&bind, &to, lines));
    let seen = sends(&mut client(&path), spoofed);
    assert!(seen.contains("x-forwarded-for: 192.0.2.1\r\n"), "{seen}");
    assert!(
        seen.contains("for=192.0.2.1, for=unknown;host=a;proto=https"),
        "{seen}"
    );
    let told = proxy.access_lines(2)[1]["client.address"].clone();
    assert_eq!(told, "192.0.2.1");
    // Networks say nothing about it, not even the one of all.
    proxy.reload(&config(&bind, &to, "trusted_proxies = [\"0.0.0.0/0\"]"));
    let seen = sends(&mut client(&path), spoofed);
    assert!(!seen.contains("192.0.2.1"), "{seen}");
}

#[test]
fn bytes_are_relayed_and_each_half_ends_by_itself() {
    let sockets = Sockets::new("relayed");
    let path = sockets.path("app.sock");
    let listener = UnixListener::bind(&path).expect("a free path");
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut peer = Client::over(stream);
        let all = peer.read_to_end();
        peer.send(&all);
    });
    let proxy = Evenkeel::start(&config(
        &sockets.written("raw.sock"),
        &sockets.written("app.sock"),
        "protocols = [\"tcp\"]",
    ));
    let mut client = client(&sockets.path("raw.sock"));
    let large: Vec<u8> = (0..3_000_000_u32)
        .map(|at| at.to_le_bytes()[at as usize % 3])
        .collect();
    client.send(&large);
    let finished = client.stream().shutdown(std::net::Shutdown::Write);
    finished.expect("an open connection");
    assert!(
        client.read_to_end() == large,
        "the bytes changed on their way"
    );
    served.join().expect("no panic");
    eventually("it is counted", || {
        let ok = proxy.metric("evenkeel_l4_sessions_total", &["result=\"ok\""]);
        (ok == 1).then_some(())
    });
}

#[test]
fn many_workers_share_one_socket() {
    let sockets = Sockets::new("workers");
    let _endpoint = LocalEndpoint::at(&sockets.path("app.sock"));
    let (bind, to) = (sockets.written("web.sock"), sockets.written("app.sock"));
    let text = |lines| format!("workers = 4\n{}", config(&bind, &to, lines));
    let mut proxy = Evenkeel::start(&text(""));
    let path = sockets.path("web.sock");
    let mut clients: Vec<_> = (0..60).map(|_| client(&path)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    let open = proxy.metric("evenkeel_connections", &["listener=\"web\""]);
    assert_eq!(open, 60);
    proxy.reload(&text("max_fields = 50"));
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200, "nothing was cut");
    }
    let mut more: Vec<_> = (0..60).map(|_| client(&path)).collect();
    for client in &mut more {
        assert_eq!(client.get("/").status, 200);
    }
    let lost = proxy.metric("evenkeel_connections_refused_total", &[]);
    assert_eq!(lost, 0);
}

#[test]
fn the_file_is_for_whom_it_is_written() {
    let sockets = Sockets::new("mode");
    let endpoint = Endpoint::echo();
    let to = endpoint.address().to_string();
    let path = sockets.path("web.sock");
    let text = |lines: &str| config(&sockets.written("web.sock"), &to, lines);
    let mut proxy = Evenkeel::start(&text(""));
    assert_eq!(mode(&path), 0o660);
    let before = inode(&path);
    let mut kept = client(&path);
    assert_eq!(kept.get("/").status, 200);
    proxy.reload(&text("socket = { mode = \"0600\" }"));
    assert_eq!(
        (mode(&path), inode(&path)),
        (0o600, before),
        "the same socket"
    );
    assert_eq!(kept.get("/").status, 200);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        proxy.reload(&text("socket = { owner = \"65534\", group = \"daemon\" }"));
        let file = fs::symlink_metadata(&path).expect("a file");
        assert_eq!((file.uid(), file.gid()), (65_534, 1));
        assert_eq!(mode(&path), 0o660);
        proxy.reload(&text("socket = { owner = \"65534\" }"));
        let file = fs::symlink_metadata(&path).expect("a file");
        assert_eq!((file.uid(), file.gid()), (65_534, 0), "as it was made");
        proxy.reload(&text(""));
        let file = fs::symlink_metadata(&path).expect("a file");
        assert_eq!((file.uid(), file.gid(), inode(&path)), (0, 0, before));
    }
    proxy.write_config(&text("socket = { group = \"no-such-group\" }"));
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("this machine does not know `no-such-group`"),
        "{said}"
    );
    let files = fs::read_dir(path.parent().expect("it has one")).expect("a directory");
    assert_eq!(files.count(), 1, "nothing is left beside it");
    assert_eq!(kept.get("/").status, 200);
}

#[test]
fn what_others_put_beside_it_is_neither_given_away_nor_written_to() {
    let sockets = Sockets::new("beside");
    let endpoint = Endpoint::echo();
    let to = endpoint.address().to_string();
    let text = |lines: &str| config(&sockets.written("web.sock"), &to, lines);
    let mut proxy = Evenkeel::start(&text(""));
    let (precious, link) = (
        sockets.path("precious"),
        sockets.path(&format!(".{:x}", proxy.id())),
    );
    fs::write(&precious, "kept").expect("a writable directory");
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o600)).expect("our own");
    std::os::unix::fs::symlink(&precious, &link).expect("a free path");
    let own = rustix::process::geteuid().as_raw();
    let options = format!("socket = {{ owner = \"{own}\", mode = \"0666\" }}");
    proxy.reload(&text(&options));
    proxy.reload(&text(&options).replace("web.sock", "other.sock"));
    let path = sockets.path("other.sock");
    assert_eq!(client(&path).get("/").status, 200);
    assert_eq!(mode(&path), 0o666);
    assert_eq!(fs::read_to_string(&precious).expect("it is there"), "kept");
    let kept = fs::metadata(&precious).expect("it is there").permissions();
    assert_eq!(kept.mode() & 0o777, 0o600);
    assert!(
        fs::symlink_metadata(&link)
            .expect("it is there")
            .is_symlink()
    );
}

#[test]
fn a_file_that_is_gone_comes_back_by_a_reload() {
    let sockets = Sockets::new("gone");
    let endpoint = Endpoint::echo();
    let to = endpoint.address().to_string();
    let path = sockets.path("web.sock");
    let text = |most| {
        let lines = format!("max_connections = {most}");
        format!(
            "workers = 2\n{}",
            config(&sockets.written("web.sock"), &to, &lines)
        )
    };
    let mut proxy = Evenkeel::start(&text(1));
    let mut kept = client(&path);
    assert_eq!(kept.get("/").status, 200);
    fs::remove_file(&path).expect("it is there");
    proxy.reload(&text(1));
    assert!(client(&path).is_closed(), "the one that is there counts");
    proxy.reload(&text(2));
    assert_eq!(client(&path).get("/").status, 200);
    assert_eq!(kept.get("/").status, 200, "nothing was cut");
    // Somebody else has taken its place, and keeps it.
    fs::remove_file(&path).expect("it is there");
    let theirs = UnixListener::bind(&path).expect("a free path");
    proxy.write_config(&text(3));
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody listens on"), "{said}");
    assert_eq!(kept.get("/").status, 200);
    drop((theirs, proxy));
    assert!(path.exists(), "it was not ours to remove");
}

#[test]
fn an_abstract_name_has_one_owner() {
    let name = format!("@evenkeel-test-{}-owned", std::process::id());
    let endpoint = Endpoint::echo();
    let to = endpoint.address().to_string();
    let theirs = LocalEndpoint::at(Path::new(&name));
    let mut proxy = Evenkeel::start(&config("@web", &to, ""));
    proxy.write_config(&config(&format!("unix:{name}"), &to, ""));
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody listens on"), "{said}");
    assert_eq!(client(Path::new(&name)).get("/").status, 200);
    assert_eq!(theirs.connections(), 1);
    assert_eq!(proxy.client().get("/").status, 200, "the old one goes on");
}

#[test]
fn the_file_lives_as_long_as_its_listener() {
    let sockets = Sockets::new("life");
    let endpoint = Endpoint::echo();
    let to = endpoint.address().to_string();
    let (path, other) = (sockets.path("web.sock"), sockets.path("other.sock"));
    let web = config(&sockets.written("web.sock"), &to, "");
    let both = format!("{web}{}", web.replace("web", "other"));
    let mut proxy = Evenkeel::start(&web);
    let before = inode(&path);
    proxy.reload(&both);
    assert_eq!(inode(&path), before);
    let mut kept = client(&other);
    assert_eq!(kept.get("/").status, 200);
    proxy.reload(&web);
    wait_until_gone(&other);
    assert_eq!(inode(&path), before);
    proxy.reload(&both);
    assert_eq!(client(&other).get("/").status, 200, "and back again");
    proxy.signal(Signal::TERM);
    let status = proxy.wait_for_exit();
    assert!(status.success());
    assert!(!path.exists() && !other.exists());
}

#[test]
fn what_a_killed_program_left_behind_is_replaced() {
    let sockets = Sockets::new("stale");
    let endpoint = Endpoint::echo();
    let to = endpoint.address().to_string();
    let path = sockets.path("web.sock");
    let mut proxy = Evenkeel::start(&config(&sockets.written("web.sock"), &to, ""));
    proxy.kill();
    assert!(path.exists() && !is_there(&path));
    proxy.restart();
    assert_eq!(client(&path).get("/").status, 200);
}

#[test]
fn nobody_elses_socket_is_taken() {
    let sockets = Sockets::new("foreign");
    let endpoint = Endpoint::echo();
    let to = endpoint.address().to_string();
    let mut proxy = Evenkeel::start(&config("@web", &to, ""));
    let theirs = sockets.path("theirs.sock");
    let listener = UnixListener::bind(&theirs).expect("a free path");
    let busy = sockets.path("busy.sock");
    // Nobody accepts there, and its queue is full: it must not be waited for, nor be replaced.
    let full = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let at = SockAddr::unix(&busy).expect("a short path");
    full.bind(&at)
        .and_then(|()| full.listen(0))
        .expect("a free path");
    let waiting = UnixStream::connect(&busy).expect("there is room for one");
    let file = sockets.path("file");
    fs::write(&file, "precious").expect("a writable directory");
    for (name, why) in [
        ("theirs.sock", "somebody listens on"),
        ("busy.sock", "somebody listens on"),
        ("file", "exists and is no socket"),
        ("missing/web.sock", "does not exist"),
    ] {
        proxy.write_config(&config(&sockets.written(name), &to, ""));
        let output = proxy.command(&["reload"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(
            said.contains("listener `web`: ") && said.contains(why),
            "{name}: {said}"
        );
        assert_eq!(proxy.client().get("/").status, 200, "the old one goes on");
    }
    assert_eq!(fs::read_to_string(&file).expect("it is there"), "precious");
    assert!(theirs.exists() && busy.exists());
    drop((listener, waiting, full));
    // Now they are stale.
    proxy.reload(&config(&sockets.written("theirs.sock"), &to, ""));
    assert_eq!(client(&theirs).get("/").status, 200);
}

#[test]
fn an_endpoint_at_a_path_is_checked() {
    let sockets = Sockets::new("health");
    let path = sockets.path("app.sock");
    let text = |probe: &str| {
        format!(
            "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
             [upstream.app]\nendpoints = [\"{0}\"]\n\
             health = {{ {probe}, interval = \"20ms\", timeout = \"20ms\", unhealthy_after = 1, healthy_after = 1 }}\n",
            sockets.written("app.sock")
        )
    };
    let name = sockets.written("app.sock");
    let health = |proxy: &Evenkeel, wanted: &str| {
        eventually(&format!("it is {wanted}"), || {
            (proxy.endpoint("app", &name)["state"] == wanted).then_some(())
        });
    };
    let mut proxy = Evenkeel::start(&text("http = {}"));
    health(&proxy, "unhealthy");
    let endpoint = LocalEndpoint::at(&path);
    health(&proxy, "healthy");
    assert_eq!(proxy.client().get("/").status, 200);
    fs::remove_file(&path).expect("it is there");
    health(&proxy, "unhealthy");
    proxy.reload(&text("tcp = {}"));
    health(&proxy, "unhealthy");
    let again = LocalEndpoint::at(&path);
    health(&proxy, "healthy");
    // The kernel has taken a connection before the endpoint counts it.
    eventually("both were asked", || {
        (endpoint.connections() > 0 && again.connections() > 0).then_some(())
    });
}

#[test]
fn a_burst_waits_for_room_in_the_queue_of_an_endpoint() {
    let sockets = Sockets::new("burst");
    let path = sockets.path("app.sock");
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let at = SockAddr::unix(&path).expect("a short path");
    socket
        .bind(&at)
        .and_then(|()| socket.listen(1))
        .expect("a free path");
    let text = config("@web", &sockets.written("app.sock"), "");
    let proxy = Evenkeel::start(&format!("{text}[defaults.timeouts]\nconnect = \"10s\"\n"));
    let mut clients: Vec<_> = (0..12).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    eventually("all are under way", || {
        let under_way = proxy.metric("evenkeel_http_requests_in_flight", &[]);
        (under_way == 12).then_some(())
    });
    let endpoint = LocalEndpoint::behind(socket.into());
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(endpoint.connections(), 12);
}

#[test]
fn a_drain_lets_requests_end() {
    let sockets = Sockets::new("drain");
    let path = sockets.path("app.sock");
    let listener = UnixListener::bind(&path).expect("a free path");
    let text = config(
        &sockets.written("web.sock"),
        &sockets.written("app.sock"),
        "",
    );
    let mut proxy = Evenkeel::start(&format!("{text}[shutdown]\ngrace = \"0s\"\n"));
    let mut one = client(&sockets.path("web.sock"));
    one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (stream, _) = listener.accept().expect("the request comes");
    proxy.signal(Signal::TERM);
    wait_until_gone(&sockets.path("web.sock"));
    let mut peer = Client::over(stream);
    drop(peer.head().expect("a request"));
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(one.response().body.text(), "ok");
    assert!(proxy.wait_for_exit().success());
}
