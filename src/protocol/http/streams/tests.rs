//! What a connection has time for.

use std::time::Duration;

use tokio::time::Instant;

use super::watch::{Leaves, Limits, Seen, Step, Watch};
use super::{age, early};
use crate::http2::{Abuse, ErrorCode, HeldUp, Moved, State};
use crate::snapshot::ClientTimeouts;

const SECOND: Duration = Duration::from_secs(1);

const LIMITS: Limits = Limits {
    client: ClientTimeouts {
        request_head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        body_idle: Duration::from_mins(1),
    },
    keepalive_interval: Duration::from_secs(30),
    keepalive_timeout: Duration::from_secs(10),
};

/// A connection that is looked at.
struct Rig {
    watch: Watch,
    began: Instant,
    seen: Seen,
}

impl Rig {
    fn new(state: State) -> Self {
        let began = Instant::now();
        Self {
            watch: Watch::new(began, Some(3600 * SECOND)),
            began,
            seen: Seen {
                state,
                requests: 0,
                streams: 0,
                received: 0,
                sent: 0,
                is_held_up: false,
                patience: Duration::ZERO,
                awaits_settings: false,
                awaits_pong: false,
                moved: Moved::default(),
                stuck: None,
                leaves: Leaves::Not,
            },
        }
    }

    /// What is to be done so many seconds after the beginning, or until which of them nothing.
    fn at(&mut self, seconds: u32) -> Result<Step, u64> {
        let now = self.began + seconds * SECOND;
        let looked = self.watch.look(&self.seen, &LIMITS, now);
        looked.map_err(|until| (until - self.began).as_secs())
    }
}

#[test]
fn a_client_that_says_nothing_is_not_waited_for() {
    let mut rig = Rig::new(State::Beginning);
    assert_eq!(rig.at(0), Err(10));
    let why = "no preface in time";
    assert_eq!(rig.at(10), Ok(Step::EndNow(ErrorCode::PROTOCOL_ERROR, why)));
    rig.seen.state = State::Ending;
    assert_eq!(rig.at(10), Err(12), "last words may leave");
    assert_eq!(rig.at(12), Ok(Step::Over));
}

#[test]
fn each_head_has_its_own_time() {
    let mut rig = Rig::new(State::Head);
    assert_eq!(rig.at(2), Err(12));
    rig.seen.received = 100;
    assert_eq!(
        rig.at(8),
        Err(12),
        "bytes of the same head give it no more time"
    );
    rig.seen.requests = 1;
    assert_eq!(rig.at(9), Err(19), "another one has begun");
    assert!(matches!(
        rig.at(19),
        Ok(Step::EndNow(ErrorCode::ENHANCE_YOUR_CALM, _))
    ));
}

#[test]
fn a_connection_without_streams_ends_gently() {
    let mut rig = Rig::new(State::Busy);
    (rig.seen.requests, rig.seen.received) = (1, 1);
    assert_eq!(rig.at(5), Err(35));
    rig.seen.state = State::Idle;
    assert_eq!(rig.at(20), Err(95));
    rig.seen.received = 17;
    assert_eq!(
        rig.at(90),
        Err(95),
        "frames that are no request keep nothing open"
    );
    assert_eq!(rig.at(95), Ok(Step::EndGently));
    assert_eq!(
        rig.at(95),
        Err(95 + 3600),
        "it is the connection that ends now"
    );
}

/// A route may let its client rest for longer than the listener does.
#[test]
fn a_stream_gives_its_connection_time() {
    let mut rig = Rig::new(State::Busy);
    (rig.seen.received, rig.seen.is_held_up) = (1, true);
    (rig.seen.patience, rig.seen.awaits_pong) = (600 * SECOND, true);
    assert!(rig.at(0).is_err());
    rig.seen.received += 1;
    assert_ne!(rig.at(60), Ok(Step::EndAbused(Abuse::Stalled)));
    rig.seen.received += 1;
    assert_eq!(rig.at(600), Ok(Step::EndAbused(Abuse::Stalled)));
    let mut rig = Rig::new(State::Busy);
    (rig.seen.received, rig.seen.is_held_up) = (1, true);
    assert!(rig.at(0).is_err());
    rig.seen.received += 1;
    assert_eq!(rig.at(60), Ok(Step::EndAbused(Abuse::Stalled)));
}

