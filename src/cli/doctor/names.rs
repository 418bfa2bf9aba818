//! DNS: whether each name of an endpoint has an address, and how soon.

use std::net::ToSocketAddrs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::{Finding, Subject};
use crate::control::resolve::names_of;

/// Looks all of them up, beside each other.
pub(super) fn check(subject: &Subject) -> Vec<Finding> {
    let Some(config) = subject.config() else {
        return Vec::new();
    };
    let names = names_of(config);
    let (tell, told) = mpsc::channel();
    let begun = Instant::now();
    let mut waiting: Vec<String> = names.into_iter().take(MOST).collect();
    for name in waiting.clone() {
        let tell = tell.clone();
        // The end of the command ends those that hang.
        let looking = thread::Builder::new().spawn(move || {
            let answer = (name.as_str(), 0).to_socket_addrs();
            let answer = answer
                .map(Iterator::count)
                .map_err(|error| error.to_string());
            drop(tell.send((name, answer, begun.elapsed())));
        });
        if looking.is_err() {
            break;
        }
    }
    drop(tell);
    let mut findings = Vec::new();
    while let Some(left) = LIMIT.checked_sub(begun.elapsed())
        && let Ok((name, answer, took)) = told.recv_timeout(left)
    {
        waiting.retain(|other| *other != name);
        findings.push(judged(&name, answer, took));
    }
    findings.extend(waiting.iter().map(|name| {
        let what = format!("{name} was not looked up within {} s", LIMIT.as_secs());
        Finding::bad(CHECK, what, REMEDY)
    }));
    findings.sort_by(|one, other| one.what.cmp(&other.what));
    findings
}

fn judged(name: &str, answer: Result<usize, String>, took: Duration) -> Finding {
    let millis = took.as_millis();
    match answer {
        Err(why) => Finding::bad(CHECK, format!("{name} cannot be looked up: {why}"), REMEDY),
        Ok(0) => Finding::bad(CHECK, format!("{name} has no address"), REMEDY),
        Ok(_) if took > SLOW => Finding::warn(
            CHECK,
            format!("{name} took {millis} ms to be looked up"),
            "see the first name server of /etc/resolv.conf: the next one is asked after 5 s",
        ),
        Ok(count) => Finding::ok(
            CHECK,
            format!("{name} has {count} addresses, after {millis} ms"),
        ),
    }
}

const CHECK: &str = "dns";

const REMEDY: &str = "see /etc/resolv.conf and the name; a start and a reload need all of them";

/// Longer than the usual resolver tries one name server.
const LIMIT: Duration = Duration::from_secs(6);

const SLOW: Duration = Duration::from_secs(1);

/// Threads at once: more names than that are in no file that people write.
const MOST: usize = 200;
