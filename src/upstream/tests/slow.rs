//! What is made of endpoints that are slow, or fail, where hardly anything goes on: upstreams, and
//! the group that judges their endpoints, in simulated time. Requests come at random (Poisson) and
//! take a random time (exponential). Seeded: the same every time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::*;
use crate::upstream::Seen;

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// It answers, after this time in the mean.
    Answers(Duration),
    /// It fails, within a millisecond.
    Fails,
    /// It answers as is usual, but stands still from one moment to another.
    Stands { from: Duration, until: Duration },
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
struct Ended {
    place: usize,
    at: Duration,
    took: Duration,
    failed: bool,
    /// Whether a further attempt, at once, failed as well.
    failed_again: bool,
}

struct Simulation {
    upstream: Arc<Upstream>,
    group: Group,
    /// Where endpoints stand, by their numbers.
    places: BTreeMap<u64, usize>,
    random: Rng,
    /// Requests a second.
    rate: f64,
    /// Who answered well lately, the last one at the end.
    lately: Vec<u64>,
    /// When endpoints were ejected, and for what.
    ejected: Vec<(Duration, usize, &'static str)>,
    began: Instant,
}

impl Simulation {
    fn new(written: &config::Upstream, endpoints: Vec<ResolvedEndpoint>, rate: f64) -> Self {
        let upstream = running(&world(), written, endpoints, None);
        let detection = upstream.outlier_detection();
        let mut group = Group::new(detection.clone());
        let now = Instant::now();
        let members: Vec<_> = upstream
            .endpoints()
            .iter()
            .map(|endpoint| {
                let member = Member {
                    id: endpoint.live.id(),
                    health: Healthy,
                    is_probed: false,
                };
                (member, endpoint.live.read())
            })
            .collect();
        group.adopt(detection, members, &mut BTreeMap::new(), now);
        let ids = upstream.endpoints();
        let ids = ids.iter().enumerate();
        Self {
            places: ids
                .map(|(place, endpoint)| (endpoint.live.id(), place))
                .collect(),
            upstream,
            group,
            random: Rng::with_seed(7),
            rate,
            lately: Vec::new(),
            ejected: Vec::new(),
            began: now,
        }
    }

    /// All that is asked within a time, of endpoints that behave like this. The clock has to be
    /// paused.
    async fn run(
        &mut self,
        time: Duration,
        manner: impl Fn(usize, Duration) -> Manner,
    ) -> Vec<Ended> {
        let mut ended: Vec<Ended> = Vec::new();
        let mut under_way: BinaryHeap<Reverse<(Duration, usize)>> = BinaryHeap::new();
        let mut picks: Vec<Option<Pick>> = Vec::new();
        let (mut next, mut look) = (Duration::ZERO, SECOND);
        loop {
            let end = under_way.peek().map_or(Duration::MAX, |end| end.0.0);
            let at = next.min(end).min(look);
            if at > time {
                return ended;
            }
            self.pass(at).await;
            if at == look {
                look += SECOND;
                self.look();
            } else if at == end {
                let number = under_way.pop().map_or(0, |end| end.0.1);
                let pick = picks[number].take().expect("it is under way");
                self.learn(&pick, ended[number].took, ended[number].failed);
                if ended[number].failed {
                    ended[number].failed_again = self.fails_again(&pick, at, &manner);
                }
            } else {
                next += self.exponential(SECOND.div_f64(self.rate));
                let now = self.began + at;
                let pick = self.upstream.pick(&[], &mut self.random, now).expect("one");
                let place = self.places[&pick.endpoint().live.id()];
                let (took, failed) = match manner(place, at) {
                    Manner::Answers(mean) => (self.exponential(mean), false),
                    Manner::Fails => (self.exponential(MILLISECOND), true),
                    Manner::Stands { from, until } => {
                        let took = self.exponential(USUAL);
                        (took + held_up(at, took, (from, until)), false)
                    }
                };
                under_way.push(Reverse((at + took, ended.len())));
                picks.push(Some(pick));
                ended.push(Ended {
                    place,
                    at,
                    took,
                    failed,
                    failed_again: false,
                });
            }
        }
    }

    async fn pass(&self, at: Duration) {
        let now = self.began + at;
        tokio::time::advance(now.saturating_duration_since(Instant::now())).await;
    }

