//! The server behind the entrances: hyper, with a bound on everything.
//!
//! Problem: whoever can reach an entrance can hold it open, and this runtime also probes endpoints
//! and applies configurations. So heads are small and have to arrive in time, bodies are never
//! read, connections are few and end after a while, and each entrance has a limit of its own, so
//! that scrapers cannot lock the operator out. Nor can those who say nothing or do not read: where
//! an entrance is full, a newcomer gets the place of whoever has been there longest without being
//! owed an answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::answer::Response;
use super::entrances::Entrances;
use crate::net::Stream;

/// Which entrance a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    /// The Unix socket, from a process of this user and this group.
    Socket(u32, u32),
    /// The TCP address.
    Http {
        /// Whether it was reached by the loopback interface: by this machine, or this pod.
        is_local: bool,
    },
}

/// A request as hyper hands it over.
pub(super) type Request = http::Request<Incoming>;

/// An answer that is being made.
pub(super) type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What makes the answers.
pub(super) type Answers = Arc<dyn Fn(Entrance, Request) -> Answer + Send + Sync>;

/// What connections come from.
enum Listener {
    Socket(UnixListener),
    Http(TcpListener),
}

/// Serves both entrances until it is dropped, and then cuts what is left.
pub(super) async fn serve(entrances: Entrances, answers: Answers) -> Infallible {
    let (left, also_left) = (entrances.left(), entrances.left());
    let socket = entrances.socket.map(Listener::Socket);
    let http = entrances.http.map(Listener::Http);
    tokio::select! {
        never = serve_entrance(socket, left, &answers) => never,
        never = serve_entrance(http, also_left, &answers) => never,
    }
}

async fn serve_entrance(
    listener: Option<Listener>,
    mut left: watch::Receiver<bool>,
    answers: &Answers,
) -> Infallible {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let mut guests = Guests::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = left.wait_for(|left| *left) => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin API could not accept a connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        guests.make_room().await;
        let (stream, entrance) = stream;
        let answers = Arc::clone(answers);
        let owed = Owed(Arc::clone(&guests.free), Arc::default());
        guests.seat(owed.clone(), async move {
            serve_connection(stream, entrance, answers, owed).await;
        });
    }
    // Another instance accepts here. Those who are connected are answered.
    drop(listener);
    std::future::pending().await
}

/// The connections of an entrance, oldest first.
#[derive(Debug, Default)]
struct Guests {
    seats: VecDeque<(Owed, AbortHandle)>,
    tasks: JoinSet<()>,
    /// Is told when somebody has been answered.
    free: Arc<Notify>,
}

/// How many answers are being made for a connection, and who is told when one is done.
#[derive(Debug, Clone)]
struct Owed(Arc<Notify>, Arc<AtomicUsize>);

/// An answer that is being made.
#[derive(Debug)]
struct Owing(Owed);

impl Guests {
    /// Waits until there is room for one more, which may cost the place of another.
    async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        if self.seats.len() < CONNECTIONS {
            return;
        }
        self.seats.retain(|(_, task)| !task.is_finished());
        while self.seats.len() >= CONNECTIONS {
            let waits = |(owed, _): &(Owed, AbortHandle)| owed.1.load(Ordering::Relaxed) == 0;
            let longest = self.seats.iter().position(waits);
            if let Some((_, task)) = longest.and_then(|place| self.seats.remove(place)) {
                return self.unseat(&task).await;
            }
            // All are being answered: the newcomer waits, and the next ones in the kernel's queue.
            tokio::select! {
                () = self.free.notified() => {}
                _ = self.tasks.join_next() => {}
            }
            self.seats.retain(|(_, task)| !task.is_finished());
        }
    }

    /// Ends a connection. It has its socket until its task is looked at once more.
    async fn unseat(&mut self, task: &AbortHandle) {
        task.abort();
        while self.tasks.len() >= CONNECTIONS {
            self.tasks.join_next().await;
        }
    }

    fn seat(&mut self, owed: Owed, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(task);
        self.seats.push_back((owed, task));
    }
}

impl Owing {
    fn new(owed: &Owed) -> Self {
        owed.1.fetch_add(1, Ordering::Relaxed);
        Self(owed.clone())
    }
}

impl Drop for Owing {
    fn drop(&mut self) {
        let Owed(free, answers) = &self.0;
        answers.fetch_sub(1, Ordering::Relaxed);
        free.notify_one();
    }
}

async fn serve_connection(stream: Stream, entrance: Entrance, answers: Answers, owed: Owed) {
    let service = service_fn(|request| {
        let (response, owing) = (answers(entrance, request), Owing::new(&owed));
        async move {
            let response = response.await;
            drop(owing);
            Ok::<_, Infallible>(response)
        }
    });
    let mut server = http1::Builder::new();
    server
        // Without a timer, hyper's limit on the head is silently off.
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_SIZE);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    // An error is a client that went away or spoke nonsense: nothing to do, nobody to tell.
    if timeout(CONNECTION_LIMIT, connection.as_mut())
        .await
        .is_err()
    {
        connection.as_mut().graceful_shutdown();
        drop(timeout(LAST_ANSWER_LIMIT, connection).await);
    }
}

impl Listener {
    /// The next connection, and by whom it was made.
    async fn accept(&self) -> io::Result<(Stream, Entrance)> {
        match self {
            Self::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?;
                let entrance = Entrance::Socket(peer.uid(), peer.gid());
                Ok((Stream::Unix(stream), entrance))
            }
            Self::Http(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // Of an address that is every address, the one that was really called.
                let is_local = stream.local_addr()?.ip().to_canonical().is_loopback();
                Ok((stream.into(), Entrance::Http { is_local }))
            }
        }
    }
}

/// Connections at each entrance. A scraper, a probe and a few people take ten.
const CONNECTIONS: usize = 64;

/// Until a head has arrived, and between two requests.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// A head, of which a URL to explain is the longest part. hyper wants at least 8 KiB.
const HEAD_SIZE: usize = 16 * 1024;

/// After this a connection ends with its current answer, so that places come free.
const CONNECTION_LIMIT: Duration = Duration::from_mins(5);

/// How long the last answer of a connection may take; a reload waits for its endpoints' names.
const LAST_ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// Pause after a failure to accept: most likely out of descriptors, which does not pass at once.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_is_not_taken_from_who_is_owed_an_answer() {
        let mut guests = Guests::default();
        let mut owing = Vec::new();
        for place in 0..CONNECTIONS {
            let owed = Owed(Arc::clone(&guests.free), Arc::default());
            if place != 1 {
                owing.push(Owing::new(&owed));
            }
            guests.seat(owed, std::future::pending());
        }
        guests.make_room().await;
        let is_owed = |(owed, _): &(Owed, AbortHandle)| owed.1.load(Ordering::Relaxed) > 0;
        assert!(guests.seats.iter().all(is_owed));
        assert_eq!(guests.seats.len(), CONNECTIONS - 1);

        let owed = Owed(Arc::clone(&guests.free), Arc::default());
        owing.push(Owing::new(&owed));
        guests.seat(owed, std::future::pending());
        let patience = Duration::from_secs(1);
        assert!(timeout(patience, guests.make_room()).await.is_err());
        drop(owing.pop());
        assert!(timeout(patience, guests.make_room()).await.is_ok());
    }
}
