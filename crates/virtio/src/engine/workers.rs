//! The threads of one device, as its transport leads them.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use vmmkit_host_io::{EventFd, ThreadSpec};

use super::worker::{Command, Worker};
use super::{DeviceThreads, Engine, Queues};
use crate::{Active, Fault, Queue, QueueState};

/// Threads need little: engines neither recurse nor keep large things on the stack.
pub(super) const STACK: usize = 256 << 10;

/// The running engines of a device. Dropping it stops them.
#[derive(Debug, Default)]
pub(crate) struct Workers(Vec<Remote>);

/// A worker from outside.
#[derive(Debug)]
struct Remote {
    queues: Vec<u16>,
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    resting: Option<Receiver<()>>,
    end: Option<End>,
}

/// How to wait for the end of a worker.
#[derive(Debug)]
enum End {
    /// With its thread.
    Thread(JoinHandle<()>),
    /// Without one of its own.
    Shared(DeviceThreads, Receiver<()>),
}

impl Workers {
    /// Starts `thread` for `engine` with the queues of the numbers `indices`.
    pub(crate) fn spawn(
        &mut self,
        thread: ThreadSpec,
        engine: Box<dyn Engine>,
        indices: Vec<u16>,
        queues: Queues,
        fault: Arc<Fault>,
    ) -> io::Result<()> {
        let (mut remote, worker) = prepare(engine, indices, queues)?;
        let thread = thread.spawn(move || run(worker, &fault))?;
        remote.end = Some(End::Thread(thread));
        self.0.push(remote);
        Ok(())
    }

    /// Has `engine` run on the thread `shared`, with the queues of the numbers `indices`.
    pub(crate) fn share(
        &mut self,
        shared: DeviceThreads,
        engine: Box<dyn Engine>,
        indices: Vec<u16>,
        queues: Queues,
        fault: Arc<Fault>,
    ) -> io::Result<()> {
        let (mut remote, worker) = prepare(engine, indices, queues)?;
        let ended = shared.join(worker, fault)?;
        remote.end = Some(End::Shared(shared, ended));
        self.0.push(remote);
        Ok(())
    }

    fn of_queue(&self, index: u16) -> Option<&Remote> {
        self.0.iter().find(|remote| remote.queues.contains(&index))
    }
}

/// A worker that nobody runs yet, and how to reach it.
fn prepare(
    engine: Box<dyn Engine>,
    indices: Vec<u16>,
    queues: Queues,
) -> io::Result<(Remote, Worker)> {
    let (commands, receiver) = channel();
    let wake = Arc::new(EventFd::new()?);
    let worker = Worker::new(engine, queues, receiver, wake.clone())?;
    let remote = Remote {
        queues: indices,
        commands,
        wake,
        resting: None,
        end: None,
    };
    Ok((remote, worker))
}

/// Runs a worker; what it ends with but a stop, the driver sees.
fn run(worker: Worker, fault: &Fault) {
    match catch_unwind(AssertUnwindSafe(|| worker.run())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => fault.report(error.to_string()),
        Err(panic) => fault.report(message(panic.as_ref())),
    }
}

pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_default())
}

impl Remote {
    /// A worker that has ended does not answer, and nothing is waited for then.
    fn ask(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.wake.notify();
        }
    }
}

impl Active for Workers {
    fn pause(&mut self) {
        for remote in &mut self.0 {
            let (done, resting) = channel();
            remote.ask(Command::Pause(done));
            remote.resting = Some(resting);
        }
    }

    fn wait_paused(&mut self) {
        for remote in &mut self.0 {
            if let Some(resting) = remote.resting.take() {
                let _ = resting.recv();
            }
        }
    }

    fn wait_paused_until(&mut self, deadline: Instant) -> bool {
        for remote in &mut self.0 {
            let Some(resting) = &remote.resting else {
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            // One that has ended rests.
            if resting.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                return false;
            }
            remote.resting = None;
        }
        true
    }

    fn resume(&mut self) {
        for remote in &mut self.0 {
            remote.resting = None;
            remote.ask(Command::Resume);
        }
    }

    fn disable_queue(&mut self, index: u16) {
        if let Some(remote) = self.of_queue(index) {
            let (done, resting) = channel();
            remote.ask(Command::Disable(index, done));
            let _ = resting.recv();
        }
    }

    fn enable_queue(&mut self, queue: Queue) {
        if let Some(remote) = self.of_queue(queue.index()) {
            remote.ask(Command::Enable(Box::new(queue)));
        }
    }

    fn queue_states(&mut self) -> Vec<(u16, QueueState)> {
        let states = |remote: &Remote| {
            let (answer, states) = channel();
            remote.ask(Command::States(answer));
            states.recv().unwrap_or_default()
        };
        self.0.iter().flat_map(states).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for remote in &self.0 {
            remote.ask(Command::Stop);
        }
        for remote in &mut self.0 {
            match remote.end.take() {
                // A panic was caught in `run`.
                Some(End::Thread(thread)) => drop(thread.join()),
                Some(End::Shared(shared, ended)) => {
                    let _ = ended.recv();
                    shared.leave();
                }
                None => {}
            }
        }
    }
}
