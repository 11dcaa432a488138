//! The threads that run a device's queues.

mod shared;
mod worker;
mod workers;

#[cfg(test)]
mod tests;

use std::io;

use vmmkit_host_io::{Poller, Ready};

use crate::Queue;

pub use shared::DeviceThreads;
pub(crate) use workers::Workers;

/// The part of a device that owns queues while a driver runs it. It lives on one thread, which waits
/// for the driver's kicks and for what the engine itself asked the [`Poller`] to wait for, and calls
/// it. Nothing else runs there, but other engines where it is the one that devices share ([`DeviceThreads`]).
///
/// None of its functions may wait for the guest, nor work for as long as the guest makes work: what is
/// left after a bounded part of it comes with the next turn, for which an engine kicks itself.
pub trait Engine: Send {
    /// Before everything else, on the thread: what to wait for besides kicks. Tokens are the
    /// engine's own, below 2^63. Every queue is [`kicked`](Self::kicked) once afterwards.
    ///
    /// # Errors
    /// The device then needs a reset.
    fn start(&mut self, context: &mut Context) -> io::Result<()> {
        let _ = context;
        Ok(())
    }

    /// The driver made chains of queue `index` available, or may have.
    fn kicked(&mut self, context: &mut Context, index: u16);

    /// Something that the engine waits for is ready.
    fn ready(&mut self, context: &mut Context, ready: Ready) {
        let _ = (context, ready);
    }

    /// Comes to rest: what is under way is finished or put back ([`Queue::unpop`]), and published.
    /// When it returns, the engine touches neither RAM nor queues until a queue is kicked again; what
    /// the host has sent and the guest has not taken is kept. A pause, the reset of a queue and the
    /// end begin with it.
    fn quiesce(&mut self, context: &mut Context) {
        let _ = context;
    }
}

/// The context that an engine works with.
#[derive(Debug)]
pub struct Context {
    /// Its queues.
    pub queues: Queues,
    /// The descriptors it waits for.
    pub poller: Poller,
}

/// The queues that a driver has enabled, by number.
#[derive(Debug, Default)]
pub struct Queues(Vec<Queue>);

impl Queues {
    /// The queue `index`; `None` where the driver has not enabled it, or another engine has it.
    #[inline]
    pub fn get_mut(&mut self, index: u16) -> Option<&mut Queue> {
        self.0.iter_mut().find(|queue| queue.index() == index)
    }

    /// The queues, lowest number first.
    pub fn iter(&self) -> impl Iterator<Item = &Queue> {
        self.0.iter()
    }

    /// The queues, lowest number first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.0.iter_mut()
    }

    /// Adds a queue, in place of the one of its number.
    pub(crate) fn insert(&mut self, queue: Queue) {
        self.remove(queue.index());
        self.0.push(queue);
        self.0.sort_by_key(Queue::index);
    }

    /// Takes the queue `index` out.
    pub fn remove(&mut self, index: u16) -> Option<Queue> {
        let place = self.0.iter().position(|queue| queue.index() == index)?;
        Some(self.0.remove(place))
    }

    /// The numbers of the queues.
    pub(crate) fn indices(&self) -> Vec<u16> {
        self.0.iter().map(Queue::index).collect()
    }
}
