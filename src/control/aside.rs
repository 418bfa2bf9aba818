//! Reading of files on threads of their own: a file system may be far away, and must hold nothing
//! else up.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Runs a reading aside; an error says why there is no result.
pub(super) async fn aside<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let reading = async {
        // Nobody closes it. The permit goes with the thread, which may hang as long as the disk.
        let permit = AT_ONCE.acquire().await;
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

/// The same for a command, which has nothing else to do meanwhile, but is waited for.
pub(super) fn at_once<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (give, take) = mpsc::sync_channel(1);
    // Nobody takes what comes too late.
    let reading = thread::Builder::new().spawn(move || drop(give.send(read())));
    reading.map_err(|error| format!("there is no thread to read it: {error}"))?;
    take.recv_timeout(LONGEST)
        .map_err(|_| format!("it was not read within {LONGEST:?}"))
}

/// Readings at once: those of a file system that hangs must not take all threads.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// A disk that takes longer is gone.
const LONGEST: Duration = Duration::from_secs(5);
