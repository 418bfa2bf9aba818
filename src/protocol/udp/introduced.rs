//! To an endpoint that is told whom each datagram is from, by a PROXY header in front of it.
//!
//! A datagram has nothing before it: it may be lost, come twice or overtake another, and an
//! endpoint knows no sessions but by addresses, which are ours. So the header stands in each, as
//! dnsdist sends it and BIND and others take it; in the first alone it would be lost with that,
//! and the endpoint could not tell it from what a client sent. Datagrams that came as one leave
//! apart, since each has its own.

use std::ops::Range;

use tokio::time::Instant;

use super::forward::{is_of_the_kernel, why};
use super::session::Session;
use crate::net::{Batch, Datagram, Outgoing, send};
use crate::snapshot::{DatagramMetrics, Dropped};

/// Datagrams with their headers, one behind the other.
#[derive(Debug, Default)]
struct Introduced {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

/// One of them.
#[derive(Debug)]
struct Part {
    /// Which of those that came it is, or is a part of.
    of: usize,
    place: Range<usize>,
}

/// Sends datagrams to a session's endpoint, until that turns out to have failed; what is left then.
pub(super) fn forward<'a>(
    (session, header): (&mut Session, &[u8]),
    batch: &Batch,
    datagrams: &'a [Datagram],
    metrics: &DatagramMetrics,
    now: Instant,
) -> &'a [Datagram] {
    let mut introduced = Introduced::default();
    for (at, datagram) in datagrams.iter().enumerate() {
        introduced.add(at, header, batch.bytes(datagram), datagram.segment.into());
    }
    let Introduced { bytes, parts } = &introduced;
    let (mut at, mut count, mut carried) = (0, 0, 0);
    let mut left = &datagrams[datagrams.len()..];
    while at < parts.len() {
        let message = |one: usize| Outgoing {
            bytes: &bytes[parts[at + one].place.clone()],
            segment: 0,
            to: None,
            from: None,
        };
        let mut failure = None;
        let rest = parts.len() - at;
        send(session.socket(), rest, message, |one, outcome| {
            count += outcome.sent.0;
            let sent = outcome.sent.1;
            carried += sent.saturating_sub(header.len() as u64);
            match outcome.error {
                None => {}
                Some(error) if is_of_the_kernel(&error) => metrics.drop(why(&error), 1),
                Some(error) => failure = Some((error, at + one)),
            }
            failure.is_none()
        });
        let Some((error, failed)) = failure else {
            break;
        };
        if session.failed(&error, now) {
            // Of several that came as one, the first may go twice, as any datagram may.
            left = &datagrams[parts[failed].of..];
            break;
        }
        // It is ours, and another endpoint would not change it.
        metrics.drop(Dropped::Error, 1);
        at = failed + 1;
    }
    session.sent(count, carried, now);
    metrics.sent.add(count);
    left
}

impl Introduced {
    /// Adds a datagram, or several of one size.
    fn add(&mut self, of: usize, header: &[u8], bytes: &[u8], segment: usize) {
        let size = if segment == 0 { bytes.len() } else { segment };
        // An empty one is one as well.
        let mut rest = Some(bytes);
        while let Some(bytes) = rest {
            let (one, others) = bytes.split_at(size.min(bytes.len()));
            let start = self.bytes.len();
            self.bytes.extend_from_slice(header);
            self.bytes.extend_from_slice(one);
            let place = start..self.bytes.len();
            self.parts.push(Part { of, place });
            rest = Some(others).filter(|others| !others.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Introduced;

    #[test]
    fn each_datagram_has_the_header_before_it() {
        let mut introduced = Introduced::default();
        introduced.add(0, b"h:", b"one", 0);
        introduced.add(1, b"h:", b"", 0);
        introduced.add(2, b"h:", b"abcdefgh", 3);
        let parts = introduced.parts.iter();
        let sent: Vec<(usize, &[u8])> = parts
            .map(|part| (part.of, &introduced.bytes[part.place.clone()]))
            .collect();
        let expected: [(usize, &[u8]); 5] = [
            (0, b"h:one"),
            (1, b"h:"),
            (2, b"h:abc"),
            (2, b"h:def"),
            (2, b"h:gh"),
        ];
        assert_eq!(sent, expected);
    }
}
