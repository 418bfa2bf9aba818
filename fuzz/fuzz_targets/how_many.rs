//! Bytes of a client to our engine, to nginx and to HAProxy: how many requests did you see?
//!
//! The first byte of an input says how the rest is split on its way (see `Pieces`). nginx and
//! HAProxy are started before the first input and end with the process. Where they are not
//! installed, that is told and the target ends well, unless `EVENKEEL_PEERS` is `required`.

#![no_main]

use evenkeel_fuzz::peers::Peers;
use libfuzzer_sys::{Corpus, fuzz_target};

thread_local! {
    static PEERS: Option<Peers> = Peers::start();
}

fuzz_target!(
    init: {
        // Here, since later the fuzzer would take an end of the process for a finding.
        if PEERS.with(Option::is_none) {
            println!("skipped: without nginx and haproxy nobody else counts");
            std::process::exit(0);
        }
    },
    |input: &[u8]| -> Corpus {
        let is_input = PEERS.with(|peers| peers.as_ref().is_some_and(|peers| peers.run(input)));
        if is_input {
            Corpus::Keep
        } else {
            Corpus::Reject
        }
    }
);
