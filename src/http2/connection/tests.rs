//! Connections that end under what is said on them.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use http::{Method, Uri, Version, header};
use rcgen::generate_simple_self_signed;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use socket2::SockRef;
use tokio::time::timeout;

use super::*;
use crate::http2::driven::Opening;
use crate::http2::error::{ErrorCode, StreamError};
use crate::http2::frame::{
    END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, PREFACE, write_goaway, write_header,
    write_settings, write_window_update,
};
use crate::http2::hpack::write_field;
use crate::message::{Fields, RequestParts, Value};

const SETTINGS: Settings = Settings {
    max_streams: 10,
    stream_window: 65_535,
    connection_window: 65_535,
    head: 4096,
    fields: 100,
    connect_protocol: false,
};

const LONG: Duration = Duration::from_secs(20);

/// Our end of a connection, and the other one.
fn pair() -> (net::Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let theirs = TcpStream::connect(address).expect("a connection");
    theirs.set_read_timeout(Some(LONG)).expect("a timeout");
    let (ours, _) = listener.accept().expect("its other end");
    ours.set_nonblocking(true).expect("a mode");
    let ours = tokio::net::TcpStream::from_std(ours).expect("in the runtime");
    (ours.into(), theirs)
}

fn ask(client: &Rc<Connection>) -> Stream {
    open(client, true)
}

/// A request whose body follows, unless it ends.
fn open(client: &Rc<Connection>, ends: bool) -> Stream {
    let mut headers = Fields::new();
    headers.append(&header::HOST, Value::of_ascii(b"a"));
    let parts = RequestParts {
        method: Method::POST,
        uri: Uri::from_static("/"),
        version: Version::HTTP_2,
        headers,
    };
    let opening = Opening {
        is_https: false,
        ends,
        length: None,
        te_trailers: false,
        protocol: None,
    };
    client.open(&parts, opening).expect("there is room")
}

/// Drives a connection for one turn, in which nothing is to happen but reads and writes.
async fn one_turn(client: &Rc<Connection>) {
    poll_fn(|cx| {
        assert!(client.poll_drive(cx, Instant::now()).is_pending());
        Poll::Ready(())
    })
    .await;
}

async fn next(connection: &Rc<Connection>) -> Driven {
    let driven = poll_fn(|cx| connection.poll_drive(cx, Instant::now()));
    timeout(LONG, driven).await.expect("it acts")
}

fn head(stream: &Stream) -> Option<Result<u16, StreamError>> {
    match stream.poll_head(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(head)) => Some(Ok(head.parts.status.as_u16())),
        Poll::Ready(Err(error)) => Some(Err(error)),
        Poll::Pending => None,
    }
}

fn answer(to: &mut Vec<u8>, id: u32) {
    let mut block = Vec::new();
    write_field(&mut block, b":status", b"200");
    write_header(to, block.len(), HEADERS, END_HEADERS | END_STREAM, id);
    to.extend_from_slice(&block);
}

