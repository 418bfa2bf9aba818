//! From what was written to what is meant: calls each owner's conversion and resolves the names.
//!
//! Everything that can fail has been checked by the configuration room before; what still fails
//! here (a regular expression that a later library refuses, say) is returned, never assumed away,
//! and the snapshot in force stays.

mod upstreams;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::action::{Action, Choice, Route, Split};
use super::bulkhead::{Bulkheads, bulkhead_of, bulkheads};
use super::clients;
use super::expiries::Expiries;
use super::failure::{BuildError, refused};
use super::http2::{Http2, Spoken};
use super::limits::Limits;
use super::listener::{HttpListener, Intercept, Kind, Listener};
use super::metrics::{ListenerMetrics, RouteMetrics};
use super::proxied::ProxyHeaders;
use super::timeouts::{CallTimeouts, ClientTimeouts};
use super::tls::{Termination, key_logging};
use super::unnamed::{effective_upstreams, of_listener, own_route, redirects};
use super::{Snapshot, Upstreams};
use crate::config::{self, Config};
use crate::http1;
use crate::net::{Listening, Sockets, Transport};
use crate::policy::{
    Affinity, DeadlineField, Filters, Fixed, Forwarding, HedgePolicy, Hsts, Redirect, RetryPolicy,
    Via,
};
use crate::route::{RouteTable, Rule};
use crate::tls::{Credentials, Material};
use crate::upstream::{ResolvedEndpoint, World};

/// What a snapshot is made of.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// The number of the new generation.
    pub generation: u64,
    /// Digest of the configuration's text.
    pub sha256: Arc<str>,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Addresses of the endpoints of each upstream of [`effective_upstreams`].
    pub endpoints: BTreeMap<String, Vec<ResolvedEndpoint>>,
    /// Bound sockets of each listener.
    pub sockets: BTreeMap<String, Arc<Sockets>>,
    /// The certificates of each listener that has some, and what it asks clients for.
    pub certificates: BTreeMap<String, Credentials>,
    /// What TLS towards the endpoints of each upstream that has it is made with.
    pub materials: BTreeMap<String, Material>,
    /// What outlives a configuration.
    pub world: &'a World,
    /// Makes the marks that new listeners leave in `Via`; different in every process.
    pub seed: u64,
    /// The snapshot in force.
    pub previous: Option<&'a Snapshot>,
}

/// Builds a snapshot.
pub fn build(mut ingredients: Ingredients<'_>) -> Result<Snapshot, BuildError> {
    let written = effective_upstreams(&ingredients.config);
    let upstreams = upstreams::build_upstreams(&mut ingredients, &written)?;
    let (bulkheads, counts) = bulkheads(&ingredients.config, ingredients.previous);
    let builder = Builder {
        bulkheads,
        ingredients: &ingredients,
        written: &written,
        upstreams: &upstreams,
    };
    let mut listeners = Vec::with_capacity(ingredients.config.listener.len());
    for (name, listener) in &ingredients.config.listener {
        listeners.push(Arc::new(builder.listener(name, listener)?));
    }
    let config = Arc::clone(&ingredients.config);
    Ok(Snapshot {
        generation: ingredients.generation,
        sha256: ingredients.sha256,
        zone: own_zone(&config).into(),
        expiries: Expiries::new(&ingredients.world.registry),
        admin: ingredients.world.admin,
        access_log: config.log.access.unwrap_or(true),
        log_query: config.log.query.unwrap_or(false),
        listeners,
        lingering: Vec::new(),
        hosts: BTreeMap::new(),
        upstreams,
        counts,
        config,
    })
}

/// The zone that this instance stands in; empty if it was not told.
fn own_zone(config: &Config) -> &str {
    config.zone.as_deref().unwrap_or_default()
}

/// The measures of routes by their names.
type Before<'a> = HashMap<&'a str, &'a Arc<RouteMetrics>>;

/// What the conversion of one listener or route looks things up in.
pub(super) struct Builder<'a> {
    pub(super) ingredients: &'a Ingredients<'a>,
    written: &'a BTreeMap<String, config::Upstream>,
    upstreams: &'a Upstreams,
    bulkheads: Bulkheads,
}

