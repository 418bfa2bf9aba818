//! Clients that take turns: nobody waits beside a free place, in whatever order they come and go.

use std::collections::BTreeMap;

use tokio::time::advance;

use super::*;

fn order(client: u64) -> Order {
    Order {
        client,
        stale_after: Some(STALE),
    }
}

/// One of a client's that waits, at most so many with him.
fn join_as(queue: &Arc<Queue>, client: u64, at_most: usize) -> Option<InLine> {
    queue.join_in((), queue.arrive(), order(client), at_most)
}

#[tokio::test(start_paused = true)]
async fn who_is_first_may_be_another_one_by_the_time_that_room_is_made() {
    let queue = Arc::<Queue>::default();
    let mut context = Context::from_waker(Waker::noop());
    let mut room = [None, None];
    let [old_room, new_room] = &mut room;
    let old = join_as(&queue, 1, 9).expect("room");
    let in_vain = join_as(&queue, 3, 9).expect("room");
    let mut old_turn = pin!(old.turn(None, || old_room.take()));
    assert!(old_turn.as_mut().poll(&mut context).is_pending());
    // He is called, and does not look yet.
    queue.call(&[()]);
    advance(STALE).await;
    drop(in_vain);
    let new = join_as(&queue, 2, 9).expect("room");
    assert!(old_turn.as_mut().poll(&mut context).is_pending());
    *new_room = Some(());
    let mut new_turn = pin!(new.turn(None, || new_room.take()));
    assert!(
        new_turn.as_mut().poll(&mut context).is_ready(),
        "newest first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_lost_where_the_order_changes_without_anybody_coming() {
    let queue = Arc::<Queue>::default();
    let places = Places::default();
    let places = Places {
        queue: Arc::clone(&queue),
        ..places
    };
    let [old, middle, new] = [1, 2, 3].map(|client| join_as(&queue, client, 9).expect("room"));
    let mut context = Context::from_waker(Waker::noop());
    let mut turns = [&old, &new].map(|one| Box::pin(one.turn(None, || places.take())));
    for turn in &mut turns {
        assert!(turn.as_mut().poll(&mut context).is_pending());
    }
    // The one whose turn it is is called, and before he looks it is another's: by one who
    // has waited in vain.
    places.allow(1);
    advance(STALE).await;
    drop(middle);
    let [old_turn, new_turn] = &mut turns;
    assert!(old_turn.as_mut().poll(&mut context).is_pending());
    assert!(new_turn.as_mut().poll(&mut context).is_ready());
}

#[tokio::test]
async fn who_is_pushed_out_hears_of_it() {
    let queue = Arc::<Queue>::default();
    let mut greedy: Vec<_> = (0..4).filter_map(|_| join_as(&queue, 1, 4)).collect();
    assert_eq!(greedy.len(), 4);
    assert!(join_as(&queue, 1, 4).is_none(), "it has no fewer");
    let mut context = Context::from_waker(Waker::noop());
    let last = greedy.pop().expect("four");
    let mut turn = pin!(last.turn(None, || None::<()>));
    assert!(turn.as_mut().poll(&mut context).is_pending());
    let other = join_as(&queue, 2, 4).expect("it has none");
    assert_eq!(turn.as_mut().poll(&mut context), Poll::Ready(None));
    assert_eq!(queue.waiting(), 4, "no more than may wait");
    assert!(join_as(&queue, 2, 4).is_some_and(|second| looks(&greedy[0]) && !looks(&second)));
    drop((greedy, other));
    assert_eq!(
        queue.waiting(),
        0,
        "who was pushed out is not counted any more"
    );
}

/// Who waits in the model, and who is in.
#[derive(Default)]
struct Model {
    places: Arc<Places>,
    waiting: Vec<Waiter>,
    inside: u32,
    ends: BTreeMap<&'static str, u32>,
}

type Waiter = Pin<Box<dyn Future<Output = Option<()>>>>;

impl Model {
    async fn step(&mut self, random: &mut Rng) {
        let chosen = random.usize(..self.waiting.len().max(1));
        match random.u8(..12) {
            0..4 => self.join(random.u64(..4)),
            4 if !self.waiting.is_empty() => drop(self.waiting.swap_remove(chosen)),
            5..7 if self.inside > 0 => {
                self.inside -= 1;
                self.places.leave();
            }
            7 => self.places.allow(random.u32(..4)),
            8 => advance(STALE / 8).await,
            _ if !self.waiting.is_empty() => self.ask(chosen),
            _ => {}
        }
        let waiting = self.places.queue.waiting();
        assert!(waiting <= BOUND, "{waiting} wait");
    }

    fn join(&mut self, client: u64) {
        let places = Arc::clone(&self.places);
        let Some(in_line) = join_as(&places.queue, client, BOUND) else {
            *self.ends.entry("refused").or_default() += 1;
            return;
        };
        let entering = async move { in_line.turn(None, || places.take()).await };
        self.waiting.push(Box::pin(entering));
    }

    fn ask(&mut self, chosen: usize) {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(end) = self.waiting[chosen].as_mut().poll(&mut context) else {
            return;
        };
        drop(self.waiting.swap_remove(chosen));
        let word = if end.is_some() { "in" } else { "pushed out" };
        self.inside += u32::from(end.is_some());
        *self.ends.entry(word).or_default() += 1;
    }

    /// Asks all, until nothing changes any more.
    fn settle(&mut self) {
        loop {
            let before = self.waiting.len();
            for chosen in (0..self.waiting.len()).rev() {
                self.ask(chosen);
            }
            if self.waiting.len() == before {
                return;
            }
        }
    }
}

/// Any order of steps: coming, asking, leaving, giving up, another limit, and time that passes, so
/// that lines grow stale and recover. At the end nobody waits beside a free place.
#[tokio::test(start_paused = true)]
async fn whatever_happens_nobody_waits_beside_a_free_place() {
    let mut ends = BTreeMap::new();
    for seed in 0..3_000 {
        let mut random = Rng::with_seed(seed);
        let mut model = Model::default();
        for _ in 0..80 {
            model.step(&mut random).await;
        }
        model.settle();
        let places = &model.places;
        let (taken, most) = (places.taken.load(SeqCst), places.most.load(SeqCst));
        assert_eq!(taken, model.inside, "seed {seed}");
        let waiting = model.waiting.len();
        assert!(
            waiting == 0 || taken >= most,
            "seed {seed}: {waiting} wait beside {taken} of {most}"
        );
        model.waiting.clear();
        assert_eq!(places.queue.waiting(), 0, "seed {seed}");
        assert!(places.queue.lines().is_empty(), "seed {seed}");
        for (end, count) in model.ends {
            *ends.entry(end).or_default() += count;
        }
    }
    let often = |end| ends.get(end).is_some_and(|count: &u32| *count > 100);
    assert!(
        ["in", "pushed out", "refused"].into_iter().all(often),
        "{ends:?}"
    );
}

#[test]
fn no_call_is_lost_between_threads_that_take_turns() {
    let places = Places::default();
    places.allow(2);
    let takes_turns = |thread: u64| {
        let mut random = Rng::with_seed(thread);
        let places = &places;
        async move {
            for _ in 0..3_000 {
                let client = random.u64(..3);
                let Some(in_line) = join_as(&places.queue, client, 3) else {
                    yield_now().await;
                    continue;
                };
                let turn = in_line.turn(None, || places.take());
                let entered = timeout(LONG, turn)
                    .await
                    .expect("every place is left again");
                drop(in_line);
                if random.bool() {
                    yield_now().await;
                }
                if entered.is_some() {
                    places.leave();
                }
            }
        }
    };
    thread::scope(|scope| {
        for thread in 0..4 {
            let turns = takes_turns(thread);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .expect("a runtime");
                runtime.block_on(turns);
            });
        }
    });
    assert_eq!(places.taken.load(SeqCst), 0);
    assert_eq!(places.queue.waiting(), 0);
}

const STALE: Duration = Duration::from_millis(100);

/// Those that wait in the model at most.
const BOUND: usize = 5;
