//! Hedged requests in front of an endpoint that says nothing any more, on a simulated clock: how
//! long they take, when a second endpoint is asked, and how the silent one is found out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use http::StatusCode;

use super::*;

/// What is simulated. Times are in microseconds.
struct World {
    upstream: Arc<Upstream>,
    start: Instant,
    random: Rng,
    /// The first endpoint takes requests, and says nothing.
    is_frozen: bool,
    /// What happens when, in the order of its number.
    events: BinaryHeap<Reverse<(u64, usize)>>,
    requests: Vec<Request>,
    /// When requests ended, and how long each took; `None` for one that failed.
    took: Vec<(u64, Option<u64>)>,
    /// First attempts at the first endpoint, and when they began.
    first_at_frozen: Vec<u64>,
    hedges: usize,
    now: u64,
}

/// A request, at one endpoint or at two.
struct Request {
    began: u64,
    after: Option<Duration>,
    first: Option<Pick>,
    second: Option<Pick>,
    /// When they answer.
    ends: [Option<u64>; 2],
}

impl World {
    fn new(balance: Balance, endpoints: u8, seed: u64) -> Self {
        let written = config::Upstream {
            balance: Some(balance),
            ..config::Upstream::default()
        };
        let upstream = running(&world(), &written, all(endpoints), None);
        Self {
            upstream,
            start: Instant::now(),
            random: Rng::with_seed(seed),
            is_frozen: false,
            events: BinaryHeap::new(),
            requests: Vec::new(),
            took: Vec::new(),
            first_at_frozen: Vec::new(),
            hedges: 0,
            now: 0,
        }
    }

