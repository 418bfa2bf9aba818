use std::net::SocketAddr;

use super::*;
use crate::net::Source;

const LIMIT: Duration = Duration::from_mins(1);

fn who(address: &str) -> (Key, Network) {
    let address: SocketAddr = address.parse().unwrap();
    (Key::new(address, None), Network::of(address.ip()))
}

fn add(table: &mut Table<&'static str>, name: &'static str, now: Instant) -> usize {
    table.insert(who(name), now, name)
}

/// A session whose client has sent again behind an answer.
fn add_proved(table: &mut Table<&'static str>, name: &'static str, now: Instant) -> usize {
    let place = add(table, name, now);
    table.used(place, true, now);
    table.used(place, false, now);
    place
}

/// The names of those that would make room, one after the other.
fn victims(table: &mut Table<&'static str>, newcomer: &str, now: Instant) -> Vec<&'static str> {
    let network = who(newcomer).1;
    let mut names = Vec::new();
    while let Some(place) = table.victim(network, LIMIT, now) {
        names.extend(table.remove(place));
    }
    names
}

#[test]
fn a_session_belongs_to_an_address_and_to_ours() {
    let peer: SocketAddr = "10.0.0.1:99".parse().unwrap();
    let at = |address: &str| {
        let address = address.parse().unwrap();
        Key::new(
            peer,
            Some(Source {
                address,
                interface: 0,
            }),
        )
    };
    assert_eq!(at("10.9.9.1"), at("10.9.9.1"));
    assert_ne!(at("10.9.9.1"), at("10.9.9.2"));
    assert_ne!(at("10.9.9.1"), who("10.0.0.1:99").0);
    assert_ne!(who("10.0.0.1:98").0, who("10.0.0.1:99").0);
    assert_eq!(who("[::ffff:10.0.0.1]:9").1, who("10.0.0.77:1").1);
    assert_ne!(who("10.0.0.1:9").1, who("10.0.1.1:9").1);
    assert_eq!(who("[2001:db8:1:2:3::]:9").1, who("[2001:db8:1:99::]:9").1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_kept_stays_and_is_not_proved_by_that() {
    let mut table = Table::new();
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let kept = add(&mut table, "10.0.0.1:1", start);
    let other = add(&mut table, "10.0.1.1:1", start);
    table.used(kept, true, start);
    let now = start + LIMIT;
    assert_eq!(table.overdue(LIMIT, now), Some(kept));
    table.keep(kept, now);
    assert_eq!(table.overdue(LIMIT, now), Some(other));
    table.remove(other);
    assert_eq!(table.overdue(LIMIT, now + LIMIT - second), None);
    assert_eq!(table.overdue(LIMIT, now + LIMIT), Some(kept));
    let proved = add_proved(&mut table, "10.0.2.1:1", start);
    table.remove(proved);
    assert_eq!(victims(&mut table, "10.0.3.1:1", now), ["10.0.0.1:1"]);
}

#[tokio::test(start_paused = true)]
async fn those_that_are_idle_end_in_their_order() {
    let mut table = Table::new();
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let one = add(&mut table, "1.0.0.1:1", start);
    let two = add(&mut table, "1.0.0.2:1", start + second);
    let three = add(&mut table, "1.0.0.3:1", start + 2 * second);
    assert_eq!(table.overdue(LIMIT, start + LIMIT - second), None);
    table.used(one, true, start + 3 * second);
    assert_eq!(table.overdue(LIMIT, start + LIMIT), None);
    assert_eq!(table.overdue(LIMIT, start + LIMIT + second), Some(two));
    assert_eq!(table.remove(two), Some("1.0.0.2:1"));
    assert_eq!(table.remove(two), None, "it has ended");
    table.used(two, true, start);
    assert_eq!(
        table.overdue(LIMIT, start + LIMIT + 2 * second),
        Some(three)
    );
    table.remove(three);
    assert_eq!(table.overdue(LIMIT, start + LIMIT + 3 * second), Some(one));
    assert_eq!(table.find(&who("1.0.0.1:1").0), Some(one));
    table.remove(one);
    assert!(table.is_empty() && table.networks.is_empty());
    assert_eq!(
        add(&mut table, "1.0.0.9:1", start),
        one,
        "places are used again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_strangers_does_not_end_what_goes_on() {
    let mut table = Table::new();
    let now = Instant::now();
    add_proved(&mut table, "1.0.0.1:1", now);
    let later = now + LIMIT / 5;
    for stranger in ["2.0.0.1:1", "3.0.0.1:1", "4.0.0.1:1"] {
        let place = add(&mut table, stranger, later);
        // An endpoint answers what is forged as well.
        table.used(place, true, later);
    }
    let made_room = victims(&mut table, "5.0.0.1:1", later);
    assert_eq!(made_room, ["2.0.0.1:1", "3.0.0.1:1", "4.0.0.1:1"]);
    assert_eq!(table.len(), 1);
    let rested = now + LIMIT / 4;
    assert_eq!(victims(&mut table, "5.0.0.1:1", rested), ["1.0.0.1:1"]);
}

/// As those of DNS, each from a port of its own: nobody has to wait until others have rested.
#[tokio::test(start_paused = true)]
async fn who_asks_once_makes_room_the_longest_silent_first() {
    let mut table = Table::new();
    let start = Instant::now();
    let mut now = start;
    for name in ["1.0.0.1:1", "2.0.0.1:1", "3.0.0.1:1"] {
        let place = add(&mut table, name, now);
        table.used(place, true, now);
        now += TICK;
    }
    let asked = add(&mut table, "4.0.0.1:1", now);
    let again = table.find(&who("1.0.0.1:1").0).unwrap();
    table.used(again, true, now + TICK); // a second answer proves no more than the first
    let made_room = victims(&mut table, "5.0.0.1:1", now + TICK);
    let order = ["2.0.0.1:1", "3.0.0.1:1", "4.0.0.1:1", "1.0.0.1:1"];
    assert_eq!(made_room, order);
    assert_eq!(table.remove(asked), None);
}

/// Clients that exchange more than one datagram, in a table full of such.
#[tokio::test(start_paused = true)]
async fn newcomers_have_time_to_become_proved() {
    let mut table = Table::new();
    let start = Instant::now();
    let old: Vec<String> = (0..40).map(|number| format!("1.0.{number}.1:1")).collect();
    for name in &old {
        let name: &'static str = Box::leak(name.clone().into_boxed_str());
        add_proved(&mut table, name, start);
    }
    let first = table.victim(who("5.0.0.1:1").1, LIMIT, start);
    assert_eq!(first, None, "all are busy");
    // Proved to no purpose, as who forges it twice, or at rest: newcomers do not end each other.
    let now = start + GRACE;
    let newcomers = ["5.0.0.1:1", "6.0.0.1:1", "7.0.0.1:1"];
    for newcomer in newcomers {
        let place = table.victim(who(newcomer).1, LIMIT, now).expect("room");
        let gone = table.remove(place).expect("a session");
        assert!(gone.starts_with("1.0."), "{gone} was ended for {newcomer}");
        add(&mut table, newcomer, now);
    }
    // But not for ever: who does not go on makes room before those that do.
    let later = now + GRACE;
    let place = table.victim(who("8.0.0.1:1").1, LIMIT, later);
    assert_eq!(
        place.and_then(|place| table.remove(place)),
        Some(newcomers[0])
    );
}

/// As who forges two datagrams round an answer, slowly or fast.
#[tokio::test(start_paused = true)]
async fn a_flood_takes_a_part_of_the_others_at_most() {
    const HOUR: Duration = Duration::from_hours(1);
    for pause in [1, 20, 300, 1_000, 2_500].map(Duration::from_millis) {
        let mut table = Table::new();
        let start = Instant::now();
        for number in 0..40 {
            let place = table.insert(who(&format!("1.0.{number}.1:1")), start, "old");
            table.used(place, true, start);
            table.used(place, false, start);
        }
        let mut now = start + LATELY_FOR;
        for number in 0..400 {
            now += pause;
            let forged = who(&format!("2.{}.{}.1:1", number / 200, number % 200));
            if let Some(place) = table.victim(forged.1, HOUR, now) {
                table.remove(place);
                let place = table.insert(forged, now, "forged");
                table.used(place, true, now);
                table.used(place, false, now);
            }
        }
        let slots = table.slots.iter().flatten();
        let left = slots.filter(|slot| slot.session == "old").count();
        assert!(
            left >= 40 - 40 / SHARES,
            "{left} are left by one per {pause:?}"
        );
        // Those that were there are let be, and newcomers are not.
        assert!(left < 40, "none made room");
        let lately = table.walk(LATELY).into_iter();
        assert!(lately.into_iter().all(|(_, slot)| slot.session == "forged"));
        assert_eq!(table.len(), 40);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_proved_is_so_lately_for_a_while() {
    let mut table = Table::new();
    let start = Instant::now();
    let (first, second) = ("1.0.0.1:1", "1.0.1.1:1");
    let place = add_proved(&mut table, first, start);
    let second = add_proved(&mut table, second, start + GRACE);
    assert_eq!(table.lists[LATELY].count, 2);
    table.used(place, false, start + GRACE);
    table.age_news(start + LATELY_FOR);
    assert_eq!(table.lists[LATELY].count, 1);
    assert_eq!(table.walk(LATELY)[0].0, second);
    table.remove(second);
    assert_eq!(table.lists[LATELY].count, 0);
    assert!(table.walk(LATELY).is_empty());
    // No more than once.
    table.used(place, true, start + LATELY_FOR);
    table.used(place, false, start + LATELY_FOR);
    assert_eq!(table.lists[LATELY].count, 0);
}

#[tokio::test(start_paused = true)]
async fn a_network_with_its_share_makes_room_for_itself() {
    let mut table = Table::new();
    let now = Instant::now();
    for name in ["9.9.9.1:1", "1.0.0.1:1", "1.0.0.1:2", "1.0.0.1:3"] {
        add_proved(&mut table, name, now);
    }
    // All are busy: one more of the greedy network is turned away, another one is let in.
    assert_eq!(table.victim(who("1.0.0.7:7").1, LIMIT, now), None);
    let place = table.victim(who("5.0.0.1:1").1, LIMIT, now);
    assert_eq!(
        place.and_then(|place| table.remove(place)),
        Some("1.0.0.1:1")
    );
    // Unproved ones of others do not make room for it either.
    add(&mut table, "7.0.0.1:1", now);
    assert_eq!(table.victim(who("1.0.0.7:7").1, LIMIT, now), None);
    add(&mut table, "1.0.0.1:4", now);
    let place = table.victim(who("1.0.0.7:7").1, LIMIT, now);
    assert_eq!(
        place.and_then(|place| table.remove(place)),
        Some("1.0.0.1:4")
    );
}

/// What the list is held against: a place, since when it stands where it does, and its stage.
type Known = (usize, Instant, Stage);

/// Against a list that is simple enough to be right.
#[tokio::test(start_paused = true)]
async fn the_order_of_use_is_kept_whatever_happens() {
    let mut random = fastrand::Rng::with_seed(5);
    let (mut table, mut model) = (Table::new(), Vec::<Known>::new());
    let start = Instant::now();
    for step in 0..20_000_u64 {
        let now = start + Duration::from_millis(step * 20);
        match random.u8(..4) {
            0 if model.len() < 50 => {
                let address = SocketAddr::from((random.u32(..).to_be_bytes(), 7));
                let known = (Key::new(address, None), Network::of(address.ip()));
                model.push((table.insert(known, now, step), now, Stage::Asked));
            }
            1 if !model.is_empty() => {
                let (place, ..) = model.remove(random.usize(..model.len()));
                assert!(table.remove(place).is_some());
            }
            _ if !model.is_empty() => {
                let at = random.usize(..model.len());
                let (place, linked, stage) = model[at];
                let by_endpoint = random.bool();
                table.used(place, by_endpoint, now);
                let next = stage.after(by_endpoint);
                if next.list() != stage.list() || now - linked >= TICK {
                    model.remove(at);
                    model.push((place, now, next));
                } else {
                    model[at].2 = next;
                }
            }
            _ => {}
        }
        for list in [0, 1] {
            let wanted = model.iter().filter(|(.., stage)| stage.list() == list);
            let wanted: Vec<usize> = wanted.map(|(place, ..)| *place).take(LOOKS).collect();
            let walked = table.walk(list);
            let walked: Vec<usize> = walked.into_iter().map(|(place, _)| place).collect();
            assert_eq!(walked, wanted, "after {step} steps");
        }
    }
    assert_eq!(table.len(), model.len());
}
