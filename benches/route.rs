//! What it costs to pick a route among a thousand, and to apply the header rules.
//!
//! `cargo bench --bench route`. The figures to look at are ratios: a thousand rules against two, and
//! the rules that a request misses against those that it meets.

use std::collections::BTreeMap;

use evenkeel::config::{FieldEdits, Listener, Rewrite, Route, Timeouts};
use evenkeel::policy::{Filters, Forwarding, Via};
use evenkeel::route::{Question, RouteTable, Rule, path};
use http::{HeaderMap, HeaderValue, Method, Version};

fn main() {
    divan::main();
}

fn table(count: usize, route: impl Fn(usize) -> Route) -> RouteTable<usize> {
    let rule =
        |number| Rule::new(&format!("route-{number}"), &route(number)).map(|rule| (rule, number));
    let rules: Result<_, _> = (0..count).map(rule).collect();
    RouteTable::build(rules.expect("the rules of a bench are right"))
}

fn find(bencher: divan::Bencher<'_, '_>, table: &RouteTable<usize>, host: &str, path: &str) {
    let headers = fields();
    let question = Question {
        host,
        path,
        query: Some("page=2&sort=name"),
        method: &Method::GET,
        headers: &headers,
    };
    assert!(
        table.find(&question).is_some(),
        "a bench that finds nothing measures nothing"
    );
    bencher.bench(|| {
        table
            .find(divan::black_box(&question))
            .map(|found| *found.target)
    });
}

/// The fields of a browser's request behind one proxy.
fn fields() -> HeaderMap {
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
            http::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    })
    .collect()
}

mod pick {
    use super::{Route, find, table};

    #[divan::bench(args = [2, 1000])]
    fn by_host(bencher: divan::Bencher<'_, '_>, routes: usize) {
        let table = table(routes, |number| Route {
            hosts: vec![format!("host-{number}.example.com")],
            ..Route::default()
        });
        find(bencher, &table, "host-1.example.com", "/v1/users/42");
    }

    #[divan::bench(args = [2, 1000])]
    fn by_host_in_upper_case(bencher: divan::Bencher<'_, '_>, routes: usize) {
        let table = table(routes, |number| Route {
            hosts: vec![format!("host-{number}.example.com")],
            ..Route::default()
        });
        find(bencher, &table, "HOST-1.Example.com", "/v1/users/42");
    }

    #[divan::bench(args = [2, 1000])]
    fn by_wildcard(bencher: divan::Bencher<'_, '_>, routes: usize) {
        let table = table(routes, |number| Route {
            hosts: vec![format!("*.zone-{number}.example.com")],
            ..Route::default()
        });
        find(bencher, &table, "a.b.zone-1.example.com", "/v1/users/42");
    }

    #[divan::bench(args = [2, 1000])]
    fn by_prefix(bencher: divan::Bencher<'_, '_>, routes: usize) {
        let table = table(routes, |number| Route {
            path: Some(format!("/v1/service-{number}/")),
            ..Route::default()
        });
        find(bencher, &table, "example.com", "/v1/service-1/users/42");
    }

    #[divan::bench(args = [2, 1000])]
    fn by_escaped_path(bencher: divan::Bencher<'_, '_>, routes: usize) {
        let table = table(routes, |number| Route {
            path: Some(format!("=/v1/service-{number}/a%20b")),
            ..Route::default()
        });
        find(bencher, &table, "example.com", "/v1/service-1/a%20b");
    }

    /// The one dimension that no hash helps with: rules of one host and path are asked in turn.
    #[divan::bench(args = [2, 1000])]
    fn by_field(bencher: divan::Bencher<'_, '_>, routes: usize) {
        let table = table(routes, |number| Route {
            headers: [("x-requested-with".to_owned(), format!("other-{number}"))].into(),
            ..Route::default()
        });
        let headers = super::fields();
        let question = super::Question {
            host: "example.com",
            path: "/",
            query: None,
            method: &super::Method::GET,
            headers: &headers,
        };
        assert!(
            table.find(&question).is_none(),
            "the worst case asks all and finds none"
        );
        bencher.bench(|| table.find(divan::black_box(&question)).is_none());
    }
}

#[divan::bench(args = ["/v1/users/42", "/static/app.3f9c.js", "/caf%C3%A9/menu.html"])]
fn ambiguity(path: &str) -> bool {
    path::is_ambiguous(divan::black_box(path))
}

mod heads {
    use super::{
        BTreeMap, FieldEdits, Filters, Forwarding, Listener, Rewrite, Route, Timeouts, Version,
        Via, fields,
    };

    #[divan::bench]
    fn forwarding(bencher: divan::Bencher<'_, '_>) {
        let forwarding = Forwarding::new(&listener());
        let peer = "203.0.113.9:50000".parse().expect("an address and a port");
        let mut random = fastrand::Rng::with_seed(7);
        bencher
            .with_inputs(fields)
            .bench_local_values(|mut headers| {
                let identity = forwarding.apply(&mut headers, peer, "https", &mut random);
                (headers, identity)
            });
    }

    #[divan::bench]
    fn via(bencher: divan::Bencher<'_, '_>) {
        let via = Via::new(&mut fastrand::Rng::with_seed(7));
        bencher
            .with_inputs(fields)
            .bench_local_values(|mut headers| {
                let outcome = via.request(&mut headers, Version::HTTP_11);
                (headers, outcome)
            });
    }

    #[divan::bench]
    fn no_filters(bencher: divan::Bencher<'_, '_>) {
        apply(bencher, &Route::default());
    }

    #[divan::bench]
    fn filters(bencher: divan::Bencher<'_, '_>) {
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

    fn apply(bencher: divan::Bencher<'_, '_>, route: &Route) {
        let filters = Filters::new(route).expect("the filters of a bench are right");
        let parts = || {
            let request = http::Request::builder().uri("/v1/users/42?page=2").body(());
            let mut parts = request.expect("a request that is right").into_parts().0;
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
            bind: ":443".to_owned(),
            protocols: None,
            to: Vec::new(),
            upstream: None,
            trusted_proxies: ["10.0.0.0/8", "192.168.0.0/16"]
                .map(|net| net.parse().expect("a network"))
                .to_vec(),
            max_connections: None,
            max_head_size: None,
            max_fields: None,
            forwarded: None,
            timeouts: Timeouts::default(),
        }
    }
}
