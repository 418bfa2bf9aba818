//! Addresses, streams and listening sockets: what a connection is made to and what it is made of.
//!
//! One enum of streams is a type-erasure point of the data plane: plain TCP, Unix sockets and
//! TLS, behind the same calls. All that the rest of the program needs to know about socket
//! options is decided here, once.

mod accounts;
mod address;
mod adopted;
mod alpn;
mod async_io;
mod bind;
mod buffer;
mod client;
mod connect;
mod datagram;
mod incoming;
mod intercept;
mod kernel_buffers;
mod options;
mod outstanding;
mod peek;
mod pipe;
mod secure;
mod session;
mod sockets;
mod stream;
mod tcp;
mod tcp_info;
#[cfg(test)]
mod tests;
mod trusted;
mod unix;

pub use accounts::{Account, Accounts, UnknownAccount};
pub use address::{Address, UNNAMED, canonical, dotted, named};
pub use adopted::{AdoptError, Description, descriptor};
pub use alpn::Alpn;
pub use bind::{Bind, BindError};
pub use buffer::{BUFFER, Buffer, LARGE_BUFFER};
pub use client::{ClientCertificate, ClientFacts, RuleKey};
pub use datagram::{
    Batch, Datagram, Heard, Outcome, Outgoing, Source, change_options, coalesce, connected, heard,
    send,
};
pub use incoming::{Incoming, Loose, Queue, accept};
pub use intercept::{Interception, Known, OwnConnections};
pub use options::{Connecting, Listening};
pub use pipe::Pipe;
pub use secure::Secure;
pub use session::SessionFacts;
pub use sockets::{Sockets, Transport};
pub use stream::Stream;
pub use tcp::Tcp;
pub use tcp_info::{TcpInfo, Watched, Watching, tcp_info};
pub use trusted::TrustedPeers;
pub use unix::{Access, FileNumbers, SocketFile, SocketFileError};
