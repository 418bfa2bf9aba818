//! The hellos of clients that are told apart by name: in any pieces, of many kinds, by halves, and
//! those that are none.

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Hello, listener, records};
use crate::tls::{HANDSHAKES, handshakes};

/// The listener `web`, which ends TLS for `own.test` and passes `db.test` through, and `raw`, which
/// relays `db.test` and nothing else; with these lines in the table `tls` of `web`.
fn start(authority: &Authority, db: &Endpoint, own: &Endpoint, lines: &str) -> Evenkeel {
    let (db, web) = (db.address(), listener(own.address(), &["a"], lines));
    let files = authority.certify(&["own.test"]).files("a");
    let config = format!(
        "{web}[listener.raw]\nbind = \"@raw\"\nprotocols = [\"tcp\"]\n\
         [route.web]\nlistener = \"web\"\nserver_name = [\"db.test\", \"*.db.test\"]\n\
         upstream = \"db\"\n\
         [route.raw]\nlistener = \"raw\"\nserver_name = [\"db.test\"]\nupstream = \"db\"\n\
         [upstream.db]\nendpoints = [\"{db}\"]\n"
    );
    Evenkeel::start_among(&files, &config)
}

fn hellos(proxy: &Evenkeel, listener: &str, result: &str) -> u64 {
    let listener = format!("listener=\"{listener}\"");
    let result = format!("result=\"{result}\"");
    proxy.metric("evenkeel_tls_hellos_total", &[&listener, &result])
}

/// Something behind its length, which has so many bytes.
fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - bytes..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, content)].concat()
}

/// `server_name` (RFC 6066 §3).
fn server_name(name: &str) -> Vec<u8> {
    let entry = [&[0][..], &vector(2, name.as_bytes())].concat();
    extension(0, &vector(2, &entry))
}

/// A `ClientHello` with these suites and extensions (RFC 8446 §4.1.2).
fn message(suites: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &vector(1, &[1; 32]),
        &vector(2, suites),
        &vector(1, &[0]),
        &vector(2, &extensions.concat()),
    ];
    [&[1][..], &vector(3, &body.concat())].concat()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    records(&message(&[0x13, 1], extensions), 16_384)
}

#[test]
fn pieces_and_records_do_not_matter() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let db = Endpoint::says_within_tls(&certified, &[], "db");
    let own = Endpoint::says("own");
    let proxy = start(&authority, &db, &own, "");
    let address = proxy.address("web");
    for (name, body) in [("db.test", "db"), ("own.test", "own")] {
        let caller = Hello::to(name, &authority).caller();
        for size in [1, 7, 1000] {
            let mut client = caller.begin_in_records(address, size);
            assert_eq!(
                client.get("/").body.text(),
                body,
                "{name}, records of {size}"
            );
            let mut client = caller.begin_in_pieces(address, size, || {});
            assert_eq!(
                client.get("/").body.text(),
                body,
                "{name}, pieces of {size}"
            );
        }
    }
    assert_eq!(hellos(&proxy, "web", "route"), 6);
    assert_eq!(hellos(&proxy, "web", "default"), 6);
}

