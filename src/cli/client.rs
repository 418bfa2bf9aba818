//! The admin API from the outside: one request to a running instance.
//!
//! The instance listens on a Unix socket (all of the API) and, if asked to, on a TCP address (the
//! reading part). Both speak HTTP/1.1; a short-lived runtime carries the one exchange. Every step
//! has a time limit, so that a command never hangs on an instance that does.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::answer::Answer;
use super::source::Source;
use super::{Exit, Failure, Global};
use crate::config;

/// Where a running instance is controlled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// A Unix socket: everything.
    Unix(PathBuf),
    /// `host:port`: what reads.
    Http(String),
}

/// A text that names no admin socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a path, unix:path, http://host:port or host:port")]
pub struct AdminAddressError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("no instance answers at {address}: {source}")]
    Connect {
        address: AdminAddress,
        source: io::Error,
    },
    #[error("the instance at {address} did not answer within {} s", limit.as_secs_f32())]
    TimedOut {
        address: AdminAddress,
        limit: Duration,
    },
    #[error("the instance at {address} broke off its answer: {detail}")]
    Broken {
        address: AdminAddress,
        detail: String,
    },
}

impl FromStr for AdminAddress {
    type Err = AdminAddressError;

    fn from_str(text: &str) -> Result<Self, AdminAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(AdminAddressError)
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if text.starts_with(['/', '.']) {
            return Ok(Self::Unix(text.into()));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Http(authority.to_owned()))
            }
            // A lone word is more likely a host whose port was forgotten.
            None if is_socket(Path::new(text)) || text.contains('/') && !text.contains("//") => {
                Ok(Self::Unix(text.into()))
            }
            _ => Err(AdminAddressError),
        }
    }
}

/// Whether a path's name says that it is a socket.
fn is_socket(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "sock")
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

impl AdminAddress {
    /// The socket that the options name, else that of the configuration, else the default. Where
    /// that is not there, and the configuration has an address, it is asked at this one.
    ///
    /// A file with mistakes still says where the socket is: the mistakes may be what the instance
    /// is going to be asked about.
    pub(super) fn of(global: &Global) -> Self {
        if let Some(address) = &global.admin {
            return address.clone();
        }
        let usual = Path::new(DEFAULT_SOCKET);
        let Ok(source) = Source::of(global) else {
            return Self::Unix(usual.into());
        };
        let written = match source.load().config {
            Some(config) => config.admin,
            None => config::Admin {
                socket: source
                    .file()
                    .and_then(|file| std::fs::read_to_string(file).ok())
                    .and_then(|text| socket_of(&text)),
                ..config::Admin::default()
            },
        };
        match (written.socket, written.http) {
            (Some(socket), _) => Self::Unix(socket),
            (None, Some(http)) if !usual.exists() => Self::Http(reachable(&http)),
            (None, _) => Self::Unix(usual.into()),
        }
    }

