//! Ties: what binds a client to an endpoint, in a cookie that nobody else can make.
//!
//! Problem: a cookie that names an address tells strangers about the inside, and can be made up. So
//! it holds a mark: HMAC-SHA256 of the endpoint's name under the upstream's secret, cut to 128
//! bits. It says nothing, it cannot be guessed, and all instances that have the secret know it,
//! today and after a restart. Which endpoint is meant is looked up among the marks of those that
//! there are.
//!
//! A mark is the endpoint's and not the client's: whoever collects those of all by asking often
//! without one can choose among them. Limits are against that.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aws_lc_rs::hmac;

use crate::endpoint::Endpoint;

/// What became of ties, of all builds of an upstream.
#[derive(Debug, Default)]
pub(super) struct TieCounts {
    /// Clients without one that were tied.
    pub(super) new: AtomicU64,
    /// Clients that were tied to another endpoint, since theirs was gone or failed.
    pub(super) again: AtomicU64,
    /// Keys that came by an endpoint which was at its bound.
    pub(super) beyond: Arc<AtomicU64>,
}

/// The mark of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; 16]);

/// What makes the marks of an upstream's endpoints.
#[derive(Debug)]
pub(super) struct Seal {
    key: hmac::Key,
    upstream: Arc<str>,
}

/// Which endpoints there are, by their marks.
#[derive(Debug)]
pub(super) struct Marks {
    seal: Arc<Seal>,
    places: HashMap<Mark, u32>,
}

impl Mark {
    /// The mark that a cookie's value is; `None` if it cannot be one.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut mark = [0; 16];
        if value.len() != 2 * mark.len() {
            return None;
        }
        for (byte, digits) in mark.iter_mut().zip(value.chunks(2)) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Some(Self(mark))
    }
}

/// As a cookie's value: 32 digits.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Seal {
    pub(super) fn new(secret: &str, upstream: &Arc<str>) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            upstream: Arc::clone(upstream),
        }
    }

    /// The mark of an endpoint of this name.
    pub(super) fn mark(&self, endpoint: &str) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        // Parted by what is in no name, so that no two can be taken for one.
        for part in [PURPOSE, "\0", &self.upstream, "\0", endpoint] {
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let mut mark = [0; 16];
        mark.copy_from_slice(&tag.as_ref()[..16]);
        Mark(mark)
    }
}

impl Marks {
    pub(super) fn new(seal: &Arc<Seal>, endpoints: &[Arc<Endpoint>]) -> Self {
        let places = (0_u32..).zip(endpoints);
        Self {
            seal: Arc::clone(seal),
            places: places
                .map(|(place, endpoint)| (seal.mark(&endpoint.name), place))
                .collect(),
        }
    }

    /// The place of the endpoint that is meant, if there is one.
    pub(super) fn place(&self, mark: Mark) -> Option<u32> {
        self.places.get(&mark).copied()
    }

    pub(super) fn mark(&self, endpoint: &Endpoint) -> Mark {
        self.seal.mark(&endpoint.name)
    }
}

/// Small letters only: one mark has one form.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// What the secret is used for here: the same one may be used for something else.
const PURPOSE: &str = "evenkeel sticky cookie 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_known_by_secret_upstream_and_endpoint() {
        let seal = |secret: &str, upstream: &str| Seal::new(secret, &upstream.into());
        let one = seal("a secret of some length", "shop");
        let mark = one.mark("10.0.0.1:80");
        assert_eq!(one.mark("10.0.0.1:80"), mark, "at every instance");
        assert_eq!(Mark::parse(mark.to_string().as_bytes()), Some(mark));
        assert_ne!(one.mark("10.0.0.2:80"), mark);
        assert_ne!(
            seal("another secret of length", "shop").mark("10.0.0.1:80"),
            mark
        );
        assert_ne!(
            seal("a secret of some length", "site").mark("10.0.0.1:80"),
            mark
        );
    }

    #[test]
    fn what_is_no_mark_is_none() {
        let good = Mark([0xab; 16]).to_string();
        assert!(Mark::parse(good.as_bytes()).is_some());
        for bad in [
            "",
            "ab",
            &good[1..],
            &good.to_uppercase(),
            &format!("{good}0"),
        ] {
            assert_eq!(Mark::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
