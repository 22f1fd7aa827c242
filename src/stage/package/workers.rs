//! Where deflate blocks are worked on: rayon's global pool, or one that the caller brings.

use rayon::ThreadPool;

/// A pool of threads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Workers<'a> {
    /// Rayon's global pool.
    Shared,
    /// A pool of the caller's.
    Pool(&'a ThreadPool),
}

impl Workers<'_> {
    /// How many threads work there.
    pub(super) fn threads(self) -> usize {
        match self {
            Self::Shared => rayon::current_num_threads(),
            Self::Pool(pool) => pool.current_num_threads(),
        }
    }

    /// Hands over a piece of work. First come, first served: packages that run at once share the pool evenly.
    pub(super) fn spawn(self, work: impl FnOnce() + Send + 'static) {
        match self {
            Self::Shared => rayon::spawn_fifo(work),
            Self::Pool(pool) => pool.spawn_fifo(work),
        }
    }
}
