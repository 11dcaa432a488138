//! The lock of the run state, and what happens when it is released.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use vmmkit_host_io::Broadcast;
use vmmkit_telemetry::BootLog;

use crate::event::BACKLOG;
use crate::log::EventLog;
use crate::state::{RUN, State};
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{Event, Settings};

/// The part of a machine's run state that all handles and threads share.
pub(crate) struct Core {
    // Fixed at creation
    pub(crate) settings: Settings,
    pub(crate) boot_log: Arc<BootLog>,
    // State
    state: Mutex<State>,
    changed: Condvar,
    /// [`State::signal`], which vCPUs' threads read without the lock.
    signal: AtomicU8,
    /// Set by the guest's first byte on its console since power-on.
    console_is_ready: AtomicBool,
    pub(crate) events: Broadcast<Event>,
    log: EventLog,
}

impl Core {
    pub(crate) fn new(settings: Settings, boot_log: Arc<BootLog>) -> Self {
        Self {
            state: Mutex::new(State::new(settings.vcpus)),
            settings,
            boot_log,
            changed: Condvar::new(),
            signal: AtomicU8::new(RUN),
            console_is_ready: AtomicBool::new(false),
            events: Broadcast::new(BACKLOG),
            log: EventLog::default(),
        }
    }

    /// The signal for the vCPUs' threads: one of the constants of [`crate::state`].
    #[inline]
    pub(crate) fn signal(&self) -> u8 {
        // Ordering: pairs with the store in `change`, which comes before the kick that makes the guest exit if
        // this load came too early.
        self.signal.load(Ordering::Acquire)
    }

    /// Reads the state under the lock.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the state. Whoever waits for it looks again, subscribers get the events, and, once the lock is
    /// released, the log.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        self.release(state);
        result
    }

    /// Waits until `is_due`, or until `deadline`, and then changes the state; `change` is told whether it is late.
    pub(crate) fn change_when<T>(
        &self,
        deadline: Option<Instant>,
        is_due: impl Fn(&State) -> bool,
        change: impl FnOnce(&mut State, bool) -> T,
    ) -> T {
        let (mut state, is_late) = self.wait(deadline, is_due);
        let result = change(&mut state, is_late);
        self.release(state);
        result
    }

    /// Waits until `is_due`.
    pub(crate) fn wait_until(&self, is_due: impl Fn(&State) -> bool) {
        drop(self.wait(None, is_due));
    }

    fn wait(
        &self,
        deadline: Option<Instant>,
        is_due: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'_, State>, bool) {
        let mut state = self.lock();
        while !is_due(&state) {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let waited = match left {
                Some(left) if left.is_zero() => return (state, true),
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
            state = waited;
        }
        (state, false)
    }

    fn release(&self, mut state: MutexGuard<'_, State>) {
        // Ordering: pairs with the load in `signal`.
        self.signal.store(state.signal(), Ordering::Release);
        // Subscribers see events in the order of the changes; what publishes waits for nobody.
        for event in std::mem::take(&mut state.events) {
            self.log.add(&event);
            self.events.publish(event);
        }
        // Unlocked first, so that nobody wakes up only to wait for the lock.
        drop(state);
        self.changed.notify_all();
        self.log.write();
    }

    /// Makes every vCPU look at the signal.
    pub(crate) fn kick_all(&self) {
        self.kick(|_| true);
    }

    /// Makes the vCPUs with these numbers look.
    pub(crate) fn kick(&self, is_wanted: impl Fn(u32) -> bool) {
        let kickers = self.read(|state| state.kickers.clone());
        let numbered = (0..).zip(kickers.iter());
        let wanted = numbered.filter(|(number, _)| is_wanted(*number));
        wanted.for_each(|(_, kicker)| kicker.kick());
    }

    /// The guest writes to its console.
    #[inline]
    pub(crate) fn console_is_written(&self) {
        let ready = &self.console_is_ready;
        // Ordering: the flag alone counts; nothing else is read because of it.
        if !ready.load(Ordering::Relaxed) && !ready.swap(true, Ordering::Relaxed) {
            self.change(|state| state.events.push(Event::ConsoleReady));
        }
    }

    /// Forgets the guest's console output from before this power-on. No vCPU runs.
    pub(crate) fn forget_last_life(&self) {
        self.boot_log.forget_last_words();
        // Ordering: the new vCPUs are handed over under the lock.
        self.console_is_ready.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
