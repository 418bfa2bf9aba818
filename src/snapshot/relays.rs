//! The part of the building that is about connections which are relayed unread.

use std::sync::Arc;

use super::action::Split;
use super::build::Builder;
use super::by_name::{ByName, Otherwise, SessionRoute};
use super::datagrams::{DatagramMetrics, UdpListener};
use super::failure::{BuildError, refused};
use super::listener::{Kind, TcpListener};
use super::timeouts::{session_idle, tls_handshake};
use super::unnamed::own_upstream;
use crate::config;
use crate::route::{NameRule, NameTable};

impl Builder<'_> {
    /// What a listener is that relays bytes.
    pub(super) fn tcp(
        &self,
        name: &Arc<str>,
        written: &config::Listener,
    ) -> Result<TcpListener, BuildError> {
        Ok(TcpListener {
            name: Arc::clone(name),
            fallback: self.own_target(name, written)?,
        })
    }

    /// What a listener is that relays datagrams.
    pub(super) fn udp(
        &self,
        name: &Arc<str>,
        written: &config::Listener,
    ) -> Result<UdpListener, BuildError> {
        let route = self.own_target(name, written)?;
        let without = "a listener with protocols = [\"udp\"] needs `upstream` or `to`";
        let defaults = &self.ingredients.config.defaults.timeouts;
        Ok(UdpListener {
            route: route.ok_or_else(|| refused(name, without))?,
            session_idle: session_idle([&written.timeouts, defaults]),
            responses: written.responses,
            metrics: DatagramMetrics::new(&self.ingredients.world.registry, name),
        })
    }

    fn own_target(
        &self,
        name: &Arc<str>,
        written: &config::Listener,
    ) -> Result<Option<Arc<SessionRoute>>, BuildError> {
        let registry = &self.ingredients.world.registry;
        let Some(upstream) = own_upstream(name, written) else {
            return Ok(None);
        };
        let choice = self.choice(name, &upstream, 1, &written.timeouts)?;
        let split = Split::new(vec![choice]);
        let split = split.ok_or_else(|| refused(name, "it has no target"))?;
        let target = (split, written.intercept.is_some());
        Ok(Some(Arc::new(SessionRoute::new(
            registry, name, "", target,
        ))))
    }

    /// The routes of a listener that take connections.
    pub(super) fn by_name(
        &self,
        name: &Arc<str>,
        written: &config::Listener,
        kind: &Kind,
    ) -> Result<Option<Arc<ByName>>, BuildError> {
        let registry = &self.ingredients.world.registry;
        let mut rules = Vec::new();
        for (route_name, route) in &self.ingredients.config.route {
            if !route.takes_connections() || route.listener.as_deref() != Some(name) {
                continue;
            }
            let rule = NameRule::new(route_name, route)
                .map_err(|error| refused(route_name, &error.to_string()))?;
            let split = self.split(route_name, route)?;
            let target = (split, written.intercept.is_some());
            let route = SessionRoute::new(registry, name, route_name, target);
            rules.push((rule, Arc::new(route)));
        }
        let otherwise = match kind {
            Kind::Tcp(tcp) if tcp.fallback.is_none() && rules.is_empty() => {
                return Err(refused(
                    name,
                    "a listener with protocols = [\"tcp\"] needs `upstream` or `to`, or routes with a \
                     `server_name`",
                ));
            }
            Kind::Http(_) if written.tls.is_none() && !rules.is_empty() => {
                return Err(refused(
                    name,
                    "without `tls` it has no use for a `server_name`",
                ));
            }
            Kind::Udp(_) if !rules.is_empty() => {
                return Err(refused(name, "datagrams do not begin with a `server_name`"));
            }
            Kind::Http(_) => Otherwise::EndsTls,
            Kind::Tcp(tcp) if tcp.fallback.is_some() && written.tls.is_some() => Otherwise::EndsTls,
            Kind::Tcp(tcp) if tcp.fallback.is_some() => Otherwise::Relays,
            Kind::Tcp(_) | Kind::Udp(_) => Otherwise::Refuses,
        };
        let defaults = &self.ingredients.config.defaults.timeouts;
        let limit = tls_handshake([&written.timeouts, defaults]);
        let by_name = |rules| ByName::new(registry, name, rules, (otherwise, limit));
        let routes = NameTable::build(rules);
        Ok((!routes.is_empty()).then(|| Arc::new(by_name(routes))))
    }
}
