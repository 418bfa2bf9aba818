//! What it costs to find a route among a thousand.
//!
//! `cargo bench --bench route`. The figures to look at are ratios: a thousand rules against two.

use evenkeel::config::Route;
use evenkeel::message::Fields;
use evenkeel::route::{Question, RouteTable, Rule, path};
use http::{HeaderName, HeaderValue, Method};

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

/// The fields that a rule may ask for.
fn fields() -> Fields {
    let fields = [
        ("host", "host-7.example.com"),
        ("accept", "text/html"),
        ("x-requested-with", "XMLHttpRequest"),
    ];
    fields
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
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
