use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::*;
use crate::snapshot::Routing;

/// Sends a request on a connection of its own and returns the answer, head and body.
fn send(address: SocketAddr, method: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether the address comes to accept, or to refuse, within two seconds.
fn comes_to_accept(address: SocketAddr, accepts: bool) -> bool {
    (0..200).any(|_| {
        let same = TcpStream::connect(address).is_ok() == accepts;
        if !same {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        same
    })
}

fn story<'a>(fleet: &'a Fleet, home: &'a std::path::Path) -> Story<'a> {
    Story {
        port: 8080,
        admin_port: 9901,
        home,
        samples: fleet.samples(),
        switchboard: fleet.switchboard(),
        program: "evenkeel".to_owned(),
    }
}

#[test]
fn a_port_in_use_is_left_alone() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_ne!(free_port(port).unwrap(), port);
}

#[test]
fn the_directory_goes_with_its_value() {
    let home = Home::create().unwrap();
    let path = home.path.clone();
    fs::write(path.join("file"), "text").unwrap();
    drop(home);
    assert!(!path.exists());
}

#[test]
fn its_configuration_is_right_before_and_after_what_it_suggests() {
    let fleet = Fleet::start().unwrap();
    let home = std::env::temp_dir();
    let text = story(&fleet, &home).config();
    let with_route = text.replace("\n#[", "\n[").replace("\n#path", "\npath");
    let with_route = with_route.replace("\n#respond", "\nrespond");
    assert_ne!(text, with_route);
    for text in [&text, &with_route] {
        let outcome = config::load_text("demo", text, &config::Nothing);
        assert!(outcome.diagnostics.is_empty(), "{:?}", outcome.diagnostics);
        let config = outcome.config.unwrap();
        assert!(Routing::new(&config).unwrap().failures().is_empty());
    }
    let broken = text.replace("\nbalance", "\nbalnce");
    let outcome = config::load_text("demo", &broken, &config::Nothing);
    assert_eq!(outcome.errors(), 1);
}

#[test]
fn its_page_names_what_can_be_typed() {
    let fleet = Fleet::start().unwrap();
    let home = std::env::temp_dir();
    let output = Output::to(io::sink(), io::sink());
    let page = story(&fleet, &home).opening(&output);
    for part in [
        "curl -s http://127.0.0.1:8080/",
        "/-/stop/a1",
        "evenkeel reload -c ",
        "kill -HUP ",
        &fleet.samples()[3].address.to_string(),
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[test]
fn an_endpoint_that_is_stopped_is_gone_until_it_is_started() {
    let fleet = Fleet::start().unwrap();
    let address = fleet.samples()[0].address;
    let switchboard = fleet.switchboard();
    let answer = send(address, "GET", "/").unwrap();
    assert!(
        answer.contains("hello from a1 in eu-1a, its request number 1"),
        "{answer}"
    );
    assert!(
        send(address, "GET", "/healthz")
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
    assert_eq!(fleet.served(), [1, 0, 0, 0]);

    let answer = send(switchboard, "POST", "/-/stop/eu-1a").unwrap();
    assert!(
        answer.ends_with("a1 in eu-1a is gone\na2 in eu-1a is gone\n"),
        "{answer}"
    );
    assert!(comes_to_accept(address, false));
    assert!(comes_to_accept(fleet.samples()[2].address, true));
    let answer = send(switchboard, "POST", "/-/start/a1").unwrap();
    assert!(answer.ends_with("a1 in eu-1a is back\n"), "{answer}");
    assert!(comes_to_accept(address, true));
    assert!(comes_to_accept(fleet.samples()[1].address, false));

    for (method, path, status) in [
        ("POST", "/-/stop/c9", "404"),
        ("POST", "/elsewhere", "404"),
        ("GET", "/-/stop/a1", "405"),
    ] {
        let answer = send(switchboard, method, path).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    drop(fleet);
    assert!(TcpStream::connect(switchboard).is_err());
}
