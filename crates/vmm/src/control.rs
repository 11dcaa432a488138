//! Who may run: the one place where run, pause and stop are decided.
//!
//! Threads: any thread asks; vCPU threads look at [`Control::may_run`] before their first entry
//! into the guest and after each kick, and park in [`Control::park`]. Lock order: `phase` is the
//! only lock; no callback and no kick runs under it, and devices may call [`Control::end`] under
//! their own. A request is stored before the kicks go out, and a kick is never lost, so every vCPU
//! sees the request.
//!
//! Anybody may ask at any time, also before the vCPUs have threads and while another thread waits
//! in [`Control::pause`]: the last request of pause and resume counts, and an end is final.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use vmmkit_device_bus::{GuestRequest, RequestSink};
use vmmkit_host_io::Broadcast;
use vmmkit_hypervisor::Kick;
use vmmkit_telemetry::{BootLog, Milestone};

use crate::event::{BACKLOG, Event, MachineState};
use crate::{Outcome, RunError};

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const STOP: u8 = 2;

/// How the run ended, before the threads have.
pub(crate) type Ending = Result<Outcome, RunError>;

/// The shared run state of one machine.
pub(crate) struct Control {
    /// The current request. Written under `phase`.
    request: AtomicU8,
    phase: Mutex<Phase>,
    changed: Condvar,
    kickers: OnceLock<Vec<Arc<dyn Kick>>>,
    events: Broadcast<Event>,
    /// Whether the guest has written to its console.
    console_is_ready: AtomicBool,
    boot_log: Arc<BootLog>,
}

#[derive(Default)]
struct Phase {
    /// The vCPUs that have threads; 0 before the start.
    vcpus: usize,
    parked: usize,
    finished: usize,
    ending: Option<Ending>,
    /// How it ended, to stay when `ending` is taken.
    ended: Option<MachineState>,
}

impl Control {
    /// A machine that may run as soon as its vCPUs have threads.
    pub(crate) fn new(boot_log: Arc<BootLog>) -> Arc<Self> {
        Arc::new(Self {
            request: AtomicU8::new(RUN),
            phase: Mutex::new(Phase::default()),
            changed: Condvar::new(),
            kickers: OnceLock::new(),
            events: Broadcast::new(BACKLOG),
            console_is_ready: AtomicBool::new(false),
            boot_log,
        })
    }

    /// Where milestones go.
    pub(crate) fn boot_log(&self) -> &Arc<BootLog> {
        &self.boot_log
    }

    /// Makes the vCPUs known; once, before any of them runs.
    pub(crate) fn set_vcpus(&self, kickers: Vec<Arc<dyn Kick>>) {
        // A second call has no effect: the builder makes one only.
        let _ = self.kickers.set(kickers);
    }

    /// Threads for `vcpus` vCPUs are about to start: from now on a pause and the end wait for them.
    pub(crate) fn start(&self, vcpus: usize) {
        self.lock().vcpus = vcpus;
        self.publish(Event::Started);
    }

    /// Whether a vCPU may enter the guest. Asked before its first entry and after each kick.
    #[inline]
    pub(crate) fn may_run(&self) -> bool {
        // Ordering: pairs with the stores in `pause` and `end`, whose kick makes the guest exit
        // if this load came too early.
        self.request.load(Ordering::Acquire) == RUN
    }

    /// Whether the run is over, for a vCPU that [may not run](Self::may_run).
    pub(crate) fn is_over(&self) -> bool {
        // Ordering: as in `may_run`.
        self.request.load(Ordering::Acquire) == STOP
    }

    /// Whether the last request was a pause.
    pub(crate) fn is_paused(&self) -> bool {
        // Ordering: as in `may_run`.
        self.request.load(Ordering::Acquire) == PAUSE
    }

    /// Waits, on a vCPU's thread, until it may run (`true`) or must end (`false`).
    pub(crate) fn park(&self) -> bool {
        let mut phase = self.lock();
        phase.parked += 1;
        self.changed.notify_all();
        loop {
            match self.request.load(Ordering::Acquire) {
                PAUSE => phase = self.wait(phase),
                request => {
                    phase.parked -= 1;
                    return request == RUN;
                }
            }
        }
    }

