//! From a client to its session's endpoint.

use std::io;

use tokio::time::Instant;

use super::introduced;
use super::session::Session;
use crate::net::{Batch, Datagram, Outgoing, send};
use crate::snapshot::{DatagramMetrics, Dropped};

/// Sends datagrams to a session's endpoint, until that turns out to have failed; what is left then.
pub(super) fn forward<'a>(
    session: &mut Session,
    batch: &Batch,
    datagrams: &'a [Datagram],
    metrics: &DatagramMetrics,
    now: Instant,
) -> &'a [Datagram] {
    if let Some(header) = session.header() {
        return introduced::forward((session, &header), batch, datagrams, metrics, now);
    }
    let message = |datagram: &Datagram| Outgoing {
        bytes: batch.bytes(datagram),
        segment: datagram.segment,
        to: None,
        from: None,
    };
    // Nearly always it is one, for which no list is made.
    let (one, several): ([Outgoing<'_>; 1], Vec<Outgoing<'_>>);
    let messages = if let [datagram] = datagrams {
        one = [message(datagram)];
        &one[..]
    } else {
        several = datagrams.iter().map(message).collect();
        &several[..]
    };
    let (mut done, mut count, mut bytes) = (0, 0, 0);
    let mut failure = None;
    send(session.socket(), messages, |at, sent| {
        match sent {
            Ok(()) => {
                count += datagrams[at].count();
                bytes += messages[at].bytes.len() as u64;
            }
            Err(error) if is_of_the_kernel(&error) => {
                metrics.drop(why(&error), datagrams[at].count());
            }
            Err(error) => failure = Some(error),
        }
        done += usize::from(failure.is_none());
        failure.is_none()
    });
    session.sent(count, bytes);
    metrics.sent.add(count);
    if let Some(error) = failure
        && !session.failed(&error, now)
    {
        // It is ours, and another endpoint would not change it.
        metrics.drop(Dropped::Error, datagrams[done].count());
        done += 1;
    }
    &datagrams[done..]
}

/// Whether an error says nothing about the other side.
pub(super) fn is_of_the_kernel(error: &io::Error) -> bool {
    why(error) != Dropped::Error
}

/// Why a datagram was not taken by the kernel.
pub(super) fn why(error: &io::Error) -> Dropped {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Dropped::SendBuffer,
        Some(libc::EMSGSIZE) => Dropped::TooLong,
        _ => Dropped::Error,
    }
}