    /// Asks for a change, and waits for the report of it: one that was refused has a report too.
    pub(super) fn change<T: DeserializeOwned>(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<T, Failure> {
        let mut answer = self.call(Method::POST, path, limit)?;
        if answer.is_to_ask_again() {
            // The instance that was asked has left its address to the one that serves.
            answer = self.call(Method::POST, path, limit)?;
        }
        match answer.status {
            StatusCode::UNPROCESSABLE_ENTITY => answer.json(),
            _ => answer.success()?.json(),
        }
    }

    /// Sends one request and reads the whole answer, all within `limit`.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| self.unreachable(source))?;
        runtime.block_on(async {
            match timeout(limit, self.exchange(method, path)).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::TimedOut {
                    address: self.clone(),
                    limit,
                }),
            }
        })
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<Answer, CallError> {
        match self {
            Self::Unix(socket) => {
                let stream = connect(UnixStream::connect(socket)).await;
                let stream = stream.map_err(|source| self.unreachable(source))?;
                self.ask(stream, "evenkeel", method, path).await
            }
            Self::Http(authority) => {
                let stream = connect(TcpStream::connect(authority)).await;
                let stream = stream.map_err(|source| self.unreachable(source))?;
                self.ask(stream, authority, method, path).await
            }
        }
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        host: &str,
        method: Method,
        path: &str,
    ) -> Result<Answer, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json");
        if let (Self::Http(_), Some(token)) = (self, token().map_err(|error| self.broken(error))?) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.broken(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST_BYTES);
            let body = body.collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Answer { status, body })
        };
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer.map_err(|error| self.broken(error)),
            // The connection may end first while the answer is already on its way through.
            _ = &mut connection => exchange.await.map_err(|error| self.broken(error)),
        }
    }

    fn unreachable(&self, source: io::Error) -> CallError {
        CallError::Connect {
            address: self.clone(),
            source,
        }
    }

    fn broken(&self, error: impl fmt::Display) -> CallError {
        CallError::Broken {
            address: self.clone(),
            detail: error.to_string(),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let exit = match &error {
            CallError::Connect { .. } | CallError::Broken { .. } => Exit::NoInstance,
            CallError::TimedOut { .. } => Exit::TimedOut,
        };
        let hint = match &error {
            CallError::Connect { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    Some("this user may not open the socket: try as the user of the instance")
                }
                _ => Some("is it running? --admin or EVENKEEL_ADMIN names its socket"),
            },
            CallError::TimedOut { .. } | CallError::Broken { .. } => None,
        };
        let failure = Self::new(exit, error.to_string());
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Connects, with a limit of its own: what does not even accept is not running.
async fn connect<S>(attempt: impl Future<Output = io::Result<S>>) -> io::Result<S> {
    match timeout(CONNECT_LIMIT, attempt).await {
        Ok(stream) => stream,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The token for an instance that asks for one, in the file that the environment names.
fn token() -> Result<Option<String>, String> {
    let Some(file) = std::env::var_os(TOKEN_FILE) else {
        return Ok(None);
    };
    let unreadable = |error| format!("{TOKEN_FILE} names {}: {error}", file.display());
    let token = std::fs::read_to_string(&file).map_err(unreadable)?;
    Ok(Some(token.trim().to_owned()))
}

/// `admin.socket` of a configuration file, whatever else is in it.
fn socket_of(text: &str) -> Option<PathBuf> {
    let (file, _) = toml::de::DeTable::parse_recoverable(text);
    let admin = file.get_ref().get("admin")?.get_ref();
    let socket = admin.get("socket")?.get_ref().as_str()?;
    Some(Path::new(socket).to_path_buf())
}

/// An address to accept on as one to connect to: of every address, the one of this machine.
fn reachable(bind: &str) -> String {
    match bind.rsplit_once(':') {
        Some(("" | "0.0.0.0" | "[::]", port)) => format!("127.0.0.1:{port}"),
        _ => bind.to_owned(),
    }
}

/// The variable that names the file with the token of `admin.token_file`.
const TOKEN_FILE: &str = "EVENKEEL_ADMIN_TOKEN_FILE";

/// Where packages put the socket.
pub(super) const DEFAULT_SOCKET: &str = "/run/evenkeel/admin.sock";

/// The instance is on this machine or near it: what takes longer will not come.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// An answer beyond this is not one of ours; 10,000 endpoints take about 4 MiB.
const MOST_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<AdminAddress, AdminAddressError> {
        text.parse()
    }

    #[test]
    fn an_address_is_a_path_or_a_host_with_a_port() {
        let unix = |path: &str| Ok(AdminAddress::Unix(path.into()));
        let http = |authority: &str| Ok(AdminAddress::Http(authority.to_owned()));
        assert_eq!(parsed("unix:/run/a.sock"), unix("/run/a.sock"));
        assert_eq!(parsed("unix:///run/a.sock"), unix("/run/a.sock"));
        assert_eq!(parsed("/run/a.sock"), unix("/run/a.sock"));
        for relative in ["./a.sock", "../a.sock", "run/admin", "admin.sock"] {
            assert_eq!(parsed(relative), unix(relative));
        }
        assert_eq!(parsed("unix:a"), unix("a"));
        assert_eq!(parsed("http://127.0.0.1:9901/"), http("127.0.0.1:9901"));
        assert_eq!(parsed("[::1]:9901"), http("[::1]:9901"));
        let wrong = ["", "unix:", "localhost", ":9901", "host:99999", "https://a"];
        for wrong in wrong.into_iter().chain(["http://a/b", "http://a"]) {
            assert_eq!(parsed(wrong), Err(AdminAddressError), "{wrong}");
        }
    }

    #[test]
    fn the_socket_is_found_in_a_file_that_is_wrong_elsewhere() {
        let text = "zone = eu-1a\n[admin]\nsocket = \"/tmp/a.sock\"\n[listener.web]\nbind = 7\n";
        assert_eq!(socket_of(text), Some("/tmp/a.sock".into()));
        assert_eq!(socket_of("[admin]\nhttp = \":1\"\n"), None);
    }

    #[test]
    fn who_accepts_everywhere_is_reached_here() {
        for (bind, reached) in [
            (":9901", "127.0.0.1:9901"),
            ("0.0.0.0:9901", "127.0.0.1:9901"),
            ("[::]:9901", "127.0.0.1:9901"),
            ("[::1]:9901", "[::1]:9901"),
            ("10.0.0.1:9901", "10.0.0.1:9901"),
        ] {
            assert_eq!(reachable(bind), reached);
        }
    }

    #[test]
    fn nobody_at_the_socket_is_exit_code_3() {
        let address = AdminAddress::Unix("/nonexistent/admin.sock".into());
        let error = address
            .call(Method::GET, "/v1/status", Duration::from_secs(1))
            .expect_err("there is no such socket");
        assert_eq!(Failure::from(error).exit, Exit::NoInstance);
    }
}
