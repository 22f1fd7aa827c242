//! The line in which stories wait for leave to run guests, first come first served. An emulated guest's clock goes on while
//! it waits for a processor, so each guest too many costs the others: with four others a boot takes twice the processor
//! time that it takes with one. One more than there are processors fills the time in which a guest waits for something.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::thread;

/// Leave to run so many guests, given back when dropped.
pub struct Guests(usize);

struct Line {
    running: usize,
    waiting: VecDeque<u64>,
    last: u64,
}

static LINE: Mutex<Line> = Mutex::new(Line {
    running: 0,
    waiting: VecDeque::new(),
    last: 0,
});
static CHANGED: Condvar = Condvar::new();

/// Waits for it.
pub fn guests(count: usize) -> Guests {
    let at_most = thread::available_parallelism().map_or(1, usize::from) + 1;
    let mut line = LINE.lock().unwrap();
    line.last += 1;
    let ticket = line.last;
    line.waiting.push_back(ticket);
    while line.waiting.front() != Some(&ticket) || line.running + count > at_most.max(count) {
        line = CHANGED.wait(line).unwrap();
    }
    line.waiting.pop_front();
    line.running += count;
    CHANGED.notify_all();
    Guests(count)
}

impl Drop for Guests {
    fn drop(&mut self) {
        LINE.lock().unwrap().running -= self.0;
        CHANGED.notify_all();
    }
}
