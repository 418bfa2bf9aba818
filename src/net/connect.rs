//! How a connection to an endpoint is opened.

use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::sleep;

use super::address::Address;
use super::options::Connecting;
use super::stream::Stream;
use super::unix;

impl Stream {
    /// Opens a connection. The caller sets the time limit.
    pub async fn connect(address: &Address, options: Option<&Connecting>) -> io::Result<Self> {
        match address {
            Address::Ip(address) => {
                let socket = if address.is_ipv4() {
                    TcpSocket::new_v4()?
                } else {
                    TcpSocket::new_v6()?
                };
                if let Some(options) = options {
                    options.prepare(&SockRef::from(&socket), address.is_ipv6())?;
                }
                let stream = socket.connect(*address).await?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
            // In a box: hardly any connection has to wait there, and none carries the room for it.
            Address::Unix(path) => {
                let name = unix::name(path);
                Box::pin(connect_to(&name)).await.map(Self::Unix)
            }
        }
    }
}

/// Where the queue of a Unix socket is full, the kernel says so at once, as it does not for TCP: a
/// burst would be refused that a moment later is taken.
async fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let mut pause = FIRST_PAUSE;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            result => return result,
        }
    }
}

/// About what a server needs to accept a few.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Often enough to be there when there is room, seldom enough to cost nothing.
const LONGEST_PAUSE: Duration = Duration::from_millis(32);
