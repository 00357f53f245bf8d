//! The pool of one, where there are no threads.

use alloc::boxed::Box;

/// One thread.
pub const THREADS_MAX: usize = 1;

/// Does every item itself.
#[derive(Debug)]
pub struct Pool;

impl Pool {
    /// One thread, whatever was asked for.
    #[must_use]
    pub fn new(_threads: usize) -> Pool {
        Pool
    }

    /// Always 1.
    #[must_use]
    pub fn threads(&self) -> usize {
        1
    }

    /// Calls `item(i, 0)` for each i below `count`.
    pub fn run(&mut self, count: usize, item: &(dyn Fn(usize, usize) + Sync)) {
        (0..count).for_each(|i| item(i, 0));
    }
}

/// One value.
pub fn per_thread<T>(_pool: &Pool, make: impl Fn() -> T) -> Box<[T]> {
    Box::new([make()])
}