    fn learn(&mut self, pick: &Pick, took: Duration, failed: bool) {
        let status = if failed { 500 } else { 200 };
        let outcome = Outcome::Answered {
            status: http::StatusCode::from_u16(status).expect("a status"),
            took: Some(took),
            retry_after: None,
            is_whole: true,
        };
        pick.learn(outcome, Instant::now());
        if !failed {
            self.lately.push(pick.endpoint().live.id());
            self.lately.drain(..self.lately.len().saturating_sub(16));
        }
    }

    /// Whether another endpoint fails too, where what failed here is tried again.
    fn fails_again(
        &mut self,
        first: &Pick,
        at: Duration,
        manner: &impl Fn(usize, Duration) -> Manner,
    ) -> bool {
        let known: Vec<u64> = self.lately.iter().rev().copied().collect();
        let tried = [first.endpoint().live.id()];
        let when = (Instant::now(), Haste::MayWait);
        let upstream = Arc::clone(&self.upstream);
        let pick = upstream.pick_again(None, (&tried, &known), when, &mut self.random);
        let pick = pick.expect("there are others");
        let failed = match manner(self.places[&pick.endpoint().live.id()], at) {
            Manner::Answers(_) | Manner::Stands { .. } => false,
            Manner::Fails => true,
        };
        self.learn(&pick, MILLISECOND, failed);
        failed
    }

    /// What the control plane does once a second.
    fn look(&mut self) {
        let (now, upstream) = (Instant::now(), Arc::clone(&self.upstream));
        let endpoints = upstream.endpoints();
        let starting = upstream.starting(now);
        let read = |id: u64| {
            let live = &endpoints[self.places[&id]].live;
            live.trust();
            Seen {
                trial: live.take_trial(),
                reading: live.read(),
                is_starting: starting.contains(&id),
            }
        };
        let look = self.group.look(read, (true, true), now, &mut self.random);
        for change in look.changes {
            let place = self.places[&change.id];
            if let Some((_, cause)) = change.ejection {
                self.ejected.push((now - self.began, place, cause));
            }
            let endpoint = Arc::clone(&endpoints[place]);
            self.upstream.apply(vec![HealthChange {
                endpoint,
                health: change.health,
                by: By::Passive,
                why: change.why,
                ejection: change.ejection,
            }]);
        }
        for endpoint in endpoints.iter() {
            let too_slow = self.group.too_slow();
            let too_slow = too_slow.filter(|_| !starting.contains(&endpoint.live.id()));
            endpoint.live.measure_by(too_slow);
        }
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.random.f64()).ln())
    }
}

/// For how long one is held up by an endpoint that stands still meanwhile.
fn held_up(at: Duration, took: Duration, (from, until): (Duration, Duration)) -> Duration {
    if at + took >= from {
        until.saturating_sub(at)
    } else {
        Duration::ZERO
    }
}

/// The time within which 99 of 100 are answered, of those that were sent from some time on.
fn p99(ended: &[Ended], from: Duration) -> f64 {
    let since = ended.iter().filter(|ended| ended.at >= from);
    let mut times: Vec<Duration> = since.map(|ended| ended.took).collect();
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64() * 1e3
}

fn count(ended: &[Ended], is_such: impl Fn(&Ended) -> bool) -> usize {
    ended.iter().filter(|ended| is_such(ended)).count()
}

fn by(balance: Balance) -> config::Upstream {
    config::Upstream {
        balance: Some(balance),
        ..unchecked()
    }
}

