//! What a process that begins has of the one before it.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::file::{self, Sought};
use super::keeper::publish;
use super::{Found, Keeper, Moment, Place, Restored, State};
use crate::control::aside::aside;
use crate::control::health::Prober;
use crate::snapshot::{Handle, Snapshot};
use crate::telemetry::events::{Event, Events};
use crate::telemetry::metrics::Counts;
use crate::upstream::{self, World};

/// What was found, and where more is to be kept.
#[derive(Debug)]
pub struct Beginning {
    place: Option<Place>,
    members: BTreeMap<u64, upstream::State>,
}

impl Beginning {
    /// Has what is about to run go on from what was kept in the directory that the configuration
    /// names, if it names one. Before the upstreams are installed, and once nothing else can keep
    /// the process from starting. Nothing that is found there can.
    pub async fn of(snapshot: &Snapshot, world: &World) -> Self {
        let place = snapshot.config.state_dir.clone().map(Place::new);
        let mut members = BTreeMap::new();
        if let Some(place) = &place
            && let Some(found) = find(place, world).await
        {
            members = restore(found, place, snapshot, world);
        }
        Self { place, members }
    }

    /// The same from what the instance before knows, which hands over to this one. Nothing of it
    /// can keep the process from starting either.
    pub fn handed(bytes: &[u8], snapshot: &Snapshot, world: &World) -> Self {
        let place = snapshot.config.state_dir.clone().map(Place::new);
        let members = match State::from_bytes(bytes) {
            Ok(state) => {
                let age = state.age(&Moment::now()).unwrap_or_default();
                let upstreams = snapshot.upstreams.values();
                let restored = state.restore(upstreams, age, Instant::now());
                let Restored { endpoints, out, .. } = &restored;
                let why = format!(
                    "{endpoints} endpoints go on from what the instance before knew, {out} of them out"
                );
                tell(&world.events, "state_restored", why);
                restored.members
            }
            Err(error) => {
                let why = format!("what the instance before knew is not gone on from: {error}");
                tell(&world.events, "state_ignored", why);
                BTreeMap::new()
            }
        };
        Self { place, members }
    }

    /// Tells the prober, and makes who keeps what is known from now on.
    pub fn keeper(self, handle: &Handle, prober: &Prober, world: &World) -> Option<Keeper> {
        prober.resume(self.members);
        let place = self.place?;
        Some(Keeper::new(place, handle.clone(), prober.asking(), world))
    }
}

/// Reads what was kept, if it was. What is of no use is told, and no reason not to start.
async fn find(place: &Place, world: &World) -> Option<Found> {
    let reading = place.clone();
    let sought = aside([place.directory()], move || reading.read()).await;
    let why = match sought {
        Ok(Ok(Sought::Found(found))) => return Some(*found),
        Ok(Ok(Sought::Nothing)) => return None,
        Ok(Ok(Sought::Useless(why))) => format!("{why}; it is set aside as state.unreadable"),
        Ok(Err(error)) => file::unreadable(place.directory(), &error),
        Err(why) => why,
    };
    let why = format!("what was kept is not gone on from: {why}");
    publish(&world.events, "state_ignored", why, place);
    None
}

fn tell(events: &Events, kind: &'static str, why: String) {
    let fields = Vec::new();
    events.publish(Event { kind, why, fields });
}

fn restore(
    mut found: Found,
    place: &Place,
    snapshot: &Snapshot,
    world: &World,
) -> BTreeMap<u64, upstream::State> {
    let Some(age) = found.state.age(&Moment::now()) else {
        let why = "what was kept is not gone on from: it is later than now, the clock was set back";
        publish(&world.events, "state_ignored", why.to_owned(), place);
        return BTreeMap::new();
    };
    let upstreams = snapshot.upstreams.values();
    let restored = found.state.restore(upstreams, age, Instant::now());
    // Only what could be taken back: else the process after this one would count it once more.
    let counts = if found.is_whole && place.begin() {
        found.state.take_counts()
    } else {
        Counts::default()
    };
    let series = counts.len();
    world.registry.resume(&counts);
    let Restored {
        endpoints,
        out,
        gone,
        members,
    } = restored;
    let age = age.as_secs();
    let why = format!(
        "{endpoints} endpoints go on from what was kept {age} s ago, {out} of them out; {gone} are \
         gone; {series} counts go on"
    );
    publish(&world.events, "state_restored", why, place);
    members
}
