//! Beside `ppp`, who reads and writes the same by other code; and what holds of any bytes.

use std::net::SocketAddr;

use ppp::v2::{AddressFamily, Command, Protocol};
use ppp::{HeaderResult, PartialResult as _, v1, v2};
use proptest::prelude::*;

use super::tests::{INET, block};
use super::*;

/// For whom, in how many bytes, and what else is said.
type Said = (Origin, usize, Vec<(u8, Vec<u8>)>);

fn ipv4() -> impl Strategy<Value = SocketAddr> {
    any::<([u8; 4], u16)>().prop_map(SocketAddr::from)
}

fn ipv6() -> impl Strategy<Value = SocketAddr> {
    any::<([u8; 16], u16)>().prop_map(SocketAddr::from)
}

fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    prop_oneof![(ipv4(), ipv4()), (ipv6(), ipv6())]
}

fn tlvs() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    // Those about the header have tests of their own.
    let kind = any::<u8>().prop_filter("about the header", |kind| !matches!(kind, 3 | 4));
    proptest::collection::vec((kind, proptest::collection::vec(any::<u8>(), 0..40)), 0..6)
}

/// Bytes that are nearly headers: good ones with some bytes changed, cut and with something behind.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let line = addresses().prop_map(|(from, to)| {
        let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from_port, to_port) = (from.port(), to.port());
        let (from, to) = (from.ip(), to.ip());
        format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
    });
    let command = prop_oneof![8 => Just(0x21), 1 => Just(0x20), 1 => any::<u8>()];
    let family = prop_oneof![8 => Just(0x11), 1 => Just(0x00), 2 => any::<u8>()];
    let blocks = (command, family, tlvs()).prop_map(|(command, family, tlvs)| {
        let mut rest = INET.to_vec();
        for (kind, value) in tlvs {
            tlv::write(&mut rest, kind, &value);
        }
        block(command, family, &rest)
    });
    let good = prop_oneof![line, blocks, Just(b"PROXY UNKNOWN a b\r\n".to_vec())];
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = proptest::collection::vec(change, 0..3);
    let behind = proptest::collection::vec(any::<u8>(), 0..4);
    (
        good,
        changes,
        any::<prop::sample::Index>(),
        any::<bool>(),
        behind,
    )
        .prop_map(|(mut bytes, changes, end, cuts, behind)| {
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if cuts {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes.extend(behind);
            bytes
        })
}

