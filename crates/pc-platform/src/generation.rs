//! The generation of the machine: what tells a guest that it goes on in another machine than it was saved in.
//!
//! Two clones of one snapshot have the same random numbers to come, connections and clocks, until their guests
//! learn of it: Linux mixes a new VM generation ID into its entropy (drivers/virt/vmgenid.c), and programs
//! read the VMClock. Both are pages of RAM, written while no vCPU runs; a restored machine has new
//! ones before its guest's first instruction, and an interrupt as soon as that runs.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use vmmkit_boot_loader::acpi::AcpiDevice;
use vmmkit_boot_loader::memory_map::{GENERATION_ID, VM_CLOCK};
use vmmkit_device_bus::{Gsi, IrqLine, Lifecycle, SaveState, SavedState, StateError, StateForm};
use vmmkit_guest_memory::GuestRam;
use vmmkit_host_io::random_bytes;
use vmmkit_telemetry::{Inspect, Tree};

/// The VMClock's page (Linux, include/uapi/linux/vmclock-abi.h), offsets in bytes.
mod vmclock {
    pub(super) const SIZE: usize = 0x1000;
    /// "VCLK", 32 bits.
    pub(super) const MAGIC: (usize, u32) = (0, 0x4b4c_4356);
    /// The size of the page, 32 bits.
    pub(super) const LENGTH: usize = 4;
    /// The version, 16 bits.
    pub(super) const VERSION: (usize, u16) = (8, 1);
    /// VMCLOCK_COUNTER_INVALID: the page relates no counter to the time.
    pub(super) const COUNTER_ID: (usize, u8) = (10, 0xff);
    /// 32 bits, odd during an update.
    pub(super) const SEQUENCE: usize = 12;
    /// 64 bits, another value once counters were disrupted.
    pub(super) const DISRUPTION_MARKER: usize = 16;
    /// 64 bits: VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT and VMCLOCK_FLAG_NOTIFICATION_PRESENT.
    pub(super) const FLAGS: (usize, u64) = (24, 1 << 8 | 1 << 9);
    /// 64 bits, another value once the guest was restored.
    pub(super) const GENERATION_COUNTER: usize = 104;
}

/// The ID of one machine: its VM generation ID, and the two markers of its VMClock.
type Identity = [u8; 32];

/// The VM generation ID and the VMClock. Any thread may call it while no vCPU runs.
#[derive(Debug)]
pub struct Generation {
    // Fixed at creation
    ram: GuestRam,
    line: IrqLine,
    identity: Identity,
    /// The guest is to be told once it runs.
    is_news: AtomicBool,
}

impl Generation {
    /// Its name in a machine.
    pub const NAME: &'static str = "generation";
    /// COM2's line on a PC, which no machine has.
    pub const GSI: Gsi = Gsi(3);

    /// Its description, where it is in every machine that has one.
    pub(crate) const ACPI: AcpiDevice = AcpiDevice::Generation {
        id: GENERATION_ID.0,
        // Below 1 MiB.
        clock: VM_CLOCK.0 as u32,
        gsi: Self::GSI.0,
    };

    /// One of its own for the machine whose RAM is `ram`, which it is written to.
    ///
    /// # Errors
    /// The host has no random numbers.
    pub(crate) fn new(ram: &GuestRam, line: IrqLine) -> io::Result<Self> {
        let generation = Self {
            ram: ram.clone(),
            line,
            identity: random_bytes()?,
            is_news: AtomicBool::new(false),
        };
        generation.write();
        Ok(generation)
    }

    /// Writes both pages: RAM has been loaded anew, or it is that of another machine.
    pub fn write(&self) {
        let (id, markers) = self.identity.split_at(16);
        let (disruption, counter) = markers.split_at(8);
        // A guest that compares the numbers of two reads sees that there was a change between them.
        let sequence = self.ram.read::<u32>(at(vmclock::SEQUENCE)).unwrap_or(0);
        let sequence = (sequence & !1).wrapping_add(2);
        let mut page = [0; vmclock::SIZE];
        let fields: [(usize, &[u8]); 8] = [
            (vmclock::MAGIC.0, &vmclock::MAGIC.1.to_le_bytes()),
            (vmclock::LENGTH, &(vmclock::SIZE as u32).to_le_bytes()),
            (vmclock::VERSION.0, &vmclock::VERSION.1.to_le_bytes()),
            (vmclock::COUNTER_ID.0, &[vmclock::COUNTER_ID.1]),
            (vmclock::SEQUENCE, &sequence.to_le_bytes()),
            (vmclock::DISRUPTION_MARKER, disruption),
            (vmclock::FLAGS.0, &vmclock::FLAGS.1.to_le_bytes()),
            (vmclock::GENERATION_COUNTER, counter),
        ];
        for (offset, bytes) in fields {
            for (place, byte) in page.iter_mut().skip(offset).zip(bytes) {
                *place = *byte;
            }
        }
        // A machine that is described by ACPI has RAM up to 1 MiB: the loader has seen to it.
        let _ = self.ram.write_bytes(GENERATION_ID, id);
        let _ = self.ram.write_bytes(VM_CLOCK, &page);
    }
}

/// The address at `offset` in the VMClock's page.
fn at(offset: usize) -> vmmkit_guest_memory::GuestAddress {
    vmmkit_guest_memory::GuestAddress(VM_CLOCK.0 + offset as u64)
}

