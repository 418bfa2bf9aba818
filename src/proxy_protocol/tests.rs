use super::*;

pub(super) const SOURCE: &str = "192.0.2.7:56324";
pub(super) const DESTINATION: &str = "198.51.100.1:443";

fn client(source: &str, destination: &str) -> Origin {
    Origin::Client(Addresses {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        transport: Transport::Stream,
    })
}

/// The header that some bytes are, which have nothing behind it.
fn whole(bytes: &[u8]) -> Header {
    match read(bytes) {
        Ok(Progress::Whole(header, length)) if length == bytes.len() => header,
        other => panic!("{} is {other:?}", bytes.escape_ascii()),
    }
}

/// A block with this command, family and rest.
pub(super) fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, rest].concat()
}

/// Addresses and ports as version 2 has them.
pub(super) const INET: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

fn told(origin: Origin) -> Told<'static> {
    Told {
        origin,
        alpn: None,
        authority: None,
        tls: None,
        received: None,
        unique_id: None,
    }
}

#[test]
fn lines_are_read_as_the_grammar_has_them() {
    for (line, origin) in [
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
            client(SOURCE, DESTINATION),
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            client("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 0 1\r\n",
            client("[2001:db8::1]:0", "[::1]:1"),
        ),
        (
            "PROXY TCP6 ffff:f00f:ffff:ffff:ffff:ffff:ffff:ffff \
             FFFF:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            client(
                "[ffff:f00f:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        ("PROXY UNKNOWN\r\n", Origin::Unknown),
        ("PROXY UNKNOWN whatever 1 2 3\r\n", Origin::Unknown),
    ] {
        let header = whole(line.as_bytes());
        assert_eq!(header.origin, origin, "{line}");
        assert_eq!(header.version, Version::V1);
        assert!(header.tlvs.is_empty());
    }
}

#[test]
fn lines_that_another_reader_might_take_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        "PROXY TCP4 192.0.2.7  198.51.100.1 56324 443\r\n",
        "PROXY  TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 ::1 ::1 56324 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 056324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 00 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1  443\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4\r\n",
        "PROXY \r\n\r\n\r\n\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN\n\n",
        "PROXY UNKNOWN\r\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 0 1\r\n",
    ] {
        let result = read(line.as_bytes());
        assert!(
            matches!(result, Err(Unreadable::Malformed(_))),
            "{line}: {result:?}"
        );
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(long.len(), 108);
    assert_eq!(read(long.as_bytes()), Err(Unreadable::TooLong));
    assert_eq!(read(&long.as_bytes()[..106]), Err(Unreadable::TooLong));
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(whole(longest.as_bytes()).origin, Origin::Unknown);
}

