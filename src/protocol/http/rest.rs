//! What follows the head of a response, as far as that says something about its endpoint.

use std::time::Duration;

use http::{StatusCode, header};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::exchange::Exchange;
use super::grpc::is_of_call;
use crate::endpoint::Outcome;
use crate::message::{ResponseParts, Value};
use crate::policy::retry::Failure;
use crate::pool::Receipt;
use crate::upstream::Pick;

/// The rest of a response, while it is received: the request is in flight as long.
#[derive(Debug)]
pub(super) struct Rest {
    pick: Pick,
    judge: Judge,
}

/// What tells how well the response was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// Its head has told.
    Head,
    /// How its body ends.
    Body,
    /// The status of the call that it is of.
    Call,
}

impl Rest {
    pub(super) fn new(mut pick: Pick, judge: Judge) -> Self {
        pick.answered();
        Self { pick, judge }
    }
}

/// Dropped before its end, it tells nothing: that its client left says neither that the endpoint is
/// well, nor that it is not.
impl Receipt for Rest {
    fn ended(&mut self) {
        if self.judge == Judge::Body {
            self.tell(Outcome::Ended);
        }
    }

    fn broke_off(&mut self) {
        if self.judge != Judge::Head {
            self.tell(Outcome::CutShort);
        }
    }

    fn fell_silent(&mut self) {
        if self.judge == Judge::Body {
            self.tell(Outcome::FellSilent);
        }
    }
}

impl Rest {
    /// The last word.
    fn tell(&mut self, outcome: Outcome) {
        self.judge = Judge::Head;
        self.pick.learn_at(outcome, Instant::now);
    }
}

/// Tells the endpoint of a call that its response has begun, and what tells how well that was.
#[inline]
pub(super) fn judge(
    exchange: &Exchange<'_>,
    pick: &Pick,
    (parts, is_whole): (&ResponseParts, bool),
) -> Judge {
    let took = exchange.record.first_byte.get();
    let of_call = exchange.record.call().filter(|_| is_of_call(parts));
    let outcome = Outcome::Answered {
        status: parts.status,
        took,
        retry_after: retry_after(parts),
        is_whole: is_whole && of_call.is_none(),
    };
    let is_failure = pick.learn(outcome, exchange.now.get());
    match of_call {
        _ if is_failure || outcome.sheds().is_some() => Judge::Head,
        Some(call) => {
            call.is_judged(pick);
            Judge::Call
        }
        None => Judge::Body,
    }
}

/// Tells an endpoint of a response that is given up for another attempt, since it failed so.
pub(super) fn judge_given_up(
    exchange: &Exchange<'_>,
    pick: &Pick,
    parts: &ResponseParts,
    failure: Failure,
) {
    let now = exchange.now.get();
    let code = if let Failure::Grpc(code) = failure {
        Some(code as u8)
    } else {
        None
    };
    let outcome = Outcome::Answered {
        status: parts.status,
        took: exchange.record.first_byte.get(),
        retry_after: retry_after(parts),
        is_whole: code.is_none(),
    };
    pick.learn(outcome, now);
    if let Some(code) = code {
        pick.learn(Outcome::GrpcEnded(code), now);
    }
}

/// Whether a client is told that it, and nobody else, has asked too much, and when to ask again.
pub(super) fn asks_later(parts: &ResponseParts) -> bool {
    parts.status == StatusCode::TOO_MANY_REQUESTS && retry_after(parts).is_some()
}

/// How long the endpoint asks to be left alone: in seconds, or until a date by our clock.
#[inline]
pub(super) fn retry_after(parts: &ResponseParts) -> Option<Duration> {
    let sheds = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    if !sheds.contains(&parts.status) {
        return None;
    }
    let value = parts.headers.get(header::RETRY_AFTER)?;
    let value = Value::to_str(value)?;
    if value.contains(':') {
        // Each form of a date has a time of the day (RFC 9110 §5.6.7).
        return Some(until(value, Timestamp::now()));
    }
    let seconds = value.parse::<u32>().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// How long it is until a date, in any form that RFC 9110 §5.6.7 has; nothing where it has passed.
#[cold]
fn until(date: &str, now: Timestamp) -> Duration {
    let forms = DATES.iter();
    let read = |form| {
        DateTime::strptime(form, date)
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()
    };
    let Some(date) = forms.copied().find_map(read) else {
        return UNREADABLE;
    };
    let left = date.timestamp().duration_since(now);
    Duration::try_from(left).unwrap_or_default()
}

/// How dates are written: as RFC 9110 has it, and as RFC 850 and C's asctime did.
const DATES: [&str; 3] = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %e %H:%M:%S %Y",
];

/// What a date that nobody can read stands for: there is such a time, and nobody says a shorter one
/// in seconds.
const UNREADABLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use http::Response;
    use tokio::time::advance;

    use super::*;
    use crate::endpoint::REQUEST;
    use crate::upstream::tests::of_one;

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_long_body_is_told_as_of_its_end() {
        let upstream = of_one();
        let [mut ends, mut falls_silent] = [1, 2].map(|seed| {
            let pick = upstream.pick(&[], &mut Rng::with_seed(seed), Instant::now());
            Rest::new(pick.expect("there is one"), Judge::Body)
        });
        let live = &upstream.endpoints()[0].live;
        advance(Duration::from_mins(1)).await;
        for _ in 0..3 {
            live.penalize(Instant::now(), None);
        }
        ends.ended();
        let penalty = || u64::from(live.penalty(Instant::now()));
        assert_eq!(penalty(), 3 * REQUEST, "it fades from now on");
        advance(Duration::from_mins(5)).await;
        assert_eq!(penalty(), 0);
        falls_silent.fell_silent();
        assert_eq!(penalty(), REQUEST, "none of it has faded");
    }

    #[test]
    fn a_time_to_come_again_is_taken_in_seconds_or_until_a_date() {
        let told = |status: u16, value: &str| {
            let response = Response::builder().status(status);
            let response = response.header(header::RETRY_AFTER, value).body(());
            let (parts, ()) = response.expect("a response").into_parts();
            retry_after(&parts.into())
        };
        assert_eq!(told(503, "7"), Some(Duration::from_secs(7)));
        assert_eq!(told(429, "0"), Some(Duration::ZERO));
        let then = Timestamp::from_second(784_111_777).expect("a time");
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(told(503, date), Some(Duration::ZERO), "{date}: long ago");
            let before = |seconds| until(date, then - Duration::from_secs(seconds));
            assert_eq!(before(7), Duration::from_secs(7), "{date}");
            assert_eq!(before(0), Duration::ZERO, "{date}");
        }
        let far = told(503, "Fri, 01 Jan 2100 00:00:00 GMT");
        assert!(far.is_some_and(|far| far > Duration::from_hours(24)));
        for date in ["at 7:30", "Sun, 06 Nov 1994 25:49:37 GMT", ":"] {
            assert_eq!(told(503, date), Some(UNREADABLE), "{date}");
        }
        assert_eq!(told(503, "soon"), None);
        assert_eq!(told(500, "7"), None);
    }
}
