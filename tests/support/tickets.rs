//! A client that offers its tickets wherever it likes, and tells whether it did.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};

use super::client::{Client, connected};
use super::tls::{Caller, Session, finished};

/// Remembers the sessions of all servers as if they were one.
#[derive(Debug, Default)]
struct OneForAll {
    old: Mutex<Option<Tls12ClientSessionValue>>,
    new: Mutex<Vec<Tls13ClientSessionValue>>,
}

impl Caller {
    /// Keeps tickets without regard to whom they are from.
    pub(crate) fn confusing_servers(self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::store(Arc::new(OneForAll::default()));
        Self {
            config: Arc::new(config),
            ..self
        }
    }

    /// The same client, with the same tickets, when it asks for another name.
    pub(crate) fn to(&self, name: &'static str) -> Self {
        Self {
            config: Arc::clone(&self.config),
            name: ServerName::try_from(name).expect("a name"),
        }
    }

    /// Begins a session there with a ticket.
    ///
    /// # Panics
    /// When there is none to be offered.
    pub(crate) fn try_begin_with_ticket(&self, address: SocketAddr) -> io::Result<Client<Session>> {
        let mut session = Session::new(self.connection(), connected(address));
        let mut hello = Vec::new();
        let written = session.conn.write_tls(&mut hello);
        written.expect("memory takes everything");
        assert!(offers_ticket(&hello), "a ticket is offered");
        session.sock.write_all(&hello)?;
        finished(session)
    }
}

/// Whether a hello has an extension with a ticket: `pre_shared_key` (RFC 8446 §4.2.11), or
/// `session_ticket` (RFC 5077 §3.2) with something in it.
fn offers_ticket(hello: &[u8]) -> bool {
    // The heads of the record and the message, the version and what is random.
    let rest = &hello[5 + 4 + 2 + 32..];
    let rest = &rest[1 + usize::from(rest[0])..];
    let rest = &rest[2 + two(rest)..];
    let rest = &rest[1 + usize::from(rest[0])..];
    let mut extensions = &rest[2..];
    while extensions.len() >= 4 {
        let (kind, length) = (two(extensions), two(&extensions[2..]));
        if kind == 41 || kind == 35 && length > 0 {
            return true;
        }
        extensions = &extensions[4 + length..];
    }
    false
}

fn two(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

impl ClientSessionStore for OneForAll {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.old.lock().expect("no panic before") = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.old.lock().expect("no panic before").clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.old.lock().expect("no panic before").take();
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.new.lock().expect("no panic before").push(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.new.lock().expect("no panic before").pop()
    }
}
