//! The threads of a machine's devices, one of which is for the engines of several.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use vmmkit_host_io::{
    EventFd, Interest, Poller, Ready, ThreadPolicy, ThreadRole, ThreadSpec, WorkThread,
};

use super::worker::Worker;
use super::workers::{STACK, message};
use crate::Fault;

/// The token of the thread's own event. A member has two: its number times 2 for what it waits for,
/// and one more for its commands.
const CONTROL: u64 = u64::MAX;

/// The threads of a machine's devices: how they are named and scheduled, and one, `virtio-slow`, that the engines
/// of several devices share: those that have little to do, and never wait for a disk. It is there while an engine
/// is on it.
///
/// Engines take turns, and in each one answers a bounded number of events; so a driver that keeps its
/// device busy slows the others and does not stop them. Each pauses, loses queues and ends by itself.
/// One that panics, or cannot go on, is taken off, and its device needs a reset; the others stay.
///
/// Transports are told of theirs by [`use_threads`](crate::Transport::use_threads), and devices
/// choose the shared one by [`on_shared_thread`](crate::Activation::on_shared_thread).
#[derive(Clone, Default)]
pub struct DeviceThreads {
    policy: Arc<ThreadPolicy>,
    work: WorkThread,
    shared: Arc<Mutex<Option<Running>>>,
}

/// The thread from outside.
struct Running {
    newcomers: Sender<Member>,
    wake: Arc<EventFd>,
    members: usize,
    thread: JoinHandle<()>,
}

/// A worker on the thread.
pub(super) struct Member {
    worker: Worker,
    fault: Arc<Fault>,
    /// Dropped with it: whoever has the other end learns of the end so.
    _ended: Sender<()>,
}

impl DeviceThreads {
    /// Threads that are not there before they are needed.
    pub fn new(policy: ThreadPolicy) -> Self {
        Self {
            policy: Arc::new(policy),
            work: WorkThread::new(),
            shared: Arc::default(),
        }
    }

    /// The thread that starts, resets and stops devices on behalf of the vCPU threads that ask for it, so that
    /// these need not be able to start threads. Where it is not started, callers do it.
    pub fn work(&self) -> &WorkThread {
        &self.work
    }

    /// A thread of a device, called `name` behind the machine's prefix.
    pub fn spec(&self, name: &str) -> ThreadSpec {
        self.policy.spec(ThreadRole::Device, name).stack_size(STACK)
    }

    /// Takes `worker`, and starts the thread for the first one. What is returned says that it has
    /// ended, by having no sender any more; then comes [`leave`](Self::leave).
    pub(super) fn join(&self, worker: Worker, fault: Arc<Fault>) -> io::Result<Receiver<()>> {
        let (ended, end) = channel();
        let member = Member {
            worker,
            fault,
            _ended: ended,
        };
        let mut running = self.shared.lock();
        let thread = match &mut *running {
            Some(thread) => thread,
            none => none.insert(Running::start(self)?),
        };
        let sent = thread.newcomers.send(member);
        sent.map_err(|_| io::Error::other("the shared thread has ended"))?;
        thread.members += 1;
        thread.wake.notify();
        Ok(end)
    }

    /// A worker that joined has ended. The thread ends with the last.
    pub(super) fn leave(&self) {
        let mut running = self.shared.lock();
        if let Some(thread) = running.as_mut() {
            thread.members -= 1;
        }
        if let Some(thread) = running.take_if(|thread| thread.members == 0) {
            drop(thread.newcomers);
            thread.wake.notify();
            // A panic was caught in `Loop::run`.
            let _ = thread.thread.join();
        }
    }
}

impl fmt::Debug for DeviceThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared.lock();
        let members = shared.as_ref().map_or(0, |thread| thread.members);
        f.debug_struct("DeviceThreads")
            .field("policy", &self.policy)
            .field("members", &members)
            .finish_non_exhaustive()
    }
}

impl Running {
    fn start(threads: &DeviceThreads) -> io::Result<Self> {
        let (newcomers, receiver) = channel();
        let wake = Arc::new(EventFd::new()?);
        let poller = Poller::new()?;
        poller.add(&*wake, CONTROL, Interest::Readable)?;
        let turns = Loop {
            poller,
            wake: wake.clone(),
            newcomers: receiver,
            members: BTreeMap::new(),
            joined: 0,
            ready: Vec::with_capacity(32),
        };
        let thread = threads.spec("virtio-slow").spawn(move || turns.run())?;
        Ok(Self {
            newcomers,
            wake,
            members: 0,
            thread,
        })
    }
}

/// The loop of the thread.
struct Loop {
    poller: Poller,
    wake: Arc<EventFd>,
    newcomers: Receiver<Member>,
    members: BTreeMap<u64, Member>,
    /// How many ever joined, which numbers them.
    joined: u64,
    /// The ready descriptors of the member whose turn it is.
    ready: Vec<Ready>,
}

impl Loop {
    fn run(mut self) {
        if let Err(error) = self.take_turns() {
            let waiting: Vec<_> = self.newcomers.try_iter().collect();
            for member in self.members.values().chain(&waiting) {
                member.fault.report(error.to_string());
            }
        }
    }

    fn take_turns(&mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(32);
        loop {
            self.poller.wait(&mut ready)?;
            for event in ready.drain(..) {
                if event.token != CONTROL {
                    self.turn(event.token >> 1, event.token & 1 == 1);
                } else if !self.let_in() {
                    return Ok(());
                }
            }
        }
    }

    /// Lets newcomers in; whether more may come.
    fn let_in(&mut self) -> bool {
        self.wake.drain();
        loop {
            match self.newcomers.try_recv() {
                Ok(member) => {
                    let number = self.joined;
                    self.joined += 1;
                    self.guard(number, member, |poller, member, _| {
                        let worker = &mut member.worker;
                        poller.add(worker.poller(), number << 1, Interest::Readable)?;
                        poller.add(worker.wake(), number << 1 | 1, Interest::Readable)?;
                        worker.begin()?;
                        Ok(true)
                    });
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Gives a member its turn: to answer what is ready, or to do what it is asked for.
    fn turn(&mut self, number: u64, is_asked: bool) {
        let Some(member) = self.members.remove(&number) else {
            return;
        };
        self.guard(number, member, |poller, member, ready| {
            let worker = &mut member.worker;
            let was_paused = worker.is_paused();
            if !is_asked {
                if !was_paused {
                    worker.turn(ready)?;
                }
                return Ok(true);
            }
            let goes_on = worker.obey(false)?;
            if goes_on && worker.is_paused() != was_paused {
                // What comes while it rests stays where it is.
                let interest = Interest::of(was_paused, false);
                poller.change(worker.poller(), number << 1, interest)?;
            }
            Ok(goes_on)
        });
    }

    /// Has `work` done with a member, which stays if it goes on: not after a stop, an error or a panic.
    fn guard(
        &mut self,
        number: u64,
        mut member: Member,
        work: impl FnOnce(&Poller, &mut Member, &mut Vec<Ready>) -> io::Result<bool>,
    ) {
        let (poller, ready) = (&self.poller, &mut self.ready);
        let worked = AssertUnwindSafe(|| work(poller, &mut member, ready));
        let reason = match catch_unwind(worked) {
            Ok(Ok(true)) => {
                self.members.insert(number, member);
                return;
            }
            Ok(Ok(false)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(message(panic.as_ref())),
        };
        // Its own poller is nobody else's, and closed with it.
        let _ = self.poller.remove(member.worker.wake());
        if let Some(reason) = reason {
            member.fault.report(reason);
        }
    }
}
