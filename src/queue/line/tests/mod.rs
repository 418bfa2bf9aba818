//! Whose turn it is, whatever comes and goes.

mod overload;

use fastrand::Rng;
use proptest::prelude::*;

use super::*;

/// A line whose members are told nothing, with a clock of its own.
struct Model {
    line: Line<()>,
    now: Instant,
    numbers: u64,
    /// Who waits: number and client.
    members: Vec<(u64, u64)>,
}

impl Model {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            line: Line::new(),
            now,
            numbers: 0,
            members: Vec::new(),
        }
    }

    fn join(&mut self, client: u64) {
        let order = Order {
            client,
            stale_after: Some(STALE),
        };
        self.line.join(self.numbers, order, (), self.now);
        self.members.push((self.numbers, client));
        self.numbers += 1;
        self.line.choose(self.now);
    }

    fn leave(&mut self, place: usize, had_turn: bool) -> (u64, u64) {
        let (number, client) = self.members.swap_remove(place);
        let gone = self.line.leave(
            number,
            client,
            if had_turn { Left::Served } else { Left::Gone },
            self.now,
        );
        assert!(gone.is_some(), "{number} of {client} waits");
        let again = self.line.leave(
            number,
            client,
            if had_turn { Left::Served } else { Left::Gone },
            self.now,
        );
        assert!(again.is_none(), "{number} of {client} has left");
        self.line.choose(self.now);
        (number, client)
    }

    /// Serves whose turn it is.
    fn serve(&mut self) -> Option<(u64, u64)> {
        self.line.choose(self.now)?;
        let first = self.line.first();
        let mut numbers = self.members.iter();
        let place = numbers.position(|(number, _)| *number == first);
        Some(self.leave(place.expect("it waits"), true))
    }

    fn serve_all(&mut self) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| self.serve()).collect()
    }

    fn grow_stale(&mut self) {
        // One that nobody serves, before all others.
        self.join(u64::MAX);
        self.now += STALE;
        self.leave(self.members.len() - 1, false);
        assert!(self.line.is_stale());
    }

    fn check(&self) {
        let line = &self.line;
        let had_turn = line.had_turn.iter();
        let had_turn = had_turn.filter(|client| line.clients.contains_key(client));
        let mut turns: Vec<u64> = line.turns.iter().chain(had_turn).copied().collect();
        turns.sort_unstable();
        let clients: Vec<u64> = line.clients.keys().copied().collect();
        assert_eq!(turns, clients, "each has one turn");
        let sizes = line.clients.iter().map(|(client, of)| (of.len(), *client));
        assert_eq!(line.sizes, sizes.collect());
        let all: usize = line.clients.values().map(VecDeque::len).sum();
        assert_eq!(all, self.members.len());
        let is_first = |(number, _): &(u64, u64)| *number == line.first();
        assert!(line.is_empty() || self.members.iter().any(is_first));
    }
}

fn clients(served: &[(u64, u64)]) -> Vec<u64> {
    served.iter().map(|(_, client)| *client).collect()
}

fn numbers(served: &[(u64, u64)]) -> Vec<u64> {
    served.iter().map(|(number, _)| *number).collect()
}

#[test]
fn clients_take_turns_and_their_oldest_is_first() {
    let mut model = Model::new();
    for client in [1, 1, 1, 1, 2, 3, 3] {
        model.join(client);
    }
    let served = model.serve_all();
    assert_eq!(clients(&served), [1, 2, 3, 1, 3, 1, 1]);
    assert_eq!(numbers(&served), [0, 4, 5, 1, 6, 2, 3]);
}

#[test]
fn of_one_client_they_are_in_the_order_of_arrival() {
    let mut line = Line::new();
    let now = Instant::now() + STALE * 1_000;
    for number in [3, 1, 2, 0] {
        line.join(number, Order::OF_ARRIVAL, (), now);
    }
    for number in 0..4 {
        assert!(line.choose(now).is_some());
        assert_eq!(line.first(), number, "it is never stale");
        line.leave(number, 0, Left::Served, now);
    }
}

#[test]
fn once_it_is_stale_the_newest_is_first() {
    let mut model = Model::new();
    for client in [1, 2, 3, 2] {
        model.join(client);
    }
    model.grow_stale();
    model.join(4);
    let served = model.serve_all();
    // One of client 2 came last but one; and when three were served, as many as had waited, it has
    // its turn again.
    assert_eq!(clients(&served), [4, 2, 3, 2, 1]);
    assert_eq!(numbers(&served), [5, 3, 2, 1, 0]);
}

#[test]
fn that_somebody_always_waits_is_no_reason_to_change_the_order() {
    let mut model = Model::new();
    model.join(0);
    // Ten times as long, and nobody waits for long.
    for client in 1..=50 {
        model.now += STALE / 5;
        model.join(client);
        assert_eq!(model.serve().map(|(_, served)| served), Some(client - 1));
    }
}

#[test]
fn once_nobody_has_waited_for_long_it_is_well_again() {
    let mut model = Model::new();
    for client in [1, 2] {
        model.join(client);
    }
    model.grow_stale();
    for client in [3, 4, 5] {
        model.join(client);
    }
    assert_eq!(model.serve().map(|(_, client)| client), Some(5));
    model.now += STALE / 4;
    model.join(6);
    assert_eq!(model.serve().map(|(_, client)| client), Some(6));
    // The old ones leave.
    for client in [1, 2] {
        let mut members = model.members.iter();
        let place = members.position(|(_, other)| *other == client);
        model.leave(place.expect("it waits"), false);
    }
    model.join(7);
    assert_eq!(clients(&model.serve_all()), [3, 4, 7]);
}

