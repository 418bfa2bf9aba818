//! Reading of files on threads of their own: a file system may be far away, and must hold nothing
//! else up.
//!
//! What hangs there holds up what is read from the same directories, and nothing else: each set of
//! them has threads of its own, and no more than some, since a thread stays for as long as its disk
//! hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Runs a reading of these files aside; an error says why there is no result.
pub async fn aside<'a, T: Send + 'static>(
    files: impl IntoIterator<Item = &'a Path>,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let threads = threads_for(files);
    let reading = async {
        // Nobody closes it. The permit goes with the thread, which may hang as long as the disk.
        let permit = threads.acquire_owned().await;
        let read = spawn_blocking(move || {
            let read = read();
            drop(permit);
            read
        });
        read.await
    };
    match timeout(LONGEST, reading).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(_)) => Err("reading it failed by a fault of ours".to_owned()),
        Err(_) => Err(format!("it was not read within {LONGEST:?}")),
    }
}

/// Those that are left for what is read from the directories of these files.
fn threads_for<'a>(files: impl IntoIterator<Item = &'a Path>) -> Arc<Semaphore> {
    let files = files.into_iter();
    let directories = files.filter_map(|file| Some(file.parent()?.to_owned()));
    let directories: BTreeSet<PathBuf> = directories.collect();
    let mut known = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    // Who has none of them under way needs no memory of it.
    known.retain(|_, threads| Arc::strong_count(threads) > 1);
    let threads = known.entry(directories);
    Arc::clone(threads.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
}

/// The same for a command, which has nothing else to do meanwhile, but is waited for.
pub fn at_once<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (give, take) = mpsc::sync_channel(1);
    // Nobody takes what comes too late.
    let reading = thread::Builder::new().spawn(move || drop(give.send(read())));
    reading.map_err(|error| format!("there is no thread to read it: {error}"))?;
    take.recv_timeout(LONGEST)
        .map_err(|_| format!("it was not read within {LONGEST:?}"))
}

/// What is left of the threads for each set of directories.
type Threads = BTreeMap<BTreeSet<PathBuf>, Arc<Semaphore>>;

static THREADS: Mutex<Threads> = Mutex::new(BTreeMap::new());

/// Readings at once: those of a file system that hangs must not take all threads.
const AT_ONCE: usize = 4;

/// A disk that takes longer is gone.
const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_holds_up_its_own_directories_only() {
        let (end, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        for _ in 0..AT_ONCE {
            let hangs = Arc::clone(&hangs);
            let hung = aside([Path::new("/far/a")], move || {
                drop(hangs.lock().map(|it| it.recv()));
            });
            // A thread that reads keeps the clock from going on by itself.
            let (hung, ()) = tokio::join!(hung, tokio::time::advance(LONGEST));
            assert!(hung.is_err());
        }
        let near = aside([Path::new("/near/a"), Path::new("/far/b")], || 1);
        assert_eq!(near.await, Ok(1), "another set of them");
        let waits = aside([Path::new("/far/other")], || 1);
        let (waits, ()) = tokio::join!(waits, tokio::time::advance(LONGEST));
        assert!(waits.is_err(), "all its threads hang");
        drop(end);
        let waits = aside([Path::new("/far/other")], || 1);
        assert_eq!(waits.await, Ok(1), "and are back");
    }
}
