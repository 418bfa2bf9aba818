//! Whatever happens in whatever order, the bounds hold; and the formulas, by numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::{prop_assert, prop_assert_eq};
use tokio::time::Instant;

use super::correlated::{Course, Extent};
use super::detect::Cause;
use super::window::{Counts, INTERVALS, Window};
use super::*;
use crate::config::Time;
use crate::endpoint::{ConnectFailure, Fault, Health, Reading, Trial};

fn usual() -> OutlierDetection {
    OutlierDetection::new(&config::Outlier::default(), 0.5, false).expect("it is valid")
}

fn counts(requests: u32, failures: u32) -> Counts {
    Counts { requests, failures }
}

#[test]
fn a_third_may_be_out_and_never_the_last() {
    let usual = usual();
    let most = |endpoints| usual.most_out(endpoints);
    assert_eq!(
        [0, 1, 2, 3, 5, 6, 9, 2_000].map(most),
        [0, 0, 0, 1, 1, 2, 3, 666]
    );
    let written = |share| OutlierDetection {
        most: Some(share),
        ..usual.clone()
    };
    assert_eq!(
        [1, 2, 3, 10].map(|n| written(1.0).most_out(n)),
        [0, 1, 1, 5],
        "not below the panic threshold"
    );
    let never_panics = OutlierDetection {
        panic_threshold: 0.0,
        ..written(1.0)
    };
    assert_eq!([1, 2, 10].map(|n| never_panics.most_out(n)), [0, 1, 9]);
    assert_eq!([2, 3, 10].map(|n| written(0.1).most_out(n)), [0, 1, 1]);
    assert_eq!(written(0.3).most_out(10), 3);
    assert_eq!(written(0.0).most_out(10), 0);
}

#[test]
fn ejections_can_be_shorter_than_usual_by_their_limit_alone() {
    let written = config::Outlier {
        eject_at_most: Some(Time(Duration::from_secs(10))),
        ..config::Outlier::default()
    };
    let terms = OutlierDetection::new(&written, 0.5, false)
        .expect("valid")
        .terms;
    let ten = Duration::from_secs(10);
    assert_eq!((terms.eject_for, terms.at_most), (ten, ten));
}

#[test]
fn a_row_and_a_share_are_found() {
    let usual = usual();
    assert_eq!(usual.by_itself(5, counts(5, 5)), Some(Cause::Row(5)));
    assert_eq!(usual.by_itself(4, counts(4, 4)), None);
    assert_eq!(usual.by_itself(9, counts(0, 0)), None, "that was long ago");
    assert!(usual.by_itself(0, counts(20, 10)).is_some());
    assert_eq!(usual.by_itself(0, counts(20, 9)), None);
    assert_eq!(usual.by_itself(0, counts(19, 15)), None);
    assert!(usual.is_failing(3, counts(3, 3)) && !usual.is_failing(2, counts(9, 2)));
}

#[test]
fn the_beginning_of_a_row_is_enough_where_hardly_anything_fails() {
    let usual = usual();
    let mut all = vec![(0, counts(200, 1)); 3];
    all.push((3, counts(30, 3)));
    assert_eq!(usual.by_short_row(&all), [(3, Cause::Row(3))]);
    all[3].0 = 2;
    assert_eq!(usual.by_short_row(&all), []);
    // Where more fails, three in a row are chance.
    let all = [
        (0, counts(200, 4)),
        (0, counts(200, 4)),
        (3, counts(200, 6)),
    ];
    assert_eq!(usual.by_short_row(&all), []);
    // Where nothing fails at all two are none, if that is known of requests enough.
    let busy = [(0, counts(500, 0)), (0, counts(500, 0)), (2, counts(9, 2))];
    assert_eq!(usual.by_short_row(&busy), []);
    let three = [&busy[..], &[(0, counts(500, 0))]].concat();
    assert_eq!(usual.by_short_row(&three), [(2, Cause::Row(2))]);
    let two = [(0, counts(200, 0)), (3, counts(30, 3))];
    assert_eq!(usual.by_short_row(&two), []);
}

