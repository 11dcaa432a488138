//! Messages that describe RAM and rings to a back end.

use std::os::fd::{AsFd, BorrowedFd};

use vmmkit_guest_memory::{GuestRam, RamRegion};
use vmmkit_virtio::Queue;

use super::back_end::BackEnd;
use super::error::VhostUserError;
use super::message::{self, Region, u32_at};
use super::spec::{self, Request};

impl BackEnd {
    /// The driver took `features`, and RAM is `ram`.
    pub(super) fn set_up(&self, features: u64, ram: &GuestRam) -> Result<(), VhostUserError> {
        let (regions, files) = shared_regions(ram)?;
        let table = message::memory_table(&regions);
        let features = (features | spec::F_PROTOCOL_FEATURES) & self.features();
        self.with(|back_end| {
            back_end.tell_u64(spec::SET_FEATURES, features)?;
            back_end.tell(spec::SET_MEM_TABLE, &table, &files)
        })
    }

    /// Lets it serve `queue` from the available entry `base`.
    pub(super) fn start_queue(
        &self,
        queue: &Queue,
        base: u16,
        call: BorrowedFd<'_>,
        error: BorrowedFd<'_>,
    ) -> Result<(), VhostUserError> {
        let (index, layout) = (queue.index(), queue.state().layout);
        let place = |address| user_address(queue.ram().regions(), address);
        let address = message::vring_address(
            index,
            place(layout.descriptors),
            place(layout.used),
            place(layout.available),
        );
        let kick = queue.kick().as_fd();
        let number = u64::from(index).to_ne_bytes();
        self.with(|back_end| {
            let mut state = |request: Request, value: u32| {
                back_end.tell(request, &message::vring_state(index, value), &[])
            };
            state(spec::SET_VRING_NUM, layout.size.into())?;
            state(spec::SET_VRING_BASE, base.into())?;
            back_end.tell(spec::SET_VRING_ADDR, &address, &[])?;
            back_end.tell(spec::SET_VRING_ERR, &number, &[error])?;
            // Before the kick, which starts the ring.
            back_end.tell(spec::SET_VRING_CALL, &number, &[call])?;
            back_end.tell(spec::SET_VRING_KICK, &number, &[kick])
        })?;
        self.enable(index, true)?;
        // For chains that are there already: a ring starts at a kick ("Ring states").
        queue.kick().notify();
        Ok(())
    }

    /// Makes it let go of queue `index`; the available entry that it would have taken next.
    pub(super) fn stop_queue(&self, index: u16) -> Result<u16, VhostUserError> {
        let mut answer = [0; 8];
        self.with(|back_end| {
            let request = spec::GET_VRING_BASE;
            let size = back_end.ask(request, &message::vring_state(index, 0), &mut answer)?;
            if size != answer.len() || u32_at(&answer, 0) != u32::from(index) {
                return Err(back_end.odd(request, format!("{size} bytes: {answer:?}")));
            }
            // A split ring has 16 bits of it.
            Ok(u32_at(&answer, 4) as u16)
        })
    }

    /// Enables or disables queue `index`; without protocol features it is always enabled.
    pub(super) fn enable(&self, index: u16, on: bool) -> Result<(), VhostUserError> {
        if self.features() & spec::F_PROTOCOL_FEATURES == 0 {
            return Ok(());
        }
        let state = message::vring_state(index, on.into());
        self.with(|back_end| back_end.tell(spec::SET_VRING_ENABLE, &state, &[]))
    }

    /// Asks something harmless: a back end that did not like what it was told, and does not say so,
    /// is gone by now.
    pub(super) fn settle(&self) -> Result<(), VhostUserError> {
        self.with(|back_end| back_end.ask_u64(spec::GET_FEATURES).map(drop))
    }
}

/// The regions of RAM with the files that back them.
pub(super) fn shared_regions(
    ram: &GuestRam,
) -> Result<(Vec<Region>, Vec<BorrowedFd<'_>>), VhostUserError> {
    let shared = ram.regions().iter().map(|region| {
        let (file, file_offset) = ram
            .region_file(region.slot)
            .ok_or(VhostUserError::PrivateRam)?;
        let region = Region {
            guest_address: region.guest_address.0,
            size: region.size,
            user_address: region.host_address,
            file_offset,
        };
        Ok((region, file))
    });
    let shared: Vec<_> = shared.collect::<Result<_, VhostUserError>>()?;
    Ok(shared.into_iter().unzip())
}

/// The address in this process of a guest-physical one, in RAM as the layout of every queue is.
fn user_address(regions: &[RamRegion], address: u64) -> u64 {
    let offset = |region: &RamRegion| {
        let offset = address.checked_sub(region.guest_address.0)?;
        (offset < region.size).then_some(region.host_address + offset)
    };
    regions.iter().find_map(offset).unwrap_or(0)
}
