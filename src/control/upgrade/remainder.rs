//! What an instance still counts after another one has taken over from it.
//!
//! Problem: what ran at that moment is counted where it ends, in the process that nobody scrapes
//! any more: the last request of every connection, and every byte of streams that go on for hours.
//! So the old instance goes on to say on the line what it has counted since it said so last, and
//! the new one adds that to its own. What it says is lost only where the new one has gone before
//! it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, timeout};

use super::channel::{Channel, ChannelError};
use super::frame::Frame;
use crate::control::state::{Moment, State};
use crate::telemetry::metrics::{Counts, Registry};

/// Says what this instance still counts. Clones say it together.
#[derive(Debug, Clone)]
pub struct Remainder {
    told: Arc<Mutex<Told>>,
    registry: Registry,
}

/// Adds what the instance before still counts.
#[derive(Debug)]
pub struct Legacy {
    channel: Channel,
    /// Whether it said that the service is to end, instead of its leave.
    is_end: bool,
}

#[derive(Debug)]
struct Told {
    channel: Channel,
    until: Counts,
}

impl Remainder {
    pub(super) fn new(channel: Channel, until: Counts, registry: Registry) -> Self {
        Self {
            told: Arc::new(Mutex::new(Told { channel, until })),
            registry,
        }
    }

    /// Says that this instance has left. The other one serves, whether it hears that or not.
    pub(super) async fn done(&self) {
        drop(self.told.lock().await.channel.say(&Frame::Done).await);
    }

    /// Says that the service is to end: this instance alone was told. Not a signal, which may have
    /// reached both, as from a terminal or a service manager, and ends the wait if it comes twice.
    pub(in crate::control) async fn end(&self) {
        drop(self.told.lock().await.channel.say(&Frame::End).await);
    }

    /// Says it now and then, until it is dropped.
    #[expect(clippy::infinite_loop, reason = "it ends where it is dropped")]
    pub async fn run(self) -> Infallible {
        loop {
            sleep(INTERVAL).await;
            self.tell().await;
        }
    }

    /// Says what was counted since.
    pub async fn tell(&self) {
        let mut told = self.told.lock().await;
        let counts = self.registry.counts();
        let since = counts.since(&told.until);
        if since.is_empty() {
            return;
        }
        let saying = async {
            for piece in Frame::state(&encoded(since)) {
                told.channel.say(&piece).await?;
            }
            told.channel.say(&Frame::Counted).await
        };
        // One that has gone, or hangs, counts for itself.
        if let Ok(Ok(())) = timeout(PATIENCE, saying).await {
            told.until = counts;
        }
    }
}

impl Legacy {
    pub(super) fn new(channel: Channel, is_end: bool) -> Self {
        Self { channel, is_end }
    }

    /// Adds what is said, until nobody says more. `end` is told if the service is to end.
    pub async fn add_to(self, registry: Registry, end: Arc<Notify>) {
        if self.is_end {
            end.notify_one();
        }
        let mut counted = Vec::new();
        loop {
            match self.channel.hear().await {
                Ok((Frame::State(piece), _)) => counted.extend(piece),
                Ok((Frame::Counted, _)) => {
                    let bytes = std::mem::take(&mut counted);
                    match State::from_bytes(&bytes) {
                        Ok(mut state) => registry.resume(&state.take_counts()),
                        Err(error) => tracing::warn!(%error, "{UNREAD}"),
                    }
                }
                Ok((Frame::Done, _)) => {}
                Ok((Frame::End, _)) => end.notify_one(),
                Err(ChannelError::Gone) => return,
                Ok(_) => return tracing::warn!("{UNREAD}"),
                Err(error) => return tracing::warn!(%error, "{UNREAD}"),
            }
        }
    }
}

/// Counts as they are said.
pub(super) fn encoded(counts: Counts) -> Vec<u8> {
    let now = (Moment::now(), Instant::now());
    State::of([], &BTreeMap::new(), counts, now).to_bytes()
}

const UNREAD: &str = "what the instance before still counts is not added";

/// Between two times that it is said: often enough for rates over a minute.
const INTERVAL: Duration = Duration::from_secs(5);

/// For one that does not listen: it must not hold the end of this process up.
const PATIENCE: Duration = Duration::from_secs(1);
