//! Which endpoint a client gets again: by keys, and by a cookie (RFC 6265).

use crate::cases::get;
use crate::support::client::Response;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::gated::Gated;

/// Endpoints that say their number.
fn numbered(count: usize) -> Vec<Endpoint> {
    (0..count)
        .map(|number| Endpoint::says(&number.to_string()))
        .collect()
}

/// A configuration with these endpoints and lines in upstream `app`, whose listener trusts us.
fn config(endpoints: &[Endpoint], lines: &str) -> String {
    let addresses: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("\"{}\"", endpoint.address()))
        .collect();
    let addresses = addresses.join(", ");
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [upstream.app]\nendpoints = [{addresses}]\n{lines}\n"
    )
}

fn start(endpoints: &[Endpoint], lines: &str) -> Evenkeel {
    let key = ("key".to_owned(), "what nobody else knows\n".to_owned());
    Evenkeel::start_among(&[key], &config(endpoints, lines))
}

/// Whose answer it is.
fn number(response: &Response) -> usize {
    assert_eq!(response.status, 200, "{response:?}");
    response.body.text().parse().expect("a number")
}

/// Who answers a request, on a connection of its own.
fn ask(proxy: &Evenkeel, request: impl AsRef<[u8]>) -> usize {
    number(&proxy.client().send(request).response())
}

#[test]
fn keys_lead_to_the_same_endpoint_and_different_ones_to_all() {
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    let of = |by: &str, user: usize| match by {
        "client_address" => get(format!("X-Forwarded-For: 192.0.2.{user}")),
        "field:x-user" => get(format!("X-User: u{user}")),
        "cookie:sid" => get(format!("Cookie: a=b; sid=u{user}")),
        "query:id" => target(&format!("/?x=1&id=u{user}")),
        _ => target(&format!("/u{user}?{user}")),
    };
    for balance in ["ring_hash", "maglev"] {
        let endpoints = numbered(3);
        for by in [
            "client_address",
            "field:x-user",
            "cookie:sid",
            "query:id",
            "path",
        ] {
            let lines = format!("balance = \"{balance}\"\nhash_by = \"{by}\"");
            let proxy = start(&endpoints, &lines);
            let all = || -> Vec<usize> { (0..40).map(|user| ask(&proxy, of(by, user))).collect() };
            let first = all();
            assert_eq!(all(), first, "{balance} by {by}");
            for number in 0..3 {
                assert!(first.contains(&number), "{balance} by {by}: {first:?}");
            }
            // Another instance agrees.
            let other = start(&endpoints, &lines);
            let there: Vec<usize> = (0..40).map(|user| ask(&other, of(by, user))).collect();
            assert_eq!(there, first, "{balance} by {by}");
        }
    }
}

#[test]
fn what_has_no_key_goes_anywhere_and_only_what_has_to_moves() {
    let mut endpoints = numbered(4);
    let lines = "balance = \"ring_hash\"\nhash_by = \"field:x-user\"";
    let mut proxy = start(&endpoints, lines);
    let without: Vec<usize> = (0..60).map(|_| ask(&proxy, get(""))).collect();
    assert!(
        (0..4).all(|number| without.contains(&number)),
        "{without:?}"
    );
    let user = |user: usize| get(format!("X-User: {user}"));
    let before: Vec<usize> = (0..60).map(|one| ask(&proxy, user(one))).collect();
    endpoints.pop();
    proxy.reload(&config(&endpoints, lines));
    for (one, before) in before.into_iter().enumerate() {
        let after = ask(&proxy, user(one));
        assert!(
            after < 3 && (before == 3 || after == before),
            "{one}: {before}, {after}"
        );
    }
}

/// All that is asked for has one key, and nothing is answered: its endpoint fills up to
/// `max_load` times its share of what is in flight, and the others take what is beyond that.
#[test]
fn a_hot_key_fills_its_endpoint_up_to_its_bound() {
    const ALL: usize = 80;
    for balance in ["ring_hash", "maglev"] {
        for (max_load, most) in [("125%", 25), ("200%", 40), ("400%", ALL)] {
            let gated = [(); 4].map(|()| Gated::answering(""));
            let addresses = gated.each_ref().map(|one| one.address().to_string());
            let proxy = Evenkeel::start(&format!(
                "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n[upstream.app]\n\
                 endpoints = {addresses:?}\nbalance = \"{balance}\"\nhash_by = \"path\"\n\
                 max_load = \"{max_load}\"\n"
            ));
            let counts = || gated.each_ref().map(Gated::count);
            let mut clients = Vec::new();
            let mut home = 0;
            for asked in 1..=ALL {
                clients.push(proxy.client());
                clients[asked - 1].send(get(""));
                let counts = eventually("it is at an endpoint", || {
                    let counts = counts();
                    (counts.iter().sum::<usize>() == asked).then_some(counts)
                });
                if asked == 16 {
                    // A few always have room at home.
                    let at = counts.iter().position(|count| *count == asked);
                    home = at.expect("all are at one endpoint");
                }
            }
            let counts = counts();
            assert_eq!(counts[home], most, "{balance}, {max_load}: {counts:?}");
            assert!(counts.iter().all(|count| *count <= most), "{counts:?}");
            gated.iter().for_each(Gated::open);
            for client in &mut clients {
                assert_eq!(client.response().status, 200);
            }
            let beyond = ["result=\"beyond\""];
            let beyond = proxy.metric("evenkeel_upstream_ties_total", &beyond);
            assert!(
                beyond >= u64::try_from(ALL - most).expect("few"),
                "{beyond}"
            );
            // With room there it is at home again.
            assert_eq!(clients[0].send(get("")).response().status, 200);
            assert_eq!(gated[home].count(), most + 1, "{balance}, {max_load}");
        }
    }
}

