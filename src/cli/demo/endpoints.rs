//! The demo's sample endpoints: small HTTP servers that can be killed and brought back.
//!
//! They run on a thread of their own, as services of someone else would, and know nothing of the
//! proxy. A stopped endpoint is really gone: its socket is closed and its connections are cut, so
//! that the next connection attempt is refused.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Duration, sleep};

/// The running sample endpoints, until it is dropped.
#[derive(Debug)]
pub(super) struct Fleet {
    samples: Vec<Sample>,
    switchboard: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// One sample endpoint.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) zone: &'static str,
    pub(super) address: SocketAddr,
    running: Arc<watch::Sender<bool>>,
    requests: Arc<AtomicU64>,
}

impl Fleet {
    /// Binds the endpoints and the switchboard to free ports of the loopback, and serves them.
    pub(super) fn start() -> io::Result<Self> {
        let mut samples = Vec::new();
        let mut listeners = Vec::new();
        for (name, zone) in SAMPLES {
            let listener = loopback()?;
            samples.push(Sample {
                name,
                zone,
                address: listener.local_addr()?,
                running: Arc::new(watch::Sender::new(true)),
                requests: Arc::default(),
            });
            listeners.push(listener);
        }
        let control = loopback()?;
        let switchboard = control.local_addr()?;
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let served = samples.clone();
        let thread = thread::Builder::new()
            .name("endpoints".to_owned())
            .spawn(move || {
                let local = LocalSet::new();
                local.block_on(&runtime, serve(served, listeners, control, ended));
            })?;
        Ok(Self {
            samples,
            switchboard,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// The endpoints, in the order of their zones.
    pub(super) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Requests answered so far, by endpoint.
    pub(super) fn served(&self) -> Vec<u64> {
        self.samples
            .iter()
            .map(|sample| sample.requests.load(Ordering::Relaxed))
            .collect()
    }

    /// The endpoint at an address.
    pub(super) fn sample_at(&self, address: &str) -> Option<&Sample> {
        self.samples
            .iter()
            .find(|sample| sample.address.to_string() == address)
    }

    /// Where endpoints are stopped and started.
    pub(super) fn switchboard(&self) -> SocketAddr {
        self.switchboard
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end.take(); // the thread waits for this end of the channel to go
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed by the panic hook already.
            drop(thread.join());
        }
    }
}

impl Sample {
    /// Serves whenever it is switched on, for ever.
    async fn run(self, first: std::net::TcpListener) {
        let mut running = self.running.subscribe();
        let mut first = Some(first);
        while running.wait_for(|running| *running).await.is_ok() {
            let listener = match first.take() {
                Some(listener) => TcpListener::from_std(listener),
                None => TcpListener::bind(self.address).await,
            };
            match listener {
                Ok(listener) => {
                    tokio::select! {
                        () = self.accept(listener) => {}
                        _ = running.wait_for(|running| !*running) => {}
                    }
                }
                // Something else took the port meanwhile: it may give it back.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Serves connections; dropping the future cuts them all and closes the socket.
    async fn accept(&self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let sample = self.clone();
                        connections.spawn_local(async move {
                            let answer = |request| {
                                let response = sample.answer(&request);
                                async { Ok(response) }
                            };
                            serve_connection(stream, answer).await;
                        });
                    }
                    Err(_) => sleep(Duration::from_millis(10)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/healthz" {
            return text(StatusCode::OK, "fine\n");
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let Self { name, zone, .. } = self;
        text(
            StatusCode::OK,
            format!("hello from {name} in {zone}, its request number {number}\n"),
        )
    }
}

/// Everything that runs on the thread.
async fn serve(
    samples: Vec<Sample>,
    listeners: Vec<std::net::TcpListener>,
    control: std::net::TcpListener,
    ended: oneshot::Receiver<()>,
) {
    let mut tasks = JoinSet::new();
    for (sample, listener) in samples.iter().zip(listeners) {
        tasks.spawn_local(sample.clone().run(listener));
    }
    tasks.spawn_local(switch(Rc::from(samples), control));
    drop(ended.await); // an error only: nothing is ever sent
}

/// Serves the switchboard.
async fn switch(samples: Rc<[Sample]>, listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return; // the address then refuses, which is what the visitor sees
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let samples = Rc::clone(&samples);
                    connections.spawn_local(async move {
                        let answer = |request| {
                            let response = operate(&samples, &request);
                            async { Ok(response) }
                        };
                        serve_connection(stream, answer).await;
                    });
                }
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// `POST /-/stop/NAME` and `POST /-/start/NAME`, where a name is that of an endpoint or a zone.
fn operate(samples: &[Sample], request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let (run, name) = match (
        path.strip_prefix("/-/stop/"),
        path.strip_prefix("/-/start/"),
    ) {
        (Some(name), _) => (false, name),
        (_, Some(name)) => (true, name),
        (None, None) => return text(StatusCode::NOT_FOUND, USAGE),
    };
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, USAGE);
    }
    let named = |sample: &&Sample| sample.name == name || sample.zone == name;
    if !samples.iter().any(|sample| named(&sample)) {
        return text(StatusCode::NOT_FOUND, USAGE);
    }
    let mut lines = Vec::new();
    for sample in samples.iter().filter(named) {
        sample.running.send_replace(run);
        let state = if run { "is back" } else { "is gone" };
        lines.push(format!("{} in {} {state}\n", sample.name, sample.zone));
    }
    text(StatusCode::OK, lines.concat())
}

async fn serve_connection<A, F>(stream: TcpStream, answer: A)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // A client that broke off is none of a sample's business.
    drop(connection.await);
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

/// A free port of the loopback, ready for tokio.
fn loopback() -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

const SAMPLES: [(&str, &str); 4] = [
    ("a1", "eu-1a"),
    ("a2", "eu-1a"),
    ("b1", "eu-1b"),
    ("b2", "eu-1b"),
];

const USAGE: &str =
    "POST /-/stop/NAME or /-/start/NAME, with NAME one of a1 a2 b1 b2 eu-1a eu-1b\n";
