//! Affinity: what ties a request to one endpoint rather than another.
//!
//! Two ways. A *key* is made of what the request says anyway, and the balancer hashes it
//! ([`HashBy`]): nothing has to be kept, and all instances agree. A *tie* is a cookie that names
//! the endpoint which served the client first, to us and to nobody else
//! ([`Mark`](crate::upstream::Mark)): it holds when endpoints come and go. With both, the tie is
//! heard first.
//!
//! What has no key, since the field or the cookie is missing, goes to any endpoint. All such
//! requests under one key would meet at one endpoint, and under the client's address all that come
//! through one proxy.

mod cookie;
mod hash_by;

use std::net::IpAddr;

pub use self::hash_by::HashBy;

use self::cookie::TieCookie;
use crate::config::{self, Balance};
use crate::message::{Fields, RequestParts};
use crate::upstream::Mark;

/// What ties the clients of an upstream to its endpoints.
#[derive(Debug)]
pub struct Affinity {
    hash_by: Option<HashBy>,
    cookie: Option<TieCookie>,
}

impl Affinity {
    /// `None` if nothing does.
    pub fn new(written: &config::Upstream) -> Option<Self> {
        let hashes = match written.balance.unwrap_or_default() {
            Balance::RingHash | Balance::Maglev => true,
            Balance::RoundRobin
            | Balance::LeastConnections
            | Balance::PowerOfTwo
            | Balance::PeakEwma
            | Balance::Random
            | Balance::FirstHealthy => false,
        };
        let hash_by = written.hash_by.as_deref();
        let hash_by = hashes.then(|| hash_by.map_or(HashBy::ClientAddress, HashBy::new));
        let cookie = written.sticky.as_ref().map(TieCookie::new);
        (hash_by.is_some() || cookie.is_some()).then_some(Self { hash_by, cookie })
    }

    /// The key of a request, if it has one. `client`: whom it comes from, if that is an address.
    pub fn key(&self, request: &RequestParts, client: Option<IpAddr>) -> Option<u64> {
        self.hash_by.as_ref()?.key(request, client)
    }

    /// Takes the cookie of a tie out of a request, and tells what it says, if that is a mark.
    pub fn take(&self, headers: &mut Fields) -> Option<Mark> {
        self.cookie.as_ref()?.take(headers)
    }

    /// Whether clients are tied by a cookie.
    pub fn ties(&self) -> bool {
        self.cookie.is_some()
    }

    /// Tells a client its tie. `is_secure`: its request came over TLS.
    pub fn tell(&self, headers: &mut Fields, mark: Mark, is_secure: bool) {
        if let Some(cookie) = &self.cookie {
            cookie.tell(headers, mark, is_secure);
        }
    }
}

#[cfg(test)]
mod tests;
