//! Life-cycle of a device: all that happens to it besides accesses.

use std::io;
use std::time::Instant;

/// The life of a device, as the machine leads it. Every step has a default that does nothing,
/// which is right for a device without threads, timers and host I/O.
///
/// ```text
///            start              pause + wait_paused
///   created ------> running ------------------------> paused
///      |               ^  \                          /  |  ^
///      | reset         |   `------- resume ---------'   |  | reset
///      v               |                                v  |
///   (created)          stop, from any state -----> stopped (final)
/// ```
///
/// The machine calls the steps of one device one after the other, never two at once, and only
/// along the arrows. A device that was [restored](crate::SaveState::restore_state) is started and resumed without
/// a pause before. It goes through the devices in the order they were plugged in for start and
/// resume, and in the opposite order for pause, reset and stop. Accesses of the guest arrive only while
/// vCPUs run, which is from after `start` or `resume` until before `pause`; host events may arrive
/// at any time, from `start` on.
pub trait Lifecycle: Send + Sync {
    /// Begins to work: threads, timers, host I/O. Nothing before this has an effect that the
    /// guest or the host could see. Everything that needs a privilege is already open.
    ///
    /// # Errors
    /// The host refused, a thread for instance; the machine does not start.
    fn start(&self) -> io::Result<()> {
        Ok(())
    }

    /// Begins to come to rest: takes no new work, from the guest's queues or from the host. It
    /// must not wait, so that all devices come to rest at the same time. vCPUs have stopped.
    fn pause(&self) {}

    /// Waits for the rest that [`pause`](Self::pause) began. When it returns, all that the guest
    /// can see of the device is in its state and in RAM, and it stays so until `resume`: no write
    /// to RAM, no change of a line, no byte to the host. What the host had sent and the guest had
    /// not taken is kept, not dropped.
    fn wait_paused(&self) {}

    /// As [`wait_paused`](Self::wait_paused), until `deadline` at most; whether the device is at rest. One
    /// that is not may still come to rest, until [`resume`](Self::resume) revokes the pause.
    fn wait_paused_until(&self, deadline: Instant) -> bool {
        let _ = deadline;
        self.wait_paused();
        true
    }

    /// Works again, from exactly where it was paused.
    fn resume(&self) {}

    /// Goes back to the state at power-on, as far as the guest can see it; what is on the host's
    /// side (open files, connections) stays. The device is at rest: it was never started, or it
    /// is paused. Lines are low afterwards.
    fn reset(&self) {}

    /// Ends all work, waits for it to end, and lets go of the host's things: output is flushed,
    /// threads are joined. It must not depend on the guest. Twice is as good as once.
    fn stop(&self) {}
}

/// Brings `devices` to rest, all at the same time and the last one first. Where one of them is not at rest
/// at `deadline`, all work again.
///
/// # Errors
/// The place of the device that did not come to rest in time.
pub fn bring_to_rest<'a>(
    devices: &(impl DoubleEndedIterator<Item = &'a dyn Lifecycle> + ExactSizeIterator + Clone),
    deadline: Option<Instant>,
) -> Result<(), usize> {
    devices.clone().rev().for_each(Lifecycle::pause);
    for (place, device) in devices.clone().enumerate().rev() {
        let Some(deadline) = deadline else {
            device.wait_paused();
            continue;
        };
        if !device.wait_paused_until(deadline) {
            devices.clone().for_each(Lifecycle::resume);
            return Err(place);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn a_device_without_work_of_its_own_needs_no_step() {
        struct Register;
        impl Lifecycle for Register {}
        let device: Box<dyn Lifecycle> = Box::new(Register);
        assert!(device.start().is_ok());
        device.pause();
        device.wait_paused();
        device.reset();
        device.resume();
        device.stop();
    }

    /// Writes down what it is told; one that hangs never comes to rest.
    #[derive(Default)]
    struct Told {
        steps: Mutex<Vec<&'static str>>,
        hangs: bool,
    }

    impl Told {
        fn note(&self, step: &'static str) {
            self.steps.lock().push(step);
        }
    }

    impl Lifecycle for Told {
        fn pause(&self) {
            self.note("pause");
        }
        fn wait_paused(&self) {
            self.note("wait");
        }
        fn wait_paused_until(&self, _: Instant) -> bool {
            self.wait_paused();
            !self.hangs
        }
        fn resume(&self) {
            self.note("resume");
        }
    }

    #[test]
    fn all_work_again_where_one_does_not_come_to_rest() {
        let hanging = Told {
            hangs: true,
            ..Told::default()
        };
        let (first, last) = (Told::default(), Told::default());
        let devices = [&first, &hanging, &last];
        let devices = devices.iter().map(|device| *device as &dyn Lifecycle);
        assert_eq!(bring_to_rest(&devices, Some(Instant::now())), Err(1));
        assert_eq!(*first.steps.lock(), ["pause", "resume"]);
        let all = ["pause", "wait", "resume"];
        assert_eq!(*hanging.steps.lock(), all);
        assert_eq!(*last.steps.lock(), all);
        assert_eq!(bring_to_rest(&devices, None), Ok(()));
        assert_eq!(*first.steps.lock(), ["pause", "resume", "pause", "wait"]);
    }
}
