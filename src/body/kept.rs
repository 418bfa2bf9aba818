//! What of a body is kept while it is sent, so that it can be sent again.
//!
//! A body that is one piece costs nothing, and most are: it is shared with who sends it. What has
//! more to come is copied into one run of memory, for a piece may hold on to a buffer that is much
//! larger than itself, and the rest may be long in coming. Each body has a limit of its own, and
//! all of a worker have one together ([`Room`]): beyond either, nothing is kept.
//!
//! What is kept is held until the response begins, which the slowest of clients and endpoints
//! decide. So no route may have more of that room than it leaves to the others: two in want of all
//! get a third each, and a third is left for who comes (A. Choudhury, E. Hahne, "Dynamic Queue
//! Length Thresholds for Shared-Memory Packet Switches", 1998, with a factor of one).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::Body;

/// How much of a message's body is kept.
#[derive(Debug, Clone, Default)]
pub struct Keeping {
    /// `None` where nothing is.
    share: Option<Share>,
    most: u32,
}

/// The memory that all bodies of a worker share which are kept.
#[derive(Debug)]
pub struct Room {
    left: Cell<usize>,
    /// What each route has of it that has any, by a number of the route's.
    taken: RefCell<Vec<(usize, usize)>>,
}

/// A route's share of it.
#[derive(Debug, Clone)]
struct Share {
    room: Rc<Room>,
    of: usize,
}

/// What of a body is still at hand: while all of it is, its message may be sent again. Small, since
/// most messages have no body and hold this all the same.
#[derive(Debug)]
pub enum Kept {
    /// It has given nothing yet, and nothing would be kept.
    Untouched,
    /// All that it has given.
    Pieces(Box<Pieces>),
    /// It has given more than is kept, or nobody wants it back.
    Gone,
}

/// Pieces of a body, one behind the other.
#[derive(Debug)]
pub struct Pieces {
    /// The only one there is.
    only: Bytes,
    /// All of them, where there are several.
    all: Vec<u8>,
    /// Of the worker's room.
    taken: usize,
    most: usize,
    share: Share,
}

impl Keeping {
    /// At most so many bytes, within what a route, which has this number, may have of the worker's
    /// room.
    pub fn new(most: u32, room: &Rc<Room>, of: usize) -> Self {
        let share = || Share {
            room: Rc::clone(room),
            of,
        };
        Self {
            share: (most > 0).then(share),
            most,
        }
    }

    /// What is kept of a body that has given nothing yet.
    pub fn begin(self) -> Kept {
        let Some(share) = self.share else {
            return Kept::Untouched;
        };
        Kept::Pieces(Box::new(Pieces {
            only: Bytes::new(),
            all: Vec::new(),
            taken: 0,
            most: self.most as usize,
            share,
        }))
    }
}

impl Kept {
    /// The body has given a piece, which is kept if it fits, and which may be the last one.
    #[inline]
    pub fn gave(&mut self, piece: &Bytes, is_last: impl FnOnce() -> bool) {
        let fits = match self {
            Self::Pieces(pieces) => pieces.gave(piece, is_last),
            Self::Untouched | Self::Gone => false,
        };
        if !fits {
            *self = Self::Gone;
        }
    }

    /// Whether all that the body has given is at hand.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Untouched | Self::Pieces(_) => true,
            Self::Gone => false,
        }
    }

    /// The body with what it has given in front of it, if all of that is at hand.
    pub fn whole(self, body: Body) -> Option<Body> {
        match self {
            Self::Untouched => Some(body),
            Self::Pieces(mut pieces) => {
                let mut given = std::mem::take(&mut pieces.only);
                if !pieces.all.is_empty() {
                    given = std::mem::take(&mut pieces.all).into();
                }
                Some(if given.is_empty() {
                    body
                } else {
                    body.behind(given)
                })
            }
            Self::Gone => None,
        }
    }
}

impl Pieces {
    fn gave(&mut self, piece: &Bytes, is_last: impl FnOnce() -> bool) -> bool {
        let given = self.only.len().max(self.all.len());
        let length = given + piece.len();
        if length > self.most {
            return false;
        }
        if given == 0 && is_last() {
            self.only = piece.clone();
            return true;
        }
        if !self.reserve(length) {
            return false;
        }
        let only = std::mem::take(&mut self.only);
        self.all.extend_from_slice(&only);
        self.all.extend_from_slice(piece);
        true
    }