#[test]
fn whoever_had_his_turn_is_not_forgotten_when_the_order_changes_back() {
    let mut model = Model::new();
    for client in [1, 1, 2, 2] {
        model.join(client);
    }
    model.grow_stale();
    assert_eq!(
        clients(&[model.serve(), model.serve()].map(Option::unwrap)),
        [2, 1]
    );
    // A reload gives everybody more time.
    let order = Order {
        client: 3,
        stale_after: Some(STALE * 60),
    };
    model.line.join(9, order, (), model.now);
    model.members.push((9, 3));
    assert_eq!(clients(&model.serve_all()), [1, 2, 3]);
}

#[test]
fn a_thousand_of_one_client_keep_nobody_waiting_and_are_not_kept_waiting() {
    for is_stale in [false, true] {
        let mut model = Model::new();
        for _ in 0..1_000 {
            model.join(0);
        }
        if is_stale {
            model.grow_stale();
        }
        // As many come of others as are served, each another one; and more of the one.
        let mut served = Vec::new();
        for other in 1..=400 {
            let both = if other % 2 == 0 {
                [0, other]
            } else {
                [other, 0]
            };
            for client in both {
                model.join(client);
            }
            served.extend(model.serve());
        }
        let of_greedy = clients(&served)
            .iter()
            .filter(|client| **client == 0)
            .count();
        assert!(of_greedy >= 10, "{of_greedy} of the one, stale: {is_stale}");
        let others = served.len() - of_greedy;
        assert!(others >= 200, "{others} of the others, stale: {is_stale}");
    }
}

#[test]
fn who_has_the_most_makes_room_and_nobody_for_one_who_has_as_many() {
    for (is_stale, gone) in [(false, 2), (true, 0)] {
        let mut model = Model::new();
        for client in [1, 1, 1, 2] {
            model.join(client);
        }
        if is_stale {
            model.grow_stale();
        }
        assert!(model.line.push_out(3, model.now).is_some());
        let left = |number| model.line.find(number, 1).is_some();
        let lost: Vec<u64> = (0..3).filter(|number| !left(*number)).collect();
        assert_eq!(lost, [gone], "the one that would be served last");
        // One of client 1 would be as many as it has then itself.
        assert!(model.line.push_out(1, model.now).is_none());
        assert!(model.line.push_out(2, model.now).is_none());
    }
}

proptest! {
    /// Whatever comes and goes, in whatever time: everybody has his place, and whose turn it is is
    /// one of them. As long as the line is not stale, nobody is served twice while another one
    /// waits who was there before.
    #[test]
    fn nobody_is_lost_and_nobody_is_passed_over(seed: u64, clients in 1_u64..8) {
        let mut random = Rng::with_seed(seed);
        let mut model = Model::new();
        // Who was served since each client began to wait without being served.
        let mut passed: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for _ in 0..300 {
            match random.u8(..10) {
                0..5 => model.join(random.u64(..clients)),
                5 if !model.members.is_empty() => {
                    model.leave(random.usize(..model.members.len()), false);
                }
                6 => model.now += STALE / 20,
                _ => {
                    model.line.choose(model.now);
                    let was_stale = model.line.is_stale();
                    if let Some((_, client)) = model.serve() {
                        passed.remove(&client);
                        let twice = passed.values().any(|served| served.contains(&client));
                        prop_assert!(was_stale || !twice, "{client} again");
                        for served in passed.values_mut() {
                            served.push(client);
                        }
                    }
                }
            }
            if model.line.is_empty() {
                model.line = Line::new();
            }
            let waits = |client: &u64| model.members.iter().any(|(_, other)| other == client);
            passed.retain(|client, _| waits(client));
            model.check();
            if model.line.is_stale() {
                passed.clear();
                continue;
            }
            for (_, client) in &model.members {
                passed.entry(*client).or_default();
            }
        }
    }

    /// While it is stale and nobody else comes, each client is served once in a round: between two
    /// of one, every other one at most twice.
    #[test]
    fn turns_hold_while_the_newest_is_first(seed: u64, clients in 1_u64..20) {
        let mut random = Rng::with_seed(seed);
        let mut model = Model::new();
        (0..clients).for_each(|client| model.join(client));
        model.grow_stale();
        let mut ago: BTreeMap<u64, u64> = (0..clients).map(|client| (client, 0)).collect();
        for _ in 0..500 {
            let (_, served) = model.serve().expect("somebody waits");
            for ago in ago.values_mut() {
                *ago += 1;
            }
            ago.insert(served, 0);
            // Each that was served comes again, and others have more and more, so that it stays so.
            model.now += STALE / 50;
            model.join(served);
            if random.bool() {
                model.join(random.u64(..clients));
            }
            if !model.line.is_stale() {
                model.grow_stale();
                ago = (0..clients).map(|client| (client, 0)).collect();
            }
            let longest = ago.values().max().copied().unwrap_or_default();
            prop_assert!(longest <= 2 * clients, "{longest} of {clients}");
        }
    }
}

const STALE: Duration = Duration::from_millis(100);
