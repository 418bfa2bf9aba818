//! Knows when nothing moves any more.
//!
//! Problem: whether a proxy keeps a connection open shows only in that it does not close it, and
//! waiting for that takes time, thousands of times a second. But whatever takes part in a run is a
//! task of one thread, joined by sockets of the kernel: once no task has anything to do and no
//! socket has news, nothing will happen until somebody here acts (or a timer fires, which are all
//! far longer).
//!
//! So each end that a run can see reports its [`Motion`]; the run gives way to the others until
//! none has been reported for long enough. No clock is asked, so a run takes microseconds, and
//! goes the same way each time.

use std::cell::Cell;
use std::rc::Rc;

use tokio::task::yield_now;

/// What moved so far at the ends of a run.
#[derive(Debug, Clone, Default)]
pub struct Motion(Rc<Cell<u64>>);

impl Motion {
    /// Reports that bytes, or an end, have come or gone.
    pub fn moved(&self) {
        self.0.set(self.0.get() + 1);
    }

    /// Returns when nothing moves any more.
    ///
    /// # Panics
    ///
    /// If that never happens: somebody talks without end.
    pub async fn rest(&self) {
        let mut before = self.0.get();
        let mut quiet = 0;
        for _ in 0..ENDLESS {
            // The runtime runs whatever can run and asks the kernel for news, without waiting.
            yield_now().await;
            if self.0.get() == before {
                quiet += 1;
                if quiet == QUIET {
                    return;
                }
            } else {
                before = self.0.get();
                quiet = 0;
            }
        }
        panic!("it does not come to rest");
    }
}

/// Turns without a motion at an end after which there is none to come. A proxy needs a few between
/// what it receives and what it sends: it is woken, connects, is told that it is connected.
const QUIET: u32 = 16;

/// Far more turns than the longest input takes, byte by byte.
const ENDLESS: u32 = 200_000;
