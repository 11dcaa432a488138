//! Which pages the VMM itself wrote.

use crate::GuestRam;

impl GuestRam {
    /// Adds the pages of region `slot` that the VMM wrote since the last call to the
    /// hypervisor's log of the pages that the guest wrote (KVM_GET_DIRTY_LOG: one bit a page,
    /// page 0 in bit 0 of word 0), and forgets them. `kvm_log` is extended to the region's size
    /// where it is shorter; an unknown slot or no [`dirty_log`](crate::RamConfig::dirty_log)
    /// changes nothing.
    ///
    /// A write that runs at the same time is in this log or in the next one, after its bytes are
    /// in RAM: copying the pages after the call loses nothing.
    pub fn take_dirty_pages(&self, slot: u32, kvm_log: &mut Vec<u64>) {
        let Some(log) = self
            .mapping(slot)
            .and_then(|mapping| mapping.bitmap().as_ref())
        else {
            return;
        };
        let own = log.get_and_reset();
        if kvm_log.len() < own.len() {
            kvm_log.resize(own.len(), 0);
        }
        for (theirs, ours) in kvm_log.iter_mut().zip(own) {
            *theirs |= ours;
        }
    }
}
