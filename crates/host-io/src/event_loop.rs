//! An event loop: epoll over everything that is not a vCPU, on event-manager.
//!
//! One thread runs it. Subscribers must not block it for long: the console's output and input,
//! signals of the embedder and, later, device queues share it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use thiserror::Error;

use crate::EventFd;

/// Why an event loop cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EventLoopError {
    /// The host refused an event or an epoll instance.
    #[error("the event loop failed")]
    Host(#[source] io::Error),
    /// The loop refused a subscriber.
    #[error("the event loop failed")]
    Manager(#[source] event_manager::Error),
}

/// Anything that waits for file descriptors on an event loop.
pub type Subscriber = Box<dyn MutEventSubscriber + Send>;

/// The loop, ready to run.
pub struct EventLoop {
    manager: EventManager<Subscriber>,
    stop: EventLoopStop,
}

/// Ends the loop from another thread.
#[derive(Clone, Debug)]
pub struct EventLoopStop {
    event: Arc<EventFd>,
    stopping: Arc<AtomicBool>,
}

impl EventLoop {
    /// A loop over `subscribers`.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or memory left.
    pub fn new(subscribers: Vec<Subscriber>) -> Result<Self, EventLoopError> {
        // Room for the ready events of one wake-up; more come with the next.
        let mut manager = EventManager::<Subscriber>::new_with_capacity(32).map_err(failed)?;
        let stop = EventLoopStop {
            event: Arc::new(EventFd::new().map_err(EventLoopError::Host)?),
            stopping: Arc::new(AtomicBool::new(false)),
        };
        manager.add_subscriber(Box::new(stop.clone()));
        for subscriber in subscribers {
            manager.add_subscriber(subscriber);
        }
        Ok(Self { manager, stop })
    }

    /// The handle that ends it.
    pub fn stop_handle(&self) -> EventLoopStop {
        self.stop.clone()
    }

    /// Runs until it is stopped, on a thread of [`ThreadRole::Device`](crate::ThreadRole::Device) at best.
    ///
    /// # Errors
    /// The host's, of epoll_wait(2).
    pub fn run(mut self) -> Result<(), EventLoopError> {
        // Ordering: pairs with the store in `EventLoopStop::stop`.
        while !self.stop.stopping.load(Ordering::Acquire) {
            match self.manager.run() {
                Ok(_) => {}
                Err(event_manager::Error::Epoll(errno))
                    if io::Error::from(errno).kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

fn failed(error: event_manager::Error) -> EventLoopError {
    match error {
        event_manager::Error::Epoll(errno) => EventLoopError::Host(errno.into()),
        error => EventLoopError::Manager(error),
    }
}

impl EventLoopStop {
    /// Ends the loop after the event it is at.
    pub fn stop(&self) {
        // Ordering: pairs with the load in `EventLoop::run`; the event wakes it.
        self.stopping.store(true, Ordering::Release);
        self.event.notify();
    }
}

impl std::fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLoop").finish_non_exhaustive()
    }
}

impl MutEventSubscriber for EventLoopStop {
    fn process(&mut self, _events: Events, _ops: &mut EventOps<'_>) {
        self.event.drain();
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        // Only a host out of memory refuses; the loop then ends with its other descriptors.
        let _ = ops.add(Events::new(&*self.event, EventSet::IN));
    }
}
