//! A client's connection that carries many requests at once: one task drives it, and each request
//! has a task of its own.
//!
//! The one task reads and writes for all. It gives each request that comes a task, watches over
//! what the client does and does not do, and ends the connection: gently, when there is a reason
//! to, so that what has begun comes to its end, or at once, when the client leaves no other way.
//! The tasks of requests know nothing of that: they run the same exchange as those of HTTP/1.1, and
//! end when their stream does.

mod request;
#[cfg(test)]
mod tests;
mod watch;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use self::request::Held;
use self::watch::{Leaves, Limits, Seen, Step, Watch};
use super::bulkhead::Routes;
use super::client::Client;
use super::connection::Connection;
use super::exchange::note_refused;
use super::record::Who;
use super::respond::Cause;
use super::terms::Terms;
use crate::context::ConnectionFacts;
use crate::http2::{self, Driven, Ended, ErrorCode, HeadError, State};
use crate::protocol::local::{Local, Member};
use crate::snapshot::Http2;
use crate::telemetry::metrics::Gauge;
use crate::time::Deadline;

/// A connection and what its task knows.
#[derive(Debug)]
struct Streams<G> {
    connection: Rc<http2::Connection>,
    facts: ConnectionFacts,
    local: Rc<Local>,
    member: Member,
    terms: Terms,
    /// How the listener speaks; of the last snapshot in which it does.
    spoken: Arc<Http2>,
    /// What of its greatest age it does not reach.
    early: f64,
    held: Rc<Held<G>>,
    routes: Rc<Routes>,
    watch: Watch,
    deadline: Deadline,
    /// Requests that have come.
    requests: u64,
    has_ended: bool,
    /// Whether it was ended by us, and what there was to be told of that was told.
    is_told: bool,
}

/// A connection that is counted.
#[derive(Debug)]
struct Counted(Gauge);

/// Serves a connection whose client speaks HTTP/2, until it has ended and all its streams have. The
/// guard is held meanwhile.
pub(super) async fn serve<G: 'static>(
    connection: Connection,
    (member, terms): (Member, Terms),
    guard: G,
) {
    let Connection { client, local } = connection;
    let client = Rc::into_inner(client).and_then(Client::into_connection);
    let (Some((stream, received, facts)), Some(spoken)) = (client, terms.listener.http2.clone())
    else {
        return;
    };
    let counted = Counted::new(&spoken);
    let now = Instant::now();
    let early = local.with_random(early);
    let age = age(spoken.max_age, early);
    let mut streams = Streams {
        connection: http2::Connection::server(stream, &received, spoken.settings, now),
        held: Rc::new(Held::new(guard, &spoken)),
        routes: Rc::default(),
        watch: Watch::new(now, age),
        early,
        deadline: Deadline::default(),
        requests: 0,
        has_ended: false,
        is_told: false,
        facts,
        local,
        member,
        terms,
        spoken,
    };
    poll_fn(|cx| streams.poll_over(cx)).await;
    drop(counted);
    drop(streams);
}