/// What asks it stands behind what it has still to take, in buffers that are not ours.
#[test]
fn a_client_that_takes_slowly_has_time_to_answer() {
    let mut rig = Rig::new(State::Busy);
    rig.seen.received = 1;
    assert_eq!(rig.at(1), Err(31));
    rig.seen.sent = 4_000_000;
    assert_eq!(rig.at(31), Ok(Step::Ping));
    rig.seen.awaits_pong = true;
    assert_eq!(rig.at(32), Err(31 + 10 + 1000));
}

#[test]
fn a_client_is_asked_whether_it_is_there() {
    let mut rig = Rig::new(State::Busy);
    rig.seen.received = 1;
    assert_eq!(rig.at(1), Err(31));
    assert_eq!(rig.at(31), Ok(Step::Ping));
    rig.seen.awaits_pong = true;
    assert_eq!(rig.at(31), Err(41));
    rig.seen.received = 18;
    rig.seen.awaits_pong = false;
    assert_eq!(rig.at(35), Err(65), "it is");
    assert_eq!(rig.at(65), Ok(Step::Ping));
    rig.seen.awaits_pong = true;
    let end = Step::EndNow(ErrorCode::NO_ERROR, "PING not answered");
    assert_eq!(rig.at(75), Ok(end));
}

#[test]
fn a_question_that_has_not_left_is_not_overdue() {
    let mut rig = Rig::new(State::Busy);
    rig.seen.received = 1;
    assert_eq!(rig.at(1), Err(31));
    rig.seen.is_held_up = true;
    assert_eq!(rig.at(31), Ok(Step::Ping));
    rig.seen.awaits_pong = true;
    assert_eq!(rig.at(31), Err(41));
    assert_eq!(rig.at(41), Err(51));
    rig.seen.is_held_up = false;
    assert_eq!(rig.at(45), Err(55), "it leaves now");
    let end = Step::EndNow(ErrorCode::NO_ERROR, "PING not answered");
    assert_eq!(rig.at(55), Ok(end));
}

#[test]
fn an_age_counts_from_the_beginning() {
    let mut rig = Rig::new(State::Busy);
    rig.watch.ages(Some(20 * SECOND));
    assert_eq!(rig.at(1), Err(20));
    rig.watch.ages(None);
    assert_eq!(rig.at(20), Err(30), "there is no limit");
    rig.watch.ages(Some(20 * SECOND));
    assert_eq!(rig.at(25), Ok(Step::Announce));
}

/// Of a thousand that begin together, each twentieth of the last tenth ends some.
#[test]
fn ages_are_spread_over_a_tenth() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut ended = [0; 20];
    for _ in 0..1000 {
        let early = early(&mut random);
        let age = age(Some(1000 * SECOND), early).expect("there is a limit");
        let late = age.checked_sub(900 * SECOND).expect("no more than a tenth");
        let place = usize::try_from(late.as_secs() / 5).expect("below twenty");
        ended[place.min(19)] += 1;
        assert_eq!(super::age(None, early), None);
    }
    assert!(ended.iter().all(|count| *count > 20), "{ended:?}");
}

#[test]
fn a_drain_is_announced_and_followed_a_moment_later() {
    let mut rig = Rig::new(State::Busy);
    rig.seen.leaves = Leaves::Soon;
    assert_eq!(rig.at(1), Ok(Step::Announce));
    assert_eq!(rig.at(1), Err(2));
    assert_eq!(rig.at(2), Ok(Step::EndGently));
    assert_eq!(rig.at(2), Err(30), "its streams go on");
}

