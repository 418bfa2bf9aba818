//! Three instances in a row, each with retries: that they do not multiply.

use std::sync::Arc;
use std::thread;

use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// An instance that tries three times whatever fails, and may believe the one in front of it.
fn layer(addresses: &[String], believes: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[log]\naccess = false\n[listener.web]\nbind = \"@web\"\n{believes}\n\
         [route.all]\nupstream = \"app\"\n\
         retry = {{ attempts = 3, statuses = [\"5xx\"], backoff = \"1ms\" }}\n\
         [upstream.app]\nendpoints = {addresses:?}\n"
    ))
}

/// Three layers in front of these endpoints, the first one last.
fn layers(endpoints: &[Endpoint]) -> Vec<Evenkeel> {
    let addresses = endpoints.iter().map(|it| it.address().to_string());
    let trusts = "trusted_proxies = [\"127.0.0.0/8\"]";
    let mut layers = vec![layer(&addresses.collect::<Vec<_>>(), trusts)];
    for believes in [trusts, ""] {
        let behind = layers[layers.len() - 1].address("web").to_string();
        layers.push(layer(&[behind], believes));
    }
    layers
}

#[test]
fn three_layers_make_hardly_more_attempts_than_requests() {
    let busy = || Endpoint::answers(BUSY);
    for (count, kind) in [
        (3, busy as fn() -> Endpoint),
        (3, Endpoint::closes_unanswered),
        (1, busy),
    ] {
        let endpoints: Vec<Endpoint> = (0..count).map(|_| kind()).collect();
        let layers = layers(&endpoints);
        let first = Arc::new(layers.last().expect("three").address("web"));
        let (clients, each) = (4, 750);
        let began = Instant::now();
        let clients_running: Vec<_> = (0..clients)
            .map(|_| {
                let first = Arc::clone(&first);
                thread::spawn(move || {
                    let mut client = Client::connect(*first);
                    for _ in 0..each {
                        let response = client.get("/");
                        assert!(response.status >= 500, "{response:?}");
                    }
                })
            })
            .collect();
        for client in clients_running {
            client.join().expect("every request is answered");
        }
        let requests = clients * each;
        let attempts: usize = endpoints.iter().map(|it| it.requests().len()).sum();
        // The reserve is for a time, and the machine may be slow.
        let seconds = usize::try_from(began.elapsed().as_secs()).expect("it is not that slow");
        let most = (requests * 13 / 10).max(requests * 12 / 10 + 10 * (10 + seconds));
        tell(requests, attempts, seconds);
        assert!(attempts > requests, "{attempts}: none was tried again");
        assert!(attempts <= most, "{attempts} of {requests}");
        // It was the last layer that did, and the others left it alone; or the first one, where all
        // have one endpoint.
        let retries = |layer: &Evenkeel| {
            let made = ["outcome=\"failure\""];
            layer.metric("evenkeel_retries_total", &made)
        };
        let by_layer: Vec<u64> = layers.iter().map(retries).collect();
        let made = by_layer.iter().map(|made| *made > 0);
        let is_last = count > 1;
        assert!(made.eq([is_last, false, !is_last]), "{by_layer:?}");
    }
}

#[expect(clippy::print_stderr, reason = "the figures of a proof")]
fn tell(requests: usize, attempts: usize, seconds: usize) {
    eprintln!("three layers: {requests} requests, {attempts} attempts, in {seconds} s");
}
