//! The kill proof over h2c: endpoints die with many requests on each connection, and come back.
//! Those that may be sent twice all succeed. Of the others none is served twice, and only those
//! fail that may have been served by whoever died.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::client::{Crowd, Seen, Task};
use super::endpoint::{Service, TOLD};
use crate::THE_MACHINE;
use crate::figures::{proof_seconds, say};
use crate::kill::{Process, listener, wait_for_the_end};
use crate::support::clock::{eventually, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;

#[test]
fn endpoints_of_h2c_that_are_killed_cost_no_request_that_may_be_sent_twice() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut endpoints = [(); 2].map(|()| Process::start("h2::kill::endpoint"));
    let addresses = endpoints
        .each_ref()
        .map(|endpoint| endpoint.address().to_string());
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nupstream = \"app\"\n\
         [upstream.app]\nprotocol = \"h2c\"\nendpoints = {addresses:?}\n"
    ));
    let gets = crowd(&proxy, "GET");
    let posts = crowd(&proxy, "POST");
    let rounds = usize::try_from(proof_seconds()).expect("a short time") / 2;
    for round in 0..rounds {
        let endpoint = &mut endpoints[round % 2];
        pause(Duration::from_secs(1));
        endpoint.kill();
        pause(Duration::from_secs(1));
        endpoint.restart();
    }
    let (gets, posts) = (gets.stop(), posts.stop());

    let retries = ["success", "failure"].map(|outcome| {
        let label = format!("outcome=\"{outcome}\"");
        proxy.metric("evenkeel_retries_total", &[&label])
    });
    let served = served(&endpoints, &posts);
    let twice = served.values().filter(|count| **count > 1).count();
    let lost = served.len() - posts.tally.latencies.len();
    say(&format!(
        "kill proof over h2c, {rounds} kills of one of two endpoints under {REQUESTS} requests at once, \
         every {EVERY:?}, on each of {CONNECTIONS} connections of each kind\n  \
         GET:  {}\n  POST: {}\n  {} retries, {} in vain; {twice} of POST were served twice, {lost} of \
         those that failed were served",
        gets.tally.figures(),
        posts.tally.figures(),
        retries[0] + retries[1],
        retries[1],
    ));
    assert!(gets.tally.failures.is_empty(), "{:?}", gets.tally.failures);
    assert_eq!(gets.tally.farewells + posts.tally.farewells, 0);
    assert_eq!(twice, 0);
    // What fails is told by its cause.
    let failures = &posts.tally.failures;
    let is_told = |failure: &String| failure.contains("answered 502");
    assert!(failures.iter().all(is_told), "{failures:?}");
    assert!(retries[0] > 0, "no kill met a request");
}

/// How often each POST was served, once all that were answered are told of.
fn served(endpoints: &[Process; 2], posts: &Seen) -> BTreeMap<String, usize> {
    let answered = posts.tally.latencies.len();
    eventually("what was answered is told of", || {
        let mut served = BTreeMap::new();
        let said = endpoints.iter().flat_map(Process::said);
        for path in said.filter_map(|line| Some(line.split_once(TOLD)?.1.to_owned())) {
            *served.entry(path).or_insert(0) += 1;
        }
        (served.len() >= answered).then_some(served)
    })
}

fn crowd(proxy: &Evenkeel, method: &'static str) -> Crowd {
    let web = proxy.address("web");
    let task = Task {
        method,
        paths: |connection, beat| {
            let each = 0..REQUESTS;
            each.map(|number| format!("/{connection}/{beat}/{number}"))
                .collect()
        },
        lasting: Vec::new(),
    };
    Crowd::start(move || H2::connect(web), CONNECTIONS, EVERY, &task)
}

#[test]
#[ignore = "no test: the body of the processes that are killed"]
fn endpoint() {
    if let Some(listener) = listener() {
        let _service = Service::telling(listener);
        wait_for_the_end();
    }
}

const CONNECTIONS: u32 = 3;
/// At each beat of a connection.
const REQUESTS: usize = 8;
const EVERY: Duration = Duration::from_millis(100);
