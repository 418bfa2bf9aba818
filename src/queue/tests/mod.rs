//! Who came first comes in first, whoever comes and goes, and nobody waits beside a free place.

mod turns;

use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, Waker};

use fastrand::Rng;
use tokio::task::yield_now;

use super::*;

fn join(queue: &Arc<Queue>) -> InLine {
    let joined = queue.join((), queue.arrive(), usize::MAX);
    joined.expect("there is room")
}

/// Whether this one looks when it is asked for the first time.
fn looks<L: Copy + Ord>(waiter: &InLine<L>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(waiter.turn(None, || Some(()))).poll(&mut context) == Poll::Ready(Some(()))
}

#[tokio::test]
async fn only_the_first_looks_and_who_leaves_calls_the_next() {
    let queue = Arc::<Queue>::default();
    let (first, second, third) = (join(&queue), join(&queue), join(&queue));
    let looked = AtomicU32::new(0);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut turn = pin!(third.turn(None, || {
            looked.fetch_add(1, SeqCst);
            None::<()>
        }));
        let mut poll = || {
            assert!(turn.as_mut().poll(&mut context).is_pending());
            looked.load(SeqCst)
        };
        assert!(looks(&first) && !looks(&second));
        assert_eq!(poll(), 0, "it is not its turn");
        drop(second);
        queue.call(&[()]);
        assert_eq!(poll(), 0, "it is still not its turn");
        drop(first);
        assert_eq!(poll(), 1);
        assert_eq!(poll(), 1, "once for each call");
        queue.call(&[()]);
        assert_eq!(poll(), 2);
        queue.call_all();
        assert_eq!(poll(), 3);
    }
    assert!(!queue.is_empty(()));
    drop(third);
    assert!(queue.is_empty(()) && queue.lines().is_empty());
}

#[tokio::test]
async fn who_comes_back_stands_where_he_stood() {
    let queue = Arc::<Queue>::default();
    let early = queue.arrive();
    let (first, second) = (join(&queue), join(&queue));
    let arrival = first.arrival();
    drop(first);
    let third = join(&queue);
    assert!(queue.is_next((), arrival), "the others came later");
    assert!(!queue.is_next((), queue.arrive()));
    let back = queue.join((), arrival, usize::MAX).expect("room");
    assert!(looks(&back) && !looks(&second));
    // One that has not waited yet, and came before them all.
    let earliest = queue.join((), early, usize::MAX).expect("room");
    assert!(looks(&earliest) && !looks(&back));
    drop((earliest, back));
    assert!(looks(&second) && !looks(&third));
}

#[tokio::test]
async fn a_call_to_who_is_overtaken_is_not_lost() {
    let queue = Arc::<Queue>::default();
    let early = queue.arrive();
    let second = join(&queue);
    let mut context = Context::from_waker(Waker::noop());
    let mut room = Some(());
    let mut turn = pin!(second.turn(None, || room.take()));
    queue.call(&[()]);
    let first = queue.join((), early, usize::MAX).expect("room");
    assert!(turn.as_mut().poll(&mut context).is_pending());
    assert!(looks(&first));
    drop(first);
    assert!(turn.as_mut().poll(&mut context).is_ready());
}

#[tokio::test]
async fn lines_do_not_hold_each_other_up() {
    let queue = Arc::<Queue<u64>>::default();
    let join = |line| queue.join(line, queue.arrive(), 8).expect("there is room");
    let one = join(1);
    assert!(!queue.is_empty(1) && queue.is_empty(2));
    assert!(queue.is_next(2, queue.arrive()));
    let other = join(2);
    assert!(looks(&one) && looks(&other));
}

