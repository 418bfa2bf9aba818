//! What is measured, as text: one is made at a time, for all who asked meanwhile.
//!
//! Problem: ten thousand series take a while and some megabytes, and how many ask at once is up to
//! others. So a text is made on a thread of its own, while this runtime has probes to send; there
//! is one such thread, however many ask or go away again; and who asked before a text was begun
//! gets that one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::{JoinError, spawn_blocking};

use crate::telemetry::metrics::{Format, Registry};

/// Makes the texts.
#[derive(Debug, Default)]
pub(super) struct Scrapes {
    /// How many have been begun.
    begun: Arc<AtomicU64>,
    /// The last one of each format, while somebody may still want one.
    last: Arc<Mutex<Vec<Scrape>>>,
}

#[derive(Debug)]
struct Scrape {
    number: u64,
    format: Format,
    text: Bytes,
}

impl Scrapes {
    /// All of the registry, not older than this call.
    pub(super) async fn text(
        &self,
        registry: &Registry,
        format: Format,
    ) -> Result<Bytes, JoinError> {
        let asked = self.begun.load(Ordering::Acquire);
        let mut last = Arc::clone(&self.last).lock_owned().await;
        let fresh = |scrape: &&Scrape| scrape.number > asked && scrape.format == format;
        if let Some(scrape) = last.iter().find(fresh) {
            let text = scrape.text.clone();
            forget_if_last(&mut last);
            return Ok(text);
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let registry = registry.clone();
        // Who has asked may go away: the lock goes with the thread.
        let made = spawn_blocking(move || {
            let mut text = String::new();
            registry.encode(format, &mut text);
            let text = Bytes::from(text);
            last.retain(|scrape| scrape.format != format);
            last.push(Scrape {
                number,
                format,
                text: text.clone(),
            });
            forget_if_last(&mut last);
            text
        });
        made.await
    }
}

/// Lets go of a text that nobody waits for.
fn forget_if_last(last: &mut OwnedMutexGuard<Vec<Scrape>>) {
    // Whoever waits for the lock holds it too, beside the owner and this guard.
    if Arc::strong_count(OwnedMutexGuard::mutex(last)) <= 2 {
        last.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinSet, yield_now};

    use super::*;
    use crate::telemetry::metrics::{Family, Kind};

    static NUMBER: Family = Family {
        name: "number",
        help: "A number.",
        kind: Kind::Gauge,
        buckets: None,
    };

    async fn text(
        registry: Registry,
        scrapes: Arc<Scrapes>,
        format: Format,
    ) -> Result<Bytes, JoinError> {
        scrapes.text(&registry, format).await
    }

    #[tokio::test]
    async fn who_asks_meanwhile_is_answered_together_and_nobody_with_what_was() {
        let (registry, scrapes) = (Registry::new(1), Arc::new(Scrapes::default()));
        let number = registry.gauge(&NUMBER, &[]);
        for round in 1..20 {
            number.set(round);
            let held = Arc::clone(&scrapes.last).lock_owned().await;
            let mut asking = JoinSet::new();
            for number in 0..50 {
                // In turns: none of them takes the place of the other.
                let format = [Format::Text, Format::OpenMetrics][number % 2];
                asking.spawn(text(registry.clone(), Arc::clone(&scrapes), format));
            }
            // Themselves, this test and its owner.
            while Arc::strong_count(&scrapes.last) < 50 + 2 {
                yield_now().await;
            }
            drop(held);
            for text in asking.join_all().await {
                let text = String::from_utf8(text.unwrap().to_vec()).unwrap();
                assert!(text.contains(&format!("\nnumber {round}\n")), "{text}");
            }
        }
        assert_eq!(
            scrapes.begun.load(Ordering::Acquire),
            2 * 19,
            "one of each format"
        );
        let kept = scrapes.last.lock().await;
        assert!(kept.is_empty(), "nobody wants it any more");
    }
}
