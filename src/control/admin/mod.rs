//! The admin API: how an instance is looked at and told what to do.
//!
//! It runs on the control plane's runtime and only reads what the data plane shares anyway: the
//! snapshot in force and the endpoints' atomics. So nothing that is asked here, and nobody who asks
//! too much, can delay a request. The Unix socket carries all of it, the TCP address only what
//! reads, unless whoever asks has the token.
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
use super::upgrade;
use crate::config::Config;
use crate::snapshot::Handle;
use crate::telemetry::events::{Event, Events};
use crate::telemetry::metrics::{Format, Registry};
use answer::{Problem, Response};
use doors::{Doors, TurnedAway};
use scrapes::Scrapes;
use server::{Entrance, Request};
use target::{Query, Resource};

mod answer;
mod doors;
mod entrances;
mod explain;
mod probes;
mod scrapes;
mod server;
pub mod status;
mod target;
mod token;
mod views;

pub use entrances::{EntranceError, Entrances, Gates};
pub use explain::{Explained, Lost};
pub use token::{TokenError, read as read_token};

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
    /// How an upgrade is asked for.
    pub upgrades: upgrade::Requests,
    /// Renewals that are refused.
    pub refusals: Refusals,
    /// Data-plane threads.
    pub workers: usize,
}

#[derive(Debug)]
struct Shared {
    parts: Parts,
    scrapes: Scrapes,
    started: SystemTime,
    started_with: Arc<Config>,
    applied: Mutex<Applied>,
    turned_away: TurnedAway,
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
        let turned_away = TurnedAway::new(&parts.registry, parts.events.clone());
        Self {
            shared: Arc::new(Shared {
                turned_away,
                parts,
                scrapes: Scrapes::default(),
                started: now,
                started_with: Arc::clone(&snapshot.config),
                applied: Mutex::new(applied),
            }),
        }
    }

    /// Serves until it is dropped.
    pub async fn serve(self, mut entrances: Entrances) -> Infallible {
        let doors = Arc::new(std::mem::take(&mut entrances.doors));
        let (answering, asked) = (self.clone(), Arc::clone(&doors));
        let answers = move |entrance, request: Request| -> server::Answer {
            let (admin, doors) = (answering.clone(), Arc::clone(&asked));
            Box::pin(async move { admin.answer((entrance, &doors), &request).await })
        };
        tokio::select! {
            never = server::serve(entrances, Arc::new(answers)) => never,
            never = self.note_generations(&doors) => never,
        }
    }

    /// Keeps the time at which each generation came into force, and reads the token again.
    async fn note_generations(&self, doors: &Doors) -> Infallible {
        let mut generations = self.parts().snapshot.subscribe();
        while generations.changed().await.is_ok() {
            self.applied(*generations.borrow_and_update());
            let Some(token) = &doors.token else { continue };
            if let Err(why) = token.renew().await {
                self.parts().events.publish(Event {
                    kind: "admin_token_rejected",
                    why: format!("the token before stays in force: {why}"),
                    fields: Vec::new(),
                });
            }
        }
        std::future::pending().await
    }

    async fn answer(&self, who: (Entrance, &Doors), request: &Request) -> Response {
        let uri = request.uri();
        self.carry_out(
            who,
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
        (entrance, doors): (Entrance, &Doors),
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
        let judged = doors.judge(entrance, &resource, headers);
        judged.map_err(|refused| self.shared.turned_away.count(refused))?;
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
            Resource::Readyz => Ok(probes::readyz(&self.parts().readiness, &snapshot, query)),
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
            Resource::Upgrade => self.upgrade().await,
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Result<Response, Problem> {
        let accept = headers.get(header::ACCEPT);
        let accept = accept
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let format = Format::from_accept(accept);
        let text = self.shared.scrapes.text(&self.parts().registry, format);
        let text = text.await;
        let text = text
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        Ok(answer::text(StatusCode::OK, format.content_type(), text))
    }

    async fn reload(&self) -> Result<Response, Problem> {
        let report = self.parts().reload.reload("admin").await;
        let report = report.ok_or_else(|| self.not_here())?;
        if report.result == Verdict::Applied {
            return Ok(ok(&report));
        }
        Err(refused(&report.why, json!(report)))
    }

    async fn upgrade(&self) -> Result<Response, Problem> {
        let report = self.parts().upgrades.upgrade("admin").await;
        let report = report.ok_or_else(about_to_end)?;
        if report.result == upgrade::Verdict::Succeeded {
            return Ok(ok(&report));
        }
        Err(refused(&report.why, json!(report)))
    }

    /// This instance does nothing any more, but another one may.
    fn not_here(&self) -> Problem {
        if !self.parts().readiness.has_left() {
            return about_to_end();
        }
        let members = Map::from_iter([(ASK_AGAIN.to_owned(), Value::Bool(true))]);
        Problem::unavailable(LEFT).with_members(members)
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

fn about_to_end() -> Problem {
    Problem::unavailable("this instance is about to end")
}

/// The report as it is, so that one reader fits both results, and a problem beside it.
fn refused(why: &str, report: Value) -> Problem {
    let members = match report {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why.to_owned()).with_members(members)
}

/// Tells that the same request is heard by another instance, on a new connection.
pub const ASK_AGAIN: &str = "ask_again";

const LEFT: &str = "another instance serves by now: ask again, on a new connection";

fn ok(value: &impl Serialize) -> Response {
    answer::json(StatusCode::OK, value)
}

#[cfg(test)]
mod tests;