#[test]
fn success_rates_are_compared_with_those_of_peers() {
    let usual = usual();
    // What Envoy's formula can never find among five: the worst is 1.79 standard deviations away.
    let mut all = vec![counts(200, 0); 4];
    all.push(counts(200, 80));
    let found = usual.by_success_rate(&all);
    assert!(
        matches!(found[..], [(4, Cause::SuccessRate { .. })]),
        "{found:?}"
    );
    // Too little below, too few requests, too few peers.
    all[4] = counts(200, 8);
    assert_eq!(usual.by_success_rate(&all), []);
    all[4] = counts(90, 45);
    assert_eq!(usual.by_success_rate(&all), []);
    assert_eq!(
        usual.by_success_rate(&[counts(200, 0), counts(200, 80)]),
        []
    );
    // All fail in part, and differ as chance has it.
    let all = [60, 52, 68, 75, 44, 58].map(|failures| counts(200, failures));
    assert_eq!(usual.by_success_rate(&all), []);
}

#[test]
fn latencies_are_compared_with_those_of_peers() {
    let usual = usual();
    let of = |millis: &[u64]| {
        let medians: Vec<_> = millis
            .iter()
            .map(|millis| (*millis > 0).then(|| Duration::from_millis(*millis)))
            .collect();
        let found = usual.by_latency(&medians);
        found
            .into_iter()
            .map(|(place, _)| place)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&[10, 12, 11, 500]), [3]);
    assert_eq!(of(&[10, 500, 11, 12]), [1]);
    assert!(of(&[10, 12, 11, 90]).is_empty(), "not ten times");
    assert!(of(&[1, 1, 1, 90]).is_empty(), "less than 100 ms");
    assert!(of(&[10, 0, 12, 500]).is_empty(), "two peers");
    assert!(of(&[]).is_empty());
}

#[test]
fn a_window_forgets_after_ten_intervals() {
    let mut window = Window::begin(&Reading::default());
    let mut reading = Reading {
        failures: 3,
        others: 2,
        ..Reading::default()
    };
    reading.answers[4] = 8;
    window.take(&reading);
    assert_eq!(window.all(), counts(10, 3));
    for _ in 1..INTERVALS {
        window.turn();
        window.take(&reading);
        assert_eq!(window.all(), counts(10, 3));
    }
    window.turn();
    assert_eq!(window.all(), counts(0, 0));
    // The counters go round.
    reading.others = u32::MAX;
    window.take(&reading);
    window.forget();
    reading.others = 1;
    window.take(&reading);
    assert_eq!(window.all(), counts(2, 0));
    assert_eq!(window.median(), None, "no answer in this interval");
    reading.answers[4] += 20;
    window.take(&reading);
    let median = window.median().expect("there are answers enough");
    assert!((Duration::from_millis(4)..Duration::from_millis(9)).contains(&median));
}

#[test]
fn at_least_half_and_more_than_may_be_out_is_shared() {
    let is = |failing, active, most| {
        Extent {
            failing,
            active,
            most,
            lost: 0,
        }
        .is_shared()
    };
    assert!(is(9, 9, 3) && is(5, 9, 3) && !is(4, 9, 3) && !is(3, 3, 3));
    assert!(is(2, 4, 1) && !is(1, 4, 1) && !is(1, 1, 1));
    assert!(is(2, 2, 0) && is(1, 1, 0), "of two none is ejected anyway");
    assert!(
        !is(1, 2, 0) && !is(0, 0, 0),
        "one of two has its own trouble"
    );
    let mut course = Course::Usual;
    let now = Instant::now();
    let extent = |failing| Extent {
        failing,
        active: 9,
        most: 3,
        lost: 0,
    };
    assert_eq!(course.observe(extent(4), true, now), None);
    assert!(course.observe(extent(5), false, now).is_some() && course.shared_since().is_some());
    for _ in 0..2 {
        assert_eq!(course.observe(extent(4), true, now), None);
    }
    assert_eq!(course.observe(extent(6), true, now), None, "not yet");
    for _ in 0..2 {
        assert_eq!(course.observe(extent(0), true, now), None);
        assert_eq!(course.observe(extent(0), false, now), None);
    }
    assert!(course.observe(extent(0), true, now).is_some() && course.shared_since().is_none());
}

/// A group of endpoints that somebody holds for what the group says.
struct Scene {
    group: Group,
    held_for: BTreeMap<u64, Health>,
    readings: BTreeMap<u64, (Reading, Option<Trial>)>,
    may_eject: bool,
    now: Instant,
    random: Rng,
}

