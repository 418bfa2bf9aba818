//! Headers of the PROXY protocol, in and out.
//!
//! Whatever the bytes: nothing panics; it does not matter how they were split, and no byte is asked
//! for that is not the header's, for those behind it are the client's; what is read is written
//! again so that it is read as the same, in either version as far as that has room for it, and
//! never longer than what is taken.

#![no_main]

use evenkeel::proxy_protocol::{
    Header, Introduction, Kind, LONGEST, Origin, Progress, Told, Transport, Unreadable, Version,
    read,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let at_once = read(bytes);
    in_steps(bytes, &at_once);
    if let Ok(Progress::Whole(header, length)) = &at_once {
        assert!(*length <= bytes.len().min(LONGEST), "its own bytes");
        assert_eq!(
            read(&bytes[..*length]),
            at_once,
            "nothing depends on what is behind"
        );
        write(header, Version::V1);
        write(header, Version::V2);
    }
});

fn in_steps(bytes: &[u8], at_once: &Result<Progress, Unreadable>) {
    let mut end = 0;
    loop {
        match read(&bytes[..end]) {
            Ok(Progress::More(count)) => {
                assert!(count > 0);
                if let Ok(Progress::Whole(_, length)) = at_once {
                    assert!(end + count <= *length, "asked for {count} more at {end}");
                }
                if end == bytes.len() {
                    return assert!(matches!(at_once, Ok(Progress::More(_))));
                }
                end = bytes.len().min(end + count);
            }
            decided => return assert_eq!(&decided, at_once, "at {end}"),
        }
    }
}

fn write(header: &Header, version: Version) {
    let told = Told {
        origin: header.origin,
        alpn: None,
        authority: None,
        tls: None,
        received: Some(&header.tlvs),
        unique_id: Some(b"id"),
    };
    let sent = Introduction::new(version, &told).finished();
    assert!(sent.len() <= LONGEST);
    let Ok(Progress::Whole(again, length)) = read(&sent) else {
        panic!("{}", sent.escape_ascii());
    };
    assert_eq!(length, sent.len());
    assert_eq!(again.origin, as_written(header.origin, version));
    if version == Version::V2 && header.origin != Origin::Proxy {
        let mut kept = again.tlvs.iter();
        for tlv in header.tlvs.iter() {
            // What had no room was left out, and nothing else.
            let room = sent.len() + 3 + tlv.1.len() + 140 <= LONGEST;
            assert!(!room || kept.any(|one| one == tlv), "{tlv:?} is lost");
        }
        assert!(again.tlvs.find(Kind::UniqueId).is_some());
    }
}

/// What a version has room for.
fn as_written(origin: Origin, version: Version) -> Origin {
    match (version, origin) {
        (Version::V1, Origin::Client(client)) if client.transport == Transport::Stream => origin,
        (Version::V1, _) => Origin::Unknown,
        (Version::V2, _) => origin,
    }
}