const STICKY: &str = "balance = \"random\"\nsticky = { secret = \"${file:key}\", cookie = \"at\" }";

/// The cookie that a response sets, and its attributes.
fn set(response: &Response) -> Option<(String, String)> {
    let cookie = response.head.value("set-cookie")?;
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    Some((pair.to_owned(), attributes.to_owned()))
}

fn exchange(proxy: &Evenkeel, request: Vec<u8>) -> Response {
    proxy.client().send(request).response()
}

#[test]
fn a_cookie_ties_a_client_to_its_endpoint() {
    let endpoints = numbered(4);
    let proxy = start(&endpoints, STICKY);
    let mut met = [false; 4];
    for _ in 0..20 {
        let first = exchange(&proxy, get(""));
        let home = number(&first);
        met[home] = true;
        let (pair, attributes) = set(&first).expect("a new client is tied");
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
        let port = endpoints[home].address().port().to_string();
        assert!(!pair.contains(&port), "{pair} tells the address");
        for _ in 0..5 {
            let next = exchange(&proxy, get(format!("Cookie: x=1; {pair}; y=2")));
            assert_eq!((number(&next), set(&next)), (home, None));
        }
        // Endpoints get the others' cookies, and not ours.
        let requests = endpoints[home].requests();
        let last = requests.last().expect("it was asked");
        assert_eq!(last.head.value("cookie"), Some("x=1; y=2"));
    }
    assert!(
        met.iter().all(|met| *met),
        "new clients go anywhere: {met:?}"
    );
    // Who comes by TLS, as a trusted proxy says, gets it back by TLS only.
    let secure = exchange(&proxy, get("X-Forwarded-Proto: https"));
    let (_, attributes) = set(&secure).expect("it is tied");
    assert!(attributes.ends_with("; Secure"), "{attributes}");
    let tied = |result: &str| {
        let result = format!("result=\"{result}\"");
        proxy.metric("evenkeel_upstream_ties_total", &[&result])
    };
    assert!(tied("new") >= 20);
}

#[test]
fn a_tie_holds_over_reloads_and_restarts_and_ends_with_its_endpoint() {
    let mut endpoints = numbered(3);
    let mut proxy = start(&endpoints, STICKY);
    let first = exchange(&proxy, get(""));
    let (pair, _) = set(&first).expect("it is tied");
    let (home, cookie) = (number(&first), get(format!("Cookie: {pair}")));
    proxy.kill();
    proxy.restart();
    for _ in 0..5 {
        assert_eq!(number(&exchange(&proxy, cookie.clone())), home);
    }
    drop(endpoints.remove(home));
    // Its connection is refused: another one answers, and is the one from now on.
    let other = exchange(&proxy, cookie);
    let (pair, _) = set(&other).expect("it is tied anew");
    let home = number(&other);
    proxy.reload(&config(&endpoints, STICKY));
    for _ in 0..10 {
        let next = exchange(&proxy, get(format!("Cookie: {pair}")));
        assert_eq!((number(&next), set(&next)), (home, None));
    }
}

#[test]
fn a_forged_cookie_is_ignored() {
    let endpoints = numbered(2);
    let proxy = start(&endpoints, STICKY);
    let long = "f".repeat(4_000);
    for forged in [
        "at=0",
        "at=\"",
        "at=ffffffffffffffffffffffffffffffff",
        "at",
        &format!("at={long}"),
    ] {
        let response = exchange(&proxy, get(format!("Cookie: {forged}")));
        number(&response);
        assert!(set(&response).is_some(), "{forged}: as one who has none");
    }
    let show = proxy.command(&["config", "show"]);
    let shown = String::from_utf8_lossy(&show.stdout);
    assert!(
        shown.contains("***") && !shown.contains("nobody else"),
        "{shown}"
    );
}
