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
            .and_then(|mapping| mapping.bitmap().pages())
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

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;
    use crate::{GuestAddress, PAGE_SIZE, RamConfig, RamSize};

    fn logged(mebibytes: u32) -> GuestRam {
        let size = RamSize::mebibytes(mebibytes);
        GuestRam::new(&RamConfig {
            size,
            dirty_log: true,
            ..RamConfig::default()
        })
        .unwrap()
    }

    fn pages(log: &[u64]) -> Vec<usize> {
        (0..log.len() * 64)
            .filter(|page| log[page / 64] >> (page % 64) & 1 == 1)
            .collect()
    }

    #[test]
    fn every_way_to_write_is_logged_once() {
        let ram = logged(16);
        let page = |number: u64| GuestAddress(number * PAGE_SIZE);
        ram.write(page(1), 0_u64).unwrap();
        ram.write_bytes(GuestAddress(3 * PAGE_SIZE - 1), &[0; 2])
            .unwrap();
        ram.fill(page(64), 1 << 20, 0).unwrap();
        ram.compare_exchange_u64(page(500), 0, 1).unwrap().unwrap();
        ram.read_from(&mut [0; 9].as_slice(), page(600), 9).unwrap();
        ram.memory().write_obj(1_u8, page(700)).unwrap();
        let mut log = Vec::new();
        ram.take_dirty_pages(0, &mut log);
        let expected: Vec<usize> = [1, 2, 3]
            .into_iter()
            .chain(64..320)
            .chain([500, 600, 700])
            .collect();
        assert_eq!(pages(&log), expected);
        let mut again = vec![0; 64];
        ram.take_dirty_pages(0, &mut again);
        assert!(pages(&again).is_empty());
    }

    #[test]
    fn reads_and_failed_exchanges_are_not_writes() {
        let ram = logged(16);
        ram.read::<u64>(GuestAddress(0)).unwrap();
        ram.compare_exchange_u64(GuestAddress(8), 1, 2)
            .unwrap()
            .unwrap_err();
        let mut log = Vec::new();
        ram.take_dirty_pages(0, &mut log);
        assert!(pages(&log).is_empty());
    }

    #[test]
    fn the_log_of_the_hypervisor_is_kept() {
        let ram = logged(16);
        ram.write(GuestAddress(0), 1_u8).unwrap();
        let mut log = vec![0b110, 1 << 63];
        ram.take_dirty_pages(0, &mut log);
        assert_eq!(log.len(), 64);
        assert_eq!(pages(&log), [0, 1, 2, 127]);
    }

    #[test]
    fn each_region_has_its_own_log() {
        let ram = logged(3073);
        ram.write(GuestAddress((4 << 30) + PAGE_SIZE), 1_u8)
            .unwrap();
        let (mut low, mut high) = (Vec::new(), Vec::new());
        ram.take_dirty_pages(0, &mut low);
        ram.take_dirty_pages(1, &mut high);
        assert_eq!((pages(&low), pages(&high)), (vec![], vec![1]));
    }

    #[test]
    fn without_a_log_or_region_nothing_changes() {
        let ram = GuestRam::new(&RamConfig::default()).unwrap();
        ram.write(GuestAddress(0), 1_u8).unwrap();
        let mut log = vec![4];
        ram.take_dirty_pages(0, &mut log);
        logged(16).take_dirty_pages(1, &mut log);
        assert_eq!(log, [4]);
    }
}
