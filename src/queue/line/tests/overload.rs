//! A service below, at and above what it can do, in simulated time: who is served, and how late.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// So many at once, for so long each on average.
#[derive(Debug, Clone, Copy)]
struct Capacity {
    places: usize,
    takes: Duration,
}

/// What becomes of requests: each waits for a second at most.
struct Service {
    /// Whoever is told is told his own number.
    line: Line<u64>,
    random: Rng,
    stale_after: Option<Duration>,
    start: Instant,
    now: Duration,
    numbers: u64,
    /// Those that wait, with their clients and since when.
    waiting: BTreeMap<u64, (u64, Duration)>,
    free: usize,
    /// When what is being served ends.
    ends: BinaryHeap<Reverse<Duration>>,
    takes: Duration,
    /// How long each waits at most.
    patience: Duration,
    /// How long each has waited that was served, with its client.
    served: Vec<(u64, Duration)>,
    refused: Vec<u64>,
}

impl Service {
    fn new(capacity: Capacity, stale_after: Option<Duration>, seed: u64) -> Self {
        Self {
            line: Line::new(),
            random: Rng::with_seed(seed),
            stale_after,
            start: Instant::now(),
            now: Duration::ZERO,
            numbers: 0,
            waiting: BTreeMap::new(),
            free: capacity.places,
            ends: BinaryHeap::new(),
            takes: capacity.takes,
            patience: WAIT,
            served: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Exponentially distributed.
    fn random_time(&mut self, average: Duration) -> Duration {
        average.mul_f64(-(1.0 - self.random.f64()).ln())
    }

    fn at(&self) -> Instant {
        self.start + self.now
    }

    fn come(&mut self, client: u64) {
        self.numbers += 1;
        if self.waiting.len() >= BOUND {
            let Some(out) = self.line.push_out(client, self.at()) else {
                self.refused.push(client);
                return;
            };
            let (other, _) = self.waiting.remove(&out).expect("it waited");
            self.refused.push(other);
        }
        let order = Order {
            client,
            stale_after: self.stale_after,
        };
        let (number, now) = (self.numbers, self.at());
        self.line.join(number, order, number, now);
        self.waiting.insert(number, (client, self.now));
        self.line.choose(now);
        self.let_in();
    }

    /// Whatever happens until then.
    fn pass(&mut self, until: Duration) {
        loop {
            let end = self.ends.peek().map(|Reverse(end)| *end);
            let oldest = self.waiting.first_key_value();
            let over = oldest.map(|(_, (_, since))| *since + self.patience);
            let next = end.into_iter().chain(over).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                self.now = until;
                return;
            };
            self.now = next;
            if over == Some(next) {
                let (number, (client, _)) = self.waiting.pop_first().expect("the oldest");
                self.refused.push(client);
                self.leave(number, client, Left::Late);
            } else {
                self.ends.pop();
                self.free += 1;
                self.let_in();
            }
        }
    }

    fn let_in(&mut self) {
        while self.free > 0 && self.line.choose(self.at()).is_some() {
            let number = self.line.first();
            let (client, since) = self.waiting.remove(&number).expect("it waits");
            self.leave(number, client, Left::Served);
            self.served.push((client, self.now.saturating_sub(since)));
            self.free -= 1;
            let takes = self.random_time(self.takes);
            self.ends.push(Reverse(self.now + takes));
        }
    }

    fn leave(&mut self, number: u64, client: u64, why: Left) {
        let gone = self.line.leave(number, client, why, self.at());
        assert!(gone.is_some(), "{number} waits");
        self.line.choose(self.at());
    }

    /// Requests of as many clients, at this share of what can be done, for so many seconds.
    fn offer(&mut self, load: f64, seconds: u64) {
        #[expect(clippy::cast_precision_loss, reason = "some tens")]
        let between = self.takes.div_f64(self.free as f64 * load);
        let mut comes = Duration::ZERO;
        while comes < Duration::from_secs(seconds) {
            comes += self.random_time(between);
            self.pass(comes);
            self.come(self.numbers);
        }
    }

    fn waited(&self, percent: usize) -> Duration {
        let mut times: Vec<Duration> = self.served.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        times[(times.len() - 1) * percent / 100]
    }

    /// Of a thousand.
    fn refused_per_mille(&self) -> usize {
        self.refused.len() * 1_000 / (self.refused.len() + self.served.len())
    }
}

/// In two orders: as it is, and that of arrival.
fn both(capacity: Capacity, load: f64, seed: u64) -> [Service; 2] {
    [Some(WAIT), None].map(|stale_after| {
        let mut service = Service::new(capacity, stale_after, seed);
        service.offer(load, 120);
        service
    })
}

#[test]
fn below_capacity_nobody_is_refused_whom_the_order_of_arrival_serves() {
    for (places, takes) in [(1, 10), (8, 80), (64, 200)] {
        let capacity = Capacity {
            places,
            takes: Duration::from_millis(takes),
        };
        for load in [0.7, 0.8, 0.9] {
            for seed in 0..3 {
                let [built, in_order] = both(capacity, load, seed);
                let refused = [built.refused.len(), in_order.refused.len()];
                assert_eq!(refused, [0, 0], "{capacity:?} at {load}, seed {seed}");
                assert_eq!(built.served, in_order.served, "and in that order");
            }
        }
        // Here the order of arrival refuses some as well, now and then.
        for seed in 0..3 {
            let [built, in_order] = both(capacity, 0.95, seed);
            let refused = [built.refused.len(), in_order.refused.len()];
            assert!(refused[1] > 0 || refused[0] == 0, "{refused:?}");
            let beyond = built.refused_per_mille() - in_order.refused_per_mille();
            assert!(beyond <= 10, "{capacity:?}, seed {seed}: {beyond} of 1,000");
        }
    }
}

#[test]
fn at_twice_the_capacity_whoever_is_served_is_served_at_once() {
    for seed in 0..3 {
        let capacity = Capacity {
            places: 8,
            takes: Duration::from_millis(80),
        };
        let [built, in_order] = both(capacity, 2.0, seed);
        let waited = [50, 90, 98].map(|percent| built.waited(percent));
        assert!(built.refused_per_mille() <= 520, "half of them");
        assert!(waited[0] <= Duration::from_millis(20), "{waited:?}");
        assert!(waited[1] <= Duration::from_millis(100), "{waited:?}");
        // But for the first second, until somebody has waited in vain.
        assert!(waited[2] <= Duration::from_millis(200), "{waited:?}");
        assert!(in_order.waited(50) >= Duration::from_millis(900));
    }
}

/// Clients whose own time is over before that of the queue are no less served: in the order of
/// arrival each would get its turn when it has no time left for being served.
#[test]
fn whoever_has_less_time_than_the_queue_allows_is_served_at_once_too() {
    let capacity = Capacity {
        places: 8,
        takes: Duration::from_millis(80),
    };
    for patience in [WAIT * 3 / 4, WAIT / 2] {
        let [built, in_order] = [Some(WAIT), None].map(|stale_after| {
            let mut service = Service::new(capacity, stale_after, 1);
            service.patience = patience;
            service.offer(2.0, 120);
            service
        });
        let waited = [50, 90].map(|percent| built.waited(percent));
        let last = in_order.waited(50);
        assert!(built.refused_per_mille() <= 520, "half of them");
        assert!(waited[0] <= Duration::from_millis(20), "{waited:?}");
        assert!(waited[1] <= patience * 6 / 10, "{waited:?}");
        assert!(last >= patience * 7 / 10, "{last:?}");
    }
}

/// Twice as much as can be done, for two minutes, nearly all of it from clients that come once; and
/// some that ask on and on. A round is no longer than those are that wait.
#[test]
fn who_comes_often_has_his_turn_among_any_number_of_newcomers() {
    let capacity = Capacity {
        places: 50,
        takes: Duration::from_millis(100),
    };
    let mut service = Service::new(capacity, Some(WAIT), 1);
    let mut comes = Duration::ZERO;
    let mut had_turn = 0;
    let mut shares = Vec::new();
    for _ in 0..12 {
        let before = service.served.len();
        for newcomer in 0..10_000_u64 {
            comes += service.random_time(Duration::from_millis(1));
            service.pass(comes);
            // Twice a second each.
            if newcomer.is_multiple_of(25) {
                service.come(newcomer / 25 % REGULARS);
            }
            service.come(1_000 + service.numbers);
            let line = &service.line;
            had_turn = had_turn.max(line.had_turn.len() + line.may_come_again.len());
        }
        let served = &service.served[before..];
        let regulars = served.iter().filter(|(client, _)| *client < REGULARS);
        shares.push(regulars.count());
    }
    assert!(had_turn <= 2 * BOUND, "{had_turn}");
    // Once in a round, which takes as long as all wait that wait; and always so.
    assert!(shares.iter().all(|share| *share >= 60), "{shares:?}");
}

const WAIT: Duration = Duration::from_secs(1);

const BOUND: usize = 1_024;

const REGULARS: u64 = 20;