    /// Has memory for so many bytes in all, and for some more, within the limit.
    fn reserve(&mut self, length: usize) -> bool {
        if length <= self.taken {
            return true;
        }
        let wanted = length.next_power_of_two().min(self.most);
        let more = wanted - self.taken;
        if !self.share.room.take(self.share.of, more) {
            return false;
        }
        self.taken = wanted;
        self.all.reserve_exact(wanted - self.all.len());
        true
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.share.room.give_back(self.share.of, self.taken);
        }
    }
}

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(bytes),
            taken: RefCell::default(),
        })
    }

    /// Takes so many bytes for a route, unless it had more than is left to the others then.
    fn take(&self, of: usize, bytes: usize) -> bool {
        let mut taken = self.taken.borrow_mut();
        let place = taken.iter().position(|(route, _)| *route == of);
        let has = bytes + place.map_or(0, |place| taken[place].1);
        let left = self.left.get().checked_sub(bytes);
        let Some(left) = left.filter(|left| has <= *left) else {
            return false;
        };
        self.left.set(left);
        match place {
            Some(place) => taken[place].1 = has,
            None => taken.push((of, has)),
        }
        true
    }

    fn give_back(&self, of: usize, bytes: usize) {
        self.left.set(self.left.get() + bytes);
        let mut taken = self.taken.borrow_mut();
        if let Some(place) = taken.iter().position(|(route, _)| *route == of) {
            taken[place].1 -= bytes;
            if taken[place].1 == 0 {
                taken.swap_remove(place);
            }
        }
    }

    /// Bytes that are free.
    pub fn left(&self) -> usize {
        self.left.get()
    }
}

/// The room of a worker: two thousand bodies of the longest that are kept by default. Half of it,
/// which one route may have, is the longest body that a route may be told to keep.
pub const ROOM: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    /// All bytes of a body that is there.
    fn bytes(mut body: Body) -> Vec<u8> {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(frame)) = body.poll_frame_pinned(cx) {
            all.extend(frame.unwrap().into_data().unwrap());
        }
        all
    }

    fn keep(pieces: &[Vec<u8>], keeping: &Keeping) -> Kept {
        let mut kept = keeping.clone().begin();
        for piece in pieces {
            kept.gave(&Bytes::copy_from_slice(piece), || pieces.len() == 1);
        }
        kept
    }

    #[test]
    fn the_worker_has_one_limit_for_all() {
        let room = Room::new(1_100);
        let keeping = Keeping::new(600, &room, 1);
        let pieces = [vec![1; 250], vec![2; 250]];
        let first = keep(&pieces, &keeping);
        assert!(first.is_whole());
        assert!(room.left() <= 600);
        let second = keep(&pieces, &Keeping::new(600, &room, 2));
        assert!(!second.is_whole(), "there is no room for two");
        // One piece takes none, unless more is to come.
        assert!(keep(&pieces[..1], &keeping).is_whole());
        let left = room.left();
        let mut begun = keeping.clone().begin();
        begun.gave(&Bytes::from_static(&[1; 10]), || false);
        assert!(begun.is_whole() && room.left() < left);
        drop(begun);
        drop(first);
        assert_eq!(room.left(), 1_100);
        assert!(keep(&pieces, &keeping).is_whole());
        assert_eq!(room.left(), 1_100);
    }

    /// However many bodies a route keeps, and however long: another one has its share.
    #[test]
    fn no_route_has_more_of_it_than_it_leaves() {
        let room = Room::new(ROOM);
        let hog = |most: u32, of: usize| -> Vec<Kept> {
            let half = vec![0; most as usize / 2];
            let keeping = Keeping::new(most, &room, of);
            let bodies = (0..4_000).map(|_| keep(&[half.clone(), half.clone()], &keeping));
            bodies.take_while(Kept::is_whole).collect()
        };
        let longest = 16 * 1024 * 1024;
        let first = hog(longest, 1);
        assert_eq!((first.len(), room.left()), (1, ROOM / 2));
        let second = hog(16 * 1024, 2);
        assert_eq!((second.len(), room.left()), (512, ROOM / 4));
        let third = hog(16 * 1024, 3);
        assert_eq!((third.len(), room.left()), (256, ROOM / 8));
        drop((first, second, third));
        assert_eq!(room.left(), ROOM);
        assert_eq!(hog(16 * 1024, 1).len(), 1_024);
        assert!(room.taken.borrow().is_empty());
    }

    #[test]
    fn nothing_is_kept_where_that_is_said() {
        let room = Room::new(1_000);
        for keeping in [Keeping::new(0, &room, 1), Keeping::default()] {
            assert!(keep(&[], &keeping).is_whole(), "nothing was given");
            assert!(!keep(&[vec![1]], &keeping).is_whole());
        }
    }

    proptest! {
        /// What comes back is what was given, to the byte, or nothing; never more than the limit is
        /// taken, and all of it is given back.
        #[test]
        fn what_is_kept_is_what_was_given(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..20),
            most in 0_u32..400, room in 0_usize..600,
        ) {
            let room_of_all = Room::new(room);
            let kept = keep(&pieces, &Keeping::new(most, &room_of_all, 1));
            let whole = pieces.concat();
            prop_assert!(room - room_of_all.left() <= most as usize);
            let fits = whole.len() <= most as usize;
            if kept.is_whole() {
                prop_assert!(fits || pieces.is_empty());
            } else {
                let has_room = 2 * most as usize <= room;
                prop_assert!(!fits || !has_room);
            }
            let body = kept.whole(Body::full("the rest"));
            if let Some(body) = body {
                let expected = [&whole[..], b"the rest"].concat();
                prop_assert_eq!(bytes(body), expected);
            }
            prop_assert_eq!(room_of_all.left(), room);
        }
    }
}
