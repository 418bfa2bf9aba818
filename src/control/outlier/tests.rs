//! From what workers count to what upstreams pick by.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::Outliers;
use crate::config;
use crate::endpoint::{By, Endpoint, Health, Outcome};
use crate::net::Address;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::upstream::{HealthChange, ResolvedEndpoint, Upstream, World};

struct Scene {
    world: World,
    outliers: Outliers,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        Self {
            world: World::new(Registry::new(1), Events::default()),
            outliers: Outliers::new(Rng::with_seed(1)),
            now: Instant::now(),
        }
    }

    fn upstream(
        &self,
        name: &str,
        count: u16,
        outlier: config::Outlier,
        previous: Option<&Arc<Upstream>>,
    ) -> Arc<Upstream> {
        let written = config::Upstream {
            outlier,
            ..config::Upstream::default()
        };
        let endpoints = (0..count).map(|number| {
            ResolvedEndpoint::at(Address::Ip(([10, 0, 0, 1], 8_000 + number).into()))
        });
        let endpoints = (endpoints.collect(), None);
        Upstream::build(name, &written, endpoints, "", &self.world, previous).expect("it is valid")
    }

    fn run(&mut self, upstreams: &[Arc<Upstream>]) {
        self.world.install(upstreams);
        self.outliers.apply(upstreams, self.now);
    }

    /// So many seconds pass, with a look in each.
    fn seconds(&mut self, count: u32) {
        for _ in 0..count {
            self.now += Duration::from_secs(1);
            self.outliers.sweep(self.now);
        }
    }

    /// The control plane hears what workers have told.
    async fn hear(&mut self) {
        let ids = self.world.live.suspects().take().await;
        self.outliers.suspect(&ids, self.now);
    }

    fn events(&self) -> Vec<String> {
        let events = self.world.events.list(0);
        events
            .iter()
            .map(|recorded| recorded.event.kind.to_owned())
            .collect()
    }
}

fn answer(endpoint: &Endpoint, status: u16, times: u32) {
    let status = http::StatusCode::from_u16(status).expect("a status");
    for _ in 0..times {
        endpoint.learn(Outcome::answered(status), Instant::now());
    }
}

fn healths(upstream: &Upstream) -> Vec<Health> {
    let endpoints = upstream.endpoints();
    endpoints
        .iter()
        .map(|one| upstream.health_of(one))
        .collect()
}