#[test]
fn once_accepting_has_ended_only_a_first_request_is_waited_for() {
    let mut rig = Rig::new(State::Busy);
    rig.seen.leaves = Leaves::Now;
    assert_eq!(rig.at(1), Ok(Step::Announce));
    assert_eq!(rig.at(1), Err(2));
    rig.seen.requests = 1;
    assert_eq!(rig.at(1), Ok(Step::EndGently));
}

#[test]
fn an_old_connection_ends_like_a_drain() {
    let mut rig = Rig::new(State::Busy);
    rig.seen.received = 1;
    rig.seen.requests = 1;
    assert_eq!(rig.at(3590), Err(3600));
    assert_eq!(rig.at(3600), Ok(Step::Announce));
    assert_eq!(rig.at(3601), Ok(Step::EndGently));
}

#[test]
fn what_nobody_takes_ends_the_connection() {
    let mut rig = Rig::new(State::Busy);
    rig.seen.is_held_up = true;
    for second in (0..120).step_by(20) {
        rig.seen.received += 1; // it talks, but does not listen
        rig.seen.sent = u64::from(second / 40);
        assert!(rig.at(second).is_err(), "{second}");
    }
    rig.seen.received += 1;
    assert_eq!(rig.at(139), Err(140));
    assert_eq!(rig.at(140), Ok(Step::EndAbused(Abuse::Stalled)));
}

/// What is held up, and what has moved, at one look after the other.
fn looks(rig: &mut Rig, looks: &[(u32, HeldUp, Moved)]) -> Vec<Result<Step, u64>> {
    let mut results = Vec::new();
    for &(second, stuck, moved) in looks {
        rig.seen.received += 1; // it answers each PING
        (rig.seen.streams, rig.seen.moved) = (20, moved);
        let now = rig.began + second * SECOND;
        let measures = rig.watch.is_to_measure(rig.seen.streams, &LIMITS, now);
        rig.seen.stuck = measures.then_some(stuck);
        results.push(rig.at(second));
    }
    results
}

#[test]
fn many_streams_that_are_held_up_for_long_end_the_connection() {
    let stuck = |responses, requests| HeldUp {
        responses,
        requests,
    };
    let moved = |sent, received| Moved { sent, received };
    let abused = Ok(Step::EndAbused(Abuse::Stalled));
    for (held_up, a_drip) in [
        (stuck(17, 0), moved(1_000, 0)),
        (stuck(0, 17), moved(0, 1_000)),
    ] {
        let mut rig = Rig::new(State::Busy);
        let began = [(31, held_up, moved(0, 0)), (61, held_up, a_drip)];
        assert_eq!(looks(&mut rig, &began)[1], abused);
        // A few may be: that is for the limits of each.
        let mut rig = Rig::new(State::Busy);
        let few = stuck(held_up.responses.min(16), held_up.requests.min(16));
        let began = [(31, few, moved(0, 0)), (61, few, a_drip)];
        assert_ne!(looks(&mut rig, &began)[1], abused);
        // Many that move may be.
        let mut rig = Rig::new(State::Busy);
        let much = moved(a_drip.sent * 20, a_drip.received * 20);
        let began = [(31, held_up, moved(0, 0)), (61, held_up, much)];
        assert_ne!(looks(&mut rig, &began)[1], abused);
        // And many that have only begun to wait.
        let mut rig = Rig::new(State::Busy);
        let began = [(31, stuck(0, 0), moved(0, 0)), (61, held_up, a_drip)];
        assert_ne!(looks(&mut rig, &began)[1], abused);
    }
}

#[test]
fn settings_are_acknowledged_in_time() {
    let mut rig = Rig::new(State::Idle);
    rig.seen.awaits_settings = true;
    assert_eq!(rig.at(0), Err(10));
    let why = "SETTINGS not acknowledged";
    assert_eq!(
        rig.at(10),
        Ok(Step::EndNow(ErrorCode::SETTINGS_TIMEOUT, why))
    );
}
