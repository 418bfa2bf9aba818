//! The table against an oracle that asks every rule and knows the precedence in its own words.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;
use crate::config::Route;
use crate::message::{Fields, Value};

#[derive(Debug, Clone)]
struct Asked {
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: Fields,
}

impl Asked {
    fn question(&self) -> Question<'_> {
        Question {
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            method: &self.method,
            headers: &self.headers,
        }
    }
}

/// The precedence as the module's documentation puts it; the greatest wins. Kept apart from the
/// code under test: patterns are taken as written, from an alphabet without escapes.
type Key = (usize, usize, usize, bool, usize, usize, Reverse<String>);

fn key(name: &str, route: &Route, asked: &Asked) -> Option<Key> {
    let host = asked.host.to_ascii_lowercase();
    let host_key = |pattern: &String| match pattern.strip_prefix('*') {
        Some(end) => host.ends_with(end).then_some(end.len()),
        None => (*pattern == host).then_some(1000),
    };
    let host_key = if route.hosts.is_empty() {
        0
    } else {
        route.hosts.iter().filter_map(host_key).max()?
    };
    let written = route.path.as_deref().unwrap_or("/");
    let (kind, length) = if let Some(exact) = written.strip_prefix('=') {
        (asked.path == exact).then_some((3, 0))?
    } else if let Some(end) = written.strip_prefix("~^.*") {
        let end = end.strip_suffix('$')?;
        asked.path.ends_with(end).then_some((2, written.len()))?
    } else {
        let segments =
            |path: &str| -> Vec<String> { path.split('/').skip(1).map(str::to_owned).collect() };
        let mut prefix = segments(written);
        prefix.pop_if(|last| last.is_empty());
        segments(&asked.path)
            .starts_with(&prefix)
            .then_some((1, written.trim_end_matches('/').len()))?
    };
    let methods = &route.methods;
    let admitted = methods.is_empty() || methods.iter().any(|one| *one == asked.method.as_str());
    let fields = route.headers.iter().all(|(name, value)| {
        asked
            .headers
            .get(name)
            .is_some_and(|got| value == "*" || got == value.as_str())
    });
    let parameters = route.query.iter().all(|(name, value)| {
        let pairs = asked.query.as_deref().unwrap_or_default().split('&');
        let mut values = pairs.filter_map(|pair| pair.strip_prefix(&format!("{name}=")));
        values
            .next()
            .is_some_and(|got| value == "*" || got == value)
    });
    let counts = (route.headers.len(), route.query.len());
    (admitted && fields && parameters).then(|| {
        let name = Reverse(name.to_owned());
        (
            host_key,
            kind,
            length,
            !methods.is_empty(),
            counts.0,
            counts.1,
            name,
        )
    })
}

fn hosts() -> impl Strategy<Value = Vec<String>> {
    let host = "(\\*\\.)?([ab]\\.){0,2}[ab]";
    prop_oneof![
        1 => Just(Vec::new()),
        2 => proptest::collection::vec(host, 1..3),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(/[ab]{1,2}){0,3}/?".prop_map(|path| if path.is_empty() { "/".into() } else { path }),
        2 => "=(/[ab]{1,2}){1,3}/?",
        1 => "~\\^\\.\\*[ab]/?[ab]\\$",
    ]
}

