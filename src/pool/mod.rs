//! Connections to endpoints: opened, driven through one call, and kept warm in between.
//!
//! Each worker has a pool of its own, so nothing here is locked or shared. Idle connections are
//! stacked per endpoint: the one used last is taken first, so that a pool that has become too large
//! shrinks by itself. Nothing is read from an idle connection; a readiness that appears on one
//! means that the endpoint closed it (or said something unasked), and it is not used again.

mod call;
mod idle;
mod response;

use std::io;
use std::rc::Rc;
use std::sync::Arc;

pub use call::{Call, CallError, Event};
pub use idle::{Keep, Pool};
pub use response::ResponseBody;

use crate::endpoint::{Endpoint, OpenConnection};
use crate::http1::Received;
use crate::net::Stream;

/// A connection to an endpoint. In a box wherever it goes: it goes from hand to hand with every
/// request.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    received: Received,
    endpoint: Arc<Endpoint>,
    reused: bool,
    /// Counts as one of the endpoint's connections until it is closed.
    open: OpenConnection,
}

/// Why no connection to an endpoint could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint has as many connections as its limit allows, and none was closed in time.
    /// Said by who waits.
    #[error("the endpoint has as many connections as its limit allows")]
    Limit,
    /// It did not stand in time. Said by who waits.
    #[error("no connection in time")]
    TimedOut,
    /// The endpoint or the network refused.
    #[error("{0}")]
    Refused(#[from] io::Error),
}

impl ConnectError {
    /// The time is up: for the endpoint, if the connection had been allowed, else for those that
    /// hold the others.
    pub fn overdue(was_allowed: bool) -> Self {
        if was_allowed {
            Self::TimedOut
        } else {
            Self::Limit
        }
    }
}

impl Connection {
    /// Opens a connection that has been counted in. The caller sets the time limit, and tells the
    /// endpoint how it went.
    pub async fn open(endpoint: &Arc<Endpoint>, open: OpenConnection) -> io::Result<Box<Self>> {
        let stream = Stream::connect(&endpoint.address).await?;
        Ok(Box::new(Self {
            stream,
            received: Received::default(),
            endpoint: Arc::clone(endpoint),
            reused: false,
            open,
        }))
    }

    /// Whether it has carried a call before: then it may turn out to have been closed meanwhile.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// The endpoint that it leads to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The stream with what was received behind the head of the response, for a tunnel.
    pub fn into_tunnel(self) -> Tunnelled {
        Tunnelled {
            stream: self.stream,
            received: self.received,
            open: self.open,
        }
    }

    /// How an idle connection stands. Costs no system call while the endpoint is silent.
    fn state(&mut self) -> State {
        if !self.received.is_empty() {
            return State::Dirty;
        }
        // Tried, not polled: a poll would be told to wait once the task has used up its turn, and
        // take every further connection for quiet.
        match self.stream.try_peek() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => State::Quiet,
            Ok(0) | Err(_) => State::Closed,
            Ok(_) => State::Dirty,
        }
    }
}

/// A connection that has left HTTP.
#[derive(Debug)]
pub struct Tunnelled {
    /// The stream.
    pub stream: Stream,
    /// What came behind the head of the response.
    pub received: Received,
    /// Counts as one of the endpoint's connections until it is dropped.
    pub open: OpenConnection,
}

/// How an idle connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come: it can be used.
    Quiet,
    /// The endpoint has closed it.
    Closed,
    /// The endpoint has said something unasked: whatever it is, it answers no request of ours.
    Dirty,
}

/// How to return a connection once its call has ended.
#[derive(Debug, Clone)]
pub struct Return {
    /// The pool it came from.
    pub pool: Rc<Pool>,
    /// How long and how many.
    pub keep: Keep,
}

#[cfg(test)]
mod tests;
