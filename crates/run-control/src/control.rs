//! Who may run: the one place where run, pause and stop are decided.
//!
//! Threads: any thread asks; vCPU threads look at [`Control::may_run`] before their first entry
//! into the guest and after each kick, and park in [`Control::park`]. Lock order: `visit_turn`,
//! `phase`, `kickers`; no callback and no kick runs under `phase`, and devices may call
//! [`Control::end`] under their own. A request is stored before the kicks go out, and a kick is never
//! lost, so every vCPU sees the request.
//!
//! A reset has every vCPU's thread drop its vCPU and come to [`Control::next_life`]; the last one there
//! makes the new vCPUs, with no lock held.
//!
//! Anybody may ask at any time, also before the vCPUs have threads and while another thread waits
//! in [`Control::pause`]: the last request of pause and resume counts, and an end is final.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use vmmkit_host_io::Broadcast;
use vmmkit_hypervisor::{Kick, VcpuId};
use vmmkit_telemetry::BootLog;

use debug::Debugger;
use log::Told;
use visit::Visit;

use crate::event::BACKLOG;
use crate::{Event, MachineState, OnCrash, OnReboot, Outcome, ResetCause, RunError, VcpuBody};

mod debug;
mod end;
mod log;
mod pause;
mod reset;
mod visit;

pub use pause::PauseError;

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const STOP: u8 = 2;
const RESET: u8 = 3;

/// How the run ended, before the threads have.
pub type Ending = Result<Outcome, RunError>;

/// Brings devices to rest, if the machine is still paused.
pub type Rest = Box<dyn Fn(&Control) + Send + Sync>;

/// The shared run state of one machine.
pub struct Control {
    /// The current request. Written under `phase`.
    request: AtomicU8,
    phase: Mutex<Phase>,
    changed: Condvar,
    kickers: Mutex<Arc<[Arc<dyn Kick>]>>,
    policy: OnceLock<(OnReboot, OnCrash)>,
    on_crash: OnceLock<Rest>,
    events: Broadcast<Event>,
    /// Whether the guest has written to its console.
    console_is_ready: AtomicBool,
    /// A vCPU has to look at `phase` although it may run: somebody visits it, or holds it.
    is_wanted: AtomicBool,
    /// Held by who visits, so that one round of visits is whole before the next.
    visit_turn: Mutex<()>,
    debugger: OnceLock<Debugger>,
    boot_log: OnceLock<Arc<BootLog>>,
    told: Told,
}

#[derive(Default)]
struct Phase {
    /// The vCPUs that have threads; 0 before the start.
    vcpus: usize,
    parked: usize,
    /// The pauses that were asked for since the last resume, and were not withdrawn.
    pauses: usize,
    /// How the guest crashed, if it did since its start.
    crash: Option<Outcome>,
    /// The guest's crash kernel was told of.
    crash_loaded: bool,
    /// A reset was asked for, and the guest has not started anew.
    reset: Option<ResetCause>,
    /// The vCPUs' threads that are done with their old vCPUs.
    arrived: usize,
    /// The vCPUs that the threads are to take on, by number.
    bodies: Vec<Option<VcpuBody>>,
    ending: Option<Ending>,
    /// How it ended, to stay when `ending` is taken.
    ended: Option<MachineState>,
    /// What is to be done on the thread of each vCPU, by number.
    visits: Vec<Option<Visit>>,
    /// Visits that are not over.
    visitors: usize,
    /// Which round of visits they are of.
    visit_round: u64,
    /// Whether each vCPU is held out of the guest, by number; none where nobody holds any.
    held: Vec<bool>,
}

impl Phase {
    fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    fn may_resume(&self) -> bool {
        let is_dead = matches!(self.crash, Some(Outcome::TripleFault(_)));
        self.ending.is_none() && !(is_dead && self.reset.is_none())
    }

    fn holds(&self, vcpu: VcpuId) -> bool {
        self.held.get(vcpu.0 as usize).copied().unwrap_or(false)
    }
}

impl Control {
    /// Has milestones go to `log`.
    pub fn set_boot_log(&self, log: Arc<BootLog>) {
        // The first one stands.
        let _ = self.boot_log.set(log);
    }

    /// Where milestones go.
    #[inline]
    pub fn boot_log(&self) -> &Arc<BootLog> {
        self.boot_log.get_or_init(Arc::default)
    }

