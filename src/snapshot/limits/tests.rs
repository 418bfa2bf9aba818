use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn limits(text: &str) -> Arc<Limits> {
    let written = toml::from_str(text).expect("good");
    let made = Limits::new(&Registry::new(1), "web", (&written, 100), None);
    made.expect("something is written")
}

fn address(text: &str) -> IpAddr {
    let address: IpAddr = text.parse().expect("an address");
    address.to_canonical()
}

/// Enters from these addresses, and tells what refused each.
fn refusals(limits: &Limits, addresses: &[&str]) -> (Vec<Place>, Vec<Option<Refusal>>) {
    let now = Instant::now();
    let (mut places, mut refusals) = (Vec::new(), Vec::new());
    for text in addresses {
        match limits.enter(Some(address(text)), now) {
            Ok(place) => {
                places.push(place);
                refusals.push(None);
            }
            Err(refusal) => refusals.push(Some(refusal)),
        }
    }
    (places, refusals)
}

#[test]
fn nothing_written_is_nothing_held() {
    let written = config::ListenerLimits::default();
    assert!(Limits::new(&Registry::new(1), "web", (&written, 1), None).is_none());
}

#[test]
fn a_limit_that_was_taken_out_and_is_put_back_counts_who_is_still_there() {
    let again = |text: &str, before: &Arc<Limits>| {
        let written = toml::from_str(text).expect("good");
        let made = Limits::new(&Registry::new(1), "web", (&written, 100), Some(before));
        made.expect("something was written once")
    };
    let first = limits("per_client = 1");
    let (held, _) = refusals(&first, &["10.0.0.1"]);
    let without = again("", &first);
    let (more, free) = refusals(&without, &["10.0.0.1", "10.0.0.1"]);
    assert_eq!(free, [None, None]);
    let back = again("per_client = 1", &without);
    assert_eq!(refusals(&back, &["10.0.0.1"]).1, [Some(Refusal::PerClient)]);
    drop((held, more));
    assert_eq!(refusals(&back, &["10.0.0.1"]).1, [None]);
}

#[test]
fn turns_are_taken_by_address_and_of_ipv6_by_network() {
    let who = |text: &str| who_takes_turns(Some(text.parse().expect("an address")));
    assert_eq!(who("10.0.0.1"), who("::ffff:10.0.0.1"));
    assert_ne!(who("10.0.0.1"), who("10.0.0.2"));
    assert_eq!(who("2001:db8:1:2::1"), who("2001:db8:1:2:ffff::9"));
    assert_ne!(who("2001:db8:1:2::1"), who("2001:db8:1:3::1"));
    assert_eq!(who_takes_turns(None), who_takes_turns(None));
}

/// By arithmetic on addresses one client can not make itself another one.
#[test]
fn whose_turn_it_is_cannot_be_made_up() {
    let who = |address: IpAddr| who_takes_turns(Some(address));
    let number = u64::from(Ipv4Addr::new(10, 0, 0, 1).to_bits());
    let same = [
        Ipv6Addr::from(u128::from(number)),
        Ipv6Addr::from(u128::from(number) << 64),
    ];
    for made_up in same {
        assert_ne!(who(made_up.into()), who(Ipv4Addr::new(10, 0, 0, 1).into()));
    }
    let known = crate::balance::client_key(Ipv4Addr::new(10, 0, 0, 1).into());
    assert_ne!(
        who(Ipv4Addr::new(10, 0, 0, 1).into()),
        known,
        "it has a seed"
    );
}

#[test]
fn a_client_is_its_address_however_it_is_written() {
    let limits = limits("per_client = 1");
    let (_places, refused) = refusals(
        &limits,
        &[
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "2001:db8::ffff:0:0:2",
            "2001:db8:0:1::1",
        ],
    );
    // Any host takes any address of its network of IPv6.
    let full = Some(Refusal::PerClient);
    assert_eq!(refused, [None, full, None, None, full, None]);
    // Who has no address is no client's.
    assert!(limits.enter(None, Instant::now()).is_ok());
    assert!(limits.enter(None, Instant::now()).is_ok());
}

#[test]
fn how_much_of_an_address_is_one_client_can_be_written() {
    let limits = limits("rate_per_client = '1/h'\nclient_v6 = 56");
    let (_places, refused) = refusals(
        &limits,
        &["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:100::1"],
    );
    assert_eq!(refused, [None, Some(Refusal::RatePerClient), None]);
}