#[test]
fn what_begins_like_no_header_is_none() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST",
        b"PROXY\r\n",
        b"proxy ",
        b"\r\n\r\nGET",
        b"\r\n\r\n\0\r\nQUIT\r",
        &[22, 3, 1, 2, 0],
    ] {
        assert_eq!(
            read(bytes),
            Err(Unreadable::Absent),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn blocks_are_read_with_their_family() {
    let inet6: Vec<u8> = [&[0x20; 16][..], &[0x30; 16], &[0, 80, 1, 187]].concat();
    let long = client(
        "[2020:2020:2020:2020:2020:2020:2020:2020]:80",
        "[3030:3030:3030:3030:3030:3030:3030:3030]:443",
    );
    let datagram = Origin::Client(Addresses::new(
        SOURCE.parse().expect("an address"),
        DESTINATION.parse().expect("an address"),
        Transport::Datagram,
    ));
    for (bytes, origin) in [
        (block(0x21, 0x11, &INET), client(SOURCE, DESTINATION)),
        (block(0x21, 0x12, &INET), datagram),
        (block(0x21, 0x21, &inet6), long),
        (block(0x21, 0x31, &[b'/'; 216]), Origin::Unix),
        (block(0x21, 0x32, &[0; 216]), Origin::Unix),
        (block(0x21, 0x00, &[]), Origin::Unknown),
        (block(0x20, 0x00, &[]), Origin::Proxy),
        // A proxy that speaks for itself may say anything else: it is to be ignored.
        (block(0x20, 0x11, &INET), Origin::Proxy),
        (block(0x20, 0xff, &[1, 2, 3]), Origin::Proxy),
    ] {
        let header = whole(&bytes);
        assert_eq!((header.version, header.origin), (Version::V2, origin));
        assert!(header.tlvs.is_empty());
    }
}

#[test]
fn blocks_that_are_not_what_they_say_are_refused() {
    let cut_off = [&INET[..], &[1, 0, 3, b'h', b'2']].concat();
    let bare = [&INET[..], &[1, 0]].concat();
    for bytes in [
        block(0x11, 0x11, &INET),
        block(0x22, 0x11, &INET),
        block(0x31, 0x11, &INET),
        block(0x21, 0x13, &INET),
        block(0x21, 0x10, &INET),
        block(0x21, 0x01, &INET),
        block(0x21, 0x41, &INET),
        block(0x21, 0x11, &INET[..11]),
        block(0x21, 0x21, &INET),
        block(0x21, 0x31, &[0; 215]),
        block(0x21, 0x11, &cut_off),
        block(0x21, 0x11, &bare),
    ] {
        let result = read(&bytes);
        assert!(
            matches!(result, Err(Unreadable::Malformed(_))),
            "{}: {result:?}",
            bytes.escape_ascii()
        );
    }
    // Its length alone says so, before anything of it is there.
    let huge = [v2::SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(read(&huge), Err(Unreadable::TooLong));
    let room = vec![0; LONGEST - v2::HEAD];
    assert!(matches!(
        read(&block(0x20, 0, &room)),
        Ok(Progress::Whole(..))
    ));
    let more = vec![0; LONGEST - v2::HEAD + 1];
    assert_eq!(read(&block(0x20, 0, &more)), Err(Unreadable::TooLong));
}

#[test]
fn tlvs_are_kept_but_for_those_about_the_header() {
    let tlvs = [
        &[0x04, 0, 2, 9, 9][..],
        &[0x01, 0, 2, b'h', b'2'],
        &[0xea, 0, 3, 1, 2, 3],
        &[0x02, 0, 0],
    ];
    let bytes = block(0x21, 0x11, &[&INET[..], &tlvs.concat()].concat());
    let kept = whole(&bytes).tlvs;
    let all: Vec<_> = kept.iter().collect();
    let aws = (0xea, &[1, 2, 3][..]);
    assert_eq!(all, [(0x01, &b"h2"[..]), aws, (0x02, &b""[..])]);
    assert_eq!(kept.find(Kind::Alpn), Some(&b"h2"[..]));
    assert_eq!(kept.find(Kind::Authority), Some(&b""[..]));
    assert_eq!(kept.find(Kind::Noop), None);
    // A client that nobody knows the address of may still have a name.
    let nameless = whole(&block(0x21, 0x00, tlvs[1]));
    assert_eq!(nameless.tlvs.find(Kind::Alpn), Some(&b"h2"[..]));
}

#[test]
fn a_checksum_is_checked_where_there_is_one() {
    let origin = client(SOURCE, DESTINATION);
    let mut told = told(origin);
    told.unique_id = Some(b"id");
    let sent = Introduction::new(Version::V2, &told).finished();
    let header = whole(&sent);
    assert_eq!(header.origin, origin);
    assert_eq!(header.tlvs.find(Kind::UniqueId), Some(&b"id"[..]));
    assert_eq!(
        header.tlvs.find(Kind::Crc32c),
        None,
        "it was about the header"
    );
    let at = sent.len() - 4;
    // The signature and the length would make it another header, or none.
    for place in (v2::HEAD..sent.len()).filter(|place| !(at - 3..at).contains(place)) {
        let mut broken = sent.clone();
        broken[place] ^= 0x10;
        assert!(read(&broken).is_err(), "byte {place}");
    }
    let twice = [&INET[..], &[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0]].concat();
    let short = [&INET[..], &[3, 0, 3, 0, 0, 0]].concat();
    for rest in [twice, short] {
        let result = read(&block(0x21, 0x11, &rest));
        assert_eq!(result, Err(Unreadable::Malformed("its checksum is none")));
    }
}

#[test]
fn version_1_has_room_for_addresses_only() {
    let line = |origin| {
        let mut told = told(origin);
        told.alpn = Some(b"h2");
        told.unique_id = Some(b"id");
        let sent = Introduction::new(Version::V1, &told).finished();
        String::from_utf8(sent).expect("text")
    };
    assert_eq!(
        line(client(SOURCE, DESTINATION)),
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
    );
    let (source, destination) = ("[2001:db8::7]:1", "198.51.100.1:2");
    let mixed = Addresses::new(
        source.parse().expect("an address"),
        destination.parse().expect("an address"),
        Transport::Stream,
    );
    assert_eq!(
        line(Origin::Client(mixed)),
        "PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 1 2\r\n"
    );
    for origin in [Origin::Proxy, Origin::Unknown, Origin::Unix] {
        assert_eq!(line(origin), "PROXY UNKNOWN\r\n");
    }
}

#[test]
fn what_we_know_takes_the_place_of_what_was_said_in_front() {
    let said = [
        &[0x01, 0, 8][..],
        b"http/1.1",
        &[0x02, 0, 5],
        b"front",
        &[0x20, 0, 5, 1, 0, 0, 0, 0],
        &[0x05, 0, 2],
        b"u1",
        &[0xe0, 0, 1, 7],
    ];
    let header = whole(&block(0x21, 0x11, &[&INET[..], &said.concat()].concat()));
    let mut told = told(header.origin);
    told.received = Some(&header.tlvs);
    told.alpn = Some(b"h2");
    told.tls = Some(TlsFacts {
        version: "TLSv1.3",
        cipher: Some("TLS_AES_128_GCM_SHA256"),
        has_certificate: true,
        common_name: Some("worker 7"),
    });
    told.unique_id = Some(b"ours");
    let sent = Introduction::new(Version::V2, &told).finished();
    let tlvs = whole(&sent).tlvs;
    let kinds: Vec<u8> = tlvs.iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [0x01, 0x20, 0x02, 0x05, 0xe0], "each once");
    assert_eq!(tlvs.find(Kind::Alpn), Some(&b"h2"[..]));
    assert_eq!(tlvs.find(Kind::Authority), Some(&b"front"[..]));
    assert_eq!(
        tlvs.find(Kind::UniqueId),
        Some(&b"u1"[..]),
        "the connection's own"
    );
    let ssl = [
        &[7, 0, 0, 0, 0][..],
        &[0x21, 0, 7],
        b"TLSv1.3",
        &[0x22, 0, 8],
        b"worker 7",
        &[0x23, 0, 22],
        b"TLS_AES_128_GCM_SHA256",
    ];
    assert_eq!(tlvs.find(Kind::Ssl), Some(&ssl.concat()[..]));
    // Nobody was verified where nobody has shown anything.
    told.tls = Some(TlsFacts {
        version: "TLSv1.2",
        cipher: None,
        has_certificate: false,
        common_name: None,
    });
    let sent = Introduction::new(Version::V2, &told).finished();
    let ssl = [&[1, 0, 0, 0, 1, 0x21, 0, 7][..], b"TLSv1.2"].concat();
    assert_eq!(whole(&sent).tlvs.find(Kind::Ssl), Some(&ssl[..]));
}

#[test]
fn what_is_sent_is_never_longer_than_what_is_taken() {
    let large = vec![7; LONGEST - v2::HEAD - INET.len() - tlv::PREFIX];
    let mut said = Vec::new();
    tlv::write(&mut said, 0xe1, &large);
    let header = whole(&block(0x21, 0x11, &[&INET[..], &said].concat()));
    let mut told = told(header.origin);
    told.received = Some(&header.tlvs);
    told.authority = Some(&[b'a'; 255]);
    told.unique_id = Some(&[b'x'; 128]);
    let sent = Introduction::new(Version::V2, &told).finished();
    let again = whole(&sent).tlvs;
    let kinds: Vec<u8> = again.iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [0x02, 0x05], "what has no room is left out");
    told.unique_id = Some(&[b'x'; 129]);
    let sent = Introduction::new(Version::V2, &told).finished();
    assert_eq!(whole(&sent).tlvs.find(Kind::UniqueId), None);
}

#[test]
fn who_came_by_a_unix_socket_is_told_of_as_such() {
    let mut told = told(Origin::Unix);
    told.unique_id = Some(b"id");
    let sent = Introduction::new(Version::V2, &told).finished();
    assert_eq!(sent[v2::HEAD - 3], 0x31);
    let header = whole(&sent);
    assert_eq!(header.origin, Origin::Unix);
    assert_eq!(header.tlvs.find(Kind::UniqueId), Some(&b"id"[..]));
}

#[test]
fn the_clients_tls_is_what_a_bit_says() {
    for (value, speaks) in [
        (&[0x01, 0, 0, 0, 1][..], true),
        (&[0x07, 0, 0, 0, 0, 0x21, 0, 1, b'x'], true),
        (&[0x06, 0, 0, 0, 0], false),
        (&[0x00, 0, 0, 0, 1], false),
        (&[], false),
    ] {
        let mut rest = INET.to_vec();
        tlv::write(&mut rest, Kind::Ssl as u8, value);
        let tlvs = whole(&block(0x21, 0x11, &rest)).tlvs;
        assert_eq!(tlvs.tell_of_tls(), speaks, "{value:?}");
    }
    assert!(!Tlvs::default().tell_of_tls());
}

#[test]
fn of_ourselves_nothing_is_said() {
    let sent = Introduction::of_ourselves(Version::V2).finished();
    assert_eq!(sent[..16], block(0x20, 0, &[0; 7])[..16]);
    assert_eq!(whole(&sent).origin, Origin::Proxy);
    let line = Introduction::of_ourselves(Version::V1).finished();
    assert_eq!(line, b"PROXY UNKNOWN\r\n");
}

#[test]
fn introductions_are_compared_without_their_id() {
    let one = |source: &str, id: &'static [u8]| {
        let mut told = told(client(source, DESTINATION));
        told.unique_id = Some(id);
        Introduction::new(Version::V2, &told)
    };
    let first = one(SOURCE, b"1");
    assert!(first.is_like(&one(SOURCE, b"2")));
    assert_ne!(first.finished(), one(SOURCE, b"2").finished());
    assert!(
        !first.is_like(&one("192.0.2.7:56325", b"1")),
        "the port tells clients apart"
    );
    let addresses = Addresses::new(
        SOURCE.parse().expect("an address"),
        DESTINATION.parse().expect("an address"),
        Transport::Stream,
    );
    assert!(first.is_like(&Introduction::of_addresses(Version::V2, addresses)));
    assert!(!first.is_like(&Introduction::of_addresses(Version::V1, addresses)));
}