    fn at(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    /// Lets so many seconds pass, with so many requests in each.
    fn run(&mut self, seconds: u64, rate: u64) {
        let end = self.now + seconds * 1_000_000;
        let mut next = self.now;
        while next < end {
            while let Some(Reverse((at, number))) = self.events.peek().copied()
                && at <= next
            {
                self.events.pop();
                self.happen(at, number);
            }
            self.now = next;
            self.arrive();
            next += self.random.u64(1..2_000_000 / rate);
        }
        self.now = end;
    }

    /// Four to five milliseconds, and for one in fifty twice that.
    fn answers_in(&mut self, pick: &Pick) -> Option<u64> {
        if self.is_frozen && place(&self.upstream, pick) == 0 {
            return None;
        }
        let time = self.random.u64(4_000..5_000);
        let is_slow = self.random.u32(..50) == 0;
        Some(if is_slow { 2 * time } else { time })
    }

    fn arrive(&mut self) {
        let (began, now) = (self.now, self.at(self.now));
        self.upstream.retry_budget().deposit(now);
        let pick = self.upstream.pick(&[], &mut self.random, now);
        let pick = pick.expect("nothing is limited");
        if place(&self.upstream, &pick) == 0 {
            self.first_at_frozen.push(began);
        }
        let ends = self.answers_in(&pick).map(|time| began + time);
        let after = self.upstream.usual_wait().usual(now);
        let number = self.requests.len();
        let hedge = after.map(|after| began + u64::try_from(after.as_micros()).unwrap());
        self.requests.push(Request {
            began,
            after,
            first: Some(pick),
            second: None,
            ends: [ends, None],
        });
        let over = ends.unwrap_or(began + LIMIT);
        self.events.push(Reverse((over, number)));
        self.events.extend(hedge.map(|at| Reverse((at, number))));
    }

    fn happen(&mut self, at: u64, number: usize) {
        let now = self.at(at);
        let request = &mut self.requests[number];
        let Some(first) = &request.first else {
            return; // it is over
        };
        let endpoint = Arc::clone(first.endpoint());
        let is_due = |end: &Option<u64>| end.is_some_and(|end| end <= at);
        let began = request.began;
        let answered_by = if is_due(&request.ends[0]) {
            Some(Arc::clone(&endpoint))
        } else if is_due(&request.ends[1]) {
            endpoint.unheard(Duration::from_micros(at - began), now);
            request.second.as_ref().map(|it| Arc::clone(it.endpoint()))
        } else if at >= began + LIMIT {
            endpoint.learn(Outcome::TimedOut, now);
            None
        } else {
            return self.hedge(at, number);
        };
        let is_second = !is_due(&request.ends[0]);
        let after = request.after;
        (request.first, request.second) = (None, None);
        let took = answered_by.is_some().then_some(at - began);
        self.took.push((at, took));
        let Some(endpoint) = answered_by else {
            return;
        };
        endpoint.learn(Outcome::answered(StatusCode::OK), now);
        let times = self.upstream.usual_wait();
        match after {
            Some(after) if is_second => times.record_longer(after, now),
            Some(_) | None => times.record(Duration::from_micros(at - began), now),
        }
    }

    fn hedge(&mut self, at: u64, number: usize) {
        let now = self.at(at);
        let first = self.requests[number].first.as_ref().expect("it is there");
        let tried = [first.endpoint().live.id()];
        let upstream = Arc::clone(&self.upstream);
        let Some(second) = upstream.pick_beside(None, &tried, now, &mut self.random) else {
            return;
        };
        if !upstream.retry_budget().withdraw(now) {
            return;
        }
        self.hedges += 1;
        let ends = self.answers_in(&second).map(|time| at + time);
        self.events.extend(ends.map(|at| Reverse((at, number))));
        let request = &mut self.requests[number];
        request.second = Some(second);
        request.ends[1] = ends;
    }

    /// The 99th percentile of what ended since then, in microseconds; a failure is beyond all.
    fn p99(&self, since: u64) -> u64 {
        let ended = self.took.iter().filter(|(at, _)| *at >= since);
        let mut took: Vec<u64> = ended.map(|(_, took)| took.unwrap_or(u64::MAX)).collect();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }

    fn usual(&self) -> u64 {
        let usual = self.upstream.usual_wait().usual(self.at(self.now));
        u64::try_from(usual.expect("enough is known").as_micros()).unwrap()
    }

    /// First attempts at the first endpoint since then.
    fn asked_since(&self, since: u64) -> usize {
        let asked = self.first_at_frozen.iter();
        asked.filter(|began| **began >= since).count()
    }
}

#[test]
fn an_endpoint_that_is_frozen_is_found_out_and_costs_hardly_any_time() {
    use Balance::{LeastConnections, PeakEwma, PowerOfTwo, RoundRobin};
    for balance in [RoundRobin, PowerOfTwo, LeastConnections, PeakEwma] {
        for (seed, (endpoints, rate)) in [(3, 50), (3, 1_000), (2, 100), (20, 300)]
            .into_iter()
            .enumerate()
        {
            let case = format!("{balance:?}, {endpoints} endpoints, {rate}/s");
            let mut world = World::new(balance, endpoints, seed as u64);
            world.run(30, rate);
            let (normal, usual) = (world.p99(10_000_000), world.usual());
            let frozen_at = world.now;
            world.is_frozen = true;
            for second in 1..=70 {
                world.run(1, rate);
                let now = world.usual();
                let is_kept = now * 8 <= usual * 10 && now * 10 >= usual * 8;
                assert!(is_kept, "{case}: {now} after {second} s, {usual} before");
            }
            let p99 = world.p99(frozen_at);
            assert!(p99 <= 3 * normal, "{case}: p99 {p99}, {normal} before");
            // Within the first seconds it is left alone, but for a trial now and then.
            let found_out = frozen_at + 5_000_000;
            let asked = world.asked_since(found_out);
            assert!(asked <= 40, "{case}: {asked} requests met it later");
            let frozen = &world.upstream.endpoints()[0].live;
            // Enough to be ejected for, where no other request fails.
            assert!(frozen.read().row >= 2, "{case}: {:?}", frozen.read());
            // And it comes back, once its failures are forgotten.
            world.is_frozen = false;
            world.run(65, rate);
            let back = world.now;
            world.run(10, rate);
            assert!(world.asked_since(back) > 20, "{case}: it is not back");
            assert!(world.usual() * 8 <= usual * 10, "{case}: {}", world.usual());
        }
    }
}

/// Where nothing is wrong, one request in twenty is hedged, and nobody is blamed for it.
#[test]
fn where_all_is_well_nobody_is_found_silent() {
    for (seed, rate) in [20, 100, 1_000].into_iter().enumerate() {
        let mut world = World::new(Balance::PowerOfTwo, 3, seed as u64);
        world.run(120, rate);
        let (hedges, all) = (world.hedges, world.took.len());
        assert!(hedges * 10 < all, "{rate}/s: {hedges} of {all}");
        for endpoint in &*world.upstream.endpoints() {
            assert_eq!(endpoint.live.read().failures, 0);
        }
    }
}

/// What has become slower everywhere is usual soon, although hedges are asked meanwhile.
#[test]
fn what_has_become_slow_is_usual_although_it_is_hedged() {
    let origin = Instant::now();
    let times = UsualWait::new(origin);
    let at = |second: u64| origin + Duration::from_secs(second);
    let millis = Duration::from_millis;
    (0..1_000).for_each(|_| times.record(millis(5), origin));
    let before = times.usual(origin).unwrap();
    // A third has to be given up: it stays where it is, however long that lasts.
    for second in 1..100 {
        let usual = times.usual(at(second)).unwrap();
        (0..66).for_each(|_| times.record(millis(5), at(second)));
        (0..33).for_each(|_| times.record_longer(usual, at(second)));
    }
    assert_eq!(times.usual(at(100)), Some(before));
    // All take longer, and what the budget allows is given up.
    for second in 100..125 {
        let usual = times.usual(at(second)).unwrap();
        (0..80).for_each(|_| times.record(millis(50), at(second)));
        (0..20).for_each(|_| times.record_longer(usual, at(second)));
    }
    assert!(times.usual(at(125)).unwrap() >= millis(50));
}

/// No answer within half a minute: the request has failed.
const LIMIT: u64 = 30_000_000;
