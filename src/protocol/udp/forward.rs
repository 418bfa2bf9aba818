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
    let message = |at: usize| Outgoing {
        bytes: batch.bytes(&datagrams[at]),
        segment: datagrams[at].segment,
        to: None,
        from: None,
    };
    let (mut done, mut count, mut bytes) = (0, 0, 0);
    let mut failure = None;
    send(session.socket(), datagrams.len(), message, |at, outcome| {
        count += outcome.sent.0;
        bytes += outcome.sent.1;
        let lost = datagrams[at].count() - outcome.sent.0;
        match outcome.error {
            None => {}
            Some(error) if is_of_the_kernel(&error) => metrics.drop(why(&error), lost),
            Some(error) => failure = Some((error, lost)),
        }
        done += usize::from(failure.is_none());
        failure.is_none()
    });
    session.sent(count, bytes, now);
    metrics.sent.add(count);
    if let Some((error, lost)) = failure
        && !session.failed(&error, now)
    {
        // It is ours, and another endpoint would not change it.
        metrics.drop(Dropped::Error, lost);
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
