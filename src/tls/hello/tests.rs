use std::sync::Arc;

use proptest::prelude::*;
use rustls::client::{EchGreaseConfig, EchMode};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;
use rustls::crypto::hpke::Hpke as _;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

type Read = Result<Option<Hello>, Unreadable>;

/// The name in a hello, if there is one.
type Named = Option<String>;

/// What is done to a message.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

fn read(bytes: &[u8]) -> Read {
    HelloReader::default().read(bytes)
}

/// Shows a reader the bytes up to each of these ends, until it has decided.
fn read_in_steps(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Read {
    let mut reader = HelloReader::default();
    for end in ends {
        match reader.read(&bytes[..end]) {
            Ok(None) => {}
            decided => return decided,
        }
    }
    reader.read(bytes)
}

fn name(read: &Read) -> Option<&str> {
    let hello = read.as_ref().expect("a hello").as_ref();
    hello.expect("all of it").server_name.as_deref()
}

fn malformed(read: &Read) -> bool {
    matches!(read, Err(Unreadable::Malformed(_)))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn vector(length: usize, content: &[u8]) -> Vec<u8> {
    let head = content.len().to_be_bytes();
    [&head[head.len() - length..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector(2, content)].concat()
}

fn host(name: &str) -> Vec<u8> {
    let entry = [&[0][..], &vector(2, name.as_bytes())].concat();
    extension(0, &vector(2, &entry))
}

fn offers(names: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|name| vector(1, name.as_bytes()))
        .collect();
    extension(16, &vector(2, &list))
}

/// Without which rustls takes no hello.
fn signatures() -> Vec<u8> {
    extension(13, &vector(2, &[4, 3]))
}

/// A message with these extensions.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &vector(1, &[1; 32]),
        &vector(2, &[0x13, 1, 0xa, 0xa]),
        &vector(1, &[0]),
        &vector(2, &extensions.concat()),
    ];
    [&[1][..], &vector(3, &body.concat())].concat()
}

/// A message in records of at most this size.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part| [&[22, 3, 1][..], &vector(2, part)].concat();
    message.chunks(size).flat_map(record).collect()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    records(&message(extensions), LARGEST_RECORD)
}

/// What rustls makes of it: whether it is a hello, and with which name.
fn by_rustls(bytes: &[u8]) -> Option<Named> {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    loop {
        let count = acceptor.read_tls(&mut rest).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_owned));
        }
        if count == 0 {
            return None;
        }
    }
}

fn client(name: &str, alpn: &[&str], greases: bool) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = if greases {
        let suite = DH_KEM_X25519_HKDF_SHA256_AES_128;
        let (public, _) = suite.generate_key_pair().expect("a key");
        config.with_ech(EchMode::Grease(EchGreaseConfig::new(suite, public)))
    } else {
        config.with_safe_default_protocol_versions()
    };
    let mut config = config
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut sent = Vec::new();
    client.write_tls(&mut sent).expect("memory");
    sent
}

#[test]
fn those_of_real_clients_are_read() {
    for (hex, alpn) in [
        (OPENSSL, &["h2", "http/1.1"][..]),
        (OPENSSL_1_2, &[]),
        (CURL, &["h2", "http/1.1"]),
    ] {
        let bytes = bytes(hex);
        let read = read(&bytes);
        assert_eq!(name(&read), Some("db.example.com"));
        let hello = read.expect("a hello").expect("all of it");
        let offered: Vec<_> = hello.protocols().map(String::from_utf8_lossy).collect();
        assert_eq!(offered, alpn);
        assert_eq!(by_rustls(&bytes), Some(Some("db.example.com".to_owned())));
    }
    for greases in [false, true] {
        let sent = client("Db.Example.com", &["h2"], greases);
        assert_eq!(name(&read(&sent)), Some("db.example.com"), "{greases}");
        let sent = client("10.0.0.1", &[], greases);
        assert_eq!(name(&read(&sent)), None, "{greases}");
    }
}