impl Builder<'_> {
    fn listener(&self, name: &str, written: &config::Listener) -> Result<Listener, BuildError> {
        let Some(sockets) = self.ingredients.sockets.get(name) else {
            return Err(refused(name, "its address is not bound"));
        };
        let shared: Arc<str> = name.into();
        let kind = if written.is_udp() {
            Kind::Udp(Arc::new(self.udp(&shared, written)?))
        } else if written.relays() {
            Kind::Tcp(Arc::new(self.tcp(&shared, written)?))
        } else {
            Kind::Http(Arc::new(self.http(&shared, written)?))
        };
        let previous = self.previous(name, sockets);
        let tls = self.tls(name, written, previous)?;
        let by_name = self.by_name(&shared, written, &kind)?;
        let spoken = kind.protocols(by_name.is_some());
        let max_connections = written.max_connections();
        Ok(Listener {
            bind: written.bind.as_str().into(),
            sockets: Arc::clone(sockets),
            options: Listening::of(written),
            proxy_headers: self.proxy_headers(name, written),
            direction: written.direction.into(),
            tls,
            by_name,
            intercept: written
                .intercept
                .map(|how| Intercept::new(how, &self.ingredients.world.own_connections)),
            kind,
            max_connections,
            queue: previous.map_or_else(Arc::default, |old| Arc::clone(&old.queue)),
            limits: Limits::new(
                &self.ingredients.world.registry,
                name,
                (&written.limits, max_connections),
                previous.and_then(|old| old.limits.as_ref()),
            ),
            connections: previous.map_or_else(
                || Arc::new(AtomicU32::new(0)),
                |old| Arc::clone(&old.connections),
            ),
            metrics: ListenerMetrics::new(&self.ingredients.world.registry, name, &spoken),
            name: shared,
        })
    }

    /// The listener in force whose connections are this one's: the one with its sockets, for it may
    /// have had another name; or else, where it gets others, the one with its name, unless that
    /// goes on under another one.
    fn previous(&self, name: &str, sockets: &Arc<Sockets>) -> Option<&Arc<Listener>> {
        let world = self.ingredients.previous?;
        let has = |old: &Listener, sockets: &Arc<Sockets>| Arc::ptr_eq(&old.sockets, sockets);
        let same = world.listeners.iter().find(|old| has(old, sockets));
        same.or_else(|| {
            let old = world.listener(name)?;
            let goes_on = self.ingredients.sockets.values().any(|new| has(old, new));
            let is_alike =
                (old.sockets.transport == Transport::Udp) == (sockets.transport == Transport::Udp);
            (!goes_on && is_alike).then_some(old)
        })
    }

    fn proxy_headers(&self, name: &str, written: &config::Listener) -> Option<Arc<ProxyHeaders>> {
        let defaults = &self.ingredients.config.defaults.timeouts;
        let world = &self.ingredients.world;
        ProxyHeaders::new(world, name, written, defaults).map(Arc::new)
    }

    fn tls(
        &self,
        name: &str,
        written: &config::Listener,
        previous: Option<&Arc<Listener>>,
    ) -> Result<Option<Arc<Termination>>, BuildError> {
        let Some(tls) = &written.tls else {
            return Ok(None);
        };
        let defaults = &self.ingredients.config.defaults.timeouts;
        let certificates = self.ingredients.certificates.get(name);
        let termination = Termination::new(
            &self.ingredients.world.registry,
            name,
            (tls, written, defaults),
            key_logging(&self.ingredients.config.log),
            certificates.cloned().unwrap_or_default(),
            previous.and_then(|listener| listener.tls.as_deref()),
        );
        let termination = termination.map_err(|reason| refused(name, &reason))?;
        Ok(Some(Arc::new(termination)))
    }

    fn http(
        &self,
        name: &Arc<str>,
        written: &config::Listener,
    ) -> Result<HttpListener, BuildError> {
        let before = self.before(name);
        let (mut rules, mut exempt) = (Vec::new(), Vec::new());
        for (route_name, route) in &self.ingredients.config.route {
            if route.takes_requests_of(name) {
                let rule = Rule::new(route_name, route)
                    .map_err(|error| refused(route_name, &error.to_string()))?;
                let names_it = route.listener.is_some();
                let route = Arc::new(self.route(name, route_name, route, &before)?);
                if names_it && redirects(written) {
                    exempt.push((rule.clone(), Arc::clone(&route)));
                }
                rules.push((rule, route));
            }
        }
        let own = own_route(name, written);
        let own = own.map(|own| self.route(name, &of_listener(name), &own, &before));
        let hsts = written.tls.as_ref().and_then(|tls| tls.hsts.as_ref());
        let hsts = hsts.map(Hsts::new).transpose();
        let defaults = &self.ingredients.config.defaults.timeouts;
        let limits = http1::Limits {
            head: written.max_head_size.map_or(HEAD_SIZE, |size| {
                usize::try_from(size.0).unwrap_or(usize::MAX)
            }),
            fields: written.max_fields.map_or(FIELDS, usize::from),
        };
        let registry = &self.ingredients.world.registry;
        let spoken = Spoken::of(written);
        let http2 = spoken
            .http2
            .then(|| Http2::new(registry, name, &written.http2, limits));
        Ok(HttpListener {
            name: Arc::clone(name),
            direction: written.direction.into(),
            http1: spoken.http1,
            http2: http2.map(Arc::new),
            limits,
            timeouts: ClientTimeouts::new(&written.timeouts, defaults),
            forwarding: Forwarding::new(written),
            client_rules: clients::by_name(written),
            via: self.via(name),
            routes: RouteTable::build(rules),
            exempt: redirects(written).then(|| RouteTable::build(exempt)),
            fallback: own.transpose()?.map(Arc::new),
            hsts: hsts.map_err(|error| refused(name, &error.to_string()))?,
            unrouted: Arc::new(self.unrouted(name, &before)?),
        })
    }

    /// A listener keeps its mark over reloads: a loop that is under way must not look new.
    fn via(&self, name: &str) -> Via {
        let previous = self
            .ingredients
            .previous
            .and_then(|world| world.listener(name));
        match previous.map(|listener| &listener.kind) {
            Some(Kind::Http(listener)) => listener.via.clone(),
            Some(Kind::Tcp(_) | Kind::Udp(_)) | None => {
                let mix = |seed: u64, byte: u8| seed.wrapping_mul(31).wrapping_add(u64::from(byte));
                let seed = name.bytes().fold(self.ingredients.seed, mix);
                Via::new(&mut fastrand::Rng::with_seed(seed))
            }
        }
    }

    fn route(
        &self,
        listener: &Arc<str>,
        name: &str,
        written: &config::Route,
        before: &Before<'_>,
    ) -> Result<Route, BuildError> {
        let name: Arc<str> = name.into();
        Ok(Route {
            action: self.action(&name, written)?,
            filters: Filters::new(written).map_err(|error| refused(&name, &error.to_string()))?,
            retry: RetryPolicy::new(&written.retry),
            deadline: written
                .deadline_field
                .as_deref()
                .and_then(DeadlineField::new),
            hedge: written.hedge.as_ref().map(HedgePolicy::new).map(Box::new),
            bulkhead: bulkhead_of(&self.bulkheads, &name, listener),
            connect: written.connect.unwrap_or(false),
            metrics: self.route_metrics(listener, &name, before),
            name,
        })
    }

    fn route_metrics(
        &self,
        listener: &Arc<str>,
        name: &Arc<str>,
        before: &Before<'_>,
    ) -> Arc<RouteMetrics> {
        let registry = &self.ingredients.world.registry;
        before.get(&**name).map_or_else(
            || Arc::new(RouteMetrics::new(registry, listener, name)),
            |before| Arc::clone(before),
        )
    }

    /// What is measured about the routes of a listener in the snapshot in force.
    fn before(&self, listener: &str) -> Before<'_> {
        let previous = self
            .ingredients
            .previous
            .and_then(|world| world.listener(listener));
        let Some(Kind::Http(listener)) = previous.map(|listener| &listener.kind) else {
            return Before::new();
        };
        let routes = listener.all_routes();
        routes.map(|route| (&*route.name, &route.metrics)).collect()
    }

    fn action(&self, name: &str, written: &config::Route) -> Result<Action, BuildError> {
        if let Some(redirect) = &written.redirect {
            let redirect = Redirect::new(redirect);
            return redirect
                .map(Action::Redirect)
                .map_err(|error| refused(name, &error.to_string()));
        }
        if let Some(respond) = &written.respond {
            let fixed = Fixed::new(respond);
            return fixed
                .map(Action::Respond)
                .map_err(|error| refused(name, &error.to_string()));
        }
        self.split(name, written).map(Action::Forward)
    }

    pub(super) fn split(&self, name: &str, written: &config::Route) -> Result<Split, BuildError> {
        let single = written.upstream.iter().map(|upstream| (upstream, 1));
        let weighted = written
            .split
            .iter()
            .map(|(upstream, weight)| (upstream, *weight));
        let mut choices = Vec::new();
        for (upstream, weight) in single.chain(weighted) {
            choices.push(self.choice(name, upstream, weight, &written.timeouts)?);
        }
        Split::new(choices).ok_or_else(|| refused(name, "it has no action"))
    }

    pub(super) fn choice(
        &self,
        owner: &str,
        name: &str,
        weight: u32,
        timeouts: &config::Timeouts,
    ) -> Result<Choice, BuildError> {
        let (Some(upstream), Some(written)) = (self.upstreams.get(name), self.written.get(name))
        else {
            return Err(BuildError::Unknown {
                owner: owner.to_owned(),
                what: "upstream",
                name: name.to_owned(),
            });
        };
        let defaults = &self.ingredients.config.defaults.timeouts;
        Ok(Choice {
            weight,
            upstream: Arc::clone(upstream),
            timeouts: CallTimeouts::new(timeouts, &written.timeouts, defaults),
            affinity: Affinity::new(written).map(Arc::new),
        })
    }

    fn unrouted(&self, listener: &Arc<str>, before: &Before<'_>) -> Result<Route, BuildError> {
        let name: Arc<str> = "".into();
        let filters = Filters::new(&config::Route::default());
        Ok(Route {
            action: Action::NotFound,
            filters: filters.map_err(|error| refused(&name, &error.to_string()))?,
            retry: RetryPolicy::default(),
            deadline: None,
            hedge: None,
            bulkhead: None,
            connect: false,
            metrics: self.route_metrics(listener, &name, before),
            name,
        })
    }
}

/// Cookies of a large site fit; nginx and HAProxy allow about the same.
const HEAD_SIZE: usize = 16 * 1024;

/// Browsers send about 20.
const FIELDS: usize = 100;
