//! The proof of static stability: the control thread stands still under load, endpoints die and
//! come back meanwhile, and no client notices.

use std::sync::PoisonError;
use std::time::Duration;

use crate::THE_MACHINE;
use crate::figures::{Load, proof_seconds, say};
use crate::kill::{Process, addresses};
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::frozen::Frozen;

#[test]
fn a_control_thread_that_stands_still_costs_no_request() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut endpoints = [(); 3].map(|()| Process::start("kill::endpoint"));
    let addresses = addresses(&endpoints);
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = {addresses:?}\nhealth = {{ tcp = {{}} }}\n"
    ));
    let seconds = proof_seconds();
    let load = Load::start(proxy.address("web"), CLIENTS, RATE);
    let Some(frozen) = Frozen::thread(&proxy, "control") else {
        drop(load.stop());
        return;
    };
    let mut admin = Client::connect(proxy.address("admin"));
    admin.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    let rounds = usize::try_from(seconds).expect("a short time") / 4;
    for round in 0..rounds {
        let endpoint = &mut endpoints[round % 3];
        pause(Duration::from_secs(1));
        endpoint.kill();
        pause(Duration::from_secs(2));
        endpoint.restart();
        pause(Duration::from_secs(1));
    }
    let seen = load.stop();
    assert!(admin.is_quiet(), "the control thread was not stopped");
    drop(frozen);
    say(&format!(
        "control thread stopped for {} s, {RATE} requests/s, {rounds} kills: {}",
        rounds * 4,
        seen.figures()
    ));
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    assert_eq!(admin.response().status, 200);
    eventually("probes go on", || {
        let is_healthy = |address: &String| proxy.endpoint("app", address)["state"] == "healthy";
        addresses.iter().all(is_healthy).then_some(())
    });
}

const CLIENTS: u32 = 20;
const RATE: u32 = 400;
