//! What happens to a machine, as events of the `tracing` facade.

use tracing::{debug, error, info, warn};
use vmmkit_telemetry::Occasions;

use crate::Event;

/// What was told so far of all that a guest can repeat, resets and crashes, and of what clients of the
/// machine can, pauses.
#[derive(Debug, Default)]
pub(super) struct Told {
    by_guest: Occasions,
    by_clients: Occasions,
}

impl Told {
    /// Tells of `event`. What is between a device and its driver its transport tells.
    pub(super) fn tell(&self, event: &Event) {
        match event {
            Event::Started => info!("started"),
            Event::Paused | Event::Resumed => {
                if let Some(count) = self.by_clients.next() {
                    tell_counted(event, count);
                }
            }
            Event::Ended(outcome) => info!(?outcome, "ended"),
            Event::Failed(reason) => error!(reason, "failed"),
            Event::DriverReady { .. }
            | Event::DeviceFault { .. }
            | Event::DeviceLost { .. }
            | Event::DeviceBack { .. } => {}
            repeatable => {
                if let Some(count) = self.by_guest.next() {
                    tell_counted(repeatable, count);
                }
            }
        }
    }
}

fn tell_counted(event: &Event, count: u64) {
    match event {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::with_default;
    use tracing::{Metadata, Subscriber};

    use super::*;
    use crate::{Control, ResetCause};

    /// Counts lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicU64>);

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
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_guest_that_resets_itself_for_ever_does_not_flood_a_log() {
        let lines = Lines::default();
        with_default(lines.clone(), || {
            let control = Control::default();
            for _ in 0..10_000 {
                control.publish(Event::Reset(ResetCause::Guest));
                control.publish(Event::ConsoleReady);
            }
        });
        // 32, and 64 to 16,384.
        assert_eq!(lines.0.load(Ordering::Relaxed), 32 + 9);
    }

    #[test]
    fn a_client_that_pauses_for_ever_does_not_flood_a_log_nor_hide_what_the_guest_does() {
        let lines = Lines::default();
        with_default(lines.clone(), || {
            let control = Control::default();
            for _ in 0..10_000 {
                control.publish(Event::Paused);
                control.publish(Event::Resumed);
            }
            control.publish(Event::Panicked);
        });
        assert_eq!(lines.0.load(Ordering::Relaxed), 32 + 9 + 1);
    }
}