/// What can happen to one of them.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Fails(u64, u32),
    Answers(u64, u32),
    /// The same, far later than is usual.
    AnswersLate(u64, u32),
    /// How a trial ended is told after it was of interest.
    IsToldOf(u64, Trial),
    ProbesSay(u64, Health),
    ProbePasses(u64),
    Looked,
    SecondsPass(u64),
    Reload {
        with: u64,
        is_enabled: bool,
    },
    /// It is found that upstreams fail together, or no longer.
    Everywhere(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let id = 0_u64..9;
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Unhealthy)];
    let trial = prop_oneof![Just(Trial::Passed), Just(Trial::Failed)];
    prop_oneof![
        4 => (id.clone(), 1_u32..12).prop_map(|(id, times)| Happening::Fails(id, times)),
        4 => (id.clone(), 1_u32..30).prop_map(|(id, times)| Happening::Answers(id, times)),
        3 => (id.clone(), 1_u32..12).prop_map(|(id, times)| Happening::AnswersLate(id, times)),
        1 => (id.clone(), trial).prop_map(|(id, trial)| Happening::IsToldOf(id, trial)),
        1 => (id.clone(), health).prop_map(|(id, health)| Happening::ProbesSay(id, health)),
        1 => id.prop_map(Happening::ProbePasses),
        3 => Just(Happening::Looked),
        4 => (1_u64..40).prop_map(Happening::SecondsPass),
        1 => any::<bool>().prop_map(Happening::Everywhere),
        1 => (3_u64..9, any::<bool>())
            .prop_map(|(with, is_enabled)| Happening::Reload { with, is_enabled }),
    ]
}

impl Scene {
    fn new(endpoints: u64) -> Self {
        let mut scene = Self {
            group: Group::new(usual()),
            held_for: BTreeMap::new(),
            readings: BTreeMap::new(),
            may_eject: true,
            now: Instant::now(),
            random: Rng::with_seed(1),
        };
        scene.reload(endpoints, true);
        scene
    }

    fn reload(&mut self, endpoints: u64, is_enabled: bool) {
        let detection = OutlierDetection {
            is_enabled,
            ..usual()
        };
        let mut known = self.group.give_up_members();
        let members: Vec<(Member, Reading)> = (0..endpoints)
            .map(|id| {
                let health = *self.held_for.entry(id).or_insert(Health::Healthy);
                let member = Member {
                    id,
                    health,
                    is_probed: true,
                };
                (member, self.readings.entry(id).or_default().0)
            })
            .collect();
        self.held_for.retain(|id, _| *id < endpoints);
        let changes = self.group.adopt(&detection, members, &mut known, self.now);
        self.carry_out(changes);
    }

    fn look(&mut self, turns: bool) -> Vec<Change> {
        let readings = &mut self.readings;
        let read = |id: u64| {
            let (reading, trial) = readings.entry(id).or_default();
            Seen {
                reading: *reading,
                trial: trial.take(),
                is_starting: false,
            }
        };
        let look = self
            .group
            .look(read, (turns, self.may_eject), self.now, &mut self.random);
        self.carry_out(look.changes.clone());
        look.changes
    }

    fn carry_out(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.held_for.insert(change.id, change.health);
            if change.health == Health::Healthy {
                self.readings.entry(change.id).or_default().0.row = 0;
            }
        }
    }

    fn count(&self, wanted: impl Fn(Health) -> bool) -> usize {
        self.held_for
            .values()
            .filter(|health| wanted(**health))
            .count()
    }

    fn is_half_open(&self, id: u64) -> bool {
        self.held_for.get(&id) == Some(&Health::HalfOpen)
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Fails(id, times) => {
                let tried = self.is_half_open(id).then_some(Trial::Failed);
                let (reading, trial) = self.readings.entry(id).or_default();
                reading.others += times;
                reading.failures += times;
                reading.row += times;
                reading.row_is_of_connections = true;
                reading.last = Some(Fault::Connect(ConnectFailure::Refused));
                *trial = tried.or(*trial);
            }
            Happening::Answers(id, times) => {
                let tried = self.is_half_open(id).then_some(Trial::Passed);
                let (reading, trial) = self.readings.entry(id).or_default();
                reading.answers[2] += times;
                reading.row = 0;
                reading.late = 0;
                *trial = tried.or(*trial);
            }
            Happening::AnswersLate(id, times) => {
                let tried = self.is_half_open(id).then_some(Trial::Passed);
                let (reading, trial) = self.readings.entry(id).or_default();
                reading.answers[12] += times;
                reading.row = 0;
                reading.late += times;
                *trial = tried.or(*trial);
            }
            Happening::IsToldOf(id, stale) => {
                let (_, trial) = self.readings.entry(id).or_default();
                *trial = Some(stale);
            }
            Happening::ProbesSay(id, health) => {
                if self.held_for.contains_key(&id) {
                    let (health, changes) = self.group.probes_say(id, health, self.now);
                    self.held_for.insert(id, health.0);
                    self.carry_out(changes);
                }
            }
            Happening::ProbePasses(id) => {
                let change = self.group.probe_passed(id, self.now);
                self.carry_out(change.into_iter().collect());
            }
            Happening::Looked => drop(self.look(false)),
            Happening::SecondsPass(seconds) => {
                for _ in 0..seconds {
                    self.now += Duration::from_secs(1);
                    self.look(true);
                }
            }
            Happening::Reload { with, is_enabled } => self.reload(with, is_enabled),
            Happening::Everywhere(is_so) => self.may_eject = !is_so,
        }
    }
}

