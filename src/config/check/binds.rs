//! Addresses that are accepted on: each by one listener.

use std::collections::BTreeMap;

use super::listeners::is_udp;
use super::sockets::{bind_of, device_of};
use super::{Findings, World};
use crate::config::codes::Code;
use crate::config::diagnostic::Diagnostic;
use crate::config::node::Node;
use crate::config::source::Place;
use crate::config::syntax::address::{self, Bind};

/// Somebody who accepts on an address.
struct Use<'a> {
    who: Who<'a>,
    bind: Bind,
    /// Datagrams and connections may have the same address.
    udp: bool,
    /// The interface by which it is reached alone.
    device: Option<&'a str>,
    written: &'a str,
    place: Place,
}

#[derive(Clone, Copy)]
enum Who<'a> {
    Listener(&'a str),
    /// By its setting.
    Admin(&'static str),
}

impl Use<'_> {
    /// Whether both cannot be bound at once. Behind two interfaces they can.
    fn overlaps(&self, other: &Self) -> bool {
        let apart = self.device.zip(other.device).is_some_and(|(a, b)| a != b);
        !apart && self.bind.overlaps(&other.bind)
    }
}

pub(super) fn check(world: &World<'_>, findings: &mut Findings) {
    let mut ports: BTreeMap<(bool, u16), Vec<Use<'_>>> = BTreeMap::new();
    for accepting in uses(world) {
        let earlier = ports
            .entry((accepting.udp, accepting.bind.port()))
            .or_default();
        if let Some(first) = earlier.iter().find(|first| first.overlaps(&accepting)) {
            findings.push(double(first, &accepting));
        }
        earlier.push(accepting);
    }
}

/// Everybody who accepts, in the order of the files.
fn uses<'a>(world: &World<'a>) -> Vec<Use<'a>> {
    let listeners = world.listeners.values().filter_map(|item| {
        let mut found = accepting(Who::Listener(item.name), item.node.at(&["bind"])?)?;
        found.udp = is_udp(item);
        found.bind = bind_of(item, found.bind);
        found.device = device_of(item);
        Some(found)
    });
    let http = world.root.at(&["admin", "http"]);
    let http = http.and_then(|node| accepting(Who::Admin(HTTP), node));
    let socket = world.root.at(&["admin", "socket"]);
    let socket = socket.and_then(|node| {
        let written = node.str().filter(|_| !node.faulty)?;
        Some(Use {
            who: Who::Admin(SOCKET),
            bind: Bind::Unix(written.to_owned()),
            udp: false,
            device: None,
            written,
            place: node.place,
        })
    });
    let mut uses: Vec<Use<'_>> = listeners.chain(http).chain(socket).collect();
    uses.sort_by_key(|accepting| accepting.place);
    uses
}

fn accepting<'a>(who: Who<'a>, node: &'a Node) -> Option<Use<'a>> {
    let written = node.str().filter(|_| !node.faulty)?;
    Some(Use {
        who,
        bind: address::bind(written).ok()?,
        udp: false,
        device: None,
        written,
        place: node.place,
    })
}

fn double(first: &Use<'_>, second: &Use<'_>) -> Diagnostic {
    let who = match (first.who, second.who) {
        (Who::Listener(a), Who::Listener(b)) => format!("listeners `{a}` and `{b}`"),
        (Who::Listener(name), Who::Admin(key)) | (Who::Admin(key), Who::Listener(name)) => {
            format!("listener `{name}` and `{key}`")
        }
        (Who::Admin(key), Who::Admin(_)) => format!("`{key}` and itself"),
    };
    let same = first.bind == second.bind;
    let title = if same {
        format!("{who} both bind {}", second.written)
    } else {
        format!("{who} both accept on port {}", second.bind.port())
    };
    let (label, earlier) = if same {
        ("second use", "first use")
    } else {
        ("one of them covers the other", "first use of the port")
    };
    let help = match (first.who, second.who) {
        (Who::Listener(_), Who::Listener(_)) => {
            "one listener serves any number of routes: give the routes `listener = \"…\"` instead \
             of a second listener"
        }
        (Who::Admin(SOCKET), _) | (_, Who::Admin(SOCKET)) => {
            "give `admin.socket` a path of its own"
        }
        (Who::Admin(_), _) | (_, Who::Admin(_)) => "give `admin.http` a port of its own",
    };
    Diagnostic::new(Code::DoubleBind, title)
        .at(second.place, label)
        .also(first.place, earlier)
        .help(help)
}

/// The address of the admin API.
const HTTP: &str = "admin.http";

/// Its Unix socket.
const SOCKET: &str = "admin.socket";
