//! The registry's books: which series live, and who may have another.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::cells::Slots;
use super::kept::Counts;
use super::room::{Place, Room};
use super::{Asked, Family, Series, Shared};

/// What lives, and where there is room.
#[derive(Default)]
pub(super) struct State {
    pub(super) slots: Slots,
    pub(super) families: BTreeMap<&'static str, Members>,
    pub(super) room: Room,
    /// What hidden series share, by width: they count on, but nobody reads them.
    pub(super) hidden: BTreeMap<usize, Arc<Series>>,
    /// What the process before had counted of series that nobody has asked for yet.
    pub(super) unclaimed: Counts,
}

pub(super) struct Members {
    pub(super) family: &'static Family,
    pub(super) series: BTreeMap<Arc<str>, Weak<Series>>,
    /// Those that live, of their own labels and of what others share.
    pub(super) own: usize,
    pub(super) shared: usize,
}

impl State {
    pub(super) fn living(&self, asked: Asked<'_>, text: &Arc<str>) -> Option<Arc<Series>> {
        let members = self.families.get(asked.family.name)?;
        members.series.get(text)?.upgrade()
    }

    pub(super) fn has_room(&self, asked: Asked<'_>, place: Place) -> bool {
        let members = self.families.get(asked.family.name);
        let (own, shared) = members.map_or((0, 0), |known| (known.own, known.shared));
        let names = asked.labels.iter().map(|(name, _)| *name);
        match place {
            Place::Own => own < self.room.own(asked.family, names),
            Place::Shared => shared < self.room.shared(),
            Place::Hidden => true,
        }
    }

    pub(super) fn add(
        &mut self,
        asked: Asked<'_>,
        text: Arc<str>,
        place: Place,
        registry: &Arc<Shared>,
    ) -> Arc<Series> {
        let series = self.make(asked, Arc::clone(&text), place, registry);
        self.unclaimed.claim(&series);
        let members = self.families.entry(asked.family.name).or_insert(Members {
            family: asked.family,
            series: BTreeMap::new(),
            own: 0,
            shared: 0,
        });
        match place {
            Place::Own => members.own += 1,
            Place::Shared => members.shared += 1,
            Place::Hidden => {}
        }
        members.series.insert(text, Arc::downgrade(&series));
        series
    }

    /// The series that takes what nobody is to see.
    pub(super) fn hide(&mut self, asked: Asked<'_>, registry: &Arc<Shared>) -> Arc<Series> {
        let width = asked.values.width(asked.family);
        if let Some(hidden) = self.hidden.get(&width) {
            return Arc::clone(hidden);
        }
        let hidden = self.make(asked, Arc::from(""), Place::Hidden, registry);
        self.hidden.insert(width, Arc::clone(&hidden));
        hidden
    }

    fn make(
        &mut self,
        asked: Asked<'_>,
        labels: Arc<str>,
        place: Place,
        registry: &Arc<Shared>,
    ) -> Arc<Series> {
        Arc::new(Series {
            family: asked.family,
            labels,
            values: asked.values,
            place,
            cells: self.slots.take(asked.values.width(asked.family)),
            registry: Arc::downgrade(registry),
        })
    }

    /// Lets a series go whose last handle is being dropped.
    pub(super) fn forget(&mut self, series: &Series) {
        self.slots.put_back(&series.cells);
        let Some(members) = self.families.get_mut(series.family.name) else {
            return;
        };
        match series.place {
            Place::Own => members.own -= 1,
            Place::Shared => members.shared -= 1,
            Place::Hidden => return,
        }
        // Between the last drop and this lock the same labels may have been asked for again: the
        // entry then belongs to a living series.
        if let Some(entry) = members.series.get(&series.labels)
            && entry.strong_count() == 0
        {
            members.series.remove(&series.labels);
        }
        if members.own + members.shared == 0 {
            self.families.remove(series.family.name);
        }
    }
}