fn picks(upstream: &Upstream) -> Vec<usize> {
    let endpoints = upstream.endpoints();
    let mut random = Rng::with_seed(1);
    let mut counts = vec![0; endpoints.len()];
    for _ in 0..300 {
        let pick = upstream.pick(&[], &mut random, Instant::now());
        let id = pick.expect("there are some").endpoint().live.id();
        let place = endpoints.iter().position(|one| one.live.id() == id);
        counts[place.expect("one of them")] += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn a_row_of_failures_ejects_at_once_and_a_trial_brings_back() {
    let mut scene = Scene::new();
    let api = scene.upstream("api", 3, config::Outlier::default(), None);
    scene.run(std::slice::from_ref(&api));
    let endpoints = api.endpoints();
    for endpoint in endpoints.iter() {
        answer(endpoint, 200, 10);
    }
    answer(&endpoints[1], 500, 4);
    answer(&endpoints[1], 503, 1);
    scene.hear().await;
    assert_eq!(
        healths(&api),
        [Health::Healthy, Health::Ejected, Health::Healthy]
    );
    let verdict = endpoints[1].live.verdict().expect("there is one");
    assert_eq!(
        &*verdict.why,
        "5 failures in a row, the last with status 503"
    );
    assert_eq!(verdict.ejection.map(|ejection| ejection.count), Some(1));
    assert_eq!(picks(&api)[1], 0);
    scene.seconds(40);
    assert_eq!(healths(&api)[1], Health::HalfOpen);
    assert_eq!(picks(&api)[1], 1, "one at a time");
    // A trial that fails, and then one that does not.
    answer(&endpoints[1], 500, 1);
    scene.hear().await;
    assert_eq!(healths(&api)[1], Health::Ejected);
    scene.seconds(80);
    assert_eq!(picks(&api)[1], 1, "another one");
    answer(&endpoints[1], 200, 1);
    scene.hear().await;
    assert_eq!(healths(&api), [Health::Healthy; 3]);
    assert!(endpoints[1].live.in_service_since().is_some());
    assert!(picks(&api)[1] > 10);
    assert_eq!(
        scene.events(),
        [
            "endpoint_ejected",
            "endpoint_half_open",
            "endpoint_ejected",
            "endpoint_half_open",
            "endpoint_up"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_nobody_is_ejected_and_one_event_tells() {
    let mut scene = Scene::new();
    let api = scene.upstream("api", 6, config::Outlier::default(), None);
    scene.run(std::slice::from_ref(&api));
    for _ in 0..5 {
        for endpoint in api.endpoints().iter() {
            answer(endpoint, 500, 1);
        }
    }
    scene.hear().await;
    scene.seconds(2);
    assert_eq!(healths(&api), [Health::Healthy; 6]);
    assert!(api.is_suspended());
    assert_eq!(scene.events(), ["outlier_suspended"]);
    for endpoint in api.endpoints().iter() {
        answer(endpoint, 200, 100);
    }
    scene.seconds(4);
    assert!(!api.is_suspended());
    assert_eq!(scene.events(), ["outlier_suspended", "outlier_resumed"]);
}

#[tokio::test(start_paused = true)]
async fn what_upstreams_share_is_told_of_as_such() {
    let mut scene = Scene::new();
    let names = ["a", "b", "c", "d"];
    let upstreams: Vec<_> = names
        .iter()
        .map(|name| scene.upstream(name, 6, config::Outlier::default(), None))
        .collect();
    scene.run(&upstreams);
    for upstream in &upstreams[..3] {
        for endpoint in upstream.endpoints().iter() {
            answer(endpoint, 502, 5);
        }
        scene.hear().await;
    }
    // In the last one it is only one so far.
    answer(&upstreams[3].endpoints()[0], 502, 5);
    scene.hear().await;
    scene.seconds(1);
    assert!(
        upstreams
            .iter()
            .all(|one| healths(one) == [Health::Healthy; 6])
    );
    assert!(upstreams.iter().all(|one| one.is_suspended()));
    assert_eq!(scene.events(), ["outlier_suspended"], "for all of them");
    let last = scene.world.events.list(0);
    assert!(
        last[0].event.why.contains("in 2 of 2 upstreams"),
        "{}",
        last[0].event.why
    );
}

/// In three upstreams, in two of which all fail, nothing is ejected.
async fn everywhere(scene: &mut Scene) -> [Arc<Upstream>; 3] {
    let upstreams =
        ["a", "b", "c"].map(|name| scene.upstream(name, 3, config::Outlier::default(), None));
    scene.run(&upstreams);
    for upstream in &upstreams[..2] {
        for endpoint in upstream.endpoints().iter() {
            answer(endpoint, 502, 5);
        }
    }
    for endpoint in upstreams[2].endpoints().iter() {
        answer(endpoint, 200, 5);
    }
    scene.hear().await;
    scene.seconds(2);
    answer(&upstreams[2].endpoints()[0], 502, 5);
    scene.hear().await;
    assert_eq!(healths(&upstreams[2]), [Health::Healthy; 3]);
    assert!(upstreams[2].is_suspended());
    upstreams
}

#[tokio::test(start_paused = true)]
async fn everywhere_ends_with_the_upstreams_that_it_was_seen_in() {
    for is_disabled in [false, true] {
        let mut scene = Scene::new();
        let [a, b, c] = everywhere(&mut scene).await;
        if is_disabled {
            let off = config::Outlier {
                enabled: Some(false),
                ..config::Outlier::default()
            };
            let a = scene.upstream("a", 3, off.clone(), Some(&a));
            let b = scene.upstream("b", 3, off, Some(&b));
            scene.run(&[a, b, Arc::clone(&c)]);
        } else {
            scene.run(std::slice::from_ref(&c));
        }
        assert!(!c.is_suspended());
        let events = scene.events();
        assert_eq!(events.last().map(String::as_str), Some("outlier_resumed"));
        answer(&c.endpoints()[0], 502, 1);
        scene.seconds(1);
        assert_eq!(healths(&c)[0], Health::Ejected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_everywhere_begins_and_ends_once() {
    let mut scene = Scene::new();
    let upstreams = everywhere(&mut scene).await;
    for upstream in &upstreams {
        for endpoint in upstream.endpoints().iter() {
            answer(endpoint, 200, 200);
        }
    }
    scene.seconds(5);
    assert!(upstreams.iter().all(|one| !one.is_suspended()));
    assert_eq!(scene.events(), ["outlier_suspended", "outlier_resumed"]);
}

/// However many upstreams it takes until it is everywhere, it is one event.
#[tokio::test(start_paused = true)]
async fn twenty_upstreams_that_fail_are_one_event() {
    let mut scene = Scene::new();
    let upstream = |number| {
        let name = format!("u{number}");
        scene.upstream(&name, 3, config::Outlier::default(), None)
    };
    let upstreams: Vec<_> = (0..20).map(upstream).collect();
    scene.run(&upstreams);
    let all = |status, count| {
        for endpoint in upstreams.iter().flat_map(|one| one.endpoints().to_vec()) {
            answer(&endpoint, status, count);
        }
    };
    all(200, 20);
    scene.seconds(1);
    // In the first one it begins with one endpoint, which is ejected as any other.
    answer(&upstreams[0].endpoints()[0], 502, 5);
    scene.hear().await;
    assert_eq!(healths(&upstreams[0])[0], Health::Ejected);
    for upstream in &upstreams {
        for endpoint in upstream.endpoints().iter() {
            answer(endpoint, 502, 5);
        }
        scene.hear().await;
    }
    assert!(upstreams.iter().all(|one| one.is_suspended()));
    assert!(
        upstreams
            .iter()
            .all(|one| healths(one) == [Health::Healthy; 3])
    );
    scene.seconds(5);
    let begun = scene.events();
    let begun: Vec<&String> = begun
        .iter()
        .filter(|kind| kind.starts_with("outlier"))
        .collect();
    assert_eq!(begun, ["outlier_suspended"]);
    all(200, 500);
    scene.seconds(10);
    let ended = scene.events();
    let ended: Vec<&String> = ended
        .iter()
        .filter(|kind| kind.starts_with("outlier"))
        .collect();
    assert_eq!(ended, ["outlier_suspended", "outlier_resumed"]);
}

/// Who fails still when it is everywhere no more does so by himself, and so is told of.
#[tokio::test(start_paused = true)]
async fn who_fails_on_after_the_others_is_told_of() {
    let mut scene = Scene::new();
    let [a, b, c] = everywhere(&mut scene).await;
    let all = |upstream: &Arc<Upstream>, status, count| {
        for endpoint in upstream.endpoints().iter() {
            answer(endpoint, status, count);
        }
    };
    for _ in 0..30 {
        for well in [&a, &c] {
            all(well, 200, 20);
        }
        all(&b, 502, 20);
        scene.seconds(1);
    }
    assert!(b.is_suspended() && !a.is_suspended() && !c.is_suspended());
    let begun = ["outlier_suspended", "outlier_resumed", "outlier_suspended"];
    assert_eq!(scene.events(), begun, "all, all, and one");
    for _ in 0..30 {
        all(&b, 200, 20);
        scene.seconds(1);
    }
    assert!(!b.is_suspended());
    assert_eq!(scene.events()[3..], ["outlier_resumed"]);
}

/// What a reload ends is told of as well.
#[tokio::test(start_paused = true)]
async fn a_reload_without_detection_ends_what_was_suspended() {
    let mut scene = Scene::new();
    let api = scene.upstream("api", 6, config::Outlier::default(), None);
    scene.run(std::slice::from_ref(&api));
    for endpoint in api.endpoints().iter() {
        answer(endpoint, 500, 5);
    }
    scene.hear().await;
    scene.seconds(3);
    assert_eq!(scene.events(), ["outlier_suspended"]);
    let off = config::Outlier {
        enabled: Some(false),
        ..config::Outlier::default()
    };
    let api = scene.upstream("api", 6, off, Some(&api));
    scene.run(std::slice::from_ref(&api));
    assert!(!api.is_suspended());
    assert_eq!(scene.events(), ["outlier_suspended", "outlier_resumed"]);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_and_its_backups_are_one() {
    let mut scene = Scene::new();
    let with_backups = |scene: &Scene, previous: Option<&Arc<Upstream>>| {
        let endpoint = |number: u16| ResolvedEndpoint {
            backup: number >= 3,
            ..ResolvedEndpoint::at(Address::Ip(([10, 0, 0, 1], 8_000 + number).into()))
        };
        let endpoints = ((0..6).map(endpoint).collect(), None);
        let written = config::Upstream::default();
        Upstream::build("api", &written, endpoints, "", &scene.world, previous).expect("valid")
    };
    let api = with_backups(&scene, None);
    let site = scene.upstream("site", 3, config::Outlier::default(), None);
    scene.run(&[Arc::clone(&api), Arc::clone(&site)]);
    for endpoint in site.endpoints().iter() {
        answer(endpoint, 200, 5);
    }
    for endpoint in api.endpoints().iter() {
        answer(endpoint, 500, 5);
    }
    scene.hear().await;
    scene.seconds(1);
    answer(&site.endpoints()[0], 500, 5);
    scene.hear().await;
    assert_eq!(healths(&site)[0], Health::Ejected, "it is not everywhere");
    assert!(api.is_suspended() && !site.is_suspended());
    // The primaries fail still, the backups no longer; and a reload changes nothing of that.
    for endpoint in &api.endpoints()[3..] {
        answer(endpoint, 200, 200);
    }
    scene.seconds(4);
    assert!(api.is_suspended());
    let api = with_backups(&scene, Some(&api));
    scene.run(&[Arc::clone(&api), site]);
    assert!(api.is_suspended());
}

#[tokio::test(start_paused = true)]
async fn only_a_trial_decides_and_not_what_was_sent_before() {
    let mut scene = Scene::new();
    let api = scene.upstream("api", 3, config::Outlier::default(), None);
    scene.run(std::slice::from_ref(&api));
    let endpoints = api.endpoints();
    let (first, id) = (&endpoints[0], endpoints[0].live.id());
    let others = [endpoints[1].live.id(), endpoints[2].live.id()];
    let mut random = Rng::with_seed(1);
    let mut pick = || {
        let pick = api.pick(&others, &mut random, Instant::now());
        pick.expect("there is one")
    };
    let before = [(); 4].map(|()| pick());
    assert!(before.iter().all(|pick| pick.endpoint().live.id() == id));
    answer(first, 500, 5);
    scene.hear().await;
    tokio::time::advance(Duration::from_secs(40)).await;
    scene.seconds(40);
    assert_eq!(first.live.health(), Health::HalfOpen);
    tokio::time::advance(Duration::from_secs(1)).await;
    // Some fail late, others come to a good end.
    let now = Instant::now();
    before[0].learn(Outcome::TimedOut, now);
    before[1].learn(Outcome::Ended, now);
    let late = Outcome::Answered {
        status: http::StatusCode::OK,
        took: Some(Duration::from_mins(1)),
        retry_after: None,
        is_whole: true,
    };
    first.learn(late, now);
    scene.seconds(1);
    assert_eq!(first.live.health(), Health::HalfOpen);
    let trial = pick();
    assert_eq!(trial.endpoint().live.id(), id);
    before[2].learn(Outcome::Broken, now);
    before[3].learn(Outcome::Proved, now);
    first.learn(late, now);
    scene.seconds(1);
    assert_eq!(first.live.health(), Health::HalfOpen, "it is under way");
    // Nobody else is let in as long.
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(!first.live.admit(Instant::now()));
    trial.learn(Outcome::answered(http::StatusCode::OK), Instant::now());
    scene.hear().await;
    assert_eq!(first.live.health(), Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_that_probes_hid_is_shown_as_what_it_is() {
    let mut scene = Scene::new();
    let api = scene.upstream("api", 3, config::Outlier::default(), None);
    scene.run(std::slice::from_ref(&api));
    let endpoints = api.endpoints();
    for endpoint in endpoints.iter() {
        answer(endpoint, 200, 5);
    }
    answer(&endpoints[0], 500, 5);
    scene.hear().await;
    let ejection = endpoints[0].live.verdict().and_then(|it| it.ejection);
    assert!(ejection.is_some());
    for health in [Health::Unhealthy, Health::Healthy] {
        let change = HealthChange {
            endpoint: Arc::clone(&endpoints[0]),
            health,
            by: By::Active,
            why: "probes say so".to_owned(),
            ejection: None,
        };
        let change = scene.outliers.probes_say(change, scene.now);
        api.apply(vec![change]);
    }
    let verdict = endpoints[0].live.verdict().expect("there is one");
    assert_eq!(endpoints[0].live.health(), Health::Ejected);
    assert_eq!(verdict.ejection, ejection);
}

#[tokio::test(start_paused = true)]
async fn many_that_go_at_once_are_told_of_together() {
    let mut scene = Scene::new();
    let api = scene.upstream("api", 500, config::Outlier::default(), None);
    scene.run(std::slice::from_ref(&api));
    for endpoint in api.endpoints().iter() {
        let why = "a probe failed".to_owned();
        api.set_health(endpoint, Health::Unhealthy, By::Active, why);
        tokio::time::advance(Duration::from_millis(10)).await;
        scene.now += Duration::from_millis(10);
    }
    answer(&api.endpoints()[0], 200, 1);
    tokio::time::advance(Duration::from_secs(10)).await;
    scene.seconds(10);
    let events = scene.events();
    let of = |kind: &str| events.iter().filter(|event| *event == kind).count();
    assert_eq!((of("endpoint_down"), of("endpoints_down")), (10, 1));
    let last = scene.world.events.list(0).pop().expect("there are some");
    let down = last.event.fields.iter().find(|(name, _)| *name == "down");
    assert_eq!(down.map(|(_, down)| down.as_str()), Some("490"));
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_none_of_those_that_were_not_told_one_by_one() {
    let mut scene = Scene::new();
    let api = scene.upstream("api", 50, config::Outlier::default(), None);
    scene.run(std::slice::from_ref(&api));
    let fails = |upstream: &Upstream, endpoint: usize| {
        let why = "a probe failed".to_owned();
        let endpoint = &upstream.endpoints()[endpoint];
        upstream.set_health(endpoint, Health::Unhealthy, By::Active, why);
    };
    (0..20).for_each(|endpoint| fails(&api, endpoint));
    let next = scene.upstream("api", 50, config::Outlier::default(), Some(&api));
    scene.run(std::slice::from_ref(&next));
    (20..25).for_each(|endpoint| fails(&next, endpoint));
    tokio::time::advance(Duration::from_secs(10)).await;
    scene.seconds(12);
    let events = scene.events();
    let of = |kind: &str| events.iter().filter(|event| *event == kind).count();
    assert_eq!((of("endpoint_down"), of("endpoints_down")), (10, 1));
    let all = scene.world.events.list(0);
    let last = all.iter().find(|one| one.event.kind == "endpoints_down");
    let fields = &last.expect("it is told").event.fields;
    assert!(fields.contains(&("down", "15".to_owned())), "{fields:?}");
}

/// Of one endpoint none may be ejected, so that nothing is kept from it.
#[tokio::test(start_paused = true)]
async fn two_tools_that_are_down_keep_nothing_from_being_ejected_elsewhere() {
    let mut scene = Scene::new();
    let sizes = [("api", 6), ("one", 1), ("site", 4), ("two", 1)];
    let upstreams =
        sizes.map(|(name, size)| scene.upstream(name, size, config::Outlier::default(), None));
    scene.run(&upstreams);
    let [api, one, site, two] = &upstreams;
    for endpoint in api.endpoints().iter().chain(site.endpoints().iter()) {
        answer(endpoint, 200, 5);
    }
    for tool in [one, two] {
        answer(&tool.endpoints()[0], 500, 5);
    }
    scene.hear().await;
    scene.seconds(1);
    answer(&api.endpoints()[0], 500, 5);
    scene.hear().await;
    assert_eq!(healths(api)[0], Health::Ejected);
    assert!(!site.is_suspended());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_an_ejection_and_settings_take_effect_at_once() {
    let mut scene = Scene::new();
    let api = scene.upstream("api", 3, config::Outlier::default(), None);
    scene.run(std::slice::from_ref(&api));
    answer(&api.endpoints()[0], 200, 1);
    answer(&api.endpoints()[2], 500, 5);
    scene.hear().await;
    let next = scene.upstream("api", 4, config::Outlier::default(), Some(&api));
    assert_eq!(healths(&next)[2], Health::Ejected, "before it is in force");
    scene.run(std::slice::from_ref(&next));
    assert_eq!(healths(&next)[2], Health::Ejected);
    assert_eq!(picks(&next)[2], 0);
    let off = config::Outlier {
        enabled: Some(false),
        ..config::Outlier::default()
    };
    let last = scene.upstream("api", 4, off, Some(&next));
    scene.run(std::slice::from_ref(&last));
    assert_eq!(healths(&last), [Health::Healthy; 4]);
    answer(&last.endpoints()[1], 500, 50);
    scene.seconds(3);
    assert_eq!(healths(&last), [Health::Healthy; 4]);
}
