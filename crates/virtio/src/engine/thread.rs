//! What one thread of a device does.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use vmmkit_host_io::{EventFd, Interest, Poller, Ready};

use super::{Context, Engine, Queues};
use crate::{Queue, QueueState};

/// Tokens that are not an engine's.
const OURS: u64 = 1 << 63;
const CONTROL: u64 = u64::MAX;

/// What a thread is asked for.
pub(super) enum Command {
    /// Come to rest, and say so.
    Pause(Sender<()>),
    /// Go on.
    Resume,
    /// Where the queues are; at rest.
    States(Sender<Vec<(u16, QueueState)>>),
    /// Let go of a queue, and say so.
    Disable(u16, Sender<()>),
    /// Take a queue.
    Enable(Box<Queue>),
    /// Come to rest and end.
    Stop,
}

/// A thread with its engine.
pub(super) struct Worker {
    engine: Box<dyn Engine>,
    context: Context,
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
}

impl Worker {
    pub(super) fn new(
        engine: Box<dyn Engine>,
        queues: Queues,
        commands: Receiver<Command>,
        wake: Arc<EventFd>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&*wake, CONTROL, Interest::Readable)?;
        for queue in queues.iter() {
            wait_for_kicks(&poller, queue)?;
        }
        Ok(Self {
            engine,
            context: Context { queues, poller },
            commands,
            wake,
        })
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.engine.start(&mut self.context)?;
        self.kick_all();
        let mut ready = Vec::with_capacity(32);
        loop {
            self.context.poller.wait(&mut ready)?;
            let mut is_asked = false;
            for event in ready.drain(..) {
                if event.token == CONTROL {
                    is_asked = true;
                } else {
                    self.answer(event);
                }
            }
            if is_asked && !self.obey()? {
                return Ok(());
            }
        }
    }

    #[inline]
    fn answer(&mut self, event: Ready) {
        if event.token & OURS == 0 {
            self.engine.ready(&mut self.context, event);
        } else {
            let index = (event.token & !OURS) as u16;
            if let Some(queue) = self.context.queues.get_mut(index) {
                queue.count_kick();
            }
            self.engine.kicked(&mut self.context, index);
        }
    }

    fn kick_all(&mut self) {
        for index in self.context.queues.indices() {
            self.engine.kicked(&mut self.context, index);
        }
    }

    /// Does what is asked; whether to go on.
    fn obey(&mut self) -> io::Result<bool> {
        self.wake.drain();
        let mut is_paused = false;
        loop {
            // While it is paused, this waits for the next command.
            let next = if is_paused {
                self.commands.recv().ok()
            } else {
                match self.commands.try_recv() {
                    Ok(command) => Some(command),
                    Err(std::sync::mpsc::TryRecvError::Empty) => return Ok(true),
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => None,
                }
            };
            match next {
                Some(Command::Pause(done)) => {
                    self.engine.quiesce(&mut self.context);
                    is_paused = true;
                    let _ = done.send(());
                }
                Some(Command::Resume) => {
                    is_paused = false;
                    self.kick_all();
                }
                Some(Command::States(answer)) => {
                    let queues = self.context.queues.iter();
                    let states = queues.map(|queue| (queue.index(), queue.state()));
                    let _ = answer.send(states.collect());
                }
                Some(Command::Disable(index, done)) => {
                    self.engine.quiesce(&mut self.context);
                    if let Some(queue) = self.context.queues.remove(index) {
                        self.context.poller.remove(&**queue.kick())?;
                    }
                    let _ = done.send(());
                    if !is_paused {
                        self.kick_all();
                    }
                }
                Some(Command::Enable(queue)) => {
                    wait_for_kicks(&self.context.poller, &queue)?;
                    let index = queue.index();
                    self.context.queues.insert(*queue);
                    if !is_paused {
                        self.engine.kicked(&mut self.context, index);
                    }
                }
                Some(Command::Stop) | None => {
                    self.engine.quiesce(&mut self.context);
                    return Ok(false);
                }
            }
        }
    }
}

fn wait_for_kicks(poller: &Poller, queue: &Queue) -> io::Result<()> {
    poller.add(
        &**queue.kick(),
        OURS | u64::from(queue.index()),
        Interest::EachArrival,
    )
}