#[test]
fn as_many_wait_as_may_over_all_lines_and_who_has_waited_comes_back() {
    let queue = Arc::<Queue<u64>>::default();
    let join = |line| queue.join(line, queue.arrive(), 100);
    let mut waiters: Vec<_> = (0..200).map_while(join).collect();
    assert_eq!(waiters.len(), 100);
    assert!(join(0).is_none());
    let arrival = waiters.pop().expect("a hundred").arrival();
    waiters.extend(join(0));
    assert_eq!(waiters.len(), 100);
    assert!(queue.join(0, arrival, 100).is_some());
    // The limit may have become another one.
    assert!(queue.join(0, queue.arrive(), 101).is_some());
    drop(waiters);
    assert!(queue.lines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_alone_looks_again_without_a_call() {
    let queue = Arc::<Queue>::default();
    let (first, second) = (join(&queue), join(&queue));
    let looked = [AtomicU32::new(0), AtomicU32::new(0)];
    let look = |waiter: usize| looked[waiter].fetch_add(1, SeqCst);
    let again = Some(Duration::from_millis(50));
    let all = async {
        tokio::join!(
            first.turn(again, || (look(0) == 9).then_some(())),
            second.turn(again, || {
                look(1);
                None::<()>
            })
        )
    };
    let ended = timeout(Duration::from_secs(3), all).await;
    assert!(ended.is_err());
    assert_eq!(
        looked.map(AtomicU32::into_inner),
        [10, 0],
        "the first stays"
    );
}

/// Places, and who is counted in.
#[derive(Debug)]
struct Places {
    taken: AtomicU32,
    most: AtomicU32,
    queue: Arc<Queue>,
}

impl Default for Places {
    /// In strict order: a test may be stopped for any time, and nobody is asleep for that.
    fn default() -> Self {
        let queue = Queue {
            asleep_after: Duration::MAX,
            ..Queue::default()
        };
        Self {
            taken: AtomicU32::default(),
            most: AtomicU32::default(),
            queue: Arc::new(queue),
        }
    }
}

impl Places {
    fn take(&self) -> Option<()> {
        let most = self.most.load(SeqCst);
        let one_more = |taken| (taken < most).then_some(taken + 1);
        let taken = self.taken.fetch_update(SeqCst, SeqCst, one_more);
        taken.ok().map(drop)
    }

    fn leave(&self) {
        self.taken.fetch_sub(1, SeqCst);
        self.queue.call(&[()]);
    }

    /// Raises the limit, or lowers it.
    fn allow(&self, most: u32) {
        self.most.store(most, SeqCst);
        self.queue.call_all();
    }
}

/// One that waits on a thread of its own, which does not go on.
fn join_elsewhere(queue: &Arc<Queue>) -> InLine {
    let queue = Arc::clone(queue);
    let joined = thread::spawn(move || join(&queue)).join();
    joined.expect("no panic")
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_is_stopped_holds_nobody_up() {
    let queue = Arc::<Queue>::default();
    let stopped = join_elsewhere(&queue);
    let (second, third) = (join(&queue), join(&queue));
    let room = AtomicU32::new(0);
    let take = || {
        room.fetch_update(SeqCst, SeqCst, |room| room.checked_sub(1))
            .ok()
    };
    let mut context = Context::from_waker(Waker::noop());
    let mut turns = [&second, &third].map(|one| Box::pin(one.turn(None, take)));
    let mut poll = |turn: usize| turns[turn].as_mut().poll(&mut context).is_ready();
    let make_room = || {
        room.fetch_add(1, SeqCst);
        queue.call(&[()]);
    };
    assert!(!poll(0) && !poll(1));
    make_room();
    assert!(!poll(0), "it is the turn of the first");
    tokio::time::advance(ASLEEP_AFTER).await;
    // Nobody knows of it before there is room again: then for both.
    make_room();
    assert!(poll(0), "who is behind him looks");
    drop(turns);
    drop(second);
    let mut turn = pin!(third.turn(None, take));
    assert!(turn.as_mut().poll(&mut context).is_ready());
    // He goes on, and stands where he stood.
    let fourth = join(&queue);
    assert!(looks(&stopped) && !looks(&fourth));
}

#[tokio::test(start_paused = true)]
async fn threads_that_are_stopped_do_not_take_turns_in_holding_others_up() {
    let queue = Arc::<Queue>::default();
    let stopped = [(); 3].map(|()| join_elsewhere(&queue));
    let awake = join(&queue);
    for _ in &stopped {
        // Whoever comes first is told, and does not look.
        queue.call(&[()]);
        tokio::time::advance(ASLEEP_AFTER).await;
    }
    queue.call(&[()]);
    assert!(looks(&awake), "all before him are passed over");
    // One goes on, and so is nobody passed over who waits where he does; the others are.
    let [first, second, third] = stopped;
    drop(first);
    assert!(looks(&awake) && looks(&third) && !looks(&awake));
    drop(third);
    assert!(looks(&awake) && looks(&second) && !looks(&awake));
}

/// Whoever was told leaves without a look: his thread is awake.
#[tokio::test(start_paused = true)]
async fn a_thread_goes_on_once_one_who_waits_there_leaves() {
    let queue = Arc::<Queue>::default();
    let elsewhere = Arc::clone(&queue);
    let stopped = thread::spawn(move || [(); 2].map(|()| join(&elsewhere)));
    let [first, second] = stopped.join().expect("no panic");
    let awake = join(&queue);
    queue.call(&[()]);
    tokio::time::advance(ASLEEP_AFTER).await;
    queue.call(&[()]);
    assert!(looks(&awake));
    drop(first);
    assert!(!looks(&awake) && looks(&second));
}

/// Room is made once, and never again: those behind see by themselves that nobody takes it.
#[tokio::test(start_paused = true)]
async fn nobody_waits_behind_a_thread_that_is_stopped_for_want_of_a_call() {
    let queue = Arc::<Queue>::default();
    let _stopped = join_elsewhere(&queue);
    let second = join(&queue);
    let mut turn = Box::pin(second.turn(None, || Some(())));
    assert!(timeout(ASLEEP_AFTER * 5, turn.as_mut()).await.is_err());
    queue.call(&[()]);
    let begun = Instant::now();
    turn.await;
    assert!(
        begun.elapsed() <= ASLEEP_AFTER * 8,
        "as long as it had waited"
    );
    drop(second);
    // Who joins sees it at once.
    let _another = join_elsewhere(&queue);
    queue.call(&[()]);
    tokio::time::advance(ASLEEP_AFTER).await;
    assert!(looks(&join(&queue)));
}

/// Who has come in the model, and who of them is still to come in.
#[derive(Default)]
struct Model {
    places: Arc<Places>,
    people: Vec<Step>,
    waiting: BTreeSet<u64>,
}

/// One of them, at whatever step he is.
enum Step {
    Waits(Pin<Box<dyn Future<Output = ()>>>, u64),
    IsIn(Arrival),
}

impl Model {
    /// Does one of the things that may happen.
    fn step(&mut self, random: &mut Rng) {
        let chosen = random.usize(..self.people.len().max(1));
        match (random.u8(..8), self.people.get(chosen)) {
            (0..3, _) | (_, None) => {
                let arrival = self.places.queue.arrive();
                let waits = self.wait(arrival);
                self.people.push(waits);
            }
            (3, _) => self.places.allow(random.u32(..4)),
            (_, Some(&Step::IsIn(arrival))) => {
                self.places.leave();
                // Some of them come back.
                if random.bool() {
                    self.people[chosen] = self.wait(arrival);
                } else {
                    drop(self.people.swap_remove(chosen));
                }
            }
            (4, Some(&Step::Waits(_, number))) => {
                self.waiting.remove(&number);
                drop(self.people.swap_remove(chosen));
            }
            (_, Some(Step::Waits(..))) => self.ask(chosen),
        }
    }

    fn wait(&mut self, arrival: Arrival) -> Step {
        self.waiting.insert(arrival.number);
        let in_line = self.places.queue.join((), arrival, usize::MAX);
        let in_line = in_line.expect("no bound");
        let places = Arc::clone(&self.places);
        let entering = async move {
            let entered = in_line.turn(None, || places.take()).await;
            entered.expect("nobody is pushed out");
        };
        Step::Waits(Box::pin(entering), arrival.number)
    }

    /// Asks one as if his task was woken.
    fn ask(&mut self, chosen: usize) {
        let Step::Waits(entering, number) = &mut self.people[chosen] else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        if entering.as_mut().poll(&mut context).is_ready() {
            let number = *number;
            assert_eq!(self.waiting.pop_first(), Some(number), "who came first");
            self.people[chosen] = Step::IsIn(Arrival {
                number,
                has_waited: true,
            });
        }
    }

    /// Asks all, until none of them comes in any more.
    fn settle(&mut self) {
        loop {
            let before = self.places.taken.load(SeqCst);
            for chosen in 0..self.people.len() {
                self.ask(chosen);
            }
            if self.places.taken.load(SeqCst) == before {
                return;
            }
        }
    }
}

/// Any order of steps: coming, asking, leaving, giving up, coming back, another limit. Whoever
/// comes in is the first of those that wait, and at the end nobody waits beside a free place.
#[tokio::test]
async fn whatever_happens_the_first_comes_in_and_nobody_before_him() {
    for seed in 0..2_000 {
        let mut random = Rng::with_seed(seed);
        let mut model = Model::default();
        for _ in 0..60 {
            model.step(&mut random);
        }
        model.settle();
        let Model {
            places,
            people,
            waiting,
        } = model;
        let (taken, most) = (places.taken.load(SeqCst), places.most.load(SeqCst));
        assert!(
            waiting.is_empty() || taken >= most,
            "seed {seed}: {waiting:?} wait beside {taken} of {most}"
        );
        drop(people);
        assert!(places.queue.lines().is_empty(), "seed {seed}");
        assert_eq!(places.queue.waiting.load(SeqCst), 0, "seed {seed}");
    }
}

/// Comes and goes, and says in `last` who came in last: with nobody coming back, each that comes in
/// came later than the one before.
async fn wait_often(places: &Places, (joining, last): (&Mutex<()>, &AtomicU64), seed: u64) {
    let mut random = Rng::with_seed(seed);
    for _ in 0..5_000 {
        let in_line = {
            // Else one who comes later may stand there already, and come in.
            let _joining = joining.lock();
            join(&places.queue)
        };
        if random.u8(..8) == 0 {
            // One that gives up, at any moment, called or not.
            yield_now().await;
            drop(in_line);
            continue;
        }
        let number = in_line.arrival().number + 1;
        let turn = in_line.turn(None, || {
            places.take()?;
            let before = last.swap(number, SeqCst);
            assert!(before < number, "{before} came in before {number}");
            Some(())
        });
        let entered = timeout(LONG, turn).await;
        entered.expect("every place is left again");
        drop(in_line);
        if random.bool() {
            yield_now().await;
        }
        places.leave();
        if random.u8(..64) == 0 {
            // As a reload does.
            places.allow(random.u32(1..4));
        }
    }
}

#[test]
fn no_call_is_lost_between_threads() {
    let places = Places::default();
    places.allow(2);
    let (joining, last) = (Mutex::new(()), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 0..4 {
            let (places, shared) = (&places, (&joining, &last));
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime");
                runtime.block_on(wait_often(places, shared, seed));
            });
        }
    });
    assert_eq!(places.taken.load(SeqCst), 0);
    assert!(places.queue.is_empty(()));
}

/// Far more than all the rounds together need.
const LONG: Duration = Duration::from_mins(1);
