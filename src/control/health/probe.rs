//! One probe: a connection of its own, one question, and the verdict in words.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::checks::Job;
use super::grpc;
use super::h2::{self, H2};
use super::outcome::{Outcome, Question};
use super::udp;
use crate::endpoint::{ConnectFailure, Endpoint, Protocol};
use crate::message::Value;
use crate::net::{Address, Stream};
use crate::pool::{Wanted, connect};
use crate::proxy_protocol::Introduction;
use crate::tls::{Purpose, server_name};
use crate::upstream::{HealthCheck, HttpProbe, Probe};

/// Probes an endpoint. Ends within the check's time limit.
pub(super) async fn probe(job: Job, h2: H2) -> Outcome {
    let Job {
        check, endpoint, ..
    } = job;
    let address = probed_address(&endpoint, check.port);
    let introduction = introduction(&endpoint, &check);
    if let Probe::Udp(probe) = &check.probe {
        let way = (introduction.as_ref(), endpoint.socket.as_deref());
        return udp::ask(probe, &address, way, check.timeout).await;
    }
    let deadline = Instant::now() + check.timeout;
    let (purpose, host) = match &check.probe {
        Probe::Http(probe) => (Purpose::Http, probe.host.as_ref()),
        Probe::Grpc(probe) => (Purpose::Http, probe.host.as_ref()),
        Probe::Tcp | Probe::Udp(_) => (Purpose::Raw, None),
    };
    // Who is asked for is the endpoint, as it was written, unless somebody else was written here.
    let name = host.and_then(|host| host.to_str().ok());
    let name = name.and_then(server_name);
    let host = host_field(host, &check, &endpoint, &address);
    let wanted = Wanted {
        host: name.as_ref(),
        client: introduction.as_ref(),
    };
    let opening = connect(&endpoint, &address, purpose, wanted, || ());
    let (stream, secured) = match timeout_at(deadline, opening).await {
        Err(_) => return Outcome::NoConnectionWithin(check.timeout),
        Ok(Err(error)) => {
            return Outcome::NotConnected(ConnectFailure::of(&error), error.to_string());
        }
        Ok(Ok(opened)) => opened,
    };
    let is_http2 = match endpoint.protocol {
        Protocol::Http1 => false,
        Protocol::Http2 => true,
        Protocol::Either => secured.is_some_and(|secured| secured.is_http2()),
    };
    let asking = async {
        match &check.probe {
            Probe::Tcp | Probe::Udp(_) => Ok(Outcome::Connected),
            Probe::Grpc(probe) if is_http2 => {
                ask_grpc(&h2, stream, &probe.service, (host, deadline)).await
            }
            Probe::Grpc(_) => Err("the endpoint chose HTTP/1.1, and gRPC needs HTTP/2".to_owned()),
            Probe::Http(probe) => {
                let status = if is_http2 {
                    ask_h2(&h2, stream, probe, host).await
                } else {
                    let asking = ask(stream, probe, host);
                    asking.await.map_err(|error| in_words(&error))
                };
                status.map(|status| answered(probe, status))
            }
        }
    };
    match timeout_at(deadline, asking).await {
        Err(_) => Outcome::NoAnswerWithin(check.timeout),
        Ok(Err(why)) => Outcome::NoAnswer(why),
        Ok(Ok(outcome)) => outcome,
    }
}

/// Probes are introduced as what they are, our own. Not at a port of their own, as HAProxy has it:
/// what is asked there was made to be asked, and may expect nothing before that.
fn introduction(endpoint: &Endpoint, check: &HealthCheck) -> Option<Introduction> {
    let version = endpoint.proxy_protocol.filter(|_| check.port.is_none());
    version.map(Introduction::of_ourselves)
}

fn answered(probe: &HttpProbe, status: StatusCode) -> Outcome {
    Outcome::Answered {
        question: Question::of(probe),
        status,
        expected: (!probe.expected.contains(status)).then(|| probe.expected.clone()),
    }
}