/// What `ppp` makes of bytes; `None` while it waits or where it refuses.
fn by_ppp(bytes: &[u8]) -> Option<Said> {
    let client = |source: SocketAddr, destination: SocketAddr, transport| {
        Origin::Client(Addresses {
            source,
            destination,
            transport,
        })
    };
    match HeaderResult::parse(bytes) {
        HeaderResult::V1(Ok(header)) => {
            let stream = Transport::Stream;
            let origin = match header.addresses {
                v1::Addresses::Unknown => Origin::Unknown,
                v1::Addresses::Tcp4(it) => client(
                    (it.source_address, it.source_port).into(),
                    (it.destination_address, it.destination_port).into(),
                    stream,
                ),
                v1::Addresses::Tcp6(it) => client(
                    (it.source_address, it.source_port).into(),
                    (it.destination_address, it.destination_port).into(),
                    stream,
                ),
            };
            Some((origin, header.header.len(), Vec::new()))
        }
        HeaderResult::V2(Ok(header)) => {
            let transport = match header.protocol {
                Protocol::Datagram => Transport::Datagram,
                Protocol::Stream | Protocol::Unspecified => Transport::Stream,
            };
            let origin = match header.addresses {
                _ if header.command == Command::Local => Origin::Proxy,
                v2::Addresses::Unspecified => Origin::Unknown,
                v2::Addresses::Unix(_) => Origin::Unix,
                v2::Addresses::IPv4(it) => client(
                    (it.source_address, it.source_port).into(),
                    (it.destination_address, it.destination_port).into(),
                    transport,
                ),
                v2::Addresses::IPv6(it) => client(
                    (it.source_address, it.source_port).into(),
                    (it.destination_address, it.destination_port).into(),
                    transport,
                ),
            };
            let takes_tlvs = header.command == Command::Proxy
                && header.address_family() != AddressFamily::Unspecified;
            let tlvs = header.tlvs().filter(|_| takes_tlvs);
            let tlvs: Result<Vec<_>, _> = tlvs
                .map(|tlv| tlv.map(|tlv| (tlv.kind, tlv.value.to_vec())))
                .collect();
            Some((origin, header.len(), tlvs.ok()?))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => None,
    }
}

proptest! {
    /// Whatever `ppp` writes is read, as it was meant.
    #[test]
    fn blocks_of_ppp_are_read(
        (from, to) in addresses(),
        datagram in any::<bool>(),
        tlvs in tlvs(),
        behind in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        let (protocol, transport) = if datagram {
            (Protocol::Datagram, Transport::Datagram)
        } else {
            (Protocol::Stream, Transport::Stream)
        };
        let command = v2::Version::Two | Command::Proxy;
        let mut builder = v2::Builder::with_addresses(command, protocol, (from, to));
        for (kind, value) in &tlvs {
            builder = builder.write_tlv(*kind, value).expect("short");
        }
        let mut bytes = builder.build().expect("short");
        let length = bytes.len();
        bytes.extend(behind);
        let Ok(Progress::Whole(header, end)) = read(&bytes) else {
            panic!("{:?}", read(&bytes));
        };
        prop_assert_eq!(end, length);
        let origin = Origin::Client(Addresses { source: from, destination: to, transport });
        prop_assert_eq!(header.origin, origin);
        let kept: Vec<_> = header.tlvs.iter().map(|(kind, value)| (kind, value.to_vec())).collect();
        prop_assert_eq!(kept, tlvs);
    }

    /// Whatever is written here `ppp` reads, and so do we, as it was meant.
    #[test]
    fn what_is_written_is_read_by_both(
        (from, to) in addresses(),
        is_text in any::<bool>(),
        alpn in proptest::option::of("[a-z0-9/.]{1,20}"),
        authority in proptest::option::of("[a-z0-9.-]{1,40}"),
        id in proptest::option::of("[ -~]{1,128}"),
    ) {
        let version = if is_text { Version::V1 } else { Version::V2 };
        let origin = Origin::Client(Addresses::new(from, to, Transport::Stream));
        let told = Told {
            origin,
            alpn: alpn.as_deref().map(str::as_bytes),
            authority: authority.as_deref().map(str::as_bytes),
            tls: None,
            received: None,
            unique_id: id.as_deref().map(str::as_bytes),
        };
        let bytes = Introduction::new(version, &told).finished();
        prop_assert!(bytes.len() <= LONGEST);
        let (theirs, length, tlvs) = by_ppp(&bytes).expect("a header");
        prop_assert_eq!((theirs, length), (origin, bytes.len()));
        let Ok(Progress::Whole(header, end)) = read(&bytes) else {
            panic!("{:?}", read(&bytes));
        };
        prop_assert_eq!((header.origin, end), (origin, bytes.len()));
        prop_assert_eq!(header.version, version);
        let kept: Vec<_> = header.tlvs.iter().map(|(kind, value)| (kind, value.to_vec())).collect();
        let without_sum: Vec<_> = tlvs.into_iter().filter(|(kind, _)| *kind != 3).collect();
        prop_assert_eq!(kept, without_sum);
        if !is_text {
            prop_assert_eq!(header.tlvs.find(Kind::Alpn), told.alpn);
            prop_assert_eq!(header.tlvs.find(Kind::Authority), told.authority);
            prop_assert_eq!(header.tlvs.find(Kind::UniqueId), told.unique_id);
        }
    }

    /// Of bytes that are nearly headers we take none that `ppp` does not take in the same way. We
    /// may refuse what it takes: a sum that does not fit, a family and a protocol that do not go
    /// together, a port with a sign.
    #[test]
    fn what_is_taken_is_taken_by_both(bytes in nearly()) {
        let Ok(Progress::Whole(header, end)) = read(&bytes) else {
            return Ok(());
        };
        // What is behind the word is to be ignored; `ppp` ends such a line at its first CR, and
        // takes text only.
        if header.version == Version::V1 && header.origin == Origin::Unknown {
            return Ok(());
        }
        let theirs = by_ppp(&bytes[..end]);
        // A proxy that speaks for itself may name any family; `ppp` looks at it.
        if header.origin == Origin::Proxy && theirs.is_none() {
            return Ok(());
        }
        let Some((origin, length, tlvs)) = theirs else {
            panic!("we alone take {}", bytes.escape_ascii());
        };
        prop_assert_eq!((header.origin, end), (origin, length));
        if matches!(origin, Origin::Client(_) | Origin::Unix) {
            let kept: Vec<_> =
                header.tlvs.iter().map(|(kind, value)| (kind, value.to_vec())).collect();
            let theirs: Vec<_> =
                tlvs.into_iter().filter(|(kind, _)| !matches!(kind, 3 | 4)).collect();
            prop_assert_eq!(kept, theirs);
        }
    }

    /// How bytes come does not matter, and no byte is asked for that is not the header's.
    #[test]
    fn it_is_read_in_steps_as_at_once(bytes in nearly()) {
        let at_once = read(&bytes);
        let mut end = 0;
        loop {
            match read(&bytes[..end]) {
                Ok(Progress::More(count)) => {
                    prop_assert!(count > 0);
                    if let Ok(Progress::Whole(_, length)) = &at_once {
                        prop_assert!(end + count <= *length, "{end} + {count} of {length}");
                    }
                    if end == bytes.len() {
                        prop_assert!(matches!(at_once, Ok(Progress::More(_))), "{at_once:?}");
                        break;
                    }
                    end = bytes.len().min(end + count);
                }
                decided => {
                    prop_assert_eq!(&decided, &at_once);
                    break;
                }
            }
        }
    }

    /// `ppp` waits for more wherever we do, but where the length alone is too much for us.
    #[test]
    fn both_wait_for_the_rest(bytes in nearly()) {
        if let Ok(Progress::More(_)) = read(&bytes) {
            let theirs = HeaderResult::parse(&bytes);
            // It has more to say of lines, and of families that are to be ignored.
            let ignores = bytes.starts_with(b"PROXY ") || bytes.get(12) == Some(&0x20);
            let waits = match &theirs {
                HeaderResult::V1(result) => result.is_incomplete(),
                HeaderResult::V2(result) => result.is_incomplete(),
            };
            let waits = waits || ignores;
            prop_assert!(waits, "{theirs:?}");
        }
    }
}
