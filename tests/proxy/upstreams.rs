//! Endpoints: which of them is asked, and what a client notices when one is not well.

use crate::cases::{get, post};
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// A proxy in front of an upstream `app`, configured by these lines and endpoints as TOML.
fn balance(lines: &str, endpoints: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\n{lines}\nendpoints = [{endpoints}]\n"
    ))
}

fn quoted(endpoints: &[&Endpoint]) -> String {
    let quoted: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("\"{}\"", endpoint.address()))
        .collect();
    quoted.join(", ")
}

/// Sends so many GETs over one connection; all must succeed.
fn ask(proxy: &Evenkeel, times: usize) {
    let mut client = proxy.client();
    for at in 0..times {
        client.send(get(""));
        let response = client.response();
        assert_eq!(response.status, 200, "request {at}: {response:?}");
    }
}

#[test]
fn round_robin_is_even_and_weighted() {
    let (one, two) = (Endpoint::echo(), Endpoint::echo());
    let proxy = balance("balance = \"round_robin\"", &quoted(&[&one, &two]));
    ask(&proxy, 100);
    assert_eq!((one.requests().len(), two.requests().len()), (50, 50));

    let (one, three) = (Endpoint::echo(), Endpoint::echo());
    let endpoints = format!(
        "\"{}\", {{ address = \"{}\", weight = 3 }}",
        one.address(),
        three.address()
    );
    let proxy = balance("balance = \"round_robin\"", &endpoints);
    ask(&proxy, 100);
    assert_eq!((one.requests().len(), three.requests().len()), (25, 75));
}

#[test]
fn the_least_loaded_is_asked() {
    for algorithm in ["least_connections", "power_of_two"] {
        let slow = Endpoint::stalls_after("");
        let quick = Endpoint::echo();
        let proxy = balance(
            &format!("balance = \"{algorithm}\""),
            &quoted(&[&slow, &quick]),
        );
        // Until the slow one holds a request; what the quick one got is answered wholly.
        let mut held = Vec::new();
        while slow.requests().is_empty() {
            let answered = quick.requests().len();
            let mut client = proxy.client();
            client.send(get(""));
            eventually("the request has arrived", || {
                (slow.requests().len() + quick.requests().len() > answered).then_some(())
            });
            if quick.requests().len() > answered {
                assert_eq!(client.response().status, 200);
            }
            held.push(client);
        }
        let before = slow.requests().len();
        ask(&proxy, 50);
        assert_eq!(
            slow.requests().len(),
            before,
            "{algorithm} chose the busier one"
        );
    }
}

#[test]
fn the_first_healthy_is_asked_and_backups_wait() {
    let (first, second, backup) = (Endpoint::echo(), Endpoint::echo(), Endpoint::echo());
    let proxy = balance("balance = \"first_healthy\"", &quoted(&[&first, &second]));
    ask(&proxy, 20);
    assert_eq!((first.requests().len(), second.requests().len()), (20, 0));

    let down = Endpoint::refuses();
    let endpoints = format!(
        "\"{}\", {{ address = \"{}\", backup = true }}",
        down.address(),
        backup.address()
    );
    let proxy = balance("", &endpoints);
    ask(&proxy, 20);
    assert_eq!(backup.requests().len(), 20);

    let endpoints = format!(
        "\"{}\", {{ address = \"{}\", backup = true }}",
        first.address(),
        backup.address()
    );
    let proxy = balance("", &endpoints);
    ask(&proxy, 20);
    assert_eq!(
        backup.requests().len(),
        20,
        "a backup was asked without need"
    );
}

#[test]
fn random_reaches_everyone() {
    let (one, two) = (Endpoint::echo(), Endpoint::echo());
    let proxy = balance("balance = \"random\"", &quoted(&[&one, &two]));
    ask(&proxy, 200);
    assert!(one.requests().len() > 50 && two.requests().len() > 50);
}