#[test]
fn who_comes_nearest_to_a_limit_is_told() {
    let limits = limits("per_client = 2\nper_subnet = 7\nclient_v6 = 128");
    let told = |fullest: Option<Fullest>| {
        let fullest = fullest.expect("a limit");
        let Fullest { who, full, .. } = fullest;
        (fullest.connections, fullest.limit, who, full)
    };
    assert_eq!(told(limits.clients()), (0, 2, String::new(), 0));
    let mut addresses = vec!["2001:db8::1"];
    addresses.extend(["192.0.2.1", "192.0.2.2", "192.0.2.3"].repeat(3));
    let (places, _) = refusals(&limits, &addresses);
    let (connections, limit, who, full) = told(limits.clients());
    assert_eq!((connections, limit, full), (2, 2, 3));
    assert!(who.starts_with("192.0.2."), "{who}");
    assert_eq!(told(limits.networks()), (6, 7, "192.0.2.0/24".into(), 0));
    drop(places);
    let (_places, _) = refusals(&limits, &["2001:db8::1"]);
    assert_eq!(told(limits.clients()), (1, 2, "2001:db8::1".into(), 0));
    assert_eq!(told(limits.networks()), (1, 7, "2001:db8::/64".into(), 0));
}

#[test]
fn where_nothing_is_limited_nobody_is_near() {
    let limits = limits("rate_per_client = '9/s'");
    let (_places, _) = refusals(&limits, &["192.0.2.1"]);
    assert_eq!((limits.clients(), limits.networks()), (None, None));
}

#[test]
fn a_faster_rate_holds_soon_after_a_reload() {
    let registry = Registry::new(1);
    let made = |text: &str, before: Option<&Arc<Limits>>| {
        let written = toml::from_str(text).expect("good");
        Limits::new(&registry, "web", (&written, 100), before).expect("something")
    };
    let client = Some(address("192.0.2.1"));
    let now = Instant::now();
    for (slow, fast, refusal) in [
        ("rate = '60/h'", "rate = '100/s'", Refusal::Rate),
        (
            "rate_per_client = '60/h'",
            "rate_per_client = '100/s'",
            Refusal::RatePerClient,
        ),
    ] {
        let first = made(slow, None);
        for _ in 0..60 {
            assert!(first.enter(client, now).is_ok());
        }
        assert_eq!(first.enter(client, now).err(), Some(refusal));
        let second = made(fast, Some(&first));
        assert_eq!(second.enter(client, now).err(), Some(refusal));
        // A little more than the interval, for it began a little later.
        let soon = now + Duration::from_millis(20);
        assert!(second.enter(client, soon).is_ok(), "{fast}");
    }
}

#[test]
fn a_network_is_its_first_bits() {
    let limits = limits("per_subnet = 1\nsubnet_v4 = 16");
    let (_places, refused) = refusals(
        &limits,
        &[
            "192.0.2.1",
            "192.0.99.1",
            "192.1.2.1",
            "2001:db8:0:1::1",
            "2001:db8:0:1:ffff::1",
            "2001:db8:0:2::1",
        ],
    );
    let full = Some(Refusal::PerSubnet);
    assert_eq!(refused, [None, full, None, None, full, None]);
    let prefix = Prefix { v4: 32, v6: 128 };
    assert_eq!(
        prefix.of(Ipv4Addr::LOCALHOST.into()),
        bits(Ipv4Addr::LOCALHOST.into())
    );
    let one = Prefix { v4: 1, v6: 1 };
    assert_eq!(one.of(Ipv6Addr::LOCALHOST.into()), 0);
}

#[test]
fn who_is_refused_takes_nothing() {
    let limits = limits("per_client = 1\nper_subnet = 2\nrate = '3/h'");
    let same = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"];
    let (places, refused) = refusals(&limits, &same);
    let full = Some(Refusal::PerClient);
    assert_eq!(refused, [None, full, full, full]);
    let (more, refused) = refusals(
        &limits,
        &["192.0.2.2", "192.0.2.3", "198.51.100.1", "198.51.100.2"],
    );
    let (network, fast) = (Some(Refusal::PerSubnet), Some(Refusal::Rate));
    assert_eq!(refused, [None, network, None, fast]);
    drop((places, more));
    assert_eq!(limits.known.clients.len() + limits.known.networks.len(), 0);
}

#[test]
fn what_is_known_outlives_a_configuration() {
    let registry = Registry::new(1);
    let made = |text: &str, before: Option<&Arc<Limits>>| {
        let written = toml::from_str(text).expect("good");
        Limits::new(&registry, "web", (&written, 100), before).expect("something")
    };
    let first = made("per_client = 2", None);
    let now = Instant::now();
    let place = first.enter(Some(address("192.0.2.1")), now);
    let second = made("per_client = 1", Some(&first));
    let refused = second.enter(Some(address("192.0.2.1")), now);
    assert_eq!(refused.err(), Some(Refusal::PerClient));
    drop((first, place));
    assert!(second.enter(Some(address("192.0.2.1")), now).is_ok());
}

#[test]
fn each_reason_is_at_its_place() {
    for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
        assert_eq!(refusal as usize, place, "{refusal:?}");
    }
}
