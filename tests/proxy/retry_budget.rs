//! The retry budget is one for all workers: what one spends the others have not.

use tokio::time::Instant;

use crate::retries::{BUSY, OK, ON_503, attempt_of, outcomes};
use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// A client at each of two workers.
fn at_both_workers(proxy: &Evenkeel) -> [Client; 2] {
    let counts = || {
        [0, 1].map(|worker| {
            let label = format!("worker=\"{worker}\"");
            proxy.metric_now("evenkeel_runtime_connections", &[&label])
        })
    };
    let mut found = [None, None];
    let mut besides = Vec::new();
    loop {
        let before = counts();
        let client = proxy.client();
        let worker = eventually("it is counted", || {
            let after = counts();
            (0..2).find(|worker| after[*worker] > before[*worker])
        });
        // The kernel gives it to any; what that worker has more than the other it hands over.
        besides.extend(found[worker].replace(client));
        found = match found {
            [Some(one), Some(other)] => return [one, other],
            other => other,
        };
    }
}

#[test]
fn the_budget_is_one_for_all_workers() {
    // A second attempt succeeds, and the first one to `/` as well.
    let busy_at_first = || {
        Endpoint::start(|peer| {
            while let Some(request) = peer.request() {
                let is_well = request.target() == "/" || attempt_of(&request).is_some();
                peer.send(if is_well { OK } else { BUSY });
            }
        })
    };
    let endpoints = [busy_at_first(), busy_at_first()];
    let start = |budget: &str| {
        let addresses = endpoints.each_ref().map(|one| one.address().to_string());
        Evenkeel::start(&format!(
            "workers = 2\n[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
             {ON_503}\n[upstream.app]\nendpoints = {addresses:?}\nretry_budget = {budget}\n"
        ))
    };
    let repeated = |client: &mut Client, times: usize| -> usize {
        let statuses = (0..times).map(|_| client.get("/busy").status);
        statuses.filter(|status| *status == 200).count()
    };
    // What one worker has spent the other one has not.
    let proxy = start("{ ratio = \"0%\", per_second = 1 }");
    let [mut one, mut other] = at_both_workers(&proxy);
    let began = Instant::now();
    let (first, second) = (repeated(&mut one, 20), repeated(&mut other, 20));
    // Ten in ten seconds; a slow machine may have come to the next ones.
    let more = usize::try_from(began.elapsed().as_secs() / 10).expect("few") * 10;
    assert!(first >= 10, "{first}");
    assert!(first + second <= 10 + more, "{first} and {second}");
    let exhausted = u64::try_from(40 - first - second).expect("few");
    assert_eq!(outcomes(&proxy, "budget_exhausted"), exhausted);
    // And what the requests of one worker pay in the other one may spend.
    let proxy = start("{ ratio = \"20%\", per_second = 0 }");
    let [mut one, mut other] = at_both_workers(&proxy);
    assert_eq!(repeated(&mut other, 3), 0, "nothing has been paid in");
    let began = Instant::now();
    for _ in 0..64 {
        assert_eq!(one.get("/").status, 200);
    }
    let well = repeated(&mut other, 20);
    let is_forgotten = began.elapsed().as_secs() >= 9;
    assert!(is_forgotten || (10..=17).contains(&well), "{well}");
}