proptest! {
    #[test]
    fn the_bounds_hold_whatever_happens(
        endpoints in 3_u64..9,
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let mut scene = Scene::new(endpoints);
        for happening in happenings {
            let before = scene.held_for.clone();
            scene.happens(happening);
            let most = usual().most_out(scene.held_for.len());
            let is = |wanted: Health| move |health: Health| health == wanted;
            let ejected = scene.count(is(Health::Ejected));
            let unhealthy = scene.count(is(Health::Unhealthy));
            prop_assert!(ejected == 0 || ejected + unhealthy <= most);
            // Nothing is ejected while it is no endpoint's own trouble.
            let is_looked = matches!(happening, Happening::Looked);
            if !scene.may_eject || (is_looked && scene.group.is_suspended()) {
                let is_new = |(id, health): (&u64, &Health)| {
                    let was = before.get(id).copied().unwrap_or(Health::Healthy);
                    *health == Health::Ejected && was != Health::Ejected && was != Health::Unhealthy
                };
                prop_assert!(!scene.held_for.iter().any(is_new));
            }
            let usable = scene.count(is(Health::Healthy)) + scene.count(is(Health::HalfOpen));
            prop_assert!(usable > 0 || ejected == 0);
            // What is ejected comes back by way of a trial; or at once, where it should not have
            // been, or nothing is to be.
            if let Happening::Looked = happening {
                for (id, health) in &before {
                    let is_back = scene.held_for.get(id) == Some(&Health::Healthy);
                    let was_out = *health == Health::Ejected;
                    prop_assert!(!(was_out && is_back) || scene.group.is_suspended());
                }
            }
        }
        // Whoever answers from now on comes back, and nothing stays suspended.
        scene.may_eject = true;
        for round in 0..20 {
            for id in 0..9 {
                scene.happens(Happening::ProbesSay(id, Health::Healthy));
                scene.happens(Happening::Answers(id, 1));
            }
            scene.happens(Happening::SecondsPass(40));
            let _ = round;
        }
        prop_assert_eq!(scene.count(|health| health != Health::Healthy), 0);
        prop_assert!(!scene.group.is_suspended());
    }
}

#[test]
fn a_restart_that_takes_a_second_costs_no_ejection() {
    let mut scene = Scene::new(4);
    for id in 0..4 {
        scene.happens(Happening::Answers(id, 500));
    }
    scene.happens(Happening::Fails(1, 2));
    scene.happens(Happening::SecondsPass(1));
    assert_eq!(scene.count(|health| health == Health::Ejected), 0);
    // As many requests that failed where connections stood are enough.
    scene.readings.entry(1).or_default().0.row_is_of_connections = false;
    scene.happens(Happening::SecondsPass(1));
    assert_eq!(scene.held_for[&1], Health::Ejected);
}

#[test]
fn an_ejection_for_connections_ends_with_a_probe_that_connects() {
    let mut scene = Scene::new(3);
    scene.happens(Happening::Fails(1, 5));
    let changes = scene.look(false);
    let (_, cause) = changes[0].ejection.expect("it is one");
    assert_eq!((changes[0].id, cause), (1, "consecutive_failures"));
    assert_eq!(
        changes[0].why,
        "5 failures in a row, the last with connection_refused"
    );
    scene.happens(Happening::ProbePasses(1));
    assert!(scene.is_half_open(1));
    scene.happens(Happening::Fails(1, 1));
    let changes = scene.look(false);
    let (ejection, cause) = changes[0].ejection.expect("it is one");
    assert_eq!((ejection.count, cause), (2, "trial_failed"));
}

