//! One stream of messages to any number of readers, none of whom can hold up the writer.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::EventFd;

/// The writer's end. Any thread may publish; nothing waits for a reader.
///
/// Each reader has a queue of its own. One that is full loses its oldest message, and its reader is
/// told how many it missed.
///
/// ```
/// use vmmkit_host_io::{Broadcast, Next};
///
/// let broadcast = Broadcast::new(16);
/// let reader = broadcast.subscribe()?;
/// broadcast.publish("hello");
/// broadcast.close();
/// let Next::Message(message) = reader.wait() else { panic!("no message") };
/// assert_eq!((message.sequence, message.body), (1, "hello"));
/// assert!(matches!(reader.wait(), Next::Closed));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Broadcast<T> {
    // Fixed at creation
    capacity: usize,
    start: Instant,
    // State
    hub: Mutex<Hub<T>>,
}

struct Hub<T> {
    sequence: u64,
    is_closed: bool,
    readers: Vec<Weak<Reader<T>>>,
}

/// A message as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<T> {
    /// Its number: the first message of a broadcast has 1, and the next one always one more.
    pub sequence: u64,
    /// When it was published, since the broadcast was made.
    pub at: Duration,
    /// The published value.
    pub body: T,
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The next message.
    Message(Message<T>),
    /// So many messages were lost here, as the reader was slower than the writer.
    Missed(u64),
    /// Nothing yet.
    Empty,
    /// There will be no more.
    Closed,
}

/// A reader's end: all messages since it was made. Its descriptor is readable while something other
/// than [`Next::Empty`] is there. Dropping it ends the subscription.
pub struct Subscription<T> {
    reader: Arc<Reader<T>>,
}

struct Reader<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
    event: EventFd,
}

struct Queue<T> {
    messages: VecDeque<Message<T>>,
    missed: u64,
    is_closed: bool,
}

impl<T: Clone> Broadcast<T> {
    /// A broadcast whose readers may each fall behind by `capacity` messages, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            start: Instant::now(),
            hub: Mutex::new(Hub {
                sequence: 0,
                is_closed: false,
                readers: Vec::new(),
            }),
        }
    }

    /// A reader of all that is published from now on.
    ///
    /// # Errors
    /// The host's, when it has no descriptor left.
    pub fn subscribe(&self) -> io::Result<Subscription<T>> {
        let mut hub = self.hub.lock();
        let reader = Arc::new(Reader {
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                missed: 0,
                is_closed: hub.is_closed,
            }),
            changed: Condvar::new(),
            event: EventFd::new()?,
        });
        if hub.is_closed {
            reader.event.notify();
        }
        hub.readers.retain(|reader| reader.strong_count() > 0);
        hub.readers.push(Arc::downgrade(&reader));
        Ok(Subscription { reader })
    }

    /// Sends `body` to every reader. Nothing happens once it is closed.
    pub fn publish(&self, body: T) {
        // Held over all readers, so that each sees the same order.
        let mut hub = self.hub.lock();
        if hub.is_closed {
            return;
        }
        hub.sequence += 1;
        let message = Message {
            sequence: hub.sequence,
            at: self.start.elapsed(),
            body,
        };
        let capacity = self.capacity;
        hub.readers.retain(|reader| {
            let reader = reader.upgrade();
            reader.is_some_and(|reader| {
                reader.push(message.clone(), capacity);
                true
            })
        });
    }

    /// There is no more: readers get what is on its way to them, then [`Next::Closed`].
    pub fn close(&self) {
        let mut hub = self.hub.lock();
        hub.is_closed = true;
        for reader in hub.readers.drain(..).filter_map(|reader| reader.upgrade()) {
            reader.queue.lock().is_closed = true;
            reader.event.notify();
            reader.changed.notify_all();
        }
    }
}

impl<T> Reader<T> {
    fn push(&self, message: Message<T>, capacity: usize) {
        let mut queue = self.queue.lock();
        if queue.messages.len() >= capacity {
            queue.messages.pop_front();
            queue.missed += 1;
        }
        queue.messages.push_back(message);
        // Under the lock, or a reader that takes the message first would drain nothing and leave
        // the descriptor readable.
        self.event.notify();
        drop(queue);
        self.changed.notify_one();
    }

    fn take(&self, queue: &mut Queue<T>) -> Next<T> {
        let missed = std::mem::take(&mut queue.missed);
        if missed > 0 {
            return Next::Missed(missed);
        }
        let message = queue.messages.pop_front();
        if queue.messages.is_empty() && !queue.is_closed {
            self.event.drain();
        }
        match message {
            Some(message) => Next::Message(message),
            None if queue.is_closed => Next::Closed,
            None => Next::Empty,
        }
    }
}

impl<T> Subscription<T> {
    /// The next value, without waiting.
    pub fn next_now(&self) -> Next<T> {
        self.reader.take(&mut self.reader.queue.lock())
    }

    /// Waits until something other than [`Next::Empty`] is there.
    pub fn wait(&self) -> Next<T> {
        let mut queue = self.reader.queue.lock();
        loop {
            match self.reader.take(&mut queue) {
                Next::Empty => {
                    self.reader.changed.wait(&mut queue);
                }
                other => return other,
            }
        }
    }

    /// Waits for `time` at most; [`Next::Empty`] says that nothing came.
    pub fn wait_for(&self, time: Duration) -> Next<T> {
        let start = Instant::now();
        let mut queue = self.reader.queue.lock();
        loop {
            let left = time.saturating_sub(start.elapsed());
            match self.reader.take(&mut queue) {
                Next::Empty if !left.is_zero() => {
                    self.reader.changed.wait_for(&mut queue, left);
                }
                other => return other,
            }
        }
    }
}

impl<T> AsFd for Subscription<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.event.as_fd()
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hub = self.hub.lock();
        f.debug_struct("Broadcast")
            .field("sequence", &hub.sequence)
            .field("readers", &hub.readers.len())
            .field("is_closed", &hub.is_closed)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.reader.queue.lock();
        f.debug_struct("Subscription")
            .field("waiting", &queue.messages.len())
            .field("missed", &queue.missed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
