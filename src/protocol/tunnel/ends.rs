//! Both ends of a tunnel, and who hears of it when one breaks that nobody reads from.
//!
//! Problem: a direction that waits for its sink, or whose source has ended, does not look at its
//! source any more, and so would not hear that this was reset, or that the kernel has found its
//! peer gone. The tunnel, and all that it holds, would stay until its idle limit.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Ended;
use super::end::End;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Endpoint,
}

/// The two ends. Dropped unless settled, it has both reset.
#[derive(Debug)]
pub(super) struct Ends<'a> {
    pub(super) client: End<'a>,
    pub(super) upstream: End<'a>,
    settled: Cell<bool>,
}

/// What is known of the break of both ends.
#[derive(Default)]
pub(super) struct Breaks<'a> {
    is_known: Of<bool>,
    /// Those whose break is waited for.
    is_watched: Of<bool>,
    /// In a box: nearly always nobody waits.
    watch: Option<Watch<'a>>,
}

/// Waits until one side has broken, and says which.
type Watch<'a> = Pin<Box<dyn Future<Output = Side> + 'a>>;

/// The same of either side.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Of<T> {
    pub(super) client: T,
    pub(super) endpoint: T,
}

impl Side {
    pub(super) fn reset(self) -> Ended {
        match self {
            Self::Client => Ended::ClientReset,
            Self::Endpoint => Ended::EndpointReset,
        }
    }
}

impl<'a> Ends<'a> {
    pub(super) fn new(client: End<'a>, upstream: End<'a>) -> Self {
        Self {
            client,
            upstream,
            settled: Cell::new(false),
        }
    }

    /// Both have ended, or not.
    pub(super) fn settle(&self, settled: bool) {
        self.settled.set(settled);
    }

    /// Has the kernel find out whether both peers are there.
    pub(super) fn probe(&self) {
        self.client.probe();
        self.upstream.probe();
    }

    /// Bytes that have left behind those who wrote them.
    pub(super) fn sent_behind(&self) -> u64 {
        self.client.sent_behind() + self.upstream.sent_behind()
    }

    /// Bytes that were written, and that the peers have not taken.
    pub(super) fn outstanding(&self) -> u32 {
        // Neither is more than an `int`.
        self.client.outstanding() + self.upstream.outstanding()
    }

    /// A number that grows with what the peers take; only differences mean something.
    pub(super) fn delivered(&self) -> i64 {
        self.client.delivered() + self.upstream.delivered()
    }

    /// Bytes that the side has not taken that is left when this one has broken.
    pub(super) fn outstanding_beside(&self, side: Side) -> u32 {
        match side {
            Side::Client => self.upstream.outstanding(),
            Side::Endpoint => self.client.outstanding(),
        }
    }
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        if !self.settled.get() {
            self.client.cut();
            self.upstream.cut();
        }
    }
}

impl<'a> Breaks<'a> {
    /// Has the task woken when one of the wanted ends breaks, and says which has. What is known
    /// already is not said again.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        ends: &Ends<'a>,
        is_wanted: Of<bool>,
    ) -> Option<Side> {
        let is_watched = Of {
            client: is_wanted.client && !self.is_known.client,
            endpoint: is_wanted.endpoint && !self.is_known.endpoint,
        };
        if is_watched != self.is_watched {
            self.is_watched = is_watched;
            let is_any = is_watched.client || is_watched.endpoint;
            self.watch = is_any.then(|| -> Watch<'a> {
                Box::pin(first_broken(ends.client, ends.upstream, is_watched))
            });
        }
        match self.watch.as_mut()?.as_mut().poll(cx) {
            Poll::Ready(side) => Some(side),
            Poll::Pending => None,
        }
    }

    /// It is known of this side.
    pub(super) fn tell(&mut self, side: Side) {
        match side {
            Side::Client => self.is_known.client = true,
            Side::Endpoint => self.is_known.endpoint = true,
        }
        self.is_watched = Of::default();
        self.watch = None;
    }

    /// Whether nobody is left.
    pub(super) fn are_known(&self) -> bool {
        self.is_known.client && self.is_known.endpoint
    }
}

impl fmt::Debug for Breaks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaks")
            .field("is_known", &self.is_known)
            .field("is_watched", &self.is_watched)
            .finish_non_exhaustive()
    }
}

/// Returns once one of these has broken, with its side.
async fn first_broken(client: End<'_>, upstream: End<'_>, of: Of<bool>) -> Side {
    tokio::select! {
        biased;
        () = client.broken(), if of.client => Side::Client,
        () = upstream.broken(), if of.endpoint => Side::Endpoint,
        else => pending().await,
    }
}
