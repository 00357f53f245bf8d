//! Worker threads that share out the items of one job at a time.
//!
//! A job is `count` independent items. Each thread has a run of them, which it takes in order, so
//! that it reads memory in order; one that has come to the end of its own takes of the others'
//! (Blumofe and Leiserson 1999, work stealing). Waiting spins briefly, then parks, and a worker that
//! the system has not scheduled holds nobody up: the caller works through the items itself, closes
//! the job to latecomers, and waits only for items already taken.
//!
//! Invariants:
//! - When `run` returns, every item has been done once and no worker touches the job any more.
//! - What is computed cannot depend on who does which item.
//!
//! Not here: what the items are.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};

/// Worker threads, at most.
pub const THREADS_MAX: usize = 256;
/// Turns of the spin before a waiting thread yields: about thirty microseconds, longer than the gaps
/// between the jobs of one layer.
const SPINS: u32 = 2_000;
/// Yields before a waiting thread parks.
const YIELDS: u32 = 20;

type Item<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// The low bits of the state count workers inside the job; this bit says that it is open.
const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;

/// A counter with a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Next(AtomicUsize);

struct Shared {
    /// Epoch in the high 32 bits, `OPEN`, and the number of workers inside.
    state: AtomicU64,
    /// The next item of each thread's run.
    next: Vec<Next>,
    job: UnsafeCell<Option<(Item<'static>, usize)>>,
    stop: AtomicBool,
    asleep: Vec<AtomicBool>,
    caller_waits: AtomicBool,
    caller: UnsafeCell<Option<Thread>>,
}

// SAFETY: `job` and `caller` are written only by the caller of `run`, while the state is closed and
// no worker is inside; workers read them only between entering and leaving an open job.
#[expect(unsafe_code, reason = "the job cell is guarded by the state word")]
unsafe impl Sync for Shared {}

/// A pool of threads; the calling thread is one of them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

impl Pool {
    /// Starts `threads - 1` workers; `threads` is clamped to 1..=`THREADS_MAX`. Where the system
    /// refuses a thread, the pool is as large as it allows.
    #[must_use]
    pub fn new(threads: usize) -> Pool {
        let count = threads.clamp(1, THREADS_MAX) - 1;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: (0..=count).map(|_| Next::default()).collect(),
            job: UnsafeCell::new(None),
            stop: AtomicBool::new(false),
            asleep: (0..count).map(|_| AtomicBool::new(false)).collect(),
            caller_waits: AtomicBool::new(false),
            caller: UnsafeCell::new(None),
        });
        let spawn = |index: usize| {
            let shared = shared.clone();
            let builder = std::thread::Builder::new().name(alloc::format!("engine-{}", index + 1));
            builder.spawn(move || shared.work(index)).ok()
        };
        let workers = (0..count).map_while(spawn).collect();
        Pool { shared, workers }
    }

    /// Threads that work, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `item(i, thread)` once for each i below `count`, in any order, on any thread. `thread`
    /// is below `threads()` and never the same for two calls at one time.
    #[expect(unsafe_code, reason = "the job's lifetime is erased while workers may see it")]
    pub fn run(&mut self, count: usize, item: Item<'_>) {
        if self.workers.is_empty() || count < 2 {
            (0..count).for_each(|i| item(i, 0));
            return;
        }
        let shared = &*self.shared;
        // SAFETY: the state is closed and empty (`&mut self`, and the last `run` waited), so no
        // worker reads the cells now. The lifetime is erased only until `close` below has returned,
        // after which no worker holds the job.
        unsafe {
            let item = core::mem::transmute::<Item<'_>, Item<'static>>(item);
            *shared.job.get() = Some((item, count));
            *shared.caller.get() = Some(std::thread::current());
        }
        for (thread, next) in shared.next.iter().enumerate() {
            next.0.store(shared.run_start(thread, count), Ordering::Relaxed);
        }
        let epoch = (shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared.state.swap(epoch << 32 | OPEN, Ordering::SeqCst);
        for (asleep, worker) in shared.asleep.iter().zip(&self.workers) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        let close = CloseOnDrop(shared);
        shared.take_items(item, count, 0);
        drop(close);
    }
}

