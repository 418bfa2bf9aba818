//! Bytes of a client, or of an endpoint, to our engine and to a proxy made of hyper.
//!
//! The first byte of an input says which (see `Bench::run`), the second how the rest is split on
//! its way, so that seeds are messages that one can read.

#![no_main]

use evenkeel_fuzz::hyper::Bench;
use libfuzzer_sys::{Corpus, fuzz_target};

thread_local! {
    static BENCH: Bench = Bench::new();
}

fuzz_target!(|input: &[u8]| -> Corpus {
    if BENCH.with(|bench| bench.run(input)) {
        Corpus::Keep
    } else {
        Corpus::Reject
    }
});
