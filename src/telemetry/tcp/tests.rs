use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::telemetry::metrics::Kind;

static ROUND_TRIP: Family = family("test_rtt_seconds", Kind::Histogram, Some(ROUND_TRIPS));
static RATE: Family = family("test_rate", Kind::Histogram, Some(DELIVERY_RATES));
static SEGMENTS: Family = family("test_segments_total", Kind::Counter, None);
static RETRANSMITS: Family = family("test_retransmits_total", Kind::Counter, None);

static FAMILIES: TcpFamilies = TcpFamilies {
    round_trip: &ROUND_TRIP,
    delivery_rate: &RATE,
    segments: &SEGMENTS,
    retransmits: &RETRANSMITS,
};

const fn family(name: &'static str, kind: Kind, buckets: Option<&'static [f64]>) -> Family {
    Family {
        name,
        help: "A test.",
        kind,
        buckets,
    }
}

fn measures(registry: &Registry, name: &str) -> Arc<TcpMeasures> {
    Arc::new(TcpMeasures::new(registry, &FAMILIES, &[("name", name)]))
}

async fn pair() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let near = TcpStream::connect(address).await.expect("it listens");
    let (far, _) = listener.accept().await.expect("it was asked");
    (near.into(), far)
}

async fn say(near: &Stream, far: &mut TcpStream) {
    assert_eq!(near.try_write(b"x").expect("open"), 1);
    far.read_u8().await.expect("it came");
}

#[tokio::test]
async fn where_many_rest_those_that_come_are_heard_of() {
    let registry = Registry::new(1);
    let sampler = TcpSampler::with_room(fastrand::Rng::with_seed(1), 2);
    let mut resting = Vec::new();
    for _ in 0..2 {
        let (mut near, far) = pair().await;
        sampler.watch(&mut near, measures(&registry, "resting"));
        resting.push((near, far));
    }
    let later = measures(&registry, "later");
    sampler.look(Instant::now());
    for times in 1..=5 {
        let (mut near, mut far) = pair().await;
        sampler.watch(&mut near, Arc::clone(&later));
        say(&near, &mut far).await;
        drop(near);
        sampler.look(Instant::now());
        assert_eq!(later.segments.value(), times);
    }
    // The end of one that had to make room is none of the one that has its place.
    let (mut near, mut far) = pair().await;
    sampler.watch(&mut near, Arc::clone(&later));
    drop(resting);
    sampler.look(Instant::now());
    say(&near, &mut far).await;
    drop(near);
    sampler.look(Instant::now());
    assert_eq!(later.segments.value(), 6);
}

#[test]
fn a_rate_counts_where_the_network_was_the_limit() {
    let registry = Registry::new(1);
    let measures = measures(&registry, "rate");
    let mut info = TcpInfo {
        round_trip: None,
        segments: 0,
        retransmits: 0,
        delivery_rate: Some(1_000_000),
        busy: 0,
        held_up: 0,
    };
    let mut known = Known::default();
    let mut rates = |segments, busy, held_up| {
        info.segments += segments;
        info.busy += busy;
        info.held_up += held_up;
        let now = Known::of(&info);
        measures.take(&info, &now.since(std::mem::replace(&mut known, now)));
        let mut text = String::new();
        registry.encode(crate::telemetry::metrics::Format::Text, &mut text);
        let count = text
            .lines()
            .find(|line| line.starts_with("test_rate_count"));
        let count = count.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        count.unwrap_or(0)
    };
    assert_eq!(rates(1, 0, 0), 1, "an older kernel does not tell");
    assert_eq!(rates(10, 1_000, 100), 2);
    assert_eq!(rates(10, 1_000, 101), 2, "a slow receiver");
    assert_eq!(rates(10, 1_000, 0), 3, "what was before does not count");
}
