//! What balancers make of bad members, in simulated time: requests arrive at random (Poisson),
//! members serve any number at once, each in a random time (exponential), and what is known of them
//! is what is known of endpoints. Seeded: the same every time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::*;
use crate::endpoint::{InFlight, Live, LiveStates};
use crate::net::Address;

/// How a member behaves from some time on.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// It answers, after this time in the mean.
    Answers(Duration),
    /// It fails, within a millisecond, and may say for how long it wants to be left alone.
    Fails(Option<Duration>),
    /// It turns every fifth request away, and wants to be left alone for so long; others it
    /// answers.
    Sheds(Duration),
}

/// A group under load.
struct Simulation {
    balancer: Balancer,
    lives: Vec<Arc<Live>>,
    /// How much of each weight counts.
    shares: Vec<u32>,
    began: Instant,
    random: Rng,
    /// Requests a second.
    rate: f64,
}

/// One request that was sent to a member.
#[derive(Debug, Clone, Copy)]
struct Sent {
    member: usize,
    at: Duration,
    took: Duration,
    failed: bool,
    stay_away: Option<Duration>,
}

/// The members at a moment.
struct Now<'a> {
    lives: &'a [Arc<Live>],
    shares: &'a [u32],
    at: Instant,
}

impl Members for Now<'_> {
    fn skips(&self, _: usize) -> bool {
        false
    }

    fn load(&self, member: usize) -> Load {
        let live = &self.lives[member];
        Load {
            in_flight: live.in_flight(),
            penalty: live.penalty(self.at),
        }
    }

    fn delay(&self, member: usize) -> Option<f32> {
        self.lives[member].latency(self.at)
    }

    fn share(&self, member: usize) -> u32 {
        self.shares[member]
    }

    fn only_fails(&self, member: usize) -> bool {
        self.lives[member].only_fails()
    }

    fn in_flight(&self) -> u64 {
        self.lives[0].together().into()
    }
}

impl Simulation {
    fn new(balance: Balance, members: u32, rate: f64) -> Self {
        let states = LiveStates::new();
        let live = |number: u32| {
            let octets = (0x0a00_0000 + number).to_be_bytes();
            states.get_or_create("u", &Address::Ip((octets, 80).into()))
        };
        Self {
            balancer: Balancer::of(balance, &vec![1; members as usize]),
            lives: (0..members).map(live).collect(),
            shares: vec![WHOLE; members as usize],
            began: Instant::now(),
            random: Rng::with_seed(7),
            rate,
        }
    }

    /// All that is sent in a time, to members that behave like this.
    fn run(&mut self, time: Duration, manner: impl Fn(usize, Duration) -> Manner) -> Vec<Sent> {
        let (mut sent, mut at) = (Vec::new(), Duration::ZERO);
        let mut under_way: BinaryHeap<Reverse<(Duration, usize)>> = BinaryHeap::new();
        let mut guards: Vec<Option<InFlight>> = Vec::new();
        while at < time {
            at += self.exponential(Duration::from_secs_f64(1.0 / self.rate));
            while let Some(&Reverse((end, number))) = under_way.peek()
                && end <= at
            {
                under_way.pop();
                guards[number] = None;
                self.learn(sent[number], end);
            }
            let members = Now {
                lives: &self.lives,
                shares: &self.shares,
                at: self.began + at,
            };
            let pick = self.balancer.pick(None, &members, &mut self.random);
            let member = pick.expect("none is skipped");
            let (mean, failed, stay_away) = match manner(member, at) {
                Manner::Answers(mean) => (mean, false, None),
                Manner::Fails(stay_away) => (MILLISECOND, true, stay_away),
                Manner::Sheds(time) if self.random.u8(..5) == 0 => (MILLISECOND, true, Some(time)),
                Manner::Sheds(_) => (10 * MILLISECOND, false, None),
            };
            let took = self.exponential(mean);
            guards.push(Some(self.lives[member].begin()));
            under_way.push(Reverse((at + took, sent.len())));
            sent.push(Sent {
                member,
                at,
                took,
                failed,
                stay_away,
            });
        }
        sent
    }

    fn learn(&self, sent: Sent, end: Duration) {
        let (live, now) = (&self.lives[sent.member], self.began + end);
        if sent.failed {
            live.penalize(now, sent.stay_away);
        } else {
            live.succeeded(|| now);
            live.took(now, sent.took);
        }
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.random.f64()).ln())
    }
}

