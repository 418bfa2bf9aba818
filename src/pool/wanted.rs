//! Which connections to an endpoint will do for a request, where not all of them do.

use std::hash::Hash;

use rustls::pki_types::ServerName;

use super::Connection;
use crate::proxy_protocol::Introduction;

/// What a connection has to be like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// The host that its session is with, where that depends on the request.
    pub host: Option<&'a ServerName<'static>>,
    /// How the client is introduced, where the endpoint is told before all else. Whoever is to be
    /// introduced differently needs another connection: what is said on it counts as the client's.
    pub client: Option<&'a Introduction>,
}

/// The same, kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) host: Option<ServerName<'static>>,
    pub(super) client: Option<Introduction>,
}

impl Wanted<'_> {
    /// Any will do.
    pub const ANY: Self = Self {
        host: None,
        client: None,
    };

    /// Whether any will do.
    pub(super) fn is_any(&self) -> bool {
        self.host.is_none() && self.client.is_none()
    }

    /// What tells apart what is wanted.
    pub(super) fn key(&self) -> impl Hash {
        (self.host, self.client.map(Introduction::told))
    }

    /// Whether a connection is like this.
    pub(super) fn fits(&self, connection: &Connection) -> bool {
        connection.host() == self.host && self.is_introduced(connection.client.as_ref())
    }

    pub(super) fn keep(&self) -> Kept {
        Kept {
            host: self.host.cloned(),
            client: self.client.cloned(),
        }
    }

    fn is_introduced(&self, client: Option<&Introduction>) -> bool {
        match (self.client, client) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_like(other),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Kept {
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            host: self.host.as_ref(),
            client: self.client.as_ref(),
        }
    }

    /// Whether this is what is wanted.
    pub(super) fn is(&self, wanted: Wanted<'_>) -> bool {
        self.host.as_ref() == wanted.host && wanted.is_introduced(self.client.as_ref())
    }

    /// Whether it is for some requests only.
    pub(super) fn is_for_some(&self) -> bool {
        self.host.is_some() || self.client.is_some()
    }
}
