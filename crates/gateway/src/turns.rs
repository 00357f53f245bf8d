//! Turns: of keys that ask for more than is computed, each gets as many answers begun as the others.
//!
//! A request with a key of a ring takes a place until its prompt is computed. Where no place is free it
//! waits, and those who wait go round: one request of each key, then the next of each. So a key that sends
//! a thousand at once delays another's first by no more than the places. What is begun is not limited.
//!
//! Invariants:
//! - A place is free again however whoever had it ended.
//! - At most `TURNS_WAITING_MAX` requests of a key wait.
//!
//! Not here: requests without such a key, which are the owner's own, and batches, which come last anyway.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::{ApiError, Code};
use crate::limits::{TURN_TIME_MAX, TURNS_MAX, TURNS_WAITING_MAX};

/// The places, and who waits for one.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    taken: usize,
    /// Keys with requests that wait; the next one first.
    round: VecDeque<(String, VecDeque<oneshot::Sender<Place>>)>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Turns>);

impl Turns {
    /// A place for a request with a key, once it is its turn.
    pub(crate) async fn take(self: &Arc<Turns>, key: &str) -> Result<Place, ApiError> {
        let busy = |why: &str| ApiError::new(Code::Busy, why).retry_after(1);
        let waiting = {
            let mut inner = self.lock();
            if inner.taken < TURNS_MAX {
                inner.taken += 1;
                return Ok(Place(Arc::clone(self)));
            }
            let (sender, waiting) = oneshot::channel();
            if !inner.join(key, sender) {
                return Err(busy("too many requests with this key are waiting"));
            }
            waiting
        };
        match timeout(TURN_TIME_MAX, waiting).await {
            Ok(Ok(place)) => Ok(place),
            // Nobody drops the other end but with all of this.
            Ok(Err(_)) | Err(_) => Err(busy("this key's turn did not come in time")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Queues a request with its key; false where too many wait already.
    fn join(&mut self, key: &str, sender: oneshot::Sender<Place>) -> bool {
        let index = self.round.iter().position(|(known, _)| known == key);
        let index = index.unwrap_or_else(|| {
            self.round.push_back((key.to_owned(), VecDeque::new()));
            self.round.len() - 1
        });
        let Some((_, queue)) = self.round.get_mut(index) else { return false };
        queue.retain(|waiting| !waiting.is_closed());
        if queue.len() >= TURNS_WAITING_MAX {
            return false;
        }
        queue.push_back(sender);
        true
    }

    /// Whose turn it is, of those who still wait.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        while let Some((key, mut queue)) = self.round.pop_front() {
            let next = std::iter::from_fn(|| queue.pop_front()).find(|it| !it.is_closed());
            if !queue.is_empty() {
                self.round.push_back((key, queue));
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut inner = self.0.lock();
            let next = inner.next();
            if next.is_none() {
                inner.taken = inner.taken.saturating_sub(1);
            }
            next
        };
        // Where it left in this very moment, what it did not get is dropped, and goes to the one after.
        next.into_iter().for_each(|next| drop(next.send(Place(Arc::clone(&self.0)))));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap().block_on(future)
    }

    #[test]
    fn a_key_that_asks_for_much_delays_another_by_a_round() {
        let turns = Arc::new(Turns::default());
        let order = run(async {
            let mut held = join_all((0..TURNS_MAX).map(|_| turns.take("greedy"))).await;
            let order = Mutex::new(Vec::new());
            let wait = async |key: &'static str| {
                let place = turns.take(key).await.unwrap();
                order.lock().unwrap().push(key);
                drop(place);
            };
            let greedy = join_all((0..100).map(|_| wait("greedy")));
            let modest = join_all((0..3).map(|_| wait("modest")));
            let mut all = std::pin::pin!(async { tokio::join!(greedy, modest) });
            assert!((&mut all).now_or_never().is_none());
            drop(held.pop());
            all.await;
            drop(held);
            order.lock().unwrap().clone()
        });
        let modest: Vec<usize> =
            (0..order.len()).filter(|index| order[*index] == "modest").collect();
        assert_eq!((order.len(), modest), (103, vec![1, 3, 5]));
        assert_eq!(turns.lock().taken, 0);
    }

    #[test]
    fn who_leaves_or_waits_too_long_takes_no_place() {
        let turns = Arc::new(Turns::default());
        run(async {
            let held = join_all((0..TURNS_MAX).map(|_| turns.take("a"))).await;
            let error = turns.take("b").await.unwrap_err();
            assert_eq!((error.code, error.retry_after), (Code::Busy, Some(1)));
            let mut waiting = Box::pin(turns.take("b"));
            assert!((&mut waiting).now_or_never().is_none());
            drop(waiting);
            let mut full: Vec<_> =
                (0..TURNS_WAITING_MAX).map(|_| Box::pin(turns.take("a"))).collect();
            assert!(full.iter_mut().all(|it| it.now_or_never().is_none()));
            assert_eq!(turns.take("a").now_or_never().unwrap().unwrap_err().code, Code::Busy);
            drop((full, held));
            assert_eq!(turns.lock().taken, 0);
            drop(turns.take("b").now_or_never().unwrap().unwrap());
        });
    }
}