#[test]
fn what_nobody_knows_is_passed_over() {
    let grease = [extension(0x0a0a, &[]), extension(0x1a1a, &[0])];
    let ech = extension(0xfe0d, &[0, 0, 1, 0, 1, 9, 0, 0, 0, 0]);
    let all = [&grease[..1], &[host("a.b"), ech], &grease[1..]].concat();
    assert_eq!(name(&read(&hello(&all))), Some("a.b"));
    let offers = [offers(&["\u{a}\u{a}", "h2"])];
    let hello = read(&hello(&offers)).expect("a hello").expect("all of it");
    assert!(hello.protocols().eq([&b"\n\n"[..], b"h2"]));
    assert_eq!(hello.server_name, None);
}

#[test]
fn a_hello_without_extensions_asks_for_nothing() {
    let mut message = message(&[]);
    message.truncate(message.len() - 2);
    message[3] -= 2;
    assert_eq!(name(&read(&records(&message, 100))), None);
    assert_eq!(name(&read(&hello(&[]))), None);
}

#[test]
fn names_are_those_of_hosts() {
    let long = vec!["a".repeat(63); 4].join(".");
    for good in [
        "a",
        "a-b.c_d.e",
        "1.2.3.example",
        "xn--bcher-kva.example",
        &long[2..],
    ] {
        let sent = hello(&[host(good), signatures()]);
        assert_eq!(name(&read(&sent)), Some(good));
        assert_eq!(by_rustls(&sent).flatten().as_deref(), Some(good));
    }
    let label = format!("{}.b", "a".repeat(64));
    for bad in [
        "", ".", "a.", ".a", "a..b", "-a.b", "a-.b", "a.b-", "a:443", "*.a", "10.0.0.1", "a.1",
        "a.0x1f", "0x", "[::1]", "::1", &label, &long,
    ] {
        let read = read(&hello(&[host(bad)]));
        assert_eq!(read, Err(Unreadable::Unnamed), "{bad:?}");
    }
    for worse in ["a b", "a\0", "b\u{fc}r"] {
        assert!(malformed(&read(&hello(&[host(worse)]))), "{worse:?}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let entry = |kind: u8, name: &[u8]| [&[kind][..], &vector(2, name)].concat();
    let list = |entries: &[Vec<u8>]| extension(0, &vector(2, &entries.concat()));
    let (first, second) = (entry(0, b"a.b"), entry(0, b"c.d"));
    for (what, extensions) in [
        ("two extensions", vec![host("a.b"), host("c.d")]),
        (
            "two of GREASE",
            vec![extension(0x0a0a, &[]), extension(0x0a0a, &[])],
        ),
        ("two names", vec![list(&[first.clone(), second])]),
        ("another type", vec![list(&[entry(1, b"x"), first.clone()])]),
        (
            "another type behind",
            vec![list(&[first.clone(), entry(1, b"x")])],
        ),
        ("no names", vec![list(&[])]),
        ("nothing", vec![extension(0, &[])]),
        (
            "bytes behind the list",
            vec![extension(0, &[vector(2, &first), vec![0]].concat())],
        ),
        ("no protocols", vec![offers(&[])]),
        ("an empty protocol", vec![offers(&["h2", ""])]),
        (
            "a cut protocol",
            vec![extension(16, &vector(2, &[3, b'h', b'2']))],
        ),
        (
            "bytes behind the protocols",
            vec![extension(16, &[0, 3, 2, b'h', b'2', 0])],
        ),
        ("a cut extension", vec![vec![0, 0, 0]]),
        ("a long extension", vec![vec![0x0a, 0x0a, 0, 9, 1]]),
    ] {
        assert!(malformed(&read(&hello(&extensions))), "{what}");
    }
}

#[test]
fn its_parts_must_fit() {
    let good = message(&[host("a.b")]);
    assert_eq!(name(&read(&records(&good, 4000))), Some("a.b"));
    let body = |change: Change<'_>| {
        let mut body = good[4..].to_vec();
        change(&mut body);
        read(&records(&[&[1][..], &vector(3, &body)].concat(), 4000))
    };
    assert!(malformed(&body(&|body| body[0] = 2)), "version");
    assert!(malformed(&body(&|body| body[34] = 33)), "session");
    assert!(malformed(&body(&|body| body[68] = 3)), "suites");
    assert!(malformed(&body(&|body| body[73] = 0)), "compressions");
    assert!(malformed(&body(&|body| body.push(0))), "bytes behind");
    assert!(malformed(&body(&|body| body.truncate(30))), "cut");
    assert!(malformed(&body(&Vec::clear)), "nothing");
    assert!(
        malformed(&read(&records(&[&good[..], &[0]].concat(), 4000))),
        "a second message"
    );
    assert!(
        malformed(&read(&records(&[2, 0, 0, 0], 4000))),
        "another message"
    );
}

#[test]
fn records_are_those_of_a_handshake() {
    let good = message(&[host("a.b")]);
    for bad in [
        &b"GET / HTTP/1.1"[..],
        &[0x80, 0x2e, 1, 3, 1],
        &[22, 2],
        &[21, 3, 3, 0, 2, 2, 0],
    ] {
        assert_eq!(read(bad), Err(Unreadable::NotTls), "{bad:?}");
        assert_eq!(read(&bad[..1]).is_err(), bad[0] != 22, "{bad:?}");
    }
    assert!(malformed(&read(&[22, 3, 1, 0, 0])), "empty");
    assert!(malformed(&read(&[22, 3, 1, 0x40, 1])), "too large");
    let half = records(&good[..9], 9);
    for (between, what) in [
        (&[22, 3, 3, 0, 0][..], "empty"),
        (&[21, 3, 3, 0, 2, 1, 0], "an alert"),
        (&[22, 4, 3, 0, 1, 0], "a version"),
        (&[20, 3, 3, 0, 1, 1], "a change of ciphers"),
    ] {
        assert!(malformed(&read(&[&half, between].concat())), "{what}");
    }
    // Behind the message anything may come: early data does.
    let early = [records(&good, 100), vec![23, 3, 3, 0, 1, 0]].concat();
    assert_eq!(name(&read(&early)), Some("a.b"));
}

#[test]
fn there_is_a_limit() {
    let padded = |size: usize| {
        let rest = size - message(&[host("a.b"), extension(21, &[])]).len();
        message(&[host("a.b"), extension(21, &vec![0; rest])])
    };
    let largest = padded(HEAD + LARGEST_MESSAGE);
    assert_eq!(name(&read(&records(&largest, 6))), Some("a.b"));
    assert_eq!(read(&records(&largest, 5)), Err(Unreadable::TooLarge));
    let larger = records(&padded(HEAD + LARGEST_MESSAGE + 1), 4000);
    assert_eq!(read(&larger), Err(Unreadable::TooLarge));
    // It is told as soon as it is known.
    assert_eq!(
        read(&larger[..RECORD_HEAD + HEAD]),
        Err(Unreadable::TooLarge)
    );
    let common = client("a.example", &["h2"], false);
    let alone = records(&common[RECORD_HEAD..], 1);
    assert_eq!(name(&read(&alone)), Some("a.example"));
}

/// Bytes that are nearly a hello.
fn near_hellos() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[a-zA-Z0-9_.-]{0,20}".prop_map(|name| host(&name)),
        prop::collection::vec("[a-z0-9/.]{0,4}", 0..4).prop_map(|names| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            offers(&names)
        }),
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(kind, content)| extension(kind, &content)),
    ];
    let parts = prop::collection::vec(part, 0..5);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (parts, 1_usize..300, changes).prop_map(|(parts, size, changes)| {
        let parts = [parts, vec![signatures()]].concat();
        let mut bytes = records(&message(&parts), size);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn it_does_not_matter_how_bytes_come(
        bytes in prop_oneof![near_hellos(), prop::collection::vec(any::<u8>(), 0..80)],
        steps in prop::collection::vec(1_usize..50, 1..20),
    ) {
        let whole = read(&bytes);
        let ends = steps.iter().cycle().scan(0, |end, step| {
            *end += step;
            Some(*end)
        });
        let ends = ends.take_while(|end| *end < bytes.len());
        prop_assert_eq!(&read_in_steps(&bytes, ends), &whole);
        prop_assert_eq!(&read_in_steps(&bytes, 0..bytes.len()), &whole);
        // A part of it is never taken for something else.
        for end in 0..bytes.len() {
            let part = read(&bytes[..end]);
            prop_assert!(part == Ok(None) || part == whole, "{end}: {part:?}");
        }
    }

    #[test]
    fn it_is_read_as_rustls_does(bytes in near_hellos()) {
        if let (Ok(Some(hello)), Some(name)) = (read(&bytes), by_rustls(&bytes)) {
            prop_assert_eq!(hello.server_name.as_deref(), name.as_deref());
        }
    }

    #[test]
    fn splitting_it_into_records_changes_nothing(
        name in "[a-z]{1,9}[.][a-z]{1,9}",
        size in 1_usize..100,
    ) {
        let message = message(&[offers(&["h2"]), host(&name)]);
        let whole = read(&records(&message, LARGEST_RECORD));
        prop_assert_eq!(self::name(&whole), Some(&*name));
        prop_assert_eq!(read(&records(&message, size)), whole);
    }
}

/// `openssl s_client -servername DB.example.com -alpn h2,http/1.1`, OpenSSL 3.0.
const OPENSSL: &str = "\
    160301014d010001490303e58859df118a533868e8cb1d009ba9d242c7c8962b671aa8d1b77dcf3e5b1d9720cf\
    94a1a38bfdaf4c9902cab88fe5d95b1e800f6d17571b4a236b37e2e4284b80003e130213031301c02cc030009f\
    cca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c00\
    35002f00ff010000c200000013001100000e44422e6578616d706c652e636f6d000b000403000102000a001600\
    14001d0017001e0019001801000101010201030104002300000010000e000c02683208687474702f312e310016\
    000000170000000d002a0028040305030603080708080809080a080b0804080508060401050106010303030103\
    02040205020602002b0009080304030303020301002d00020101003300260024001d00207d84f68b9cc38d19ea\
    8b5eb57e8422b18a2954e6810205d7dbb3f3a8b1e94d28";

/// `openssl s_client -servername db.example.com -tls1_2`, OpenSSL 3.0.
const OPENSSL_1_2: &str = "\
    16030100ce010000ca030322f39e539ce73a6db00f7a862abdc17d4d69557a8f915948c8c679037811ea4c0000\
    38c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d\
    009c003d003c0035002f00ff0100006900000013001100000e64622e6578616d706c652e636f6d000b00040300\
    0102000a000c000a001d0017001e00190018002300000016000000170000000d002a0028040305030603080708\
    080809080a080b080408050806040105010601030303010302040205020602";

/// `curl https://db.example.com/`, curl 7.88.
const CURL: &str = "\
    1603010200010001fc0303f385729899a8599d9b192e94fc006db87d04feb1e1d7fc8ecdb5fa335eceff4b20e8\
    7991e4cc2a84140ae3e8cd347905adbe9a5e1c3bc49feeff79afde138f220c003e130213031301c02cc030009f\
    cca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c00\
    35002f00ff0100017500000013001100000e64622e6578616d706c652e636f6d000b000403000102000a001600\
    14001d0017001e00190018010001010102010301040010000e000c02683208687474702f312e31001600000017\
    000000310000000d002a0028040305030603080708080809080a080b0804080508060401050106010303030103\
    02040205020602002b0009080304030303020301002d00020101003300260024001d0020f3f268098e2bc7385c\
    118fa5f7b603add62e84c09112b35a567c79f67e6cba4d001500af000000000000000000000000000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000000000000000";
