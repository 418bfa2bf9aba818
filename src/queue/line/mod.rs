//! One line of those that wait: whose turn it is, as a pure function of who came when.
//!
//! Problem: in the order of arrival, one client that asks a thousand times at once stands before
//! whoever comes after it. And once a line never empties, everybody in it waits for as long as he
//! has patience: those at its front have hardly any left, and their clients give up while they are
//! served. Such a line makes everybody late and helps nobody.
//!
//! So clients take turns, one of theirs at each, in the order in which they began to wait, and
//! among those of one client the oldest is first. That everybody waits a little is no reason to
//! change it: near its capacity a service has a line nearly always, and serves it in time. But once
//! somebody has waited in vain ([`Order::stale_after`]; or all the time that he had, if that is no
//! less than half of it) more comes than can be done, and the newest is first, of the clients as of
//! what each has waiting, until nobody has waited for half as long as he: most are served at once
//! then, and who has waited longest is who waits in vain (adaptive LIFO: B. Maurer, "Fail at
//! Scale", ACM Queue 13/8, 2015; that the wait of the oldest tells a bad queue from a good one, and
//! not its length nor its age, is from K. Nichols and V. Jacobson, "Controlling Queue Delay", ACM
//! Queue 10/5, 2012). So nobody is lost by it whom the order of arrival would have served, as long
//! as that serves all. Turns hold then as well: who had his is passed over until as many were
//! served as clients waited when the round began.
//!
//! Where there is no room for one more, whoever has the most waiting loses the one that would be
//! served last, if whoever comes has fewer: so nobody is kept out by one who fills the line.
//!
//! Use: `Queue` locks it. Whatever happens, it is asked whose turn it is (`choose`), and if that is
//! another's than before, he is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

/// How those in a line take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Who waits, among those who take turns.
    pub client: u64,
    /// Once somebody has waited for so long in vain the newest is first, until nobody has for half
    /// of it; `None` for never.
    pub stale_after: Option<Duration>,
}

/// Those that wait for one thing, with what is told when it is their turn.
#[derive(Debug)]
pub(super) struct Line<W> {
    stale_after: Option<Duration>,
    /// How long he had waited who waited in vain, while the newest is first since that.
    in_vain: Option<Duration>,
    /// Since when each has waited, by number: the oldest is at the front.
    since: BTreeMap<u64, Instant>,
    /// None of them is empty; each in the order of arrival.
    clients: BTreeMap<u64, VecDeque<Waiting<W>>>,
    /// The clients by how many each has waiting.
    sizes: BTreeSet<(usize, u64)>,
    /// The clients that have not had their turn in this round; next is the one at the front, or
    /// the one at the back while the newest is first.
    turns: VecDeque<u64>,
    /// Those that have, while the newest is first, whether they wait for another one or not. There
    /// are no more of them than clients waited when the round began.
    had_turn: BTreeSet<u64>,
    /// Those that had theirs in the round before and did not wait when this one began: who comes
    /// again is one more whose turn it is.
    may_come_again: BTreeSet<u64>,
    /// Turns left in this round, while the newest is first.
    left: usize,
    /// The number of the one whose turn it is.
    first: u64,
    /// Since when he has been told that there may be room, and has not looked.
    told: Option<Instant>,
    /// Those that cannot look now, by number: whoever is behind them is first meanwhile.
    asleep: BTreeSet<u64>,
}

/// Why one has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It was served.
    Served,
    /// Its time was over.
    Late,
    /// Whoever waited has gone, or another one needed the place.
    Gone,
}

#[derive(Debug)]
pub(super) struct Waiting<W> {
    number: u64,
    told: W,
}

impl Order {
    /// In the order of arrival, whoever they are.
    pub const OF_ARRIVAL: Self = Self {
        client: 0,
        stale_after: None,
    };
}

