//! The kill proof over h2c: endpoints end with many requests on each connection, and come back.
//!
//! If they are killed, requests that may be sent twice all succeed. Of the others none is served
//! twice, and only those fail that may have been served by whoever died. If they say GOAWAY before,
//! nothing fails at all.

use std::collections::BTreeMap;
use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use super::client::{Crowd, Seen, Task};
use super::endpoint::{Service, TOLD};
use crate::THE_MACHINE;
use crate::figures::{proof_seconds, say};
use crate::kill::{Process, listener};
use crate::support::clock::{eventually, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;

/// What came of requests while endpoints ended.
struct Outcome {
    gets: Seen,
    posts: Seen,
    /// How often each POST was served.
    served: BTreeMap<String, usize>,
    /// Retries that were answered, and those that failed.
    retries: [u64; 2],
}

impl Outcome {
    /// Lets load meet two endpoints, of which one at a time ends like this and comes back.
    fn of(rounds: usize, end: impl Fn(&mut Process)) -> Self {
        let mut endpoints = [(); 2].map(|()| Process::start("h2::kill::endpoint"));
        let addresses = endpoints
            .each_ref()
            .map(|endpoint| endpoint.address().to_string());
        let proxy = Evenkeel::start(&format!(
            "workers = 2\n\
             [listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nupstream = \"app\"\n\
             [upstream.app]\nprotocol = \"h2c\"\nendpoints = {addresses:?}\n"
        ));
        let crowds = ["GET", "POST"].map(|method| crowd(&proxy, method));
        for round in 0..rounds {
            let endpoint = &mut endpoints[round % 2];
            pause(Duration::from_secs(1));
            end(endpoint);
            pause(Duration::from_secs(1));
            endpoint.restart();
        }
        let [gets, posts] = crowds.map(Crowd::stop);
        let retries = ["success", "failure"].map(|outcome| {
            let label = format!("outcome=\"{outcome}\"");
            proxy.metric("evenkeel_retries_total", &[&label])
        });
        Self {
            served: served(&endpoints, &posts),
            gets,
            posts,
            retries,
        }
    }

    fn twice(&self) -> usize {
        self.served.values().filter(|count| **count > 1).count()
    }

    fn report(&self, how: &str) {
        let [answered, in_vain] = self.retries;
        let lost = self.served.len() - self.posts.tally.latencies.len();
        say(&format!(
            "kill proof over h2c, {how} of one of two endpoints under {REQUESTS} requests at once, \
             every {EVERY:?}, on each of {CONNECTIONS} connections of each kind\n  \
             GET:  {}\n  POST: {}\n  {} retries, {in_vain} in vain; {} of POST were served twice, \
             {lost} of those that failed were served",
            self.gets.tally.figures(),
            self.posts.tally.figures(),
            answered + in_vain,
            self.twice(),
        ));
    }
}

#[test]
fn endpoints_of_h2c_that_are_killed_cost_no_request_that_may_be_sent_twice() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let rounds = rounds(2);
    let outcome = Outcome::of(rounds, Process::kill);
    outcome.report(&format!("{rounds} kills"));
    let [gets, posts] = [&outcome.gets.tally, &outcome.posts.tally];
    assert!(gets.failures.is_empty(), "{:?}", gets.failures);
    assert_eq!(gets.farewells + posts.farewells, 0);
    assert_eq!(outcome.twice(), 0);
    // What fails is told by its cause.
    let is_told = |failure: &String| failure.contains("answered 502");
    assert!(posts.failures.iter().all(is_told), "{:?}", posts.failures);
    assert!(outcome.retries[0] > 0, "no kill met a request");
}

#[test]
fn endpoints_of_h2c_that_say_goodbye_cost_no_request_at_all() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let rounds = rounds(4);
    let outcome = Outcome::of(rounds, |endpoint| {
        endpoint.tell(LEAVE);
        pause(Duration::from_millis(500));
        endpoint.kill();
    });
    outcome.report(&format!("{rounds} ends with GOAWAY"));
    for seen in [&outcome.gets, &outcome.posts] {
        assert!(seen.tally.failures.is_empty(), "{:?}", seen.tally.failures);
        assert_eq!(seen.tally.farewells, 0);
    }
    assert_eq!(outcome.twice(), 0);
    assert_eq!(outcome.served.len(), outcome.posts.tally.requests());
}

fn rounds(share: u64) -> usize {
    usize::try_from(proof_seconds() / share).expect("a short time")
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
    let Some(listener) = listener() else {
        return;
    };
    let service = Service::telling(listener);
    // Ends with whoever started it.
    for line in io::stdin().lines().map_while(Result::ok) {
        if line == LEAVE {
            service.leave();
        }
    }
}

const LEAVE: &str = "leave";
const CONNECTIONS: u32 = 3;
/// At each beat of a connection.
const REQUESTS: usize = 8;
const EVERY: Duration = Duration::from_millis(100);
