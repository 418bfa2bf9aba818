//! What the rules for a request's head cost: who asks, `Via`, and a route's filters.
//!
//! `cargo bench --bench heads`. Look at `filters` against `no_filters`: who writes
//! none pays for none.

use std::collections::BTreeMap;

use divan::Bencher;
use evenkeel::config::{
    FieldEdits, Listener, ListenerHttp2, ListenerLimits, ListenerSocket, Rewrite, Route, Timeouts,
};
use evenkeel::message::{Fields, RequestParts};
use evenkeel::policy::{Arrival, Filters, Forwarding, Via};
use http::{HeaderName, HeaderValue, Version};

fn main() {
    divan::main();
}

#[divan::bench]
fn forwarding(bencher: Bencher<'_, '_>) {
    let forwarding = Forwarding::new(&listener());
    let arrival = Arrival {
        peer: "203.0.113.9:50000".parse().expect("an address and a port"),
        may_be_believed: true,
        scheme: "https",
        id: None,
    };
    let mut random = fastrand::Rng::with_seed(7);
    bencher
        .with_inputs(fields)
        .bench_local_values(|mut headers| {
            let identity = forwarding.apply(&mut headers, arrival, &mut random);
            (headers, identity)
        });
}

#[divan::bench]
fn via(bencher: Bencher<'_, '_>) {
    let via = Via::new(&mut fastrand::Rng::with_seed(7));
    bencher
        .with_inputs(fields)
        .bench_local_values(|mut headers| {
            let outcome = via.request(&mut headers, Version::HTTP_11);
            (headers, outcome)
        });
}

#[divan::bench]
fn no_filters(bencher: Bencher<'_, '_>) {
    apply(bencher, &Route::default());
}

#[divan::bench]
fn filters(bencher: Bencher<'_, '_>) {
    let pair = |name: &str| BTreeMap::from([(name.to_owned(), "value".to_owned())]);
    let route = Route {
        rewrite: Rewrite {
            replace_prefix: Some("/inner".to_owned()),
            ..Rewrite::default()
        },
        request_headers: FieldEdits {
            set: pair("x-tenant"),
            add: pair("x-added"),
            remove: vec!["cookie".to_owned()],
        },
        ..Route::default()
    };
    apply(bencher, &route);
}

fn apply(bencher: Bencher<'_, '_>, route: &Route) {
    let filters = Filters::new(route).expect("the filters of a bench are right");
    let parts = || {
        let request = http::Request::builder().uri("/v1/users/42?page=2").body(());
        let mut parts =
            RequestParts::from(request.expect("a request that is right").into_parts().0);
        parts.headers = fields();
        parts
    };
    bencher.with_inputs(parts).bench_local_values(|mut parts| {
        let outcome = filters.request(&mut parts, 3);
        (parts, outcome)
    });
}

fn listener() -> Listener {
    Listener {
        proxy_protocol: None,
        bind: ":443".to_owned(),
        direction: None,
        protocols: None,
        http2: ListenerHttp2::default(),
        limits: ListenerLimits::default(),
        socket: ListenerSocket::default(),
        to: Vec::new(),
        upstream: None,
        intercept: None,
        trusted_proxies: ["10.0.0.0/8", "192.168.0.0/16"]
            .map(|net| net.parse().expect("a network"))
            .to_vec(),
        max_connections: None,
        responses: None,
        max_head_size: None,
        max_fields: None,
        forwarded: None,
        redirect_to_https: None,
        https_port: None,
        tls: None,
        timeouts: Timeouts::default(),
    }
}

/// The fields of a browser's request behind one proxy.
fn fields() -> Fields {
    [
        ("host", "host-7.example.com"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "session=8f1a2b3c4d5e6f70; theme=dark"),
        ("cache-control", "max-age=0"),
        ("x-requested-with", "XMLHttpRequest"),
    ]
    .into_iter()
    .map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    })
    .collect()
}
