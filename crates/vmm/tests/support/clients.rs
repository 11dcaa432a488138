//! Clients of a machine that ask for everything at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vmmkit_vmm::Handle;

use super::eventually;

/// Between two requests of a client.
const PACE: Duration = Duration::from_micros(200);

/// Threads that pause, resume and inspect a machine, over and over.
pub(crate) struct Clients {
    are_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub(crate) fn of(handle: &Handle) -> Self {
        let acts: [fn(&Handle); 5] = [
            |handle| {
                handle.pause();
            },
            // Most of these are withdrawn.
            |handle| drop(handle.pause_within(Duration::from_micros(50))),
            Handle::resume,
            Handle::resume,
            |handle| drop(handle.dump_vcpus()),
        ];
        let are_over = Arc::new(AtomicBool::new(false));
        let client = |act: fn(&Handle)| {
            let (handle, are_over) = (handle.clone(), are_over.clone());
            thread::spawn(move || {
                while !are_over.load(Ordering::Relaxed) {
                    act(&handle);
                    // Without a pause some of them would have a lock all the time on a host that is busy.
                    thread::sleep(PACE);
                }
            })
        };
        let threads = acts.map(client).into();
        Self { are_over, threads }
    }

    /// Has them finish what they are at, which none may wait for in vain.
    pub(crate) fn leave(self) {
        self.are_over.store(true, Ordering::Relaxed);
        eventually("every client has its answer", || {
            self.threads.iter().all(JoinHandle::is_finished)
        });
        self.threads.into_iter().for_each(|it| it.join().unwrap());
    }
}