/// Closes the job also when an item panics, so that no worker outlives the borrow.
struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker that panicked has already reported it.
            drop(worker.join());
        }
    }
}

impl Shared {
    fn take_items(&self, item: Item<'_>, count: usize, thread: usize) {
        let threads = self.next.len();
        for owner in (thread..threads).chain(0..thread) {
            let end = self.run_start(owner + 1, count);
            loop {
                let i = self.next[owner].0.fetch_add(1, Ordering::Relaxed);
                if i >= end {
                    break;
                }
                item(i, thread);
            }
        }
    }

    /// The first of `count` items that is thread `thread`'s own.
    fn run_start(&self, thread: usize, count: usize) -> usize {
        thread * count / self.next.len()
    }

    /// Lets no more workers in and waits for those inside.
    fn close(&self) {
        let mut state = self.state.fetch_and(!OPEN, Ordering::SeqCst);
        let mut turn = 0;
        while state & ACTIVE != 0 {
            turn += 1;
            if turn < SPINS {
                core::hint::spin_loop();
            } else if turn < SPINS + YIELDS {
                std::thread::yield_now();
            } else {
                // A swap, not a store: on both sides of a sleep a flag is written and another one
                // read, and emulated ARM (qemu on x86) lets the read overtake a plain store.
                self.caller_waits.swap(true, Ordering::SeqCst);
                if self.state.load(Ordering::SeqCst) & ACTIVE != 0 {
                    std::thread::park();
                }
                self.caller_waits.store(false, Ordering::SeqCst);
            }
            state = self.state.load(Ordering::SeqCst);
        }
    }

    /// A worker's life: wait for an open job of a new epoch, help, leave.
    fn work(&self, index: usize) {
        let mut done = 0;
        while let Some(epoch) = self.wait(index, done) {
            done = epoch;
            if let Some(inside) = self.enter(epoch) {
                let (item, count) = inside.job;
                self.take_items(item, count, index + 1);
            }
        }
    }

    /// Waits for an epoch other than `done`; `None` when the pool is dropped.
    fn wait(&self, index: usize, done: u64) -> Option<u64> {
        let mut turn = 0;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let state = self.state.load(Ordering::SeqCst);
            if state & OPEN != 0 && state >> 32 != done {
                return Some(state >> 32);
            }
            turn += 1;
            if turn < SPINS {
                core::hint::spin_loop();
            } else if turn < SPINS + YIELDS {
                std::thread::yield_now();
            } else {
                // A swap, for the reason in `close`.
                self.asleep[index].swap(true, Ordering::SeqCst);
                let state = self.state.load(Ordering::SeqCst);
                if (state & OPEN == 0 || state >> 32 == done) && !self.stop.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.asleep[index].store(false, Ordering::SeqCst);
            }
        }
    }

    /// Enters the job of `epoch` if it is still open.
    #[expect(unsafe_code, reason = "reads the job cell")]
    fn enter(&self, epoch: u64) -> Option<Inside<'_>> {
        let mut state = self.state.load(Ordering::SeqCst);
        loop {
            if state & OPEN == 0 || state >> 32 != epoch {
                return None;
            }
            match self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        // SAFETY: this worker is counted inside an open job, so the caller has written the cell and
        // will not write it again before the count is back to zero.
        let job = unsafe { *self.job.get() };
        let job = job.expect("an open job has items");
        Some(Inside { shared: self, job })
    }
}

/// A worker's presence in a job; leaving wakes a waiting caller.
struct Inside<'a> {
    shared: &'a Shared,
    job: (Item<'static>, usize),
}

impl Drop for Inside<'_> {
    #[expect(unsafe_code, reason = "reads the caller cell")]
    fn drop(&mut self) {
        let shared = self.shared;
        // SAFETY: still counted inside, so the caller does not write the cell.
        let caller = unsafe { (*shared.caller.get()).clone() };
        shared.state.fetch_sub(1, Ordering::SeqCst);
        if shared.caller_waits.load(Ordering::SeqCst)
            && let Some(caller) = caller
        {
            caller.unpark();
        }
    }
}

/// One value a thread, for scratch memory.
pub fn per_thread<T>(pool: &Pool, make: impl Fn() -> T) -> Box<[T]> {
    (0..pool.threads()).map(|_| make()).collect()
}
