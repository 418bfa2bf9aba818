//! What ties an exchange's client to an endpoint: read before the pick, told with the answer.

use super::exchange::Exchange;
use crate::endpoint::Endpoint;
use crate::message::{RequestParts, ResponseParts};
use crate::net::UNNAMED;
use crate::snapshot::Choice;
use crate::upstream::Ties;

impl Exchange<'_> {
    /// Takes the cookie of a tie out of the request.
    #[inline]
    pub(super) fn read_tie(&self, choice: &Choice, parts: &mut RequestParts) {
        let affinity = choice.affinity.as_ref();
        if let Some(mark) = affinity.and_then(|affinity| affinity.take(&mut parts.headers)) {
            self.set_tie(mark);
        }
    }

    /// What a pick for the request goes by.
    #[inline]
    pub(super) fn ties(&self, choice: &Choice, parts: &RequestParts) -> Ties {
        let Some(affinity) = &choice.affinity else {
            return Ties::default();
        };
        let client = self.record.client.get();
        // Who came by a Unix socket and was named by nobody has no address.
        let client = client.filter(|client| *client != UNNAMED.ip());
        Ties {
            key: affinity.key(parts, client),
            mark: self.tie(),
        }
    }

    /// Tells the client its tie, where this is a new one.
    #[inline]
    pub(super) fn tell_tie(
        &self,
        choice: &Choice,
        endpoint: &Endpoint,
        response: &mut ResponseParts,
    ) {
        let Some(affinity) = choice.affinity.as_ref().filter(|affinity| affinity.ties()) else {
            return;
        };
        // Who is asked besides, since another one took long, is not who the client is tied to.
        if self.is_beside() && self.tie().is_some() {
            return;
        }
        let now = self.now.get();
        if let Some(mark) = choice.upstream.tie(endpoint, self.tie(), now) {
            let is_secure = self.record.scheme.get() == "https";
            affinity.tell(&mut response.headers, mark, is_secure);
        }
    }
}
