//! Who does not get as far as a session: silence, half a hello, other protocols; and who waits.

use crate::cases::get;
use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::tls::{Authority, Hello, listener};
use crate::tls::{HANDSHAKES, handshakes};

/// A listener whose handshakes may take so long, with these lines in its table `tls`.
fn start(authority: &Authority, endpoint: &Endpoint, limit: &str, lines: &str) -> Evenkeel {
    let files = authority.certify(&["shop.test"]).files("a");
    let limit = format!("timeouts.tls_handshake = \"{limit}\"\n[listener.web.tls]");
    let config = listener(endpoint.address(), &["a"], lines).replace("[listener.web.tls]", &limit);
    Evenkeel::start_among(&files, &config)
}

/// Whether it is nothing, or one record with an alert (RFC 8446 §5.1): nothing that anybody asked
/// for.
fn is_alert_at_most(said: &[u8]) -> bool {
    matches!(said, [] | [21, _, _, 0, 2, _, _])
}

#[test]
fn a_handshake_has_a_limit() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let proxy = start(&authority, &endpoint, "300ms", "");
    let hello = Hello::to("shop.test", &authority);
    let first = hello.caller().first_bytes();
    let mut silent = proxy.client();
    let mut half = proxy.client();
    half.send(&first[..first.len() / 2]);
    // It answers, and waits for the rest.
    let mut unfinished = proxy.client();
    unfinished.send(&first);
    assert!(!unfinished.bytes(100).is_empty());
    unfinished.read_to_end();
    for client in [&mut silent, &mut half] {
        let said = client.read_to_end();
        assert!(is_alert_at_most(&said), "{said:?}");
    }
    assert_eq!(handshakes(&proxy, "timeout"), 3);
    assert_eq!(proxy.metric(HANDSHAKES, &["result=\"refused\""]), 0);
    assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
    // A session that came about may rest for longer.
    let mut resting = hello.begin(proxy.address("web"));
    proxy.client().read_to_end();
    assert_eq!(resting.get("/").status, 200);
    eventually("nobody else is connected", || {
        let open = proxy.metric("evenkeel_connections", &["listener=\"web\""]);
        (open <= 1).then_some(())
    });
}

#[test]
fn a_client_that_leaves_is_no_refusal() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let proxy = start(&authority, &endpoint, "20s", "");
    let first = Hello::to("shop.test", &authority).caller().first_bytes();
    proxy.client().send(&first[..20]).finish();
    // Those that only look whether somebody listens.
    proxy.client().finish();
    let mut resets = proxy.client();
    resets.send(&first);
    assert!(!resets.bytes(10).is_empty());
    resets.abort();
    eventually("they were counted", || {
        let count = proxy.metric(HANDSHAKES, &["result=\"client_closed\""]);
        (count == 3).then_some(())
    });
    assert_eq!(proxy.metric(HANDSHAKES, &["result=\"refused\""]), 0);
}

#[test]
fn what_is_no_tls_is_refused() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let proxy = start(&authority, &endpoint, "20s", "");
    let hello = Hello::to("shop.test", &authority);
    let mut broken = hello.caller().first_bytes();
    broken[5] = 99;
    let noise = vec![0xff; 20_000];
    let strangers: [&[u8]; 6] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        &[0; 600],
        &noise,
        &broken,
    ];
    for (number, bytes) in strangers.iter().enumerate() {
        let mut client = proxy.client();
        client.send(bytes);
        let said = client.read_to_end();
        assert!(is_alert_at_most(&said), "{number}: {said:?}");
        eventually(&format!("{number} was counted"), || {
            let count = proxy.metric(HANDSHAKES, &["result=\"refused\""]);
            (count == number as u64 + 1).then_some(())
        });
    }
    assert_eq!(endpoint.connections(), 0);
    assert_eq!(proxy.log_lines("access").len(), 0);
    assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
}

/// What browsers send to `http://` before a port of HTTPS gets an answer that they show.
#[test]
fn a_request_in_plain_text_is_told_what_the_port_is_for() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let proxy = start(&authority, &endpoint, "20s", "");
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let mut client = proxy.client();
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, 400);
        assert!(response.body.text().contains("https://"), "{response:?}");
        assert!(client.finish().is_closed());
    }
    eventually("both were counted", || {
        let count = proxy.metric(HANDSHAKES, &["result=\"refused\""]);
        (count == 2).then_some(())
    });
    assert_eq!(endpoint.connections(), 0);
    let hello = Hello::to("shop.test", &authority);
    assert_eq!(hello.begin(proxy.address("web")).get("/").status, 200);
}

