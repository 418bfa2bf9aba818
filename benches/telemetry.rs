//! What a request pays for being seen: a counter, a histogram, a line of the access log; and what a
//! scrape of many series costs.
//!
//! `cargo bench --bench telemetry`

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use divan::{Bencher, black_box};
use evenkeel::config;
use evenkeel::telemetry::access::{AccessLog, End, Entry, Origin, Settings, Sink, Target, Writer};
use evenkeel::telemetry::metrics::{Counter, Family, Format, Kind, Registry, set_worker_shard};

fn main() {
    WORKER.with(|()| divan::main());
}

const WORKERS: usize = 2;

thread_local! {
    /// Makes a thread of the bench a worker when it first looks here.
    static WORKER: () = set_worker_shard(NEXT_WORKER.fetch_add(1, Ordering::Relaxed) % WORKERS);
}

static NEXT_WORKER: AtomicUsize = AtomicUsize::new(0);

static REQUESTS: Family = Family {
    name: "bench_requests_total",
    help: "Requests.",
    kind: Kind::Counter,
    buckets: None,
};

static DURATION: Family = Family {
    name: "bench_duration_seconds",
    help: "Durations.",
    kind: Kind::Histogram,
    buckets: None,
};

#[divan::bench]
fn counter(bencher: Bencher<'_, '_>) {
    let counter = Registry::new(2).counter(&REQUESTS, &[("route", "api")]);
    bencher.bench_local(|| black_box(&counter).inc());
}

/// Workers that count in the same series at the same time: should cost what one costs.
#[divan::bench(threads = [1, WORKERS])]
fn counter_shared_by_workers(bencher: Bencher<'_, '_>) {
    let counter = Registry::new(WORKERS).counter(&REQUESTS, &[("route", "api")]);
    bencher
        .with_inputs(|| WORKER.with(|()| ()))
        .bench_values(|()| black_box(&counter).inc());
}

#[divan::bench]
fn histogram(bencher: Bencher<'_, '_>) {
    let histogram = Registry::new(2).histogram(&DURATION, &[("route", "api")]);
    bencher.bench_local(|| histogram.observe(black_box(Duration::from_millis(37))));
}

#[divan::bench(args = [100, 10_000])]
fn scrape(bencher: Bencher<'_, '_>, series: usize) {
    let registry = Registry::with_limit(2, 2 * series);
    let names: Vec<String> = (0..series).map(|index| format!("route-{index}")).collect();
    let _held: Vec<Counter> = names
        .iter()
        .map(|name| registry.counter(&REQUESTS, &[("route", name)]))
        .collect();
    bencher.bench_local(|| {
        let mut text = String::new();
        registry.encode(Format::Text, &mut text);
        text
    });
}

#[divan::bench]
fn access_log_as_json(bencher: Bencher<'_, '_>) {
    line(bencher, config::LogFormat::Json);
}

#[divan::bench]
fn access_log_as_combined(bencher: Bencher<'_, '_>) {
    line(bencher, config::LogFormat::Combined);
}

fn line(bencher: Bencher<'_, '_>, format: config::LogFormat) {
    let (_sink, log) = open(format).expect("/dev/null can be written to");
    bencher.bench_local(|| log.record(black_box(&entry())));
}

fn open(format: config::LogFormat) -> io::Result<(Sink, AccessLog)> {
    let written = config::Log {
        format: Some(format),
        output: Some("/dev/null".to_owned()),
        ..config::Log::default()
    };
    let sink = Writer::spawn(&Settings::new(&written), &Registry::new(2))?;
    let log = sink.access_log();
    Ok((sink, log))
}

static ORIGIN: LazyLock<Origin> = LazyLock::new(|| Origin::new("web", "api"));

static TARGET: LazyLock<Target> = LazyLock::new(|| Target::new("api", "eu-1a", "10.1.0.11:8080"));

fn entry() -> Entry<'static> {
    Entry {
        at: UNIX_EPOCH + Duration::new(1_767_323_045, 6_000),
        request_id: b"4bf92f3577b34da6a3ce929d0e0e4736",
        origin: &ORIGIN,
        target: Some(&TARGET),
        client: ([192, 0, 2, 7], 51_234).into(),
        proxy: None,
        method: "GET",
        scheme: "http",
        host: b"api.example.com",
        path: b"/v1/users/12345/orders",
        query: None,
        status: Some(200),
        grpc: None,
        request_bytes: 0,
        response_bytes: 1_234,
        version: "1.1",
        tls: None,
        client_certificate: None,
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        referer: b"",
        attempts: 1,
        queued: None,
        connect: None,
        first_byte: Some(Duration::from_micros(2_345)),
        total: Duration::from_micros(2_500),
        overhead: Some(Duration::from_micros(45)),
        end: End::Ok,
        error: None,
        generation: 41,
    }
}