impl<G: 'static> Streams<G> {
    /// Ready when the connection has ended.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let driven = self.connection.poll_drive(cx, now);
            self.count_resets();
            self.look_for_end();
            match driven {
                Poll::Ready(Driven::Request(head, stream)) => {
                    self.requests += 1;
                    self.renew();
                    self.spawn(*head, stream);
                    continue;
                }
                Poll::Ready(Driven::Refused(error, stream)) => {
                    self.requests += 1;
                    self.renew();
                    self.refuse(error, stream);
                    continue;
                }
                Poll::Ready(Driven::Ended(ended)) => {
                    if !self.has_ended {
                        self.ended(&ended);
                    }
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
            self.renew();
            let limits = self.limits();
            match self.watch.look(&self.seen(&limits, now), &limits, now) {
                Ok(Step::Over) => return Poll::Ready(()),
                Ok(step) => self.take(step),
                Err(until) => {
                    self.deadline.set_at(until);
                    self.member.register(cx.waker());
                    ready!(self.deadline.poll_passed(cx));
                }
            }
        }
    }

    /// Follows the snapshot in force. What the client was told, streams and windows, stands for as
    /// long as the connection: to end all of them at once would bring all clients back at once.
    fn renew(&mut self) {
        self.terms.renew(&self.facts, &self.local);
        if let Some(spoken) = &self.terms.listener.http2
            && !Arc::ptr_eq(spoken, &self.spoken)
        {
            self.spoken = Arc::clone(spoken);
            let http2::Settings { head, fields, .. } = spoken.settings;
            self.connection.limit_heads(head, fields);
            self.watch.ages(age(spoken.max_age, self.early));
        }
    }

    /// What there is to be seen of the connection.
    fn seen(&self, limits: &Limits, now: Instant) -> Seen {
        let connection = &self.connection;
        let streams = connection.streams();
        let measures = self.watch.is_to_measure(streams, limits, now);
        Seen {
            state: connection.state(),
            streams,
            moved: connection.moved(),
            stuck: measures.then(|| connection.held_up(now)),
            requests: self.requests,
            received: connection.received(),
            sent: connection.sent(),
            is_held_up: connection.is_held_up(),
            patience: connection.patience(),
            awaits_settings: connection.awaits_settings(),
            awaits_pong: connection.awaits_pong(),
            leaves: self.leaves(),
        }
    }

    fn leaves(&self) -> Leaves {
        let drain = self.local.drain.of(self.terms.listener.direction);
        let is_over = self.terms.is_over() || self.terms.listener.http2.is_none();
        match drain.is_draining() || is_over {
            _ if drain.is_closed() => Leaves::Now,
            true => Leaves::Soon,
            false => Leaves::Not,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            client: self.terms.listener.timeouts,
            keepalive_interval: self.spoken.keepalive_interval,
            keepalive_timeout: self.spoken.keepalive_timeout,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Announce => self.connection.announce_end(),
            Step::EndGently => self.connection.end_gently(),
            Step::Ping => self.connection.ping(),
            Step::EndNow(code, why) => {
                self.is_told = true;
                let state = self.connection.state();
                if state == State::Head || (state == State::Beginning && self.has_begun()) {
                    note_refused(&self.terms, &self.who(), Cause::RequestHeadTimeout);
                }
                self.connection.end_now(code, why);
            }
            Step::EndAbused(abuse) => self.connection.end_abused(abuse),
            Step::Over => {}
        }
    }

    /// What cannot be served: a head that is too large, or expects too much, is answered; the
    /// stream of a malformed one has been reset.
    fn refuse(&self, error: HeadError, stream: Option<http2::Stream>) {
        let peer = self.facts.peer;
        tracing::debug!(%peer, why = %error, "request refused");
        let cause = match error {
            HeadError::TooLarge => Cause::HeadTooLarge,
            HeadError::Expectation => Cause::ExpectationFailed,
            HeadError::Malformed(_) => Cause::BadRequest,
        };
        if let Some(stream) = stream {
            self.spawn_refusal(cause, stream);
        } else {
            note_refused(&self.terms, &self.who(), cause);
        }
    }

    /// Whether the client has said anything. Without TLS it has, before this was a connection of
    /// HTTP/2.
    fn has_begun(&self) -> bool {
        self.connection.received() > 0 || !self.connection.stream().is_secure()
    }

    fn who(&self) -> Who<'_> {
        Who {
            local: &self.local,
            stream: self.connection.stream(),
            facts: &self.facts,
        }
    }

    /// Counts streams that were reset.
    fn count_resets(&self) {
        let (by_client, by_us) = self.connection.take_resets();
        let metrics = &self.spoken.metrics;
        for (counter, count) in [
            (&metrics.reset_by_client, by_client),
            (&metrics.reset_by_us, by_us),
        ] {
            if count > 0 {
                counter.add(u64::from(count));
            }
        }
    }

    /// Tells how it ends as soon as that is known: who floods us may never take our last words.
    fn look_for_end(&mut self) {
        let connection = Rc::clone(&self.connection);
        if !self.has_ended
            && let Some(ended) = connection.ending()
        {
            self.ended(&ended);
        }
    }

    /// Tells how it ended.
    fn ended(&mut self, ended: &Ended) {
        self.has_ended = true;
        let peer = self.facts.peer;
        match ended {
            Ended::Closed => {}
            Ended::Broken(error) => tracing::debug!(%peer, why = %error, "connection broken"),
            Ended::Refused(code, why) => {
                tracing::debug!(%peer, %code, why, "connection refused");
                // What a malformed request is in HTTP/1.1: there is nothing else to tell it by.
                if !self.is_told && !self.connection.is_settled() {
                    note_refused(&self.terms, &self.who(), Cause::BadRequest);
                }
            }
            Ended::Abused(abuse) => {
                self.spoken.metrics.count_abuse(*abuse);
                tracing::debug!(%peer, why = abuse.word(), "connection abused");
            }
        }
    }
}

/// Nobody drives the connection any more: its streams must not wait for what never comes.
impl<G> Drop for Streams<G> {
    fn drop(&mut self) {
        if !self.has_ended {
            let end = || self.connection.end_now(ErrorCode::INTERNAL_ERROR, "cut");
            // It may be a fault of the engine that has led here.
            drop(catch_unwind(AssertUnwindSafe(end)));
        }
    }
}

/// What part of its greatest age a connection does not reach: many that began together shall not
/// end together.
fn early(random: &mut fastrand::Rng) -> f64 {
    random.f64() / 10.0
}

/// How old a connection may become that ends so much early.
fn age(most: Option<Duration>, early: f64) -> Option<Duration> {
    most.map(|most| most.mul_f64(1.0 - early))
}

impl Counted {
    fn new(spoken: &Http2) -> Self {
        let gauge = spoken.metrics.connections.clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
