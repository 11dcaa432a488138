//! An engine with its queues, and what it is asked for.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use vmmkit_host_io::{EventFd, Interest, Poller, Ready};

use super::{Context, Engine, Queues};
use crate::{Queue, QueueState};

/// Tokens that are not an engine's.
const OURS: u64 = 1 << 63;
const CONTROL: u64 = u64::MAX;

/// A request to an engine's thread.
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

/// An engine with its queues and its commands, on whatever thread.
pub(super) struct Worker {
    engine: Box<dyn Engine>,
    context: Context,
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
    is_paused: bool,
}

impl Worker {
    /// `wake` tells of commands. Nobody waits for it yet.
    pub(super) fn new(
        engine: Box<dyn Engine>,
        queues: Queues,
        commands: Receiver<Command>,
        wake: Arc<EventFd>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        for queue in queues.iter() {
            wait_for_kicks(&poller, queue)?;
        }
        Ok(Self {
            engine,
            context: Context { queues, poller },
            commands,
            wake,
            is_paused: false,
        })
    }

    /// The poller of the engine and its queues.
    pub(super) fn poller(&self) -> &Poller {
        &self.context.poller
    }

    /// The eventfd that announces commands.
    pub(super) fn wake(&self) -> &EventFd {
        &self.wake
    }

    /// Whether it rests: only commands are for it then.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Runs until it is told to stop, with the thread to itself.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.poller()
            .add(&*self.wake, CONTROL, Interest::Readable)?;
        self.begin()?;
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
            if is_asked && !self.obey(true)? {
                return Ok(());
            }
        }
    }

    /// Begins to work, on the thread where it stays.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.engine.start(&mut self.context)?;
        self.kick_all();
        Ok(())
    }

    /// Has the engine answer what is ready now: one batch, which uses up `ready`.
    pub(super) fn turn(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.context.poller.look(ready)?;
        for event in ready.drain(..) {
            self.answer(event);
        }
        Ok(())
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

    /// Does what is asked; whether to go on. One that `waits` is here for as long as it is paused.
    pub(super) fn obey(&mut self, waits: bool) -> io::Result<bool> {
        self.wake.drain();
        loop {
            let next = if self.is_paused && waits {
                self.commands.recv().ok()
            } else {
                match self.commands.try_recv() {
                    Ok(command) => Some(command),
                    Err(TryRecvError::Empty) => return Ok(true),
                    Err(TryRecvError::Disconnected) => None,
                }
            };
            let Some(command) = next else {
                self.engine.quiesce(&mut self.context);
                return Ok(false);
            };
            if !self.follow(command)? {
                return Ok(false);
            }
        }
    }

    /// Follows one command; whether to go on.
    fn follow(&mut self, command: Command) -> io::Result<bool> {
        match command {
            Command::Pause(done) => {
                self.engine.quiesce(&mut self.context);
                self.is_paused = true;
                let _ = done.send(());
            }
            Command::Resume => {
                self.is_paused = false;
                self.kick_all();
            }
            Command::States(answer) => {
                let queues = self.context.queues.iter();
                let states = queues.map(|queue| (queue.index(), queue.state()));
                let _ = answer.send(states.collect());
            }
            Command::Disable(index, done) => {
                self.engine.quiesce(&mut self.context);
                if let Some(queue) = self.context.queues.remove(index) {
                    self.context.poller.remove(&**queue.kick())?;
                }
                let _ = done.send(());
                if !self.is_paused {
                    self.kick_all();
                }
            }
            Command::Enable(queue) => {
                wait_for_kicks(&self.context.poller, &queue)?;
                let index = queue.index();
                self.context.queues.insert(*queue);
                if !self.is_paused {
                    self.engine.kicked(&mut self.context, index);
                }
            }
            Command::Stop => {
                self.engine.quiesce(&mut self.context);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn wait_for_kicks(poller: &Poller, queue: &Queue) -> io::Result<()> {
    poller.add(
        &**queue.kick(),
        OURS | u64::from(queue.index()),
        Interest::EachArrival,
    )
}
