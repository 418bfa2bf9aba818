//! The prober, against endpoints that behave in every way and against none at all.

mod answers;
mod timetable;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::Prober;
use crate::config;
use crate::config::Time;
use crate::net::Address;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::upstream::{ResolvedEndpoint, Upstream, World};

fn world() -> World {
    World::new(Registry::new(1), Events::default())
}

fn health() -> config::Health {
    config::Health {
        http: Some(config::HealthHttp {
            path: Some("/healthz".into()),
            ..config::HealthHttp::default()
        }),
        interval: Some(Time(Duration::from_millis(200))),
        timeout: Some(Time(Duration::from_millis(150))),
        ..config::Health::default()
    }
}

fn tcp() -> config::Health {
    config::Health {
        http: None,
        tcp: Some(config::HealthTcp {}),
        ..health()
    }
}

fn resolved(address: &Address) -> ResolvedEndpoint {
    ResolvedEndpoint::at(address.clone())
}

fn upstream(
    world: &World,
    health: config::Health,
    addresses: &[&Address],
    previous: Option<&Arc<Upstream>>,
) -> Arc<Upstream> {
    let written = config::Upstream {
        health: Some(health),
        ..config::Upstream::default()
    };
    let endpoints = addresses.iter().map(|address| resolved(address)).collect();
    let upstream = Upstream::build("api", &written, (endpoints, None), "", world, previous)
        .expect("valid settings");
    world.install([&upstream]);
    upstream
}

fn prober(world: &World) -> Prober {
    Prober::start(&world.live, Rng::with_seed(1))
}
