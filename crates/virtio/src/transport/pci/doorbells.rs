//! Kicks that need no exit: eventfds at the addresses where drivers write them.

use std::sync::Arc;

use parking_lot::Mutex;
use vmmkit_host_io::EventFd;

use super::regions::{MULTIPLIER, NOTIFY};
use crate::transport::Transport;

/// Lets a guest's writes raise events, where a hypervisor can. vCPU threads call it, those of one
/// device one after the other. What it cannot attach is kicked by the VMM.
pub trait Doorbells: Send + Sync {
    /// A write at `address`, of whatever value and width, raises `kick` from now on.
    fn attach(&self, kick: &EventFd, address: u64);

    /// Undoes [`attach`](Self::attach).
    fn detach(&self, kick: &EventFd, address: u64);
}

/// Where the doorbells of one device are, and where they are attached: while a driver is ready and
/// the base address is decoded.
pub(super) struct Bells {
    owner: Option<Arc<dyn Doorbells>>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    base: Option<u64>,
    attached: Option<u64>,
}

/// The address of the kicks of queue `index` behind a base address at `base`.
pub(super) fn address(base: u64, index: u16) -> u64 {
    base.wrapping_add(NOTIFY + MULTIPLIER * u64::from(index))
}

impl Bells {
    pub(super) fn new(owner: Option<Arc<dyn Doorbells>>) -> Self {
        Self {
            owner,
            state: Mutex::default(),
        }
    }

    /// The base address is at `base` now.
    pub(super) fn moved(&self, base: Option<u64>, transport: &Transport) {
        self.change(transport, |state| state.base = base);
    }

    /// The status may have changed.
    pub(super) fn settle(&self, transport: &Transport) {
        self.change(transport, |_| {});
    }

    pub(super) fn base(&self) -> Option<u64> {
        self.state.lock().base
    }

    fn change(&self, transport: &Transport, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let wanted = state.base.filter(|_| transport.is_driven());
        let Some(owner) = self.owner.as_ref().filter(|_| state.attached != wanted) else {
            return;
        };
        for index in 0..transport.queue_count() {
            let Some(kick) = transport.kick(index) else {
                continue;
            };
            if let Some(base) = state.attached {
                owner.detach(kick, address(base, index));
            }
            if let Some(base) = wanted {
                owner.attach(kick, address(base, index));
            }
        }
        state.attached = wanted;
    }
}
