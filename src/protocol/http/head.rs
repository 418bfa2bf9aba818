//! Reads the head of the next request, within its limits of size and time.

use std::future::poll_fn;
use std::task::Poll;

use tokio::time::Instant;

use super::connection::Connection;
use crate::http1::{RequestError, RequestHead, resume_request};
use crate::snapshot::HttpListener;

/// Why there is no request to serve.
#[derive(Debug)]
pub(super) enum NoHead {
    /// The client ended or was lost.
    Gone,
    /// The head did not end in time.
    Late,
    /// The head is refused.
    Refused(RequestError),
}

/// Reads until a head is there, puts it where the caller wants it, and says when that was.
pub(super) async fn read_head(
    connection: &Connection,
    listener: &HttpListener,
    began: Instant,
    place: &mut Option<RequestHead>,
) -> Result<Instant, NoHead> {
    let client = &connection.client;
    let http1 = client.http1().ok_or(NoHead::Gone)?;
    let mut armed = false;
    let mut seen = 0;
    poll_fn(|cx| {
        loop {
            let there = http1.received.borrow().bytes().len();
            let parsed = resume_request(http1.received.borrow().bytes(), seen, listener.limits);
            match parsed {
                Ok(head) => *place = head,
                Err(error) => return Poll::Ready(Err(NoHead::Refused(error))),
            }
            if let Some(head) = place {
                http1.received.borrow_mut().consume(head.size);
                let now = if armed { Instant::now() } else { began };
                return Poll::Ready(Ok(now));
            }
            seen = there;
            match http1.poll_receive(cx) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Err(NoHead::Gone)),
                Poll::Pending => break,
            }
        }
        if !armed {
            armed = true;
            client
                .deadline
                .set_at(began + listener.timeouts.request_head);
        }
        client.deadline.poll_passed(cx).map(|()| Err(NoHead::Late))
    })
    .await
}
