//! Nobody waits for what is free, nobody gets more than there is, and nothing is lost on the way.

use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use std::time::Duration;

use super::*;
use crate::endpoint::{IdleRequest, LiveStates};
use crate::net::Address;

fn live(states: &LiveStates) -> Arc<Live> {
    states.get_or_create("api", &Address::Ip(([127, 0, 0, 1], 80).into()))
}

/// Counts how often its task was woken.
#[derive(Debug, Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Asks once.
fn ask(waiter: &mut Waiter) -> Option<OpenConnection> {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(waiter).poll(&mut context) {
        Poll::Ready(open) => Some(open),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn who_finds_no_room_asks_the_pools_once_and_is_woken() {
    let states = LiveStates::new();
    let mut inbox = states.idle_requests().subscribe();
    let live = live(&states);
    let first = live.open_connection(1).expect("none is open");
    assert!(live.may_rest());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut waiter = pin!(live.wait_for_connection(1));
    for _ in 0..2 {
        assert!(
            waiter
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    assert!(!live.may_rest());
    assert_eq!(inbox.next().await, Some(IdleRequest::For(live.id())));
    let again = tokio::time::timeout(Duration::from_millis(1), inbox.next()).await;
    assert!(again.is_err(), "asked twice: {again:?}");
    drop(first);
    assert_eq!(woken.0.load(SeqCst), 1);
    assert!(live.may_rest(), "nobody waits any more");
    assert!(live.open_connection(1).is_none(), "the place is taken");
    let second = waiter.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(second.is_ready());
    drop(second);
    assert_eq!(live.connections(), 0);
}

#[test]
fn room_is_given_in_order_and_nobody_is_asked_while_there_is_some() {
    let states = LiveStates::new();
    let live = live(&states);
    let mut waiters = [(); 3].map(|()| live.wait_for_connection(1));
    let mut held = ask(&mut waiters[0]);
    assert!(held.is_some(), "there was room");
    assert!(waiters[1..].iter_mut().all(|waiter| ask(waiter).is_none()));
    for waiter in &mut waiters[1..] {
        drop(held.take());
        held = ask(waiter);
        assert!(held.is_some());
    }
    assert_eq!(live.connections(), 1);
}

#[test]
fn who_leaves_takes_nothing_along() {
    let states = LiveStates::new();
    let live = live(&states);
    let held = live.open_connection(1);
    let mut waiters = [(); 3].map(|()| live.wait_for_connection(1));
    assert!(waiters.iter_mut().all(|waiter| ask(waiter).is_none()));
    let [early, served, mut last] = waiters;
    drop(early);
    drop(held);
    assert_eq!(live.connections(), 1, "it is the second one's");
    assert!(ask(&mut last).is_none());
    drop(served); // without having heard of it
    let open = ask(&mut last);
    assert!(open.is_some());
    assert!(live.may_rest());
    drop((open, last));
    assert_eq!(live.connections(), 0);
}

#[test]
fn a_lower_limit_does_not_hold_up_those_of_the_higher_one() {
    let states = LiveStates::new();
    let live = live(&states);
    let mut held: Vec<_> = (0..3).map(|_| live.open_connection(3)).collect();
    let (mut new, mut old) = (live.wait_for_connection(1), live.wait_for_connection(3));
    assert!(ask(&mut new).is_none() && ask(&mut old).is_none());
    held.pop();
    assert!(ask(&mut new).is_none());
    held.extend([ask(&mut old)]);
    assert_eq!(live.connections(), 3);
    // And those of the lower one wait until the last one too many is gone.
    while held.pop().is_some() {
        assert_eq!(ask(&mut new).is_some(), held.is_empty());
    }
}

#[test]
fn retirement_and_waiting_do_not_touch_each_other() {
    let states = LiveStates::new();
    let live = live(&states);
    let held = live.open_connection(1);
    let mut waiter = live.wait_for_connection(1);
    assert!(ask(&mut waiter).is_none() && !live.is_retired());
    live.set_retired(true);
    assert!(live.is_retired());
    drop(held);
    assert!(ask(&mut waiter).is_some());
    assert!(live.is_retired() && !live.may_rest());
    live.set_retired(false);
    live.set_retired(false);
    assert!(!live.is_retired() && live.may_rest());
}

#[test]
fn no_wakeup_is_lost_between_threads() {
    let states = LiveStates::new();
    let live = live(&states);
    let most = AtomicU32::new(0);
    let wait_often = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            for _ in 0..3_000 {
                if random.u8(..8) == 0 {
                    // One that gives up, at any moment.
                    let mut waiter = live.wait_for_connection(2);
                    drop(ask(&mut waiter));
                    continue;
                }
                let waiter = live.wait_for_connection(2);
                let open = tokio::time::timeout(LONG, waiter).await;
                let open = open.expect("one is let go by every holder");
                most.fetch_max(live.connections(), Relaxed);
                drop(open);
            }
        });
    };
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || wait_often(seed));
        }
    });
    assert!(most.load(Relaxed) <= 2);
    assert_eq!(live.connections(), 0);
    assert!(live.may_rest());
}

/// Far more than all the rounds together need.
const LONG: Duration = Duration::from_secs(30);
