//! A small HTTP endpoint: something to put a load balancer in front of.
//!
//! ```sh
//! cargo run --release --example endpoint -- 127.0.0.1:3001 127.0.0.1:3002
//! evenkeel run --listen 127.0.0.1:8080 --to 127.0.0.1:3001 --to 127.0.0.1:3002
//! curl -i http://127.0.0.1:8080/size/1000
//! ```
//!
//! It answers every request with 100 bytes, or with as many as `/size/N` asks for, after it has
//! read the request wholly; `X-Endpoint` says which one answered. It runs on one thread. The
//! end-to-end benches stand on it.

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut listeners = JoinSet::new();
    for address in std::env::args().skip(1) {
        listeners.spawn(listen(address));
    }
    match listeners.join_next().await {
        Some(Ok(error)) => fail(&error),
        Some(Err(_)) => fail("a listener panicked"),
        None => fail("usage: endpoint ADDRESS..."),
    }
}

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Serves an address, until that fails.
async fn listen(address: String) -> String {
    let failed = |error: io::Error| format!("{address}: {error}");
    let name: Bytes = address.clone().into();
    let listener = match TcpListener::bind(&address).await {
        Ok(listener) => listener,
        Err(error) => return failed(error),
    };
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(serve(stream, name.clone()))),
            Err(error) => return failed(error),
        }
        // Collects those that have ended.
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, name: Bytes) {
    // Without it the kernel holds small answers back for what may follow. Where it cannot be set,
    // the client has gone, and nothing that it does matters here.
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| answer(request, name.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    connection.await.ok();
}

async fn answer(
    request: Request<Incoming>,
    name: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let size = match request.uri().path().strip_prefix("/size/") {
        Some(size) => size.parse().ok().filter(|size| *size <= LARGEST),
        None => Some(USUAL),
    };
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let response = match size {
        Some(size) => Response::builder()
            .header("x-endpoint", &name[..])
            .body(Full::new(Bytes::from_static(&CONTENT[..size]))),
        None => Response::builder()
            .status(StatusCode::BAD_REQUEST)
            .body(Full::default()),
    };
    // Only a name that is no field value can be refused.
    Ok(response.unwrap_or_default())
}

/// Bytes of an answer, unless the request names a size.
const USUAL: usize = 100;

/// Bytes of the largest answer.
const LARGEST: usize = 1 << 20;

/// What answers are cut from, so that none costs an allocation.
static CONTENT: [u8; LARGEST] = [b'x'; LARGEST];
