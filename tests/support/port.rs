//! Ports that no other test gets.
//!
//! The program binds with `SO_REUSEPORT`, so two tests that were given the same port would not
//! fail: they would share each other's traffic. Asking the kernel for port 0 and letting go of it
//! again is therefore not enough. A port here comes from below the range that the kernel hands out
//! by itself, and is held by a lock on a file for as long as the value lives, which also holds
//! between the processes of a parallel test runner.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::{env, fs};

/// A port of the loopback address, ours while this lives.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    // The lock ends with the file's descriptor.
    _lock: File,
}

impl Port {
    /// A port that nobody listens on and that no other test holds.
    ///
    /// # Panics
    /// When all ports are taken.
    pub(crate) fn reserve() -> Self {
        let folder = env::temp_dir().join("evenkeel-test-ports");
        fs::create_dir_all(&folder).expect("the temporary directory can be written");
        // Every search starts at another place, so that few ports are tried twice.
        let start = RandomState::new().hash_one(0) % u64::from(COUNT);
        let start = u16::try_from(start).expect("COUNT fits");
        for step in 0..COUNT {
            let number = FIRST + (start + step) % COUNT;
            let Ok(lock) = File::create(folder.join(number.to_string())) else {
                continue;
            };
            if lock.try_lock().is_ok() && is_free(number) {
                return Self {
                    number,
                    _lock: lock,
                };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}

/// Below 32768, where Linux starts to hand ports out by itself.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;
