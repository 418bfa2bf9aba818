//! The first message of a client, beside rustls: whoever we say is asked for, rustls says so too.
//!
//! Whatever the bytes: nothing panics; it does not matter how they were split; what we have read to
//! its end is no message that rustls still waits for, and what rustls takes for a hello with a name
//! and protocols has the same for us, or is refused. Else a client could reach by one name what
//! answers to another.

#![no_main]

use evenkeel::tls::{Hello, HelloReader, Unreadable};
use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;

/// What a hello asks for: a name, and protocols.
type Asked = (Option<String>, Vec<Vec<u8>>);

// The first byte says what the rest is, the second how many bytes come at a time, or are in a
// record, so that seeds are messages that one can read.
fuzz_target!(|input: &[u8]| {
    let [kind, step, content @ ..] = input else {
        return;
    };
    let step = usize::from(*step).max(1);
    let bytes = match kind {
        b'e' => records(&message(content), step),
        b'm' => records(content, step),
        _ => content.to_vec(),
    };
    let whole = HelloReader::default().read(&bytes);
    assert_eq!(in_steps(&bytes, step), whole, "in steps of {step}");
    compare(&whole, by_rustls(&bytes));
});

fn in_steps(bytes: &[u8], step: usize) -> Result<Option<Hello>, Unreadable> {
    let mut reader = HelloReader::default();
    let mut end = 0;
    while end < bytes.len() {
        end = bytes.len().min(end + step);
        match reader.read(&bytes[..end]) {
            Ok(None) => {}
            decided => return decided,
        }
    }
    reader.read(bytes)
}

fn compare(ours: &Result<Option<Hello>, Unreadable>, theirs: Option<Asked>) {
    let Some(theirs) = theirs else {
        return;
    };
    match ours {
        Err(_) => {}
        Ok(None) => panic!("rustls has read {theirs:?}, and we wait for more"),
        Ok(Some(hello)) => {
            let name = hello.server_name.as_deref().map(str::to_owned);
            let protocols = hello.protocols().map(<[u8]>::to_vec).collect();
            assert_eq!((name, protocols), theirs);
        }
    }
}

/// What rustls makes of it; `None` if it takes it for no hello.
fn by_rustls(mut bytes: &[u8]) -> Option<Asked> {
    let mut acceptor = Acceptor::default();
    loop {
        let count = acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let protocols = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec);
            return Some((hello.server_name().map(str::to_owned), protocols.collect()));
        }
        if count == 0 {
            return None;
        }
    }
}

/// A message in records of this size.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part| [&[22, 3, 1][..], &vector(2, part)].concat();
    message.chunks(size).flat_map(record).collect()
}

/// A hello with these extensions, and the one without which rustls takes none.
fn message(extensions: &[u8]) -> Vec<u8> {
    let signatures = [0, 13, 0, 4, 0, 2, 4, 3];
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &[0, 2, 0x13, 1],
        &[1, 0],
        &vector(2, &[&signatures, extensions].concat()),
    ];
    [&[1][..], &vector(3, &body.concat())].concat()
}

/// Something behind its length, which has so many bytes.
fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - bytes..], content].concat()
}