/// Bytes of a later record that nobody could have made.
#[test]
fn a_session_that_was_tampered_with_ends() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let proxy = start(&authority, &endpoint, "20s", "");
    let mut client = Hello::to("shop.test", &authority).begin(proxy.address("web"));
    assert_eq!(client.get("/").status, 200);
    let record = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
    client.send_below(&record);
    assert!(client.is_cut());
    assert_eq!(endpoint.requests().len(), 1);
}

/// Also one that is cut in two by a reload.
#[test]
fn a_hello_may_come_in_pieces() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let lines = |number: usize| format!("max_handshakes = {number}");
    let mut proxy = start(&authority, &endpoint, "20s", &lines(9));
    let address = proxy.address("web");
    let caller = Hello::to("shop.test", &authority).caller();
    assert_eq!(
        caller.begin_in_pieces(address, 1, || {}).get("/").status,
        200
    );
    let mut count = 10;
    let mut client = caller.begin_in_pieces(address, 400, || {
        proxy.reload(&listener(endpoint.address(), &["a"], &lines(count)));
        count += 1;
    });
    assert!(count > 12, "it was cut");
    assert_eq!(client.get("/").status, 200);
}

/// Data that is there before anybody has asked for it, and the end behind it.
#[test]
fn a_request_may_come_with_the_last_of_the_handshake() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let proxy = start(&authority, &endpoint, "20s", "");
    let caller = Hello::to("shop.test", &authority).caller();
    for count in [1, 3, 100] {
        let requests = get("").repeat(count);
        let mut client = caller.begin_with_all(proxy.address("web"), &requests);
        for _ in 0..count {
            assert_eq!(client.response().status, 200);
        }
        assert!(client.says_goodbye());
    }
    assert_eq!(endpoint.requests().len(), 104);
}

#[test]
fn one_that_stalls_does_not_lock_the_others_out() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let proxy = start(&authority, &endpoint, "300ms", "max_handshakes = 1");
    let caller = Hello::to("shop.test", &authority).caller();
    // Sessions that came about take no place.
    let mut open = caller.begin(proxy.address("web"));
    for _ in 0..3 {
        let _stalled = Client::connect(proxy.address("web"));
        // A limit holds for the waiting, too, so that some may have waited in vain.
        let status = eventually("somebody is let in", || {
            let mut client = caller.try_begin(proxy.address("web")).ok()?;
            let response = client.send(get("")).try_response_to("GET").ok()?;
            Some(response.status)
        });
        assert_eq!(status, 200);
        assert_eq!(open.get("/").status, 200);
    }
    assert_eq!(proxy.metric(HANDSHAKES, &["result=\"refused\""]), 0);
}

/// Whoever waits for its turn is served once it comes, and one that does nothing with its place
/// loses it. A client that has said nothing has none.
#[test]
fn more_handshakes_than_may_be_under_way_wait() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let proxy = start(&authority, &endpoint, "20s", "max_handshakes = 1");
    let address = proxy.address("web");
    let caller = Hello::to("shop.test", &authority).caller();
    let _silent = Client::connect(address);
    assert_eq!(caller.begin(address).get("/").status, 200);
    let first = caller.first_bytes();
    let mut stalled = Client::connect(address);
    stalled.send(&first[..first.len() / 2]);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                // On a machine that is busy an honest one may take too long as well.
                scope.spawn(|| eventually("a turn", || caller.try_begin(address).ok()).get("/"))
            })
            .collect();
        for waiting in waiting {
            assert_eq!(waiting.join().expect("an answer").status, 200);
        }
    });
    let said = stalled.read_to_end();
    assert!(is_alert_at_most(&said), "{said:?}");
    assert!(proxy.metric(HANDSHAKES, &["result=\"shed\""]) >= 1);
    assert_eq!(proxy.metric(HANDSHAKES, &["result=\"timeout\""]), 0);
}