#[test]
fn what_nobody_knows_does_not_hide_a_name() {
    let authority = Authority::new();
    let (db, own) = (Endpoint::sends_back(), Endpoint::says("own"));
    let proxy = start(&authority, &db, &own, "");
    let grease = [extension(0x3a3a, &[]), extension(0xdada, &[0])];
    let ech = extension(
        0xfe0d,
        &[&[0, 0, 1, 0, 1, 9][..], &[0, 1, 7, 0, 2, 7, 7]].concat(),
    );
    let name = server_name("db.test");
    let padding = extension(21, &[0; 8000]);
    let named = std::slice::from_ref(&name);
    let greased = [&grease[..1], named, &grease[1..]].concat();
    let early = [23, 3, 3, 0, 3, 1, 2, 3];
    for (kind, bytes) in [
        ("plain", hello(named)),
        (
            "GREASE",
            records(&message(&[0xba, 0xba, 0x13, 1], &greased), 300),
        ),
        ("the outer name of ECH", hello(&[ech, name.clone()])),
        ("another case", hello(&[server_name("DB.Test")])),
        ("a name below", hello(&[server_name("a.b.db.test")])),
        ("a large one", hello(&[padding, name.clone()])),
        (
            "early data behind it",
            [&hello(&[name])[..], &early].concat(),
        ),
    ] {
        let mut client = proxy.client();
        client.send(&bytes);
        // Whatever was read, the endpoint gets all of it, and first.
        assert!(client.bytes(bytes.len()) == bytes, "{kind}");
        client.send("more");
        assert_eq!(client.bytes(4), b"more", "{kind}");
    }
    assert_eq!(hellos(&proxy, "web", "route"), 7);
}

#[test]
fn half_a_hello_is_dropped() {
    let authority = Authority::new();
    let (db, own) = (Endpoint::sends_back(), Endpoint::says("own"));
    let limit = "[defaults.timeouts]\ntls_handshake = \"300ms\"";
    let proxy = start(&authority, &db, &own, limit);
    let bytes = hello(&[server_name("db.test")]);
    for listener in ["web", "raw"] {
        let address = proxy.address(listener);
        let mut silent = Client::connect(address);
        let mut half = Client::connect(address);
        half.send(&bytes[..bytes.len() - 1]);
        let mut one = Client::connect(address);
        one.send([22]);
        for client in [&mut silent, &mut half, &mut one] {
            assert!(client.read_to_end().is_empty());
        }
        assert_eq!(hellos(&proxy, listener, "timeout"), 3);
        // One that goes by itself is no fault of ours.
        let mut leaves = Client::connect(address);
        leaves.send(&bytes[..20]).finish();
        assert!(leaves.read_to_end().is_empty());
        assert_eq!(hellos(&proxy, listener, "client_closed"), 1);
    }
    // The limit ends with the hello.
    let mut client = proxy.client();
    client.send(&bytes);
    assert_eq!(client.bytes(bytes.len()), bytes);
    Client::connect(proxy.address("web")).read_to_end();
    client.send("more");
    assert_eq!(client.bytes(4), b"more");
    assert_eq!(db.connections(), 1);
    eventually("nobody else is connected", || {
        let open = proxy.metric("evenkeel_connections", &["listener=\"web\""]);
        (open <= 1).then_some(())
    });
}

#[test]
fn the_handshake_has_what_the_hello_left() {
    let authority = Authority::new();
    let (db, own) = (Endpoint::sends_back(), Endpoint::says("own"));
    let limit = "[defaults.timeouts]\ntls_handshake = \"300ms\"";
    let proxy = start(&authority, &db, &own, limit);
    let mut unfinished = proxy.client();
    let first = Hello::to("own.test", &authority).caller().first_bytes();
    unfinished.send(&first);
    // It answers, and waits for the rest.
    assert!(!unfinished.bytes(100).is_empty());
    unfinished.read_to_end();
    assert_eq!(handshakes(&proxy, "timeout"), 1);
    assert_eq!(hellos(&proxy, "web", "default"), 1);
    assert_eq!(hellos(&proxy, "web", "timeout"), 0);
}

#[test]
fn who_is_passed_through_takes_no_place_of_a_handshake() {
    let authority = Authority::new();
    let (db, own) = (Endpoint::sends_back(), Endpoint::says("own"));
    let proxy = start(&authority, &db, &own, "max_handshakes = 1");
    let bytes = hello(&[server_name("db.test")]);
    let mut halves: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for half in &mut halves {
        half.send(&bytes[..60]);
    }
    let mut passed = proxy.client();
    passed.send(&bytes);
    assert_eq!(passed.bytes(bytes.len()), bytes);
    for _ in 0..3 {
        let mut client = Hello::to("own.test", &authority).begin(proxy.address("web"));
        assert_eq!(client.get("/").body.text(), "own");
    }
    assert_eq!(proxy.metric(HANDSHAKES, &["result=\"shed\""]), 0);
    for half in &mut halves {
        half.send(&bytes[60..]);
        assert_eq!(half.bytes(bytes.len()), bytes);
    }
}

