//! What endpoints that fail, or are new, get of the traffic.

use std::time::Duration;

use crate::cases::get;
use crate::support::clock::pause;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

fn config(lines: &str, endpoints: &[&Endpoint]) -> String {
    let addresses: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("\"{}\"", endpoint.address()))
        .collect();
    let addresses = addresses.join(", ");
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\n{lines}\nendpoints = [{addresses}]\n"
    )
}

/// Sends so many GETs over one connection, and counts those that are answered with 200.
fn answered(proxy: &Evenkeel, times: usize) -> usize {
    let mut client = proxy.client();
    let ask = |_: &usize| client.send(get("")).response().status == 200;
    (0..times).filter(ask).count()
}

const COMPARING: [&str; 3] = ["power_of_two", "least_connections", "peak_ewma"];

#[test]
fn what_fails_at_once_attracts_nothing() {
    let failing = [
        "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: 5\r\n\r\n",
        "HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n",
    ];
    for balance in COMPARING {
        for answer in failing {
            let (bad, good) = (Endpoint::answers(answer), Endpoint::echo());
            let lines = format!("balance = \"{balance}\"");
            let proxy = Evenkeel::start(&config(&lines, &[&bad, &good]));
            // One after the other: nothing is in flight where it is picked.
            let well = answered(&proxy, 400);
            let asked = bad.requests().len();
            assert_eq!(400 - well, asked);
            assert!(
                (1..20).contains(&asked),
                "{balance}: asked {asked} times for {answer:?}"
            );
        }
    }
    // The control knows nothing of it.
    let (bad, good) = (Endpoint::answers(failing[0]), Endpoint::echo());
    let proxy = Evenkeel::start(&config("balance = \"random\"", &[&bad, &good]));
    assert!(answered(&proxy, 400) < 300);
}

#[test]
fn a_slow_endpoint_is_asked_less_by_those_who_compare_times() {
    let slow = Endpoint::start(|peer| {
        while peer.request().is_some() {
            pause(Duration::from_millis(60));
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let quick = Endpoint::says("");
    let proxy = Evenkeel::start(&config("balance = \"peak_ewma\"", &[&slow, &quick]));
    assert_eq!(answered(&proxy, 300), 300);
    let asked = slow.requests().len();
    assert!((1..30).contains(&asked), "asked {asked} times of 300");
}

#[test]
fn an_endpoint_that_a_reload_adds_begins_slowly() {
    let (old, new) = (Endpoint::says(""), Endpoint::says(""));
    for (lines, is_slow) in [
        ("slow_start = \"4s\"", true),
        ("slow_start = \"0s\"", false),
    ] {
        let lines = format!("balance = \"round_robin\"\n{lines}");
        let mut proxy = Evenkeel::start(&config(&lines, &[&old]));
        answered(&proxy, 10);
        // Until the old one is as far as it gets.
        pause(Duration::from_millis(4_200));
        proxy.reload(&config(&lines, &[&old, &new]));
        let before = new.requests().len();
        assert_eq!(answered(&proxy, 300), 300);
        let asked = new.requests().len() - before;
        if is_slow {
            assert!((5..120).contains(&asked), "asked {asked} times of 300");
        } else {
            assert_eq!(asked, 150);
        }
    }
}
