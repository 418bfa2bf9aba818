//! Handles that are made when they are first needed.
//!
//! Problem: most of what could be counted never happens, and a series of each costs memory and the
//! scraper's time. Asked for by the first count, a handle is one load and a branch away from then
//! on. If there was no room for it, it is asked for again before a scrape ([`Late::settle`]), once
//! there is: what others left behind is not lost to those who stay.

use std::sync::OnceLock;

use super::Handle;

/// A handle that is made when it is first needed.
#[derive(Debug)]
pub struct Late<H> {
    own: OnceLock<H>,
    /// What stands for it while there is no room. Never taken back: what was added to one gauge
    /// must be taken off the same.
    stand_in: OnceLock<H>,
}

impl<H> Default for Late<H> {
    fn default() -> Self {
        Self {
            own: OnceLock::new(),
            stand_in: OnceLock::new(),
        }
    }
}

impl<H: Handle> Late<H> {
    /// The handle; `make` asks the registry for it.
    #[inline]
    pub fn get(&self, make: impl FnOnce() -> H) -> &H {
        match self.own.get() {
            Some(own) => own,
            None => self.or_stand_in(make),
        }
    }

    /// The handle, if it has been made and has a series of its own.
    pub fn own(&self) -> Option<&H> {
        self.own.get()
    }

    /// Asks again for what found no room, if it now `has_room`.
    pub fn settle(&self, has_room: impl FnOnce() -> bool, make: impl FnOnce() -> H) {
        if self.own.get().is_some() || self.stand_in.get().is_none() || !has_room() {
            return;
        }
        let handle = make();
        if handle.is_own() {
            self.own.get_or_init(|| handle);
        }
    }

    fn or_stand_in(&self, make: impl FnOnce() -> H) -> &H {
        if let Some(stand_in) = self.stand_in.get() {
            return stand_in;
        }
        let handle = make();
        let place = if handle.is_own() {
            &self.own
        } else {
            &self.stand_in
        };
        place.get_or_init(|| handle)
    }
}