fn route() -> impl Strategy<Value = Route> {
    let pairs = || proptest::collection::btree_map("[xy]", "(1|2|\\*)", 0..3);
    let methods = proptest::collection::vec("(GET|PUT)", 0..2);
    (hosts(), path(), methods, pairs(), pairs()).prop_map(
        |(hosts, path, methods, headers, query)| Route {
            hosts,
            path: Some(path),
            methods,
            headers,
            query,
            ..Route::default()
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    let method = prop_oneof![Just(Method::GET), Just(Method::PUT)];
    let headers = proptest::collection::btree_map("[xy]", "[12]", 0..3);
    let query = proptest::option::of("([xy]=[12]){1}(&[xy]=[12]){0,2}");
    let path = "(/[ab]{1,2}){1,4}/?";
    ("([abAB]\\.){0,3}[ab]", path, query, method, headers).prop_map(
        |(host, path, query, method, headers)| Asked {
            host,
            path,
            query,
            method,
            headers: {
                let mut fields = Fields::new();
                for (name, value) in &headers {
                    let value = Value::new(value.as_bytes()).unwrap();
                    fields.append(&name.parse().unwrap(), value);
                }
                fields
            },
        },
    )
}

/// Names are the places in the list, so that the oracle can find them again.
fn table(routes: &[Route], order: &[usize]) -> RouteTable<usize> {
    let rule = |&place: &usize| {
        (
            Rule::new(&format!("{place:02}"), &routes[place]).unwrap(),
            place,
        )
    };
    RouteTable::build(order.iter().map(rule).collect())
}

fn shuffled(routes: usize) -> impl Strategy<Value = Vec<usize>> {
    Just((0..routes).collect::<Vec<_>>()).prop_shuffle()
}

fn routes() -> impl Strategy<Value = (Vec<Route>, Vec<usize>)> {
    proptest::collection::vec(route(), 1..20)
        .prop_flat_map(|routes| (Just(routes.clone()), shuffled(routes.len())))
}

/// The same path with some of its letters escaped, by the bits of a number.
fn respelled(path: &str, bits: u32) -> String {
    let letters = path.chars().enumerate().map(|(place, letter)| {
        if letter != '/' && bits >> (place % 32) & 1 == 1 {
            format!("%{:02x}", u32::from(letter))
        } else {
            letter.to_string()
        }
    });
    letters.collect()
}

proptest! {
    #[test]
    fn the_route_found_is_the_oracles_whatever_the_order((routes, order) in routes(), asked in asked()) {
        let keys = routes.iter().enumerate();
        let expected = keys
            .filter_map(|(place, route)| Some((key(&format!("{place:02}"), route, &asked)?, place)))
            .max()
            .map(|(_, place)| place);
        let table = table(&routes, &order);
        let found = table.find(&asked.question()).map(|found| *found.target);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn explain_agrees_with_find_and_leaves_no_rule_out((routes, order) in routes(), asked in asked()) {
        let table = table(&routes, &order);
        let candidates = table.explain(&asked.question());
        prop_assert_eq!(candidates.len(), routes.len());
        let winners: Vec<_> = candidates
            .iter()
            .filter(|candidate| candidate.outcome == Outcome::Wins)
            .map(|candidate| candidate.name.clone())
            .collect();
        let found = table.find(&asked.question()).map(|found| found.rule.name.clone());
        prop_assert_eq!(winners, found.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn spelling_a_path_otherwise_changes_neither_route_nor_prefix(
        (routes, order) in routes(),
        asked in asked(),
        bits: u32,
    ) {
        let table = table(&routes, &order);
        let other = Asked { path: respelled(&asked.path, bits), ..asked.clone() };
        let found = table.find(&asked.question()).map(|found| (*found.target, found.prefix));
        let again = table.find(&other.question()).map(|found| (*found.target, found.prefix));
        prop_assert_eq!(found.map(|(target, _)| target), again.map(|(target, _)| target));
        if let (Some((_, prefix)), Some((_, longer))) = (found, again) {
            prop_assert_eq!(respelled(&asked.path[..prefix], bits), &other.path[..longer]);
        }
    }

    #[test]
    fn no_request_makes_it_panic(host in "\\PC*", path in "\\PC*", query in proptest::option::of("\\PC*")) {
        let _ = path::is_ambiguous(&path);
        let routes = [
            Route { path: Some("/a%2f/b".to_owned()), ..Route::default() },
            Route { hosts: vec!["*.a".to_owned()], path: Some("~.".to_owned()), ..Route::default() },
            Route { query: [("a".to_owned(), "~b".to_owned())].into(), ..Route::default() },
        ];
        let table = table(&routes, &[0, 1, 2]);
        let asked = Asked { host, path, query, method: Method::GET, headers: Fields::new() };
        if let Some(found) = table.find(&asked.question()) {
            prop_assert!(found.prefix <= asked.path.len());
        }
    }
}
