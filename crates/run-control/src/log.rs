//! A machine's events, logged via the `tracing` facade.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use parking_lot::{Mutex, MutexGuard};
use tracing::{debug, error, info, warn};
use vmmkit_telemetry::Occasions;

use crate::Event;

/// The lines to be logged. Subscribers of `tracing` are foreign code, so lines are picked under the lock of the
/// run state, which gives their order, and written after it.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    /// Events that a guest can repeat: resets and crashes.
    by_guest: Occasions,
    /// Events that clients can repeat: pauses.
    by_clients: Occasions,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    /// As many as [`Occasions`] picks, at most.
    waiting: VecDeque<Line>,
    /// A thread is writing, and will write lines that are added in the meantime too.
    is_writing: bool,
}

#[derive(Debug)]
struct Line {
    event: Event,
    count: u64,
}

impl EventLog {
    /// Has `event` logged, if it is one that is. Device and driver events are logged by the transport.
    pub(crate) fn add(&self, event: &Event) {
        let count = match event {
            Event::Started | Event::Ended(_) | Event::Failed(_) => Some(1),
            Event::DriverReady { .. }
            | Event::DeviceFault { .. }
            | Event::DeviceLost { .. }
            | Event::DeviceBack { .. } => None,
            Event::Paused | Event::Resumed => self.by_clients.next(),
            _ => self.by_guest.next(),
        };
        if let Some(count) = count {
            let event = event.clone();
            self.lock().waiting.push_back(Line { event, count });
        }
    }

    /// Writes what is to be logged, with no lock held.
    pub(crate) fn write(&self) {
        let mut lines = self.lock();
        if lines.is_writing {
            return;
        }
        while let Some(line) = lines.waiting.pop_front() {
            lines.is_writing = true;
            drop(lines);
            let written = catch_unwind(AssertUnwindSafe(|| line.write()));
            lines = self.lock();
            lines.is_writing = false;
            if let Err(panic) = written {
                drop(lines);
                resume_unwind(panic);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock()
    }
}

impl Line {
    fn write(&self) {
        let count = self.count;
        match &self.event {
            Event::Started => info!("started"),
            Event::Ended(outcome) => info!(?outcome, "ended"),
            Event::Failed(reason) => error!(reason, "failed"),
            Event::Paused => info!(count, "paused"),
            Event::Resumed => info!(count, "resumed"),
            Event::Reset(cause) => info!(?cause, count, "reset"),
            Event::Panicked => warn!(count, "the guest's kernel panicked"),
            Event::CrashLoaded => warn!(count, "the guest's crash kernel takes over"),
            Event::TripleFault(vcpu) => warn!(vcpu = vcpu.0, count, "triple fault"),
            Event::ConsoleReady => debug!(count, "first byte on the console"),
            other => debug!(event = ?other, count, "event"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::with_default;
    use tracing::{Metadata, Subscriber};

    use super::*;
    use crate::{Control, ResetCause, Supervisor};

    /// Counts lines, and asks the machine for its state at each, as a subscriber may.
    #[derive(Clone, Default)]
    struct Lines {
        count: Arc<AtomicU64>,
        asks: Option<Control>,
    }

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.count.fetch_add(1, Ordering::Relaxed);
            if let Some(control) = &self.asks {
                control.state();
                control.console_is_written();
            }
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    impl Lines {
        fn count(&self) -> u64 {
            self.count.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_guest_that_resets_itself_for_ever_does_not_flood_a_log() {
        let lines = Lines::default();
        with_default(lines.clone(), || {
            let supervisor = Supervisor::default();
            for _ in 0..10_000 {
                supervisor.publish(Event::Reset(ResetCause::Guest));
                supervisor.publish(Event::ConsoleReady);
            }
        });
        // 32, and 64 to 16,384.
        assert_eq!(lines.count(), 32 + 9);
    }

    #[test]
    fn a_client_that_pauses_for_ever_does_not_flood_a_log_nor_hide_what_the_guest_does() {
        let lines = Lines::default();
        with_default(lines.clone(), || {
            let supervisor = Supervisor::default();
            for _ in 0..10_000 {
                supervisor.publish(Event::Paused);
                supervisor.publish(Event::Resumed);
            }
            supervisor.publish(Event::Panicked);
        });
        assert_eq!(lines.count(), 32 + 9 + 1);
    }

    #[test]
    fn a_subscriber_may_ask_the_machine_for_something() {
        let supervisor = Supervisor::default();
        let lines = Lines {
            asks: Some(supervisor.control().clone()),
            ..Lines::default()
        };
        with_default(lines.clone(), || {
            supervisor.start(Vec::new());
            supervisor.control().stop();
        });
        // The start, the console that the first line wrote to, the milestone of the end, and the end.
        assert_eq!(lines.count(), 4);
    }
}