/// One of four, or of two, becomes 50 times slower. A minute from then on.
#[tokio::test(start_paused = true)]
async fn a_slow_death_is_noticed_where_half_a_request_is_in_flight() {
    for (balance, endpoints, rate) in [
        (Balance::PowerOfTwo, 4, 200.0),
        (Balance::PowerOfTwo, 2, 200.0),
        (Balance::PowerOfTwo, 4, 50.0),
        (Balance::LeastConnections, 4, 200.0),
        (Balance::PeakEwma, 4, 200.0),
    ] {
        let mut simulation = Simulation::new(&by(balance), all(endpoints), rate);
        let ended = simulation
            .run(70 * SECOND, |place, at| match place {
                0 if at >= BEGINS => Manner::Answers(50 * USUAL),
                _ => Manner::Answers(USUAL),
            })
            .await;
        let before = p99(&ended[..count(&ended, |ended| ended.at < BEGINS)], SECOND);
        let after = p99(&ended, BEGINS);
        let slow = count(&ended, |ended| ended.place == 0 && ended.at >= BEGINS);
        let ejected = &simulation.ejected;
        println!(
            "{balance:?}, {endpoints} at {rate}/s: p99 {before:.0} ms, with a slow one \
             {after:.0} ms; it got {slow}; ejected: {ejected:?}"
        );
        assert!(after <= 1.5 * before, "{balance:?}: {after} after {before}");
        assert!(
            ejected
                .iter()
                .all(|(_, place, cause)| *place == 0 && *cause == "latency"),
            "{ejected:?}"
        );
    }
}

/// One that is left alone since it was slow gets its share again soon after it is no longer.
#[tokio::test(start_paused = true)]
async fn who_is_as_fast_as_others_again_gets_its_share() {
    let mut simulation = Simulation::new(&by(Balance::PowerOfTwo), all(2), 200.0);
    let ended = simulation
        .run(80 * SECOND, |place, at| match place {
            0 if (10..30).contains(&at.as_secs()) => Manner::Answers(50 * USUAL),
            _ => Manner::Answers(USUAL),
        })
        .await;
    let late = |ended: &Ended| ended.at >= 60 * SECOND;
    let all = count(&ended, late);
    let its = count(&ended, |ended| late(ended) && ended.place == 0);
    println!("{its} of {all} a while after");
    assert!(its * 3 > all, "{its} of {all}");
}

/// A tenth of all requests takes long wherever it goes, and an endpoint that has just started is
/// slow at first: neither is a reason to take anybody out.
#[tokio::test(start_paused = true)]
async fn what_takes_long_for_other_reasons_ejects_nobody() {
    let mut simulation = Simulation::new(&by(Balance::PowerOfTwo), all(4), 200.0);
    judge_all(&simulation.upstream, &[Healthy; 4]);
    let numbers = std::cell::Cell::new(0_u32);
    let ended = simulation
        .run(120 * SECOND, |_, _| {
            numbers.set(numbers.get() + 1);
            Manner::Answers(if numbers.get().is_multiple_of(10) {
                100 * USUAL
            } else {
                USUAL
            })
        })
        .await;
    let shares: Vec<usize> = (0..4)
        .map(|one| count(&ended, |ended| ended.place == one) * 100 / ended.len())
        .collect();
    println!("{shares:?} % of the requests");
    assert_eq!(simulation.ejected, []);
    assert!(
        shares.iter().all(|share| (20..30).contains(share)),
        "{shares:?}"
    );
}

/// A third answers 500 from some time on: of nine, of two, and of two thousand, of which each is
/// asked every ten seconds, or every second.
#[tokio::test(start_paused = true)]
async fn a_bad_version_fails_no_more_than_once_for_each_that_has_it() {
    for (endpoints, bad, rate) in [
        (9, 3, 200.0),
        (2, 1, 200.0),
        (2_000, 667, 200.0),
        (2_000, 667, 2_000.0),
    ] {
        let mut simulation = Simulation::new(&by(Balance::PowerOfTwo), many(endpoints), rate);
        let ended = simulation
            .run(70 * SECOND, |place, at| {
                if place < bad && at >= BEGINS {
                    Manner::Fails
                } else {
                    Manner::Answers(USUAL)
                }
            })
            .await;
        let asked = count(&ended, |ended| ended.at >= BEGINS);
        let failed = count(&ended, |ended| ended.failed);
        let later = BEGINS + 2 * SECOND;
        let late = count(&ended, |ended| ended.failed && ended.at >= later);
        let again = count(&ended, |ended| ended.failed_again);
        println!(
            "{bad} of {endpoints} fail, {rate}/s: {failed} of {asked} requests, {late} of them after two \
             seconds, {again} again, {} ejected",
            simulation.ejected.len()
        );
        // Each has to fail once to be known; and a few are tried.
        assert!(failed <= bad + asked / 200, "{failed} of {asked}");
        assert!(again <= 2 + asked / 100_000, "{again} of {failed}");
        // Where all of them were asked within two seconds, all are known by then, and what comes
        // later are trials; and where each is asked every second, the minute has fewer than one in
        // a hundred.
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let every = endpoints as f64 / rate;
        if every <= 0.1 {
            assert!(late * 500 < asked, "{late} of {asked}");
        }
        if every <= 1.0 {
            assert!(failed * 100 < asked, "{failed} of {asked}");
        }
    }
}