/// What no route can be for goes where clients go that say no name.
#[test]
fn what_is_no_name_goes_to_the_relays_own_target() {
    let (db, own) = (Endpoint::refuses(), Endpoint::sends_back());
    let (db, own) = (db.address(), own.address());
    let proxy = Evenkeel::start(&format!(
        "[listener.raw]\nbind = \"@raw\"\nprotocols = [\"tcp\"]\nto = [\"{own}\"]\n\
         [route.db]\nlistener = \"raw\"\nserver_name = [\"*\"]\nupstream = \"db\"\n\
         [upstream.db]\nendpoints = [\"{db}\"]\n"
    ));
    for name in ["10.0.0.1", "db.test.", "foo-.test"] {
        let sent = hello(&[server_name(name)]);
        let mut client = Client::connect(proxy.address("raw"));
        client.send(&sent);
        assert_eq!(client.bytes(sent.len()), sent, "{name}");
    }
}

#[test]
fn what_cannot_be_read_reaches_no_endpoint() {
    let authority = Authority::new();
    let (db, own) = (Endpoint::sends_back(), Endpoint::says("own"));
    let proxy = start(&authority, &db, &own, "");
    let name = || server_name("db.test");
    let entry = |name: &str| [&[0][..], &vector(2, name.as_bytes())].concat();
    let two = [entry("db.test"), entry("own.test")].concat();
    let bad = [
        b"SSH-2.0-garbage\r\n".to_vec(),
        hello(&[name(), name()]),
        // Nor is one that rustls would take, and that is larger than we read: who is asked for must
        // not depend on what else is said.
        hello(&[name(), extension(21, &vec![0; 20_000])]),
        hello(&[extension(0, &vector(2, &two))]),
        hello(&[server_name("db.test."), server_name("db.test")]),
        hello(&[server_name("db.test\0")]),
        records(
            &[&message(&[0x13, 1], &[name()])[..], &[0; 9]].concat(),
            16_384,
        ),
        [&[22, 3, 1, 0, 0][..], &hello(&[name()])].concat(),
        [&[21, 3, 1, 0, 2, 1, 0][..], &hello(&[name()])].concat(),
        [&[22, 3, 1, 0x40, 1, 1, 0, 0x3f, 0xfd][..], &[0; 16_000]].concat(),
        [&[22, 3, 1, 0x40, 0, 1, 1, 0, 0][..], &[0; 16_000]].concat(),
        vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10],
    ];
    for bytes in &bad {
        for listener in ["web", "raw"] {
            let mut client = Client::connect(proxy.address(listener));
            client.send(bytes).finish();
            let said = client.read_to_end();
            // An alert at most (RFC 8446 §6).
            let fine = matches!(&said[..], [] | [21, 3, _, 0, 2, 1 | 2, _]);
            assert!(
                fine,
                "{listener}: {said:?} to {:?}",
                &bytes[..16.min(bytes.len())]
            );
        }
    }
    // Of a name that is none of theirs, or none at all, `raw` knows nothing either.
    for bytes in [hello(&[]), hello(&[server_name("x.test")])] {
        let mut client = Client::connect(proxy.address("raw"));
        client.send(bytes);
        assert_eq!(client.read_to_end(), [21, 3, 3, 0, 2, 2, 112]);
    }
    assert_eq!(db.connections(), 0);
    assert_eq!(own.connections(), 0);
    assert_eq!(hellos(&proxy, "web", "route"), 0);
    let hello = Hello::to("own.test", &authority);
    assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
}