    /// What the guest's own reset and crash do; once, before it runs. Where a crash pauses the machine,
    /// `rest` brings its devices to rest, on a vCPU's thread, when no vCPU is in the guest any more.
    pub fn set_policy(&self, on_reboot: OnReboot, on_crash: OnCrash, rest: Rest) {
        // A second call has no effect.
        let _ = self.policy.set((on_reboot, on_crash));
        let _ = self.on_crash.set(rest);
    }

    /// Makes the vCPUs known, before any of them runs.
    pub fn set_vcpus(&self, kickers: Vec<Arc<dyn Kick>>) {
        *self.kickers() = kickers.into();
    }

    /// Threads for `vcpus` vCPUs are about to start: from now on a pause and the end wait for them.
    pub fn start(&self, vcpus: usize) {
        self.lock().vcpus = vcpus;
        self.publish(Event::Started);
    }

    /// Whether a vCPU may enter the guest. Asked before its first entry and after each kick.
    #[inline]
    pub fn may_run(&self) -> bool {
        // Ordering: pairs with the stores in `pause`, `end`, `visit` and `hold`, whose kick makes the guest
        // exit if these loads came too early.
        self.request.load(Ordering::Acquire) == RUN && !self.is_wanted.load(Ordering::Acquire)
    }

    /// Whether the life of a vCPU is over, by the end of the run or by a reset, when it
    /// [may not run](Self::may_run).
    pub fn is_over(&self) -> bool {
        // Ordering: as in `may_run`.
        self.request.load(Ordering::Acquire) >= STOP
    }

    /// Whether the last request of pause and resume was a pause.
    pub fn is_paused(&self) -> bool {
        self.lock().is_paused()
    }

    /// Tells all subscribers.
    pub fn publish(&self, event: Event) {
        self.told.tell(&event);
        self.events.publish(event);
    }

    /// Where subscribers come.
    pub fn events(&self) -> &Broadcast<Event> {
        &self.events
    }

    /// The guest writes to its console.
    #[inline]
    pub fn console_is_written(&self) {
        let ready = &self.console_is_ready;
        if !ready.load(Ordering::Relaxed) && !ready.swap(true, Ordering::Relaxed) {
            self.publish(Event::ConsoleReady);
        }
    }

    /// What the machine does now.
    pub fn state(&self) -> MachineState {
        let phase = self.lock();
        match phase.ended {
            Some(ended) => ended,
            None if phase.vcpus == 0 => MachineState::Ready,
            None if phase.reset.is_some() => MachineState::Resetting,
            None if phase.is_paused() => phase
                .crash
                .map_or(MachineState::Paused, MachineState::Crashed),
            None => MachineState::Running,
        }
    }

    /// Whether the run has ended.
    pub fn has_ended(&self) -> bool {
        self.lock().ending.is_some()
    }

    /// Waits until the run has ended; vCPUs may still be on their way out of the guest.
    pub fn wait_for_end(&self) {
        let mut phase = self.lock();
        while phase.ending.is_none() {
            phase = self.wait(phase);
        }
    }

    /// How the run ended; `None` before, and after it was taken.
    pub fn take_ending(&self) -> Option<Ending> {
        self.lock().ending.replace(Ok(Outcome::Stopped))
    }

    fn kick_all(&self) {
        let kickers = self.kickers().clone();
        kickers.iter().for_each(|kicker| kicker.kick());
    }

    fn kickers(&self) -> MutexGuard<'_, Arc<[Arc<dyn Kick>]>> {
        self.kickers.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The same, no longer than until `deadline`; whether that has passed.
    fn wait_until<'a>(
        &self,
        phase: MutexGuard<'a, Phase>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, Phase>, bool) {
        let Some(deadline) = deadline else {
            return (self.wait(phase), false);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout(phase, left);
        let (phase, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (phase, left.is_zero())
    }
}

impl Default for Control {
    /// A machine that may run as soon as its vCPUs have threads.
    fn default() -> Self {
        Self {
            boot_log: OnceLock::new(),
            request: AtomicU8::new(RUN),
            phase: Mutex::default(),
            changed: Condvar::new(),
            kickers: Mutex::new(Arc::new([])),
            policy: OnceLock::new(),
            on_crash: OnceLock::new(),
            events: Broadcast::new(BACKLOG),
            console_is_ready: AtomicBool::new(false),
            is_wanted: AtomicBool::new(false),
            visit_turn: Mutex::default(),
            debugger: OnceLock::new(),
            told: Told::default(),
        }
    }
}

/// Closes the stream of events when it is dropped, with the threads or the machine that never had
/// any.
#[derive(Debug)]
pub struct LastEvent(pub Arc<Control>);

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
