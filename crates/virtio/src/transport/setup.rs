//! The setup of queues by the driver.

use vmmkit_host_io::EventFd;

use super::Transport;
use crate::QueueState;
use crate::spec::{feature, status};

/// A queue as the driver sets it up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueSetup {
    /// The most entries it may have.
    pub(crate) most: u16,
    pub(crate) state: QueueState,
    pub(crate) is_enabled: bool,
}

impl QueueSetup {
    /// A queue at reset: as large as it may be, and nowhere.
    pub(crate) fn new(most: u16) -> Self {
        let mut setup = Self {
            most,
            ..Self::default()
        };
        setup.state.layout.size = most;
        setup
    }
}

/// The three parts of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuePart {
    /// The descriptor table.
    Descriptors,
    /// The driver area, the available ring.
    Driver,
    /// The device area, the used ring.
    Device,
}

impl Transport {
    /// The most entries of queue `index`; 0 where there is no such queue.
    pub fn queue_most(&self, index: u32) -> u16 {
        self.with_queue(index, |setup| setup.most).unwrap_or(0)
    }

    /// The size of queue `index` as the driver set it.
    pub fn queue_size(&self, index: u32) -> u16 {
        self.with_queue(index, |setup| setup.state.layout.size)
            .unwrap_or(0)
    }

    /// Whether queue `index` is enabled.
    pub fn is_queue_enabled(&self, index: u32) -> bool {
        self.with_queue(index, |setup| setup.is_enabled)
            .unwrap_or(false)
    }

    /// The address of a part of queue `index`.
    pub fn queue_part(&self, index: u32, part: QueuePart) -> u64 {
        self.with_queue(index, |setup| *address(setup, part))
            .unwrap_or(0)
    }

    /// Sets the size of queue `index`, which must not be enabled. One that is larger than the most
    /// makes the queue unusable, which is told when it is enabled.
    pub fn set_queue_size(&self, index: u32, size: u32) {
        self.with_disabled(index, |setup| {
            let size = u16::try_from(size).ok().filter(|size| *size <= setup.most);
            setup.state.layout.size = size.unwrap_or(0);
        });
    }

    /// Sets 32 bits of the address of a part of queue `index`, which must not be enabled: the lower
    /// half, or the upper.
    pub fn set_queue_part(&self, index: u32, part: QueuePart, is_upper: bool, value: u32) {
        self.with_disabled(index, |setup| {
            let address = address(setup, part);
            let (kept, shift) = if is_upper {
                (*address & u64::from(u32::MAX), 32)
            } else {
                (*address & !u64::from(u32::MAX), 0)
            };
            *address = kept | u64::from(value) << shift;
        });
    }

    /// Enables queue `index`. While the device works, that is only for a queue that was reset.
    pub fn enable_queue(&self, index: u32) {
        let mut inner = self.lock();
        let _work = self.work.begin();
        let features = inner.driver_features;
        let is_running = inner.status & status::DRIVER_OK != 0;
        if is_running && features & feature::RING_RESET == 0 {
            return;
        }
        let Some(setup) = place(index).and_then(|place| inner.queues.get_mut(place)) else {
            return;
        };
        if setup.is_enabled {
            return;
        }
        setup.is_enabled = true;
        let setup = *setup;
        if !is_running {
            return;
        }
        let queue = u16::try_from(index)
            .ok()
            .and_then(|index| self.queue(index, &setup, features));
        if let Some(queue) = queue {
            self.with_active(&mut inner, move |active| active.enable_queue(queue));
        }
    }

    /// Resets queue `index` (section 2.6.1): when this returns, the device has let go of it.
    pub fn reset_queue(&self, index: u32) {
        let mut inner = self.lock();
        let _work = self.work.begin();
        let Some(place) = place(index).filter(|place| *place < inner.queues.len()) else {
            return;
        };
        let was_enabled = inner
            .queues
            .get(place)
            .is_some_and(|setup| setup.is_enabled);
        if let (true, Ok(index)) = (was_enabled, u16::try_from(index)) {
            self.with_active(&mut inner, move |active| active.disable_queue(index));
        }
        if let Some(setup) = inner.queues.get_mut(place) {
            *setup = QueueSetup::new(setup.most);
        }
        self.kicks.get(place).map(|kick| EventFd::drain(kick));
    }

    fn with_queue<T>(&self, index: u32, f: impl FnOnce(&mut QueueSetup) -> T) -> Option<T> {
        let mut inner = self.lock();
        let setup = place(index).and_then(|place| inner.queues.get_mut(place))?;
        Some(f(setup))
    }

    fn with_disabled(&self, index: u32, f: impl FnOnce(&mut QueueSetup)) {
        self.with_queue(index, |setup| {
            if !setup.is_enabled {
                f(setup);
            }
        });
    }
}

fn place(index: u32) -> Option<usize> {
    usize::try_from(index).ok()
}

fn address(setup: &mut QueueSetup, part: QueuePart) -> &mut u64 {
    let layout = &mut setup.state.layout;
    match part {
        QueuePart::Descriptors => &mut layout.descriptors,
        QueuePart::Driver => &mut layout.available,
        QueuePart::Device => &mut layout.used,
    }
}