#[test]
fn ejections_give_way_to_what_probes_find() {
    let mut scene = Scene::new(3);
    scene.happens(Happening::Fails(1, 5));
    scene.happens(Happening::Looked);
    assert_eq!(scene.held_for[&1], Health::Ejected);
    scene.happens(Happening::ProbesSay(2, Health::Unhealthy));
    assert!(scene.is_half_open(1), "its capacity is needed more");
    scene.happens(Happening::Fails(1, 1));
    assert_eq!(
        scene.look(false),
        [],
        "one at a time is tried, but it is not out"
    );
    assert!(scene.is_half_open(1));
}

#[test]
fn what_probes_find_during_an_outage_does_not_end_it() {
    let mut scene = Scene::new(9);
    for id in 0..9 {
        scene.happens(Happening::Fails(id, 5));
    }
    scene.look(false);
    assert!(scene.group.is_suspended());
    for id in 0..9 {
        scene.happens(Happening::ProbesSay(id, Health::Unhealthy));
    }
    scene.happens(Happening::SecondsPass(60));
    assert!(scene.group.is_suspended(), "they are as ill as before");
    for id in 0..9 {
        scene.happens(Happening::ProbesSay(id, Health::Healthy));
        scene.happens(Happening::Answers(id, 10));
    }
    scene.happens(Happening::SecondsPass(3));
    assert!(!scene.group.is_suspended());
    // What has been gone for long is no sign of anything.
    for id in 0..5 {
        scene.happens(Happening::ProbesSay(id, Health::Unhealthy));
    }
    scene.happens(Happening::SecondsPass(60));
    scene.happens(Happening::Fails(8, 5));
    scene.look(true);
    assert!(scene.group.fails_since().is_none());
}

#[test]
fn of_one_or_two_it_is_all_of_them() {
    let mut scene = Scene::new(2);
    scene.happens(Happening::Answers(0, 5));
    scene.happens(Happening::Fails(1, 5));
    scene.look(true);
    assert!(scene.group.fails_since().is_none());
    scene.happens(Happening::Fails(0, 5));
    scene.look(true);
    assert!(scene.group.fails_since().is_some());
    assert!(!scene.group.is_suspended(), "there was nothing to suspend");
}

#[test]
fn one_that_nobody_picks_is_no_reason_to_eject_no_other() {
    let mut scene = Scene::new(3);
    scene.happens(Happening::Fails(1, 5));
    scene.look(false);
    while !scene.is_half_open(1) {
        scene.happens(Happening::Answers(0, 1));
        scene.happens(Happening::Answers(2, 1));
        scene.happens(Happening::SecondsPass(1));
    }
    scene.happens(Happening::Answers(2, 30));
    scene.happens(Happening::Fails(0, 5));
    assert_eq!(scene.look(false), [], "it may be tried at any moment");
    scene.happens(Happening::SecondsPass(31));
    assert_eq!(scene.held_for[&0], Health::Healthy, "that was long ago");
    scene.happens(Happening::Answers(2, 30));
    scene.happens(Happening::Fails(0, 5));
    scene.look(false);
    assert_eq!(scene.held_for[&0], Health::Ejected);
    assert!(scene.is_half_open(1) && scene.held_for[&2] == Health::Healthy);
}

#[test]
fn a_trial_that_failed_when_nothing_may_be_ejected_is_no_news_later() {
    let mut scene = Scene::new(3);
    scene.happens(Happening::Fails(1, 5));
    scene.look(false);
    while !scene.is_half_open(1) {
        scene.happens(Happening::SecondsPass(1));
    }
    scene.may_eject = false;
    scene.happens(Happening::Fails(1, 1));
    assert_eq!(scene.look(false), []);
    scene.may_eject = true;
    scene.happens(Happening::SecondsPass(1));
    assert!(scene.is_half_open(1), "another request has to try it");
}

#[test]
fn a_reload_keeps_what_is_known_and_switching_off_ends_it() {
    let mut scene = Scene::new(6);
    scene.happens(Happening::Fails(1, 5));
    scene.happens(Happening::Looked);
    scene.reload(4, true);
    assert_eq!(scene.held_for[&1], Health::Ejected);
    scene.reload(4, false);
    assert_eq!(scene.held_for[&1], Health::Healthy);
    scene.happens(Happening::Fails(1, 50));
    scene.happens(Happening::SecondsPass(3));
    assert_eq!(scene.held_for[&1], Health::Healthy);
}
