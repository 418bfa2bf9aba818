//! The server behind the entrances: hyper, with a bound on everything.
//!
//! Problem: whoever can reach an entrance can hold it open, and this runtime also probes endpoints
//! and applies configurations. So heads are small and have to arrive in time, bodies are never
//! read, connections are few and end after a while, and each entrance has a limit of its own, so
//! that scrapers cannot lock the operator out.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::Response;
use super::entrances::Entrances;
use crate::net::Stream;

/// Which entrance a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    /// The Unix socket: its file's mode says who may.
    Socket,
    /// The TCP address: anyone who can reach it.
    Http,
}

/// A request as hyper hands it over.
pub(super) type Request = http::Request<Incoming>;

/// An answer that is being made.
pub(super) type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What makes the answers.
pub(super) type Answers = Arc<dyn Fn(Entrance, Request) -> Answer + Send + Sync>;

/// What connections come from.
enum Listener<'a> {
    Socket(&'a UnixListener),
    Http(&'a TcpListener),
}

/// Serves both entrances until it is dropped, and then cuts what is left.
pub(super) async fn serve(entrances: Entrances, answers: Answers) -> Infallible {
    let socket = entrances.socket.as_ref();
    let socket = socket.map(|socket| Listener::Socket(&socket.listener));
    let http = entrances.http.as_ref().map(Listener::Http);
    tokio::select! {
        never = serve_entrance(socket, &answers) => never,
        never = serve_entrance(http, &answers) => never,
    }
}

async fn serve_entrance(listener: Option<Listener<'_>>, answers: &Answers) -> Infallible {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Full: the next connection waits in the kernel's queue, not here.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return std::future::pending().await;
        };
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin API could not accept a connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let (entrance, answers) = (listener.entrance(), Arc::clone(answers));
        connections.spawn(async move {
            serve_connection(stream, entrance, answers).await;
            drop(place);
        });
    }
}

async fn serve_connection(stream: Stream, entrance: Entrance, answers: Answers) {
    let service = service_fn(|request| {
        let response = answers(entrance, request);
        async { Ok::<_, Infallible>(response.await) }
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

impl Listener<'_> {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Socket(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Self::Http(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
        }
    }

    fn entrance(&self) -> Entrance {
        match self {
            Self::Socket(_) => Entrance::Socket,
            Self::Http(_) => Entrance::Http,
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
