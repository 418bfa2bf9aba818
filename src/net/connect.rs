//! How a connection to an endpoint is opened.

use std::io;

use socket2::SockRef;
use tokio::net::{TcpSocket, UnixStream};

use super::address::Address;
use super::options::Connecting;
use super::stream::Stream;

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
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path.as_path()).await?)),
        }
    }
}
