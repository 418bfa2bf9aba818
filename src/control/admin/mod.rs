//! The admin API: how an instance is looked at and told what to do.
//!
//! It runs on the control plane's runtime and only reads what the data plane shares anyway: the
//! snapshot in force and the endpoints' atomics. So nothing that is asked here, and nobody who asks
//! too much, can delay a request. The Unix socket carries all of it, the TCP address
//! only what reads.
//!
//! Use: [`Entrances::bind`] while the program starts, then [`Admin::serve`] for as long as it runs.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ready::Readiness;
use super::refusals::Refusals;
use super::reload::{Requests, Verdict};
use crate::config::Config;
use crate::snapshot::Handle;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::{Format, Registry};
use answer::{Problem, Response};
use server::{Entrance, Request};
use target::{Query, Resource};

mod answer;
mod entrances;
mod explain;
mod probes;
mod server;
pub mod status;
mod target;
mod views;

pub use entrances::{EntranceError, Entrances};
pub use explain::{Explained, Lost};

/// What the admin API shows and does. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    shared: Arc<Shared>,
}

/// What the admin API needs of the program.
#[derive(Debug)]
pub struct Parts {
    /// The configuration in force.
    pub snapshot: Handle,
    /// Everything that is measured.
    pub registry: Registry,
    /// What happened.
    pub events: Events,
    /// Whether traffic may come.
    pub readiness: Readiness,
    /// How a reload is asked for.
    pub reload: Requests,
    /// Renewals that are refused.
    pub refusals: Refusals,
    /// Data-plane threads.
    pub workers: usize,
}

#[derive(Debug)]
struct Shared {
    parts: Parts,
    started: SystemTime,
    started_with: Arc<Config>,
    applied: Mutex<Applied>,
}

/// When a generation came into force.
#[derive(Debug, Clone, Copy)]
struct Applied {
    generation: u64,
    at: SystemTime,
}

impl Admin {
    /// The admin API of a program that has just started.
    pub fn new(parts: Parts) -> Self {
        let now = SystemTime::now();
        let snapshot = parts.snapshot.load();
        let applied = Applied {
            generation: snapshot.generation,
            at: now,
        };
        Self {
            shared: Arc::new(Shared {
                parts,
                started: now,
                started_with: Arc::clone(&snapshot.config),
                applied: Mutex::new(applied),
            }),
        }
    }

    /// Serves until it is dropped.
    pub async fn serve(self, entrances: Entrances) -> Infallible {
        let answering = self.clone();
        let answers = move |entrance, request: Request| -> server::Answer {
            let admin = answering.clone();
            Box::pin(async move { admin.answer(entrance, &request).await })
        };
        tokio::select! {
            never = server::serve(entrances, Arc::new(answers)) => never,
            never = self.note_generations() => never,
        }
    }

    /// Keeps the time at which each generation came into force.
    async fn note_generations(&self) -> Infallible {
        let mut generations = self.parts().snapshot.subscribe();
        while generations.changed().await.is_ok() {
            self.applied(*generations.borrow_and_update());
        }
        std::future::pending().await
    }

    async fn answer(&self, entrance: Entrance, request: &Request) -> Response {
        let uri = request.uri();
        self.carry_out(
            entrance,
            request.method(),
            uri.path(),
            uri.query(),
            request.headers(),
        )
        .await
        .unwrap_or_else(Into::into)
    }

    async fn carry_out(
        &self,
        entrance: Entrance,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let Some(resource) = Resource::at(path) else {
            return Err(Problem::not_found(format!("there is nothing at {path}")));
        };
        if !resource.admits(method) {
            return Err(Problem::not_allowed(resource.allow()));
        }
        if resource.changes() && entrance == Entrance::Http {
            let detail = "changes are made through the Unix socket (admin.socket) only";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        self.show(&resource, &Query::new(query), headers).await
    }

    async fn show(
        &self,
        resource: &Resource,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let snapshot = self.parts().snapshot.load();
        match resource {
            Resource::Livez => Ok(probes::livez(query)),
            Resource::Readyz => Ok(probes::readyz(&self.parts().readiness, query)),
            Resource::Startupz => Ok(probes::startupz(&self.parts().readiness, query)),
            Resource::Metrics => self.metrics(headers).await,
            Resource::Status => Ok(ok(&self.status())),
            Resource::Info => Ok(ok(&views::info(self))),
            Resource::Listeners => Ok(ok(&status::listeners(&snapshot))),
            Resource::Certificates => Ok(ok(&status::certificates(&snapshot))),
            Resource::Routes => Ok(ok(&status::routes(&snapshot))),
            Resource::Upstreams => Ok(ok(&status::upstreams(&snapshot))),
            Resource::Endpoints(name) => views::endpoints(&snapshot, name).map(|view| ok(&view)),
            Resource::Config => Ok(ok(&views::config(&snapshot, query))),
            Resource::Events => views::events(&self.parts().events, query).map(|view| ok(&view)),
            Resource::Route => explain::explain(&snapshot.config, query).map(|view| ok(&view)),
            Resource::Reload => self.reload().await,
        }
    }

    /// Everything that is measured. Made on a thread of its own: ten thousand series take a while,
    /// and this runtime has probes to send.
    async fn metrics(&self, headers: &HeaderMap) -> Result<Response, Problem> {
        let accept = headers.get(header::ACCEPT);
        let accept = accept
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let format = Format::from_accept(accept);
        let registry = self.parts().registry.clone();
        let encode = move || {
            let mut text = String::new();
            registry.encode(format, &mut text);
            text
        };
        let text = tokio::task::spawn_blocking(encode).await;
        let text = text
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        Ok(answer::text(StatusCode::OK, format.content_type(), text))
    }

    async fn reload(&self) -> Result<Response, Problem> {
        let report = self.parts().reload.reload("admin").await;
        let report = report.ok_or_else(|| Problem::unavailable("this instance is about to end"))?;
        if report.result == Verdict::Applied {
            return Ok(ok(&report));
        }
        // The report as it is, so that one reader fits both results, and a problem beside it.
        let members = match json!(report) {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let refused = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, report.why);
        Err(refused.with_members(members))
    }

    /// When the generation in force came into force.
    fn applied(&self, generation: u64) -> SystemTime {
        let applied = self.shared.applied.lock();
        let mut applied = applied.unwrap_or_else(PoisonError::into_inner);
        if applied.generation != generation {
            *applied = Applied {
                generation,
                at: SystemTime::now(),
            };
        }
        applied.at
    }

    fn parts(&self) -> &Parts {
        &self.shared.parts
    }
}

fn ok(value: &impl Serialize) -> Response {
    answer::json(StatusCode::OK, value)
}

#[cfg(test)]
mod tests;