#[test]
fn an_endpoint_that_cannot_be_reached_costs_no_request() {
    for bad in [
        Endpoint::refuses(),
        Endpoint::closes_after_accept(),
        Endpoint::closes_unanswered(),
    ] {
        let good = Endpoint::echo();
        let proxy = balance("balance = \"round_robin\"", &quoted(&[&bad, &good]));
        ask(&proxy, 50);
        assert_eq!(good.requests().len(), 50);
    }
}

#[test]
fn a_request_that_may_have_run_is_not_repeated() {
    let bad = Endpoint::closes_unanswered();
    let good = Endpoint::echo();
    let proxy = balance("balance = \"first_healthy\"", &quoted(&[&bad, &good]));
    let mut client = proxy.client();
    client.send(post("Content-Length: 5", "hello"));
    assert_eq!(client.response().status, 502);
    assert_eq!((bad.requests().len(), good.requests().len()), (1, 0));
}

#[test]
fn a_request_that_was_not_sent_may_go_elsewhere() {
    let bad = Endpoint::refuses();
    let good = Endpoint::echo();
    let proxy = balance("balance = \"first_healthy\"", &quoted(&[&bad, &good]));
    let mut client = proxy.client();
    client.send(post("Content-Length: 5", "hello"));
    assert_eq!(client.response().status, 200);
    assert_eq!(good.request().body.text(), "hello");
}

#[test]
fn retries_have_a_budget() {
    let (one, two) = (Endpoint::closes_unanswered(), Endpoint::closes_unanswered());
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\nretry.backoff = \"0s\"\n\
         [upstream.app]\nretry_budget = {{ per_second = 1 }}\nendpoints = [{}]\n",
        quoted(&[&one, &two])
    ));
    let mut client = proxy.client();
    for _ in 0..200 {
        client.send(get(""));
        assert_eq!(client.response().status / 100, 5);
    }
    let exhausted = ["outcome=\"budget_exhausted\""];
    let exhausted = proxy.metric("evenkeel_retries_total", &exhausted);
    assert!(exhausted > 0);
    // 20 % of the requests, and one a second for the ten that the budget looks back, and for those
    // that it takes a slow machine to get so far.
    let attempts = one.connections() + two.connections();
    assert!(
        (210..=290).contains(&attempts),
        "{attempts} attempts for 200 requests"
    );
}

#[test]
fn health_decides_who_is_asked() {
    let good = Endpoint::echo();
    let failing = Endpoint::answers("HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n");
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\npanic_threshold = \"0%\"\nendpoints = [{}]\n\
         health = {{ http = {{ path = \"/healthz\" }}, interval = \"100ms\", timeout = \"50ms\" }}\n",
        quoted(&[&good, &failing])
    ));
    let probed = |endpoint: &Endpoint| {
        endpoint
            .requests()
            .iter()
            .filter(|request| request.target() == "/healthz")
            .count()
    };
    eventually("both were probed", || {
        (probed(&good) > 3 && probed(&failing) > 3).then_some(())
    });
    ask(&proxy, 20);
    let asked = failing
        .requests()
        .iter()
        .filter(|request| request.target() == "/")
        .count();
    assert_eq!(asked, 0, "an unhealthy endpoint was asked");
    let status = proxy.admin("/v1/upstreams").body.text();
    assert!(status.contains("unhealthy"), "{status}");
    let log = proxy.log();
    assert!(
        log.contains("endpoint_down") && log.contains("503"),
        "{log}"
    );
}

#[test]
fn health_comes_back() {
    // Fails its first probes, then is well.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let endpoint = Endpoint::start(move |peer| {
        while let Some(request) = peer.request() {
            let is_probe = request.target() == "/healthz";
            let failed = is_probe && count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 5;
            let status = if failed { 503 } else { 200 };
            peer.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let other = Endpoint::says("other");
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\npanic_threshold = \"0%\"\nendpoints = [{}]\n\
         health = {{ http = {{ path = \"/healthz\" }}, interval = \"100ms\", timeout = \"50ms\" }}\n",
        quoted(&[&endpoint, &other])
    ));
    eventually("it is asked again", || {
        ask(&proxy, 2);
        endpoint
            .requests()
            .iter()
            .any(|request| request.target() == "/")
            .then_some(())
    });
    eventually("that is an event", || {
        proxy.log().contains("endpoint_up").then_some(())
    });
}