/// A client whose endpoint has said its SETTINGS and has read nothing: one stream is on its way.
async fn asked_once() -> (Rc<Connection>, TcpStream, Stream) {
    let (ours, mut theirs) = pair();
    let client = Connection::client(ours, SETTINGS, Instant::now());
    let mut said = Vec::new();
    write_settings(&mut said, &[]);
    theirs.write_all(&said).expect("settings");
    let first = ask(&client);
    poll_fn(|cx| {
        assert!(client.poll_drive(cx, Instant::now()).is_pending());
        if client.is_settled() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    one_turn(&client).await;
    // It has come.
    let mut some = [0; PREFACE.len()];
    theirs.read_exact(&mut some).expect("a preface");
    (client, theirs, first)
}

/// An endpoint answers, says that this was the last one, and closes with something unread, so that
/// the next write fails: what it said is heard all the same.
#[tokio::test]
async fn what_came_before_writes_fail_is_heard() {
    let (client, mut theirs, first) = asked_once().await;
    let unanswered = ask(&client);
    one_turn(&client).await;
    let mut said = Vec::new();
    answer(&mut said, first.id());
    write_goaway(&mut said, first.id(), ErrorCode::NO_ERROR, "bye");
    theirs.write_all(&said).expect("an answer");
    drop(theirs); // resets the connection
    let unsent: Vec<Stream> = (0..10).map(|_| ask(&client)).collect();
    let ended = next(&client).await;
    assert_eq!(head(&first), Some(Ok(200)), "{ended:?}");
    assert!(
        matches!(ended, Driven::Ended(Ended::Broken(_))),
        "{ended:?}"
    );
    assert!(client.take_goodbye().is_some());
    for stream in unsent.iter().chain([&unanswered]) {
        assert_eq!(head(stream), Some(Err(StreamError::Unprocessed)));
    }
}

/// Without a GOAWAY, it is known of those streams that never left, and of no other.
#[tokio::test]
async fn what_never_left_was_not_processed() {
    let (client, theirs, first) = asked_once().await;
    drop(theirs);
    let unsent: Vec<Stream> = (0..10).map(|_| ask(&client)).collect();
    assert!(matches!(
        next(&client).await,
        Driven::Ended(Ended::Broken(_))
    ));
    assert_eq!(head(&first), Some(Err(StreamError::Ended)));
    for stream in &unsent {
        assert_eq!(head(stream), Some(Err(StreamError::Unprocessed)));
    }
    assert_eq!(client.room(), 0);
}

/// Tasks that were called to say a piece may have something else to do, for long: what they do not
/// use is for others.
#[tokio::test]
async fn who_does_not_come_when_it_is_called_holds_up_no_other() {
    let (ours, mut theirs) = pair();
    let client = Connection::client(ours, SETTINGS, Instant::now());
    let mut said = Vec::new();
    write_settings(&mut said, &[(INITIAL_WINDOW_SIZE, 1 << 20)]);
    theirs.write_all(&said).expect("settings");
    let settled = poll_fn(|cx| {
        assert!(client.poll_drive(cx, Instant::now()).is_pending());
        if client.is_settled() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    timeout(LONG, settled).await.expect("settings");
    // They use up the window of the connection, and wait for more.
    let streams: Vec<Stream> = (0..5).map(|_| open(&client, false)).collect();
    let mut nobody = Context::from_waker(Waker::noop());
    for stream in &streams {
        while stream.poll_write(&mut nobody, &[0; 16 * 1024]).is_ready() {
            one_turn(&client).await;
        }
    }
    let mut said = Vec::new();
    write_window_update(&mut said, 0, 1 << 20);
    theirs.write_all(&said).expect("a window");
    // The last of them asks for its turn, and nobody else does.
    let last = streams.last().expect("five");
    let spoken = poll_fn(|cx| {
        assert!(client.poll_drive(cx, Instant::now()).is_pending());
        last.poll_write(cx, &[0; 100])
    });
    let spoken = timeout(LONG, spoken).await.expect("its turn");
    assert_eq!(spoken.expect("it is open"), 100);
}

/// Both sides of TLS on these sockets, after the handshake.
async fn secured(
    ours: net::Stream,
    theirs: TcpStream,
) -> (net::Stream, StreamOwned<ClientConnection, TcpStream>) {
    let made = generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    let (cert, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], PrivatePkcs8KeyDer::from(key).into())
        .expect("a key that fits");
    let mut roots = RootCertStore::empty();
    roots.add(cert).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.test").expect("a name");
    let server = ServerConnection::new(Arc::new(server)).expect("a session");
    let client = ClientConnection::new(Arc::new(client), name).expect("a session");
    let ours = net::Secure::new(ours, server);
    let mut theirs = StreamOwned::new(client, theirs);
    let shaking = thread::spawn(move || {
        while theirs.conn.is_handshaking() {
            let moved = theirs.conn.complete_io(&mut theirs.sock);
            moved.expect("a handshake");
        }
        theirs
    });
    let shaken = poll_fn(|cx| ours.poll_handshake(cx));
    let shaken = timeout(LONG, shaken).await.expect("a handshake");
    shaken.expect("a handshake");
    (net::Stream::Tls(ours), shaking.join().expect("its side"))
}

/// An endpoint may refuse a session when we take it for begun, and reset its socket: why it did is
/// still there to be read.
#[tokio::test]
async fn an_alert_tells_more_than_a_write_that_failed() {
    let (ours, theirs) = pair();
    // Which side of TLS asks is all one here.
    let (ours, mut theirs) = secured(ours, theirs).await;
    let client = Connection::client(ours, SETTINGS, Instant::now());
    let stream = ask(&client);
    one_turn(&client).await;
    let garbage = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
    theirs.conn.read_tls(&mut &garbage[..]).expect("in memory");
    let refused = theirs.conn.process_new_packets();
    refused.expect_err("it was never encrypted");
    theirs.conn.write_tls(&mut theirs.sock).expect("an alert");
    let resets = SockRef::from(&theirs.sock).set_linger(Some(Duration::ZERO));
    resets.expect("an option");
    drop(theirs);
    client.ping();
    let Driven::Ended(Ended::Broken(error)) = next(&client).await else {
        panic!("it is broken");
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(
        matches!(inner, Some(rustls::Error::AlertReceived(_))),
        "{error:?}"
    );
    assert_eq!(head(&stream), Some(Err(StreamError::Ended)));
}

/// Requests that came before a client reset its connection are seen.
#[tokio::test]
async fn what_a_client_said_before_it_went_is_seen() {
    let (ours, mut theirs) = pair();
    let server = Connection::server(ours, &[], SETTINGS, Instant::now());
    // Our SETTINGS are on their way, and are not read.
    poll_fn(|cx| {
        assert!(server.poll_drive(cx, Instant::now()).is_pending());
        if server.sent() > 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    theirs.peek(&mut [0]).expect("settings");
    let mut said = PREFACE.to_vec();
    write_settings(&mut said, &[]);
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ] {
        write_field(&mut block, name.as_bytes(), value.as_bytes());
    }
    write_header(&mut said, block.len(), HEADERS, END_HEADERS | END_STREAM, 1);
    said.extend_from_slice(&block);
    theirs.write_all(&said).expect("a request");
    drop(theirs);
    server.ping();
    let Driven::Request(_, stream) = next(&server).await else {
        panic!("no request");
    };
    assert!(matches!(
        next(&server).await,
        Driven::Ended(Ended::Broken(_))
    ));
    assert_eq!(stream.broken(), Some(StreamError::Ended));
}