impl<W> Line<W> {
    /// A line of nobody.
    pub(super) fn new() -> Self {
        Self {
            stale_after: None,
            in_vain: None,
            since: BTreeMap::new(),
            clients: BTreeMap::new(),
            sizes: BTreeSet::new(),
            turns: VecDeque::new(),
            had_turn: BTreeSet::new(),
            may_come_again: BTreeSet::new(),
            left: 0,
            first: u64::MAX,
            told: None,
            asleep: BTreeSet::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Puts one in its place, by its number among those of its client.
    pub(super) fn join(&mut self, number: u64, order: Order, told: W, now: Instant) {
        if self.stale_after != order.stale_after {
            // A reload gives everybody more time, or less.
            self.stale_after = order.stale_after;
            self.in_vain = self.in_vain.and(order.stale_after);
        }
        self.since.insert(number, now);
        let client = order.client;
        let of_client = self.clients.entry(client).or_default();
        let place = of_client.partition_point(|other| other.number <= number);
        of_client.insert(place, Waiting { number, told });
        let size = of_client.len();
        self.sizes.remove(&(size - 1, client));
        self.sizes.insert((size, client));
        if size == 1 && !self.had_turn.contains(&client) {
            self.turns.push_back(client);
            self.left += usize::from(self.may_come_again.remove(&client));
        } else if self.is_stale()
            && let Some(place) = position(&self.turns, client)
        {
            // What it has that is newest is the newest of all.
            self.turns.remove(place);
            self.turns.push_back(client);
        }
    }

    /// Whether the newest is first.
    pub(super) fn is_stale(&self) -> bool {
        self.in_vain.is_some()
    }

    /// Takes one out, if it still waits.
    pub(super) fn leave(&mut self, number: u64, client: u64, why: Left, now: Instant) -> Option<W> {
        let of_client = self.clients.get_mut(&client)?;
        let place = of_client.partition_point(|other| other.number < number);
        if of_client.get(place)?.number != number {
            return None;
        }
        let gone = of_client.remove(place)?;
        let size = of_client.len();
        self.asleep.remove(&number);
        let since = self.since.remove(&number);
        let waited = since.map(|since| now.saturating_duration_since(since));
        self.sizes.remove(&(size + 1, client));
        if size > 0 {
            self.sizes.insert((size, client));
        } else {
            self.clients.remove(&client);
        }
        if why == Left::Served {
            self.turn_over(client, size > 0);
        } else if size == 0
            && let Some(place) = position(&self.turns, client)
        {
            self.turns.remove(place);
        }
        let in_vain = match (why, self.stale_after, waited) {
            (Left::Late, Some(limit), Some(waited)) => waited >= limit / SHORT,
            (Left::Gone, Some(limit), Some(waited)) => waited >= limit,
            _ => false,
        };
        if in_vain && !self.is_stale() {
            self.in_vain = waited.min(self.stale_after);
            self.begin_round();
        }
        Some(gone.told)
    }

    /// Makes room for one of this client, if another has more than it would have: that one loses
    /// the one that would be served last.
    pub(super) fn push_out(&mut self, for_client: u64, now: Instant) -> Option<W> {
        let own = self.clients.get(&for_client).map_or(0, VecDeque::len);
        let &(most, client) = self.sizes.last()?;
        if most <= own + 1 {
            return None;
        }
        let of_client = self.clients.get(&client)?;
        let last = if self.is_stale() {
            of_client.front()?
        } else {
            of_client.back()?
        };
        self.leave(last.number, client, Left::Gone, now)
    }

    /// The number of the one whose turn it is.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The one with this number, of this client, if it still waits.
    pub(super) fn find(&self, number: u64, client: u64) -> Option<&W> {
        let of_client = self.clients.get(&client)?;
        let found = of_client.binary_search_by_key(&number, |waiting| waiting.number);
        found.ok().map(|place| &of_client[place].told)
    }

    /// Decides whose turn it is, after whatever has happened: the room that there is, or that is
    /// made, is for him.
    pub(super) fn choose(&mut self, now: Instant) -> Option<&W> {
        self.judge(now);
        if self.is_stale() && (self.left == 0 || self.turns.is_empty()) {
            self.begin_round();
        }
        let (client, number) = self.next()?;
        if self.first != number {
            self.first = number;
            self.told = None;
        }
        let of_client = self.clients.get(&client)?;
        let place = of_client.partition_point(|other| other.number < number);
        of_client.get(place).map(|first| &first.told)
    }

    /// That whose turn it is has been told so.
    pub(super) fn has_told(&mut self, now: Instant) {
        self.told.get_or_insert(now);
    }

    /// For how long whose turn it is has been told so without looking.
    pub(super) fn told_for(&self, now: Instant) -> Option<Duration> {
        self.told.map(|told| now.saturating_duration_since(told))
    }

    /// That this one looks.
    pub(super) fn looks(&mut self, number: u64) {
        if number == self.first {
            self.told = None;
        }
    }

    /// From now on passes over those that cannot look, besides those that could not before.
    pub(super) fn pass_over(&mut self, cannot_look: impl Fn(&W) -> bool) {
        let waiting = self.clients.values().flatten();
        let asleep = waiting.filter(|waiting| cannot_look(&waiting.told));
        self.asleep.extend(asleep.map(|waiting| waiting.number));
    }

    /// These can look again. If any was passed over it has to be decided anew whose turn it is:
    /// then it is true.
    pub(super) fn wake(&mut self, can_look: impl Fn(&W) -> bool) -> bool {
        if self.asleep.is_empty() {
            return false;
        }
        let (waiting, before) = (self.clients.values().flatten(), self.asleep.len());
        for awake in waiting.filter(|waiting| can_look(&waiting.told)) {
            self.asleep.remove(&awake.number);
        }
        self.asleep.len() < before
    }

    /// The client and the number of the one whose turn it is: the first that can look, or the first
    /// where none can.
    fn next(&self) -> Option<(u64, u64)> {
        let turn_of = |client: &u64, skips: bool| {
            let of_client = self.clients.get(client)?;
            let mut can_look = of_client
                .iter()
                .map(|waiting| waiting.number)
                .filter(|number| !skips || !self.asleep.contains(number));
            let first = if self.is_stale() {
                can_look.next_back()
            } else {
                can_look.next()
            };
            Some((*client, first?))
        };
        let next = |skips: bool| {
            let mut turns = self.turns.iter();
            if self.is_stale() {
                turns.rev().find_map(|client| turn_of(client, skips))
            } else {
                turns.find_map(|client| turn_of(client, skips))
            }
        };
        let awake = (!self.asleep.is_empty()).then(|| next(true)).flatten();
        awake.or_else(|| next(false))
    }

    /// The newest is first no more once nobody has waited for long.
    fn judge(&mut self, now: Instant) {
        if !self.is_stale() {
            return;
        }
        let oldest = self.since.values().next();
        let longest = oldest.map(|since| now.saturating_duration_since(*since));
        let limit = self.in_vain.map(|limit| limit / 2);
        if limit.is_none_or(|limit| longest.is_none_or(|longest| longest < limit)) {
            self.in_vain = None;
            self.begin_round();
        }
    }

    /// Every client that waits has its turn again: next is whose newest came last while the newest
    /// is first, and else whose oldest came first.
    fn begin_round(&mut self) {
        let is_stale = self.is_stale();
        let mut turns: Vec<(u64, u64)> = Vec::with_capacity(self.clients.len());
        turns.extend(self.clients.iter().filter_map(|(client, waiting)| {
            let of_client = if is_stale {
                waiting.back()
            } else {
                waiting.front()
            };
            Some((of_client?.number, *client))
        }));
        turns.sort_unstable();
        self.turns = turns.into_iter().map(|(_, client)| client).collect();
        self.may_come_again = mem::take(&mut self.had_turn);
        let clients = &self.clients;
        self.may_come_again
            .retain(|client| !clients.contains_key(client));
        self.left = self.turns.len();
    }

    /// A client had its turn, and waits for another one or not.
    fn turn_over(&mut self, client: u64, waits: bool) {
        let Some(place) = position(&self.turns, client) else {
            return; // the round is another one by now
        };
        self.turns.remove(place);
        if self.is_stale() {
            self.left = self.left.saturating_sub(1);
            self.had_turn.insert(client);
        } else if waits {
            self.turns.push_back(client);
        }
    }
}

/// Who had less time than that part of what one may wait at most, and waited in vain, says nothing
/// of the line: clients with little time would keep it turned around for all others, whom the order
/// of arrival would have served.
const SHORT: u32 = 2;

/// There are no more clients than may wait, and numbers side by side are looked through fast.
fn position(clients: &VecDeque<u64>, client: u64) -> Option<usize> {
    clients.iter().position(|other| *other == client)
}

#[cfg(test)]
mod tests;