    /// Stops every vCPU and waits until none is in the guest, or until another thread has resumed
    /// the machine. `false` if the machine has ended.
    pub(crate) fn pause(&self) -> bool {
        let phase = self.lock();
        if phase.ending.is_some() {
            return false;
        }
        self.request.store(PAUSE, Ordering::Release);
        drop(phase);
        self.kick_all();
        let mut phase = self.lock();
        while self.request.load(Ordering::Acquire) == PAUSE && phase.parked < phase.vcpus {
            phase = self.wait(phase);
        }
        phase.ending.is_none()
    }

    /// Lets every vCPU run again.
    pub(crate) fn resume(&self) {
        let phase = self.lock();
        if phase.ending.is_none() {
            self.request.store(RUN, Ordering::Release);
            self.changed.notify_all();
        }
    }

    /// Ends the run. The first ending stands.
    pub(crate) fn end(&self, ending: Ending) {
        self.boot_log.mark(Milestone::End);
        let mut phase = self.lock();
        if phase.ending.is_none() {
            let (state, event) = match &ending {
                Ok(outcome) => (MachineState::Ended(*outcome), Event::Ended(*outcome)),
                Err(error) => (MachineState::Failed, Event::Failed(error.to_string())),
            };
            phase.ended = Some(state);
            self.publish(event);
            phase.ending = Some(ending);
        }
        self.request.store(STOP, Ordering::Release);
        // Unlocked first, so that nobody wakes up only to wait for the lock.
        drop(phase);
        self.kick_all();
        self.changed.notify_all();
    }

    /// Where devices send what the guest asks for: each request ends the run.
    pub(crate) fn requests(self: &Arc<Self>) -> RequestSink {
        let control = self.clone();
        Arc::new(move |request| match request {
            GuestRequest::Reset => control.guest_asks(Outcome::Reset),
            GuestRequest::PowerOff => control.guest_asks(Outcome::PowerOff),
            GuestRequest::DebugExit(code) => control.guest_asks(Outcome::DebugExit(code)),
            GuestRequest::Panicked => control.guest_asks(Outcome::GuestPanic),
            GuestRequest::CrashLoaded => control.publish(Event::CrashLoaded),
        })
    }

    /// The guest did something that ends the run.
    pub(crate) fn guest_asks(&self, outcome: Outcome) {
        match outcome {
            Outcome::GuestPanic => self.publish(Event::Panicked),
            Outcome::TripleFault(vcpu) => self.publish(Event::TripleFault(vcpu)),
            _ => {}
        }
        self.end(Ok(outcome));
    }

    /// Tells all subscribers.
    pub(crate) fn publish(&self, event: Event) {
        self.events.publish(event);
    }

    /// Where subscribers come.
    pub(crate) fn events(&self) -> &Broadcast<Event> {
        &self.events
    }

    /// The guest writes to its console.
    #[inline]
    pub(crate) fn console_is_written(&self) {
        let ready = &self.console_is_ready;
        if !ready.load(Ordering::Relaxed) && !ready.swap(true, Ordering::Relaxed) {
            self.publish(Event::ConsoleReady);
        }
    }

    /// What the machine does now.
    pub(crate) fn state(&self) -> MachineState {
        let phase = self.lock();
        match phase.ended {
            Some(ended) => ended,
            None if phase.vcpus == 0 => MachineState::Ready,
            None if self.is_paused() => MachineState::Paused,
            None => MachineState::Running,
        }
    }

    /// Whether the run has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ending.is_some()
    }

    /// A vCPU's thread is done with its vCPU.
    pub(crate) fn finish_vcpu(&self) {
        self.lock().finished += 1;
        self.changed.notify_all();
    }

    /// Waits until the run has ended and every vCPU's thread is done.
    pub(crate) fn wait_for_end(&self) {
        let mut phase = self.lock();
        while phase.ending.is_none() || phase.finished < phase.vcpus {
            phase = self.wait(phase);
        }
    }

    /// How the run ended; `None` before, and after it was taken.
    pub(crate) fn take_ending(&self) -> Option<Ending> {
        self.lock().ending.replace(Ok(Outcome::Stopped))
    }

    fn kick_all(&self) {
        for kicker in self.kickers.get().into_iter().flatten() {
            kicker.kick();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        // Nothing panics while it holds the lock, so a poisoned one is whole.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, phase: MutexGuard<'a, Phase>) -> MutexGuard<'a, Phase> {
        self.changed
            .wait(phase)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the stream of events when it is dropped, with the threads or the machine that never had
/// any.
#[derive(Debug)]
pub(crate) struct LastEvent(pub(crate) Arc<Control>);

impl Drop for LastEvent {
    fn drop(&mut self) {
        self.0.events.close();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
