//! A thread that works for others, so that they need not be able to do the work.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle, ThreadId};

use parking_lot::Mutex;

use crate::ThreadSpec;

/// Work that other threads hand over and wait for, done by one thread, one piece after the other.
///
/// A thread that runs a guest or talks to a client should be able to do little else. Rare work that needs
/// more, such as starting a device's threads once its driver is ready, is done here.
///
/// Before it is started, and after it is stopped, callers do the work themselves; so does the thread when its
/// work hands over work. Clones are the same thread.
///
/// ```
/// use vmmkit_host_io::{ThreadRole, ThreadSpec, WorkThread};
///
/// let works = WorkThread::new();
/// works.start(ThreadSpec::new(ThreadRole::Helper, "setup"))?;
/// assert_eq!(works.run(|| std::thread::current().name().map(str::to_owned)).as_deref(), Some("setup"));
/// works.stop();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct WorkThread(Arc<Mutex<Option<Running>>>);

struct Running {
    jobs: Sender<Job>,
    id: ThreadId,
    thread: JoinHandle<()>,
}

type Job = Box<dyn FnOnce() + Send>;
type Panic = Box<dyn Any + Send>;

impl WorkThread {
    /// One that is not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts it as `thread`. One that runs stays.
    ///
    /// # Errors
    /// The host's, when it has no thread left.
    pub fn start(&self, thread: ThreadSpec) -> io::Result<()> {
        let mut running = self.0.lock();
        if running.is_some() {
            return Ok(());
        }
        let (jobs, receiver) = channel::<Job>();
        let thread = thread.spawn(move || {
            while let Ok(job) = receiver.recv() {
                job();
            }
        })?;
        *running = Some(Running {
            jobs,
            id: thread.thread().id(),
            thread,
        });
        Ok(())
    }

    /// Has `work` done, and waits for it. A panic in it goes on in the caller.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let Some(jobs) = self.jobs() else {
            return work();
        };
        // Whoever has it first takes it: the thread, or the caller where the thread has stopped meanwhile.
        let work = Arc::new(Mutex::new(Some(work)));
        let (answer, result) = channel::<Result<T, Panic>>();
        let shared = work.clone();
        let job: Job = Box::new(move || {
            let taken = shared.lock().take();
            if let Some(work) = taken {
                // The caller waits, and takes the panic over.
                let _ = answer.send(catch_unwind(AssertUnwindSafe(work)));
            }
        });
        // What could not be sent is dropped, and so is its answer.
        drop(jobs.send(job));
        drop(jobs);
        loop {
            match result.recv() {
                Ok(Ok(value)) => return value,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(_) => {}
            }
            if let Some(work) = work.lock().take() {
                return work();
            }
        }
    }

    /// Ends the thread, once it has done what was handed over, and waits for that.
    pub fn stop(&self) {
        let Some(running) = self.0.lock().take() else {
            return;
        };
        running.end();
    }

    /// The way to the thread, from another one.
    fn jobs(&self) -> Option<Sender<Job>> {
        let running = self.0.lock();
        let running = running.as_ref()?;
        (running.id != thread::current().id()).then(|| running.jobs.clone())
    }
}

impl Running {
    fn end(self) {
        let Self { jobs, id, thread } = self;
        drop(jobs);
        if id != thread::current().id() {
            // A panic was caught, and is its caller's.
            let _ = thread.join();
        }
    }
}

impl Drop for WorkThread {
    fn drop(&mut self) {
        if let Some(last) = Arc::get_mut(&mut self.0)
            && let Some(running) = last.get_mut().take()
        {
            running.end();
        }
    }
}

impl fmt::Debug for WorkThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_running = self.0.lock().is_some();
        f.debug_struct("WorkThread")
            .field("is_running", &is_running)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ThreadRole;

    fn name() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    #[test]
    fn work_is_done_by_the_thread_while_it_runs_and_by_the_caller_otherwise() {
        let (works, here) = (WorkThread::new(), name());
        assert_eq!(works.run(name), here);
        works
            .start(ThreadSpec::new(ThreadRole::Helper, "first"))
            .unwrap();
        works
            .start(ThreadSpec::new(ThreadRole::Helper, "second"))
            .unwrap();
        assert_eq!(works.clone().run(name), "first");
        works.stop();
        works.stop();
        assert_eq!(works.run(name), here);
        works
            .start(ThreadSpec::new(ThreadRole::Helper, "second"))
            .unwrap();
        assert_eq!(works.run(name), "second");
    }

    #[test]
    fn work_that_hands_over_work_does_it_itself() {
        let works = WorkThread::new();
        works
            .start(ThreadSpec::new(ThreadRole::Helper, "outer"))
            .unwrap();
        let inner = works.clone();
        assert_eq!(works.run(move || inner.run(name)), "outer");
    }

    #[test]
    fn a_panic_is_the_callers_and_the_thread_goes_on() {
        let works = WorkThread::new();
        works
            .start(ThreadSpec::new(ThreadRole::Helper, "works"))
            .unwrap();
        let caller = works.clone();
        let caught = catch_unwind(AssertUnwindSafe(|| caller.run(|| panic!("asked to"))));
        assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "asked to");
        assert_eq!(works.run(name), "works");
    }

    #[test]
    fn many_callers_are_answered_while_it_stops_and_starts() {
        let works = WorkThread::new();
        thread::scope(|scope| {
            for caller in 0..4_u32 {
                let works = works.clone();
                scope.spawn(move || {
                    for turn in 0..500_u32 {
                        assert_eq!(works.run(move || caller * turn), caller * turn);
                    }
                });
            }
            for _ in 0..50 {
                works
                    .start(ThreadSpec::new(ThreadRole::Helper, "works"))
                    .unwrap();
                works.stop();
            }
        });
    }

    #[test]
    fn the_last_clone_ends_it() {
        let works = WorkThread::new();
        works
            .start(ThreadSpec::new(ThreadRole::Helper, "ends"))
            .unwrap();
        let (holds, held) = channel::<()>();
        let other = works.clone();
        works.run(move || drop(other));
        works.run(move || std::mem::forget(holds.clone()));
        drop(works);
        assert!(held.try_recv().is_err());
    }
}
