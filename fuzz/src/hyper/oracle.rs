//! The plainest proxy that can be made of hyper: what a relay was before there was an engine.
//!
//! Its framing, limits and leniencies are hyper's. It adds only what a proxy must: fields of the
//! connection end here (RFC 9110 §7.6.1), an absolute target becomes path and `Host` (RFC 9112
//! §3.2.2), and CONNECT is refused, since a tunnel cannot be compared.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, spawn_local};

use crate::run::Proxy;

/// A proxy of hyper in front of the endpoint at a path.
#[derive(Debug)]
pub struct Oracle {
    path: PathBuf,
    /// What it read of the requests, and then of the answers, in its last run.
    read: Rc<RefCell<Read>>,
}

/// Trailers as they were read. hyper writes only those that a `Trailer` field has named, and no
/// others; so what it has sent does not tell what it has read.
#[derive(Debug, Default)]
pub struct Read {
    /// Of each request, in their order.
    pub requests: Vec<Trailers>,
    /// Of each answer.
    pub answers: Vec<Trailers>,
}

/// The trailers of a message, once they have come.
pub type Trailers = Rc<RefCell<HeaderMap>>;

/// One client's connection, and the one to the endpoint that it uses.
#[derive(Debug)]
struct Relay {
    path: PathBuf,
    read: Rc<RefCell<Read>>,
    upstream: RefCell<Option<Upstream>>,
}

#[derive(Debug)]
struct Upstream {
    sender: client::SendRequest<Relayed>,
    _task: Owned,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Owned(JoinHandle<()>);

/// A body on its way, of which the trailers are kept. Without one it is empty.
#[derive(Debug, Default)]
struct Relayed {
    body: Option<Incoming>,
    trailers: Trailers,
}

impl Oracle {
    /// In front of the endpoint at `path`.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: Rc::default(),
        }
    }

    /// What was read since this was last asked.
    pub fn take_read(&self) -> Read {
        self.read.take()
    }
}

impl Proxy for Oracle {
    fn serve(&self, stream: UnixStream) -> JoinHandle<()> {
        let relay = Rc::new(Relay {
            path: self.path.clone(),
            read: Rc::clone(&self.read),
            upstream: RefCell::new(None),
        });
        spawn_local(async move {
            let service = service_fn(move |request| {
                let relay = Rc::clone(&relay);
                async move { Ok::<_, Infallible>(relay.answer(request).await) }
            });
            // The client ends its side before it has its answers, and no date is looked at.
            let connection = server::Builder::new()
                .half_close(true)
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service);
            // Its errors are those of the client's bytes, and show in what it did.
            drop(connection.await);
        })
    }
}

impl Relay {
    async fn answer(&self, request: Request<Incoming>) -> Response<Relayed> {
        if request.method() == Method::CONNECT {
            return own(StatusCode::METHOD_NOT_ALLOWED);
        }
        match self.forward(request).await {
            Ok(response) => response,
            Err(_) => own(StatusCode::BAD_GATEWAY),
        }
    }

    async fn forward(&self, request: Request<Incoming>) -> hyper::Result<Response<Relayed>> {
        let (mut parts, body) = request.into_parts();
        end_here(&mut parts.headers, &["content-length", "expect", "host"]);
        if let Some(authority) = parts.uri.authority() {
            let host = HeaderValue::from_str(authority.as_str()).expect("part of a target");
            parts.headers.insert(HOST, host);
            let query = parts.uri.query().map(|query| format!("?{query}"));
            // A name alone, which is for CONNECT, has no path at all.
            let path = Some(parts.uri.path())
                .filter(|path| !path.is_empty())
                .unwrap_or("/");
            let path = [path, query.as_deref().unwrap_or_default()].concat();
            parts.uri = path.parse().expect("parts of a target");
        }
        parts.version = Version::HTTP_11;
        if body.size_hint().exact().is_none() {
            // Or hyper takes it that a GET has no body, and does not even read the client's.
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(TRANSFER_ENCODING, chunked);
        }
        let number = self.read.borrow().requests.len();
        parts.headers.insert(ORDER, HeaderValue::from(number));
        let body = Relayed::new(body);
        self.read
            .borrow_mut()
            .requests
            .push(Rc::clone(&body.trailers));

        let mut upstream = self.connection().await?;
        let response = upstream
            .sender
            .send_request(Request::from_parts(parts, body))
            .await?;
        self.upstream.replace(Some(upstream));
        let (mut parts, body) = response.into_parts();
        end_here(&mut parts.headers, &["content-length"]);
        parts.version = Version::HTTP_11;
        let body = Relayed::new(body);
        self.read
            .borrow_mut()
            .answers
            .push(Rc::clone(&body.trailers));
        Ok(Response::from_parts(parts, body))
    }

    /// The connection of the request before, if it is free, or a new one.
    async fn connection(&self) -> hyper::Result<Upstream> {
        let present = self.upstream.take();
        if let Some(mut present) = present
            && present.sender.ready().await.is_ok()
        {
            return Ok(present);
        }
        let stream = UnixStream::connect(&self.path)
            .await
            .expect("the endpoint listens");
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        let task = spawn_local(async move { drop(connection.await) });
        Ok(Upstream {
            sender,
            _task: Owned(task),
        })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Relayed {
    fn new(body: Incoming) -> Self {
        Self {
            body: Some(body),
            ..Self::default()
        }
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let relayed = self.get_mut();
        let Some(body) = relayed.body.as_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            relayed.trailers.replace(trailers.clone());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let nothing = SizeHint::with_exact(0);
        self.body.as_ref().map_or(nothing, Body::size_hint)
    }
}

/// Removes what belongs to one connection. What frames or addresses a message cannot be named away:
/// that is `kept`.
fn end_here(headers: &mut HeaderMap, kept: &[&str]) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !kept.contains(&name.as_str()))
        .collect();
    for name in named.iter().map(HeaderName::as_str).chain(ENDING) {
        headers.remove(name);
    }
}

fn own(status: StatusCode) -> Response<Relayed> {
    let mut response = Response::new(Relayed::default());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(OWN, HeaderValue::from_static("1"));
    response
}

/// The field that tells the endpoint which request of the oracle's it is asked.
pub const ORDER: &str = "x-order";

/// The field that tells an answer of the oracle's own.
pub const OWN: &str = "x-own";

/// What ends with its connection, named or not.
const ENDING: [&str; 7] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];
