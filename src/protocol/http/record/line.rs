//! The line of a request that has become a tunnel: written when that ends.
//!
//! There is one line for each request, and what a tunnel carried and how it ended belongs to it. A
//! tunnel may last for days, so what is kept until then leads to no configuration.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ended, Kept, Record, Served, Who};
use crate::context::ConnectionFacts;
use crate::endpoint::Endpoint;
use crate::net::Stream;
use crate::protocol::http::connection::Connection;
use crate::protocol::local::Local;
use crate::snapshot::{Route, RouteMetrics, Snapshot};
use crate::telemetry::access::End;

/// What is known of the request.
#[derive(Debug)]
pub(in crate::protocol::http) struct Line {
    record: Record,
    endpoint: Option<Arc<Endpoint>>,
    metrics: Arc<RouteMetrics>,
    local: Rc<Local>,
    served: Served,
    status: u16,
    /// What of the time before the tunnel was ours.
    overhead: Duration,
}

/// How a tunnel came to its end, and what had passed.
#[derive(Debug, Clone, Copy)]
pub(in crate::protocol::http) struct Last {
    pub(in crate::protocol::http) sent: u64,
    pub(in crate::protocol::http) received: u64,
    pub(in crate::protocol::http) end: End,
    /// The cause, where that is a failure.
    pub(in crate::protocol::http) error: Option<&'static str>,
}

impl Record {
    /// What the line of this request says once its tunnel has ended; none where there are no lines.
    /// The request leaves none of its own then.
    pub(in crate::protocol::http) fn hand_over(
        &self,
        connection: &Connection,
        (snapshot, route): (&Snapshot, &Route),
        status: u16,
    ) -> Option<Box<Line>> {
        let asked = self.asked.as_ref().filter(|_| snapshot.access_log)?;
        self.kept.set(Kept::ButForItsLine);
        let target = self.target.borrow();
        let endpoint = target.as_ref().map(|target| {
            // Resolved now: the upstream is not kept.
            super::told(target);
            Arc::clone(&target.1)
        });
        let total = Instant::now() - self.started;
        Some(Box::new(Line {
            record: Self {
                method: self.method.clone(),
                asked: Some(Box::new(asked.without_call())),
                client: self.client.clone(),
                scheme: self.scheme.clone(),
                request_id: self.request_id.clone(),
                attempts: self.attempts.clone(),
                connect: self.connect.clone(),
                first_byte: self.first_byte.clone(),
                target: RefCell::new(None),
                ..Self::new(http::Method::GET, self.started)
            },
            endpoint,
            metrics: Arc::clone(&route.metrics),
            local: Rc::clone(&connection.local),
            served: Served::by(snapshot),
            status,
            overhead: total.saturating_sub(self.waited_time()),
        }))
    }
}

impl Line {
    /// Writes it.
    pub(in crate::protocol::http) fn write(
        &self,
        stream: &Stream,
        facts: &ConnectionFacts,
        last: Last,
    ) {
        let Some(asked) = &self.record.asked else {
            return;
        };
        let who = Who {
            local: &self.local,
            stream,
            facts,
        };
        let endpoint = self.endpoint.as_ref();
        let places = (
            &self.metrics.origin,
            endpoint.and_then(|endpoint| endpoint.logged.get()),
        );
        let ended = Ended {
            status: self.status,
            grpc: None,
            request_bytes: last.sent,
            response_bytes: last.received,
            total: self.record.started.elapsed(),
            overhead: self.overhead,
            end: last.end,
            error: last.error,
        };
        self.record.write(&who, self.served, places, asked, &ended);
    }
}
