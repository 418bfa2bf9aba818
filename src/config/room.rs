//! How much of a listener one route may have, where nothing is written about it.
//!
//! Problem: a request holds a place at its listener for as long as its endpoint takes. Where one
//! route's endpoints accept and say nothing, its requests would in time hold every place, and
//! clients of all other routes would be reset. So a route may have three quarters of the places,
//! unless it is the only one that sends requests on: then there is nobody to leave any to.
//!
//! It is places that are counted then, and no requests: a connection of HTTP/2 has one, however
//! many requests of the route are under way on it.

use super::format::{Config, Listener, Route};

impl Config {
    /// Requests of a route that may be under way at once, at all its listeners; or, where it does
    /// not say so itself, the most places that they may have at any of them. `None` for any number.
    pub fn max_in_flight(&self, name: &str, route: &Route) -> Option<u32> {
        route.max_in_flight.or_else(|| {
            let listeners = self.listener.iter();
            let places = listeners.filter_map(|listener| self.places(name, route, listener));
            places.max()
        })
    }

    /// Places of a listener that requests of a route may have which does not say itself how many
    /// there may be; `None` for any number.
    pub fn places(
        &self,
        name: &str,
        route: &Route,
        (listener, written): (&String, &Listener),
    ) -> Option<u32> {
        let takes = route.takes_requests_of(listener) && !written.relays();
        if route.max_in_flight.is_some() || !takes || !sends_on(route) {
            return None;
        }
        let others = self.route.iter().filter(|(other, _)| *other != name);
        let mut others = others.map(|(_, other)| other);
        let has_others = sends_on_itself(written)
            || others.any(|other| other.takes_requests_of(listener) && sends_on(other));
        has_others.then(|| share(written))
    }

    /// The same of the requests that no route takes, which go to a listener's own upstream.
    pub fn places_unrouted(&self, name: &str, listener: &Listener) -> Option<u32> {
        let mut routes = self.route.values();
        let has_others = routes.any(|route| route.takes_requests_of(name) && sends_on(route));
        (has_others && sends_on_itself(listener) && !listener.relays()).then(|| share(listener))
    }
}

impl Listener {
    /// Connections, or sessions, at once.
    pub fn max_connections(&self) -> u32 {
        self.max_connections.unwrap_or(MAX_CONNECTIONS)
    }
}

fn share(listener: &Listener) -> u32 {
    let places = listener.max_connections();
    (places - places / LEFT_TO_OTHERS).max(1)
}

fn sends_on(route: &Route) -> bool {
    route.upstream.is_some() || !route.split.is_empty()
}

fn sends_on_itself(listener: &Listener) -> bool {
    let redirects = listener.redirect_to_https == Some(true);
    !redirects && (listener.upstream.is_some() || !listener.to.is_empty())
}

/// Half of the descriptors that a container usually gets, so that each may have an upstream side.
const MAX_CONNECTIONS: u32 = 10_000;

/// The part of the places that one route cannot have. More would be kept from a route that is well
/// and has nearly all of the traffic.
const LEFT_TO_OTHERS: u32 = 4;

#[cfg(test)]
mod tests {
    use crate::config::{Config, Nothing, load_text, show};

    fn config(text: &str) -> Config {
        let outcome = load_text("evenkeel.toml", text, &Nothing);
        outcome.config.expect("a good one")
    }

    fn of(config: &Config, name: &str) -> Option<u32> {
        config.max_in_flight(name, &config.route[name])
    }

    const TWO: &str = "\
        [listener.web]\nbind = ':1'\n[listener.inside]\nbind = ':2'\nmax_connections = 40\n\
        [route.api]\npath = '/api'\nupstream = 'app'\n[route.rest]\nupstream = 'app'\n\
        [upstream.app]\nendpoints = ['10.0.0.1:1']\n";

    #[test]
    fn a_route_leaves_a_quarter_to_others() {
        let two = config(TWO);
        assert_eq!(of(&two, "api"), Some(7_500), "of its largest listener");
        let inside = config(&TWO.replace("path", "listener = 'inside'\npath"));
        assert_eq!(of(&inside, "api"), Some(30));
        let written = config(&TWO.replace("path", "max_in_flight = 9999\npath"));
        assert_eq!(of(&written, "api"), Some(9_999));
        let tiny = config(&TWO.replace("bind = ':1'", "bind = ':1'\nmax_connections = 1"));
        assert_eq!(of(&tiny, "api"), Some(30));
        let at = |listener: &str| {
            let listener = two.listener.get_key_value(listener).expect("it is there");
            two.places("api", &two.route["api"], listener)
        };
        assert_eq!([at("web"), at("inside")], [Some(7_500), Some(30)], "each");
    }

    #[test]
    fn who_is_alone_at_a_listener_may_have_all_of_it() {
        let alone = "[route.api]\npath = '/api'\nupstream = 'app'\n";
        let one = config(&TWO.replace(alone, ""));
        assert_eq!(of(&one, "rest"), None);
        // What is answered here holds no place for long.
        let answered = TWO.replace(
            "path = '/api'\nupstream = 'app'",
            "path = '/api'\nrespond = { status = 204 }",
        );
        let answered = config(&answered);
        assert_eq!([of(&answered, "rest"), of(&answered, "api")], [None, None]);
    }

    #[test]
    fn what_is_in_force_is_shown() {
        let shown: toml::Table = show(&config(TWO), true).parse().expect("TOML");
        let most = |name: &str| shown["route"][name]["max_in_flight"].as_integer();
        assert_eq!([most("api"), most("rest")], [Some(7_500), Some(7_500)]);
        let shown: toml::Table = show(&config(TWO), false).parse().expect("TOML");
        assert_eq!(
            shown["route"]["api"].get("max_in_flight"),
            None,
            "not written"
        );
    }

    #[test]
    fn what_no_route_takes_leaves_a_quarter_too() {
        let text = TWO.replace(
            "[route.rest]\nupstream",
            "[route.rest]\npath = '/rest'\nupstream",
        );
        let text = text.replace(
            "bind = ':1'",
            "bind = ':1'\nmax_connections = 100\nupstream = 'app'",
        );
        let with_own = config(&text);
        let own = |name: &str| with_own.places_unrouted(name, &with_own.listener[name]);
        assert_eq!([own("web"), own("inside")], [Some(75), None]);
        assert_eq!(of(&with_own, "api"), Some(75));
    }
}