impl Lifecycle for Generation {
    /// Tells the guest of a restore: by an interrupt, which waits for the first instruction.
    fn resume(&self) {
        // Ordering: Relaxed, as the machine calls one step after the other.
        if self.is_news.swap(false, Ordering::Relaxed) {
            self.line.pulse();
        }
    }

    /// A guest that begins anew has nothing of before to be told of.
    fn reset(&self) {
        // Ordering: as in `resume`.
        self.is_news.store(false, Ordering::Relaxed);
    }
}

impl Inspect for Generation {
    fn inspect(&self) -> Tree {
        let id = self.identity.iter().take(16);
        let id: String = id.map(|byte| format!("{byte:02x}")).collect();
        Tree::new()
            .text("id", id)
            .hex("id_address", GENERATION_ID.0)
            .hex("clock_address", VM_CLOCK.0)
    }
}

/// Where the guest found the pages. The identity is not saved: the next machine has its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationForm {
    id_address: u64,
    clock_address: u64,
}

impl StateForm for GenerationForm {
    const KIND: &'static str = "vm-generation";
    const VERSION: u32 = 1;
}

impl SaveState for Generation {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&GenerationForm {
            id_address: GENERATION_ID.0,
            clock_address: VM_CLOCK.0,
        })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let form: GenerationForm = saved.read()?;
        let fields = [
            ("id_address", form.id_address, GENERATION_ID),
            ("clock_address", form.clock_address, VM_CLOCK),
        ];
        for (field, saved, here) in fields {
            let (saved, here) = (format_args!("{saved:#x}"), format_args!("{:#x}", here.0));
            StateError::check_same(GenerationForm::KIND, field, saved, here)?;
        }
        self.write();
        // Ordering: as in `resume`.
        self.is_news.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use vmmkit_device_bus::{LineDriver, check_golden};
    use vmmkit_guest_memory::{GuestAddress, RamConfig, RamSize};

    use super::*;

    const GOLDEN: &str = r#"{"kind":"vm-generation","version":1,
        "state":{"id_address":1036288,"clock_address":1040384}}"#;

    #[derive(Default)]
    struct Levels(Mutex<Vec<(u32, bool)>>);

    impl LineDriver for Levels {
        fn set_level(&self, gsi: Gsi, high: bool) {
            self.0.lock().push((gsi.0, high));
        }
    }

    fn ram() -> GuestRam {
        let size = RamSize::mebibytes(16);
        let config = RamConfig {
            size,
            ..RamConfig::default()
        };
        GuestRam::new(&config).unwrap()
    }

    fn generation(ram: &GuestRam) -> (Generation, Arc<Levels>) {
        let levels = Arc::new(Levels::default());
        let line = IrqLine::new(levels.clone(), Generation::GSI);
        (Generation::new(ram, line).unwrap(), levels)
    }

    fn id(ram: &GuestRam) -> u128 {
        let mut id = [0; 16];
        ram.read_bytes(GENERATION_ID, &mut id).unwrap();
        u128::from_le_bytes(id)
    }

    fn clock(ram: &GuestRam, offset: u64) -> u64 {
        ram.read(GuestAddress(VM_CLOCK.0 + offset)).unwrap()
    }

    #[test]
    fn the_clock_is_as_linux_reads_it() {
        let ram = ram();
        let _generation = generation(&ram);
        assert_eq!(clock(&ram, 0), 0x1000_4b4c_4356, "magic and size");
        assert_eq!(clock(&ram, 8) & 0xffff_ffff, 0xff_0001, "UTC, no counter");
        assert_eq!(clock(&ram, 8) >> 32 & 1, 0, "no update is under way");
        assert_eq!(clock(&ram, 24), 0x300);
    }

    #[test]
    fn a_clone_has_another_identity_before_it_runs_and_an_interrupt_as_it_does() {
        let ram = ram();
        let (first, levels) = generation(&ram);
        first.start().unwrap();
        first.pause();
        first.resume();
        assert!(levels.0.lock().is_empty(), "a pause makes no clone");
        let saved = first.save_state().unwrap();
        let before = (id(&ram), clock(&ram, 16), clock(&ram, 104), clock(&ram, 8));

        let (clone, levels) = generation(&ram);
        clone.restore_state(&saved).unwrap();
        let after = (id(&ram), clock(&ram, 16), clock(&ram, 104), clock(&ram, 8));
        assert_ne!(after.0, before.0);
        assert_ne!(after.1, before.1, "the disruption marker");
        assert_ne!(after.2, before.2, "the generation counter");
        assert_ne!(after.3, before.3, "the sequence");
        assert!(levels.0.lock().is_empty(), "it does not run yet");
        clone.resume();
        clone.resume();
        assert_eq!(*levels.0.lock(), [(3, true), (3, false)]);
    }

    #[test]
    fn a_reset_keeps_the_identity() {
        let ram = ram();
        let (generation, _) = generation(&ram);
        let before = id(&ram);
        generation.reset();
        ram.fill(GENERATION_ID, 0x2000, 0).unwrap();
        generation.write();
        assert_eq!(id(&ram), before);
    }

    #[test]
    fn its_form_is_that_of_version_1() {
        let ram = ram();
        check_golden(&generation(&ram).0, GOLDEN).unwrap();
        let elsewhere = GOLDEN.replace("1036288", "4096");
        let elsewhere = SavedState::from_json(elsewhere.as_bytes()).unwrap();
        let error = generation(&ram).0.restore_state(&elsewhere).unwrap_err();
        assert!(error.to_string().contains("id_address 0x1000"), "{error}");
    }
}
