//! One end of a tunnel: all of a connection, or one stream of a connection that others share.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use crate::http2::{self, ErrorCode};
use crate::net::{Pipe, Stream};

/// One end of a tunnel.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// All of a connection.
    Socket(&'a Stream),
    /// A stream of HTTP/2, and what it is reset with when the tunnel is cut.
    Stream(&'a http2::Stream, ErrorCode),
}

impl End<'_> {
    /// Writes some of these bytes.
    pub(super) fn poll_write(self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = match self {
            Self::Socket(socket) => socket,
            Self::Stream(stream, _) => return stream.poll_write(cx, bytes).map_err(broken),
        };
        loop {
            match socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(socket.poll_write_ready(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    /// Moves some of what is in a pipe. Only where the end is plain.
    pub(super) fn poll_empty(
        self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Socket(socket) => pipe.poll_empty(cx, socket),
            Self::Stream(..) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Whether bytes can get here without passing through our memory.
    pub(super) fn is_plain(self) -> bool {
        match self {
            Self::Socket(socket) => socket.is_plain(),
            Self::Stream(..) => false,
        }
    }

    /// Ready when nothing that was written waits here. What a stream has taken, its connection
    /// sends, and takes no more before there is room.
    pub(super) fn poll_flushed(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(socket) => socket.poll_flushed(cx),
            Self::Stream(..) => Poll::Ready(Ok(())),
        }
    }

    /// Tells this end that the other one has ended its side.
    pub(super) fn poll_end(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(socket) => socket.poll_shutdown_write(cx),
            Self::Stream(stream, _) => stream.poll_end(cx).map_err(broken),
        }
    }

    /// Has the kernel find out whether the peer is there. A connection of streams asks by itself.
    pub(super) fn probe(self) {
        if let Self::Socket(socket) = self {
            // Fails only on a socket that is broken already, which the next read tells.
            drop(socket.probe_peer());
        }
    }

    /// Bytes that have left behind those who wrote them.
    pub(super) fn sent_behind(self) -> u64 {
        match self {
            Self::Socket(socket) => socket.sent_behind(),
            Self::Stream(..) => 0,
        }
    }

    /// Bytes that were written and that the other side has not taken, as far as they could be lost.
    /// Those of a stream cannot: its reset leaves behind them.
    pub(super) fn outstanding(self) -> u32 {
        match self {
            Self::Socket(socket) => socket.outstanding(),
            Self::Stream(..) => 0,
        }
    }

    /// A number that grows with what the other side takes; only differences mean something. All of
    /// a stream's connection is asked: what was written to the stream is somewhere in there.
    pub(super) fn delivered(self) -> i64 {
        match self {
            Self::Socket(socket) => -i64::from(socket.outstanding()),
            Self::Stream(stream, _) if stream.broken().is_some() => 0,
            Self::Stream(stream, _) => {
                i64::try_from(stream.connection().delivered()).unwrap_or(i64::MAX)
            }
        }
    }

    /// The other side has broken it: a stream no longer counts as one of its client's.
    pub(super) fn let_go(self) {
        match self {
            Self::Socket(_) => {}
            Self::Stream(stream, _) => stream.let_go_if_broken(),
        }
    }

    /// Returns once the other side has broken it.
    pub(super) async fn broken(self) {
        match self {
            Self::Socket(socket) => socket.broken().await,
            Self::Stream(stream, _) => drop(poll_fn(|cx| stream.poll_broken(cx)).await),
        }
    }

    /// Resets it, at once or when it is closed.
    pub(super) fn cut(self) {
        match self {
            Self::Socket(socket) => socket.reset_on_close(),
            Self::Stream(stream, code) => stream.reset(code),
        }
    }
}

/// A stream that broke, as a socket would say it.
pub(super) fn broken(error: http2::StreamError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