/// Sends the request and waits for the head of the answer. Its body is of no interest.
async fn ask(
    stream: Stream,
    probe: &HttpProbe,
    host: HeaderValue,
) -> Result<StatusCode, hyper::Error> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(LARGEST_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    let mut connection = pin!(connection);
    let mut answer = pin!(sender.send_request(request(probe, host)));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // A connection that has ended has left in the answer what came of it.
        _ = &mut connection => answer.await,
    };
    Ok(answer?.status())
}

/// The same in HTTP/2.
async fn ask_h2(
    h2: &H2,
    stream: Stream,
    probe: &HttpProbe,
    host: HeaderValue,
) -> Result<StatusCode, String> {
    let (parts, _) = request(probe, host).into_parts();
    let request = h2::Request {
        parts: parts.into(),
        body: Bytes::new(),
        wants_body: false,
    };
    let answer = h2.ask(stream, request).await?;
    Ok(answer.parts.status)
}

/// Asks the gRPC health service about a service. It is told the deadline, so that it works no
/// longer for an answer that nobody waits for.
async fn ask_grpc(
    h2: &H2,
    stream: Stream,
    service: &str,
    (host, deadline): (HeaderValue, Instant),
) -> Result<Outcome, String> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = grpc::TARGET.clone().into();
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::TYPE));
    let left = grpc::timeout(deadline.saturating_duration_since(Instant::now()));
    if let Ok(left) = HeaderValue::try_from(left) {
        headers.insert(grpc::TIMEOUT, left);
    }
    let request = h2::Request {
        parts: request.into_parts().0.into(),
        body: grpc::question(service),
        wants_body: true,
    };
    let answer = h2.ask(stream, request).await?;
    let (fields, trailers) = (&answer.parts.headers, &answer.trailers);
    let field = |name| fields.get(name).map(Value::as_bytes);
    let of_trailers = trailers.get(grpc::STATUS).map(HeaderValue::as_bytes);
    let reply = grpc::read(grpc::Answer {
        status: answer.parts.status.as_u16(),
        content_type: field("content-type").unwrap_or_default(),
        grpc_status: of_trailers.or_else(|| field(grpc::STATUS)),
        body: &answer.body,
    })?;
    Ok(Outcome::Served {
        service: service.to_owned(),
        reply,
    })
}

fn request(probe: &HttpProbe, host: HeaderValue) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = probe.method.clone();
    *request.uri_mut() = probe.target.clone().into();
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &probe.headers {
        headers.insert(name, value.clone());
    }
    request
}

fn probed_address(endpoint: &Endpoint, port: Option<u16>) -> Address {
    match (&endpoint.address, port) {
        (Address::Ip(address), Some(port)) => Address::Ip((address.ip(), port).into()),
        (Address::Ip(_), None) | (Address::Unix(_), _) => endpoint.address.clone(),
    }
}

/// The Host field: as it was set, else the name of the endpoint as the configuration has it.
fn host_field(
    set: Option<&HeaderValue>,
    check: &HealthCheck,
    endpoint: &Arc<Endpoint>,
    address: &Address,
) -> HeaderValue {
    if let Some(host) = set {
        return host.clone();
    }
    let name = match (address, check.port) {
        (Address::Unix(_), _) => Ok(HeaderValue::from_static(LOCAL)),
        (Address::Ip(address), Some(_)) => HeaderValue::from_str(&address.to_string()),
        (Address::Ip(_), None) => HeaderValue::from_str(&endpoint.name),
    };
    name.unwrap_or_else(|_| HeaderValue::from_static(LOCAL))
}

fn in_words(error: &hyper::Error) -> String {
    if error.is_parse() {
        return format!("it is not HTTP/1 ({error})");
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "the connection was closed".to_owned();
    }
    match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

const USER_AGENT: &str = "evenkeel-health";
/// Host of endpoints that have none, such as Unix sockets.
const LOCAL: &str = "localhost";
/// What a head may have. hyper's own limit is 25 times that, for every probe that runs.
const LARGEST_HEAD: usize = 16 * 1024;
