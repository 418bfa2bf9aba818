//! What endpoints that fail, or are new, get of the traffic.

use std::time::Duration;

use tokio::time::Instant;

use crate::cases::get;
use crate::support::clock::pause;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;

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

#[test]
fn what_a_new_endpoint_may_have_in_flight_grows_from_a_tenth() {
    const MOST: usize = 20;
    let get = |proxy: &Evenkeel| {
        let mut client = proxy.client();
        client.send(get(""));
        client
    };
    for slow_start in [0, 4] {
        let lines = format!(
            "balance = \"round_robin\"\nslow_start = \"{slow_start}s\"\n\
             max_in_flight_per_endpoint = {MOST}\nqueue.size = 0"
        );
        let (old, new) = (Gated::answering("old"), Gated::answering("new"));
        let mut proxy = Evenkeel::start(&config(&lines, &[old.endpoint()]));
        // Until the old one is as far as it gets; then it is full.
        pause(Duration::from_millis(slow_start * 1_000 + 200));
        let mut held: Vec<_> = (0..MOST).map(|_| get(&proxy)).collect();
        old.wait_for(MOST);
        assert_eq!(get(&proxy).response().status, 503);
        let began = Instant::now();
        proxy.reload(&config(&lines, &[old.endpoint(), new.endpoint()]));
        let mut refused = 0;
        while new.count() < MOST {
            let mut client = get(&proxy);
            if client.is_quiet() {
                held.push(client);
            } else {
                refused += 1;
                pause(Duration::from_millis(20));
            }
            // It cannot be in service for longer than that.
            let (has, passed) = (new.count(), began.elapsed());
            let whole = Duration::from_secs(slow_start);
            let ramp = if passed >= whole {
                1.0
            } else {
                passed.div_duration_f64(whole).max(0.1)
            };
            #[expect(clippy::cast_precision_loss, reason = "twenty at most")]
            let (has, most) = (has as f64, (MOST as f64 * ramp).ceil());
            assert!(has <= most, "{has} after {passed:?}");
        }
        assert_eq!(old.count(), MOST, "it has been full all along");
        assert_eq!(refused == 0, slow_start == 0, "{refused} were turned away");
        assert_eq!(get(&proxy).response().status, 503);
    }
}