/// The time within which 99 of 100 are answered, of those that were sent from some time on.
fn p99(sent: &[Sent], from: Duration) -> Duration {
    let mut times: Vec<Duration> = sent
        .iter()
        .filter(|sent| sent.at >= from)
        .map(|sent| sent.took)
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// The share of what was sent within these seconds that members got.
fn share(sent: &[Sent], seconds: (u64, u64), is_such: impl Fn(usize) -> bool) -> f64 {
    let within = |sent: &&Sent| (seconds.0..seconds.1).contains(&sent.at.as_secs());
    let all = sent.iter().filter(within).count();
    let such = sent.iter().filter(within);
    let such = such.filter(|sent| is_such(sent.member)).count();
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousands")]
    let share = such as f64 / all.max(1) as f64;
    share
}

const MILLISECOND: Duration = Duration::from_millis(1);
const USUAL: Manner = Manner::Answers(Duration::from_millis(10));

/// One of four becomes 50 times slower. By what is in flight alone it gets `1/(3 × 50 + 1)` of all
/// while that is enough to be told apart by: with 13 at each, the 99th of 100 hardly notices. With
/// one at each only the time tells.
#[test]
fn a_slow_member_does_not_slow_the_group() {
    let second = Duration::from_secs(1);
    let grown = |balance, rate: f64| {
        let p99_with = |slow: Duration| {
            let mut simulation = Simulation::new(balance, 4, rate);
            let sent = simulation.run(15 * second, |member, at| match member {
                0 if at >= 3 * second => Manner::Answers(slow),
                _ => USUAL,
            });
            p99(&sent, 3 * second).as_secs_f64() * 1e3
        };
        let usual = p99_with(Duration::from_millis(10));
        let slow = p99_with(Duration::from_millis(500));
        println!("{balance:?} at {rate}/s: p99 {usual:.1} ms, with a slow one {slow:.1} ms");
        slow / usual
    };
    assert!(
        grown(Balance::RoundRobin, 4_000.0) > 10.0,
        "the control is hit"
    );
    for balance in COMPARING {
        let grown = grown(balance, 4_000.0);
        assert!(grown <= 1.5, "{balance:?}: {grown}");
    }
    assert!(
        grown(Balance::PowerOfTwo, 400.0) > 2.0,
        "it has nothing to go by"
    );
    let by_time = grown(Balance::PeakEwma, 400.0);
    assert!(by_time <= 1.5, "{by_time}");
}

#[test]
fn a_slow_member_is_found_where_hardly_anything_goes_on() {
    let second = Duration::from_secs(1);
    let slow_share = |balance| {
        let mut simulation = Simulation::new(balance, 4, 5.0);
        let sent = simulation.run(300 * second, |member, _| match member {
            0 => Manner::Answers(second / 2),
            _ => USUAL,
        });
        share(&sent, (10, 300), |member| member == 0)
    };
    let [by_load, by_time] = [Balance::PowerOfTwo, Balance::PeakEwma].map(slow_share);
    println!("the slow one gets {by_load:.4} by load, {by_time:.4} by time");
    assert!(by_load > 0.05 && by_time < 0.02, "{by_load}, {by_time}");
}

#[test]
fn what_fails_fast_attracts_nothing() {
    // Members, how many of them fail, requests per second, seconds.
    let cases = [
        (2, 1, 400.0, 20),
        (4, 1, 800.0, 20),
        (2_000, 100, 40_000.0, 4),
    ];
    for (members, failing, rate, seconds) in cases {
        let shares = |balance| {
            let mut simulation = Simulation::new(balance, members, rate);
            let time = Duration::from_secs(seconds);
            let sent = simulation.run(time, |member, _| match member {
                member if member < failing => Manner::Fails(None),
                _ => USUAL,
            });
            share(&sent, (0, seconds), |member| member < failing)
        };
        for balance in COMPARING {
            let share = shares(balance);
            println!(
                "{balance:?}: {failing} of {members} fail fast, and get {:.3} %",
                share * 100.0
            );
            assert!(share < 0.02, "{balance:?} of {members}: {share}");
        }
    }
}

#[test]
fn what_asks_to_be_left_alone_is_and_comes_back() {
    let second = Duration::from_secs(1);
    for balance in COMPARING {
        let mut simulation = Simulation::new(balance, 2, 400.0);
        let sent = simulation.run(80 * second, |member, at| match at.as_secs() {
            5..15 if member == 0 => Manner::Fails(Some(10 * second)),
            _ => USUAL,
        });
        let asked = sent.iter().filter(|sent| sent.failed).count();
        let during = share(&sent, (5, 15), |member| member == 0);
        let after = share(&sent, (50, 80), |member| member == 0);
        println!("{balance:?}: asked {asked} times in ten seconds, {after:.2} of all afterwards");
        assert!(asked < 20 && during < 0.02, "{balance:?}: {asked}");
        assert!((0.35..0.65).contains(&after), "{balance:?}: {after}");
    }
}

#[test]
fn where_all_have_failed_each_gets_its_share_again() {
    let second = Duration::from_secs(1);
    for balance in COMPARING {
        let mut simulation = Simulation::new(balance, 4, 800.0);
        let sent = simulation.run(30 * second, |_, at| match at.as_secs() {
            5..10 => Manner::Fails(None),
            _ => USUAL,
        });
        let shares: Vec<f64> = (0..4)
            .map(|one| share(&sent, (10, 30), |member| member == one))
            .collect();
        println!("{balance:?}: after an outage of all {shares:.3?}");
        // By time, one that took long by chance is asked less for some seconds.
        let bounds = match balance {
            Balance::PeakEwma => 0.03..0.6,
            _ => 0.15..0.35,
        };
        assert!(
            shares.iter().all(|share| bounds.contains(share)),
            "{balance:?}: {shares:?}"
        );
    }
}

/// Four of five shed load, and the fifth is new: that they fail is no reason to send it more than
/// what it is to have by now.
#[test]
fn whoever_is_new_gets_its_share_while_the_others_shed() {
    for away in [5, 60] {
        for balance in COMPARING {
            let mut simulation = Simulation::new(balance, 5, 2_000.0);
            simulation.shares[4] = 26;
            let sent = simulation.run(20 * SECOND, |member, _| match member {
                4 => USUAL,
                _ => Manner::Sheds(away * SECOND),
            });
            let got = share(&sent, (1, 20), |member| member == 4);
            let due = 26.0 / f64::from(26 + 4 * 256);
            println!("{balance:?}: {got:.4} to the new one, due {due:.4}, {away} s");
            assert!(got < 1.4 * due, "{balance:?}: {got}");
        }
    }
}

#[test]
fn whoever_is_new_stands_in_for_one_that_only_fails() {
    for balance in COMPARING {
        let mut simulation = Simulation::new(balance, 2, 400.0);
        simulation.shares[1] = 26;
        let sent = simulation.run(10 * SECOND, |member, _| match member {
            0 => Manner::Fails(None),
            _ => USUAL,
        });
        let got = share(&sent, (0, 10), |member| member == 1);
        println!("{balance:?}: {got:.3} to the new one");
        assert!((0.1..0.6).contains(&got), "{balance:?}: {got}");
    }
}

/// What is left of it afterwards is not what one failed less by chance.
#[test]
fn whoever_shed_a_little_less_does_not_get_all_afterwards() {
    for balance in COMPARING {
        let mut simulation = Simulation::new(balance, 4, 2_000.0);
        let sent = simulation.run(40 * SECOND, |_, at| match at.as_secs() {
            0..20 => Manner::Sheds(60 * SECOND),
            _ => USUAL,
        });
        for second in (20..40).step_by(2) {
            let shares: Vec<f64> = (0..4)
                .map(|one| share(&sent, (second, second + 2), |member| member == one))
                .collect();
            println!("{balance:?}: {second} s {shares:.3?}");
            let is_even = |share: &f64| (0.15..0.35).contains(share);
            assert!(
                balance == Balance::PeakEwma || shares.iter().all(is_even),
                "{balance:?}: {shares:?}"
            );
        }
    }
}

/// Where all fail now and then, one that only fails still comes last.
#[test]
fn what_fails_fast_attracts_nothing_where_all_fail_now_and_then() {
    for balance in COMPARING {
        let mut simulation = Simulation::new(balance, 4, 4_000.0);
        let sent = simulation.run(20 * SECOND, |member, _| match member {
            0 => Manner::Fails(None),
            _ => Manner::Sheds(SECOND),
        });
        let share = share(&sent, (0, 20), |member| member == 0);
        println!(
            "{balance:?}: {:.2} % to the one that only fails",
            share * 100.0
        );
        assert!(share < 0.15, "{balance:?}: {share}");
    }
}

const SECOND: Duration = Duration::from_secs(1);