/// A third of two thousand answers 500 from some time on, and each is asked twice a second: they
/// are known within two seconds, and what fails later are trials.
#[tokio::test(start_paused = true)]
async fn a_bad_version_of_many_is_left_alone_within_two_seconds() {
    let (endpoints, bad, rate) = (2_000, 667, 4_000.0);
    let mut simulation = Simulation::new(&by(Balance::PowerOfTwo), many(endpoints), rate);
    let ended = simulation
        .run(BEGINS + 12 * SECOND, |place, at| {
            if place < bad && at >= BEGINS {
                Manner::Fails
            } else {
                Manner::Answers(USUAL)
            }
        })
        .await;
    let later = |ended: &Ended| ended.at >= BEGINS + 2 * SECOND;
    let (failed, all) = (count(&ended, |ended| ended.failed), count(&ended, later));
    let late = count(&ended, |ended| ended.failed && later(ended));
    println!("{bad} of {endpoints} fail: {failed} requests, {late} of the {all} after two seconds");
    // All that were drawn fail once in 729 picks.
    assert!(failed <= bad + bad / 10 + all / 600, "{failed} of {bad}");
    assert!(late * 250 <= all, "{late} of {all}");
}

/// One of three, or of two, stands still for two of every five seconds. Who waits there waits until
/// it goes on: what it had, and what it gets until that is more than what others carry. By requests
/// that is less than one in a hundred.
#[tokio::test(start_paused = true)]
async fn what_stands_still_keeps_few_and_is_not_taken_out() {
    for (balance, endpoints, rate, most) in [
        (Balance::PowerOfTwo, 3, 200.0, 4),
        (Balance::PowerOfTwo, 3, 300.0, 5),
        (Balance::PowerOfTwo, 2, 200.0, 6),
        (Balance::LeastConnections, 3, 200.0, 4),
        (Balance::PeakEwma, 3, 200.0, 1),
    ] {
        let mut simulation = Simulation::new(&by(balance), all(endpoints), rate);
        let ended = simulation
            .run(130 * SECOND, |place, at| {
                let round = u32::try_from(at.as_secs() / 5).expect("few") * 5;
                let from = round * SECOND + 3 * SECOND;
                let until = from + 2 * SECOND;
                if place == 0 && from >= BEGINS {
                    Manner::Stands { from, until }
                } else {
                    Manner::Answers(USUAL)
                }
            })
            .await;
        let rounds = 24;
        let kept = |ended: &Ended| ended.took > 500 * MILLISECOND;
        let stuck = count(&ended, kept);
        let had = count(&ended, |ended| kept(ended) && ended.at.as_secs() % 5 < 3);
        let (before, after) = (
            p99(&ended[..count(&ended, |ended| ended.at < BEGINS)], SECOND),
            p99(&ended, BEGINS),
        );
        println!(
            "{balance:?}, {endpoints} at {rate}/s: in {rounds} rounds {stuck} waited, {had} of them \
             since before it stood still; p99 {before:.0} ms, then {after:.0} ms; ejected: {:?}",
            simulation.ejected
        );
        assert!(
            stuck <= rounds * most,
            "{balance:?}: {stuck} in {rounds} rounds"
        );
        assert!(after <= 3.0 * before, "{balance:?}: {after} after {before}");
        assert_eq!(simulation.ejected, []);
    }
}

fn many(count: usize) -> Vec<ResolvedEndpoint> {
    let address = |number: usize| {
        let [_, _, high, low] = u32::try_from(number).expect("few").to_be_bytes();
        ResolvedEndpoint::at(Address::Ip(([10, 1, high, low], 80).into()))
    };
    (0..count).map(address).collect()
}

/// When it happens.
const BEGINS: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const USUAL: Duration = Duration::from_millis(10);