#[test]
fn when_most_are_unhealthy_health_is_ignored() {
    let endpoints = [(); 3].map(|()| {
        Endpoint::start(|peer| {
            while let Some(request) = peer.request() {
                let status = if request.target() == "/healthz" {
                    503
                } else {
                    200
                };
                peer.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
            }
        })
    });
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nbalance = \"round_robin\"\nendpoints = [{}]\n\
         health = {{ http = {{ path = \"/healthz\" }}, interval = \"50ms\", timeout = \"50ms\" }}\n",
        quoted(&[&endpoints[0], &endpoints[1], &endpoints[2]])
    ));
    eventually("it panics", || {
        proxy.log().contains("panic_on").then_some(())
    });
    ask(&proxy, 30);
    for endpoint in &endpoints {
        assert!(
            endpoint
                .requests()
                .iter()
                .any(|request| request.target() == "/")
        );
    }
}

#[test]
fn tcp_probes_only_connect() {
    let good = Endpoint::echo();
    let down = Endpoint::refuses();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [{}]\n\
         health = {{ tcp = {{}}, interval = \"100ms\", timeout = \"50ms\" }}\n",
        quoted(&[&good, &down])
    ));
    eventually("the endpoint that is down is seen", || {
        proxy.log().contains("endpoint_down").then_some(())
    });
    assert!(good.requests().is_empty());
}

#[test]
fn beyond_its_limits_an_endpoint_is_spared() {
    let endpoint = Endpoint::stalls_after("");
    let proxy = balance(
        "max_in_flight_per_endpoint = 2\nqueue.size = 0",
        &quoted(&[&endpoint]),
    );
    let mut held: Vec<_> = (0..2).map(|_| proxy.client()).collect();
    for client in &mut held {
        client.send(get(""));
    }
    eventually("both are in flight", || {
        (endpoint.requests().len() == 2).then_some(())
    });
    let mut client = proxy.client();
    client.send(get(""));
    let response = client.response();
    assert_eq!(response.status, 503);
    assert!(response.head.value("retry-after").is_some(), "{response:?}");
    assert_eq!(endpoint.requests().len(), 2);
    // What ends makes room.
    held.pop();
    eventually("there is room again", || {
        let mut client = proxy.client();
        client.send(get(""));
        held.push(client);
        (endpoint.requests().len() == 3).then_some(())
    });
}

/// One refuses, one is full: those that come meanwhile are not sent to where it fails.
#[test]
fn beside_one_that_is_full_none_is_taken_that_fails() {
    let (down, backup) = (Endpoint::refuses(), Endpoint::echo());
    for has_backup in [true, false] {
        let full = Endpoint::stalls_after("");
        let mut endpoints = format!(
            "\"{}\", {{ address = \"{}\", max_in_flight = 1 }}",
            down.address(),
            full.address()
        );
        if has_backup {
            let one = format!(", {{ address = \"{}\", backup = true }}", backup.address());
            endpoints.push_str(&one);
        }
        let proxy = balance("balance = \"first_healthy\"", &endpoints);
        let mut held = proxy.client();
        held.send(get(""));
        eventually("it is in flight", || {
            (full.requests().len() == 1).then_some(())
        });
        if has_backup {
            ask(&proxy, 20);
            assert_eq!(backup.requests().len(), 20);
            continue;
        }
        // But for the one in a second or more who tries it.
        eventually("it is said that it is too much", || {
            let mut client = proxy.client();
            client.send(get(""));
            (client.response().status == 503).then_some(())
        });
    }
}
