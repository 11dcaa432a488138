//! The saved form of what of a VM is neither RAM nor a vCPU.

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{StateError, StateForm, StateReason};

use crate::{Irqchip, VmSettings};

/// Interrupt controllers, timers and clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSaved {
    /// The two 8259As, master first; absent where they are not the hypervisor's.
    pub pics: Option<[PicSaved; 2]>,
    /// The I/O APIC; absent where it is not the hypervisor's.
    pub ioapic: Option<IoapicSaved>,
    /// The 8254; absent where it is not the hypervisor's.
    pub pit: Option<PitSaved>,
    /// Value of kvmclock, in nanoseconds.
    pub clock_ns: u64,
    /// The host's time-stamp counter at the same time.
    pub host_tsc: u64,
}

impl StateForm for VmSaved {
    const KIND: &'static str = "x86-vm";
    const VERSION: u32 = 1;
}

impl VmSaved {
    /// Checks that a VM of `settings` can have it.
    ///
    /// # Errors
    /// The field that it has or lacks.
    pub fn check(&self, settings: &VmSettings) -> Result<(), StateError> {
        let has_chips = matches!(settings.irqchip, Irqchip::InKernel { .. });
        let has_pit = settings.irqchip == Irqchip::InKernel { pit: true };
        for (field, is_saved, is_here) in [
            ("pics", self.pics.is_some(), has_chips),
            ("ioapic", self.ioapic.is_some(), has_chips),
            ("pit", self.pit.is_some(), has_pit),
        ] {
            let reason = match (is_saved, is_here) {
                (true, false) => StateReason::Unexpected,
                (false, true) => StateReason::Absent,
                _ => continue,
            };
            return Err(StateError::field(Self::KIND, field, "", reason));
        }
        Ok(())
    }
}

/// An 8259A (KVM API, KVM_GET_IRQCHIP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of KVM's structure")]
pub struct PicSaved {
    pub last_irr: u8,
    pub irr: u8,
    pub imr: u8,
    pub isr: u8,
    pub priority_add: u8,
    pub irq_base: u8,
    pub read_reg_select: u8,
    pub poll: u8,
    pub special_mask: u8,
    pub init_state: u8,
    pub auto_eoi: u8,
    pub rotate_on_auto_eoi: u8,
    pub special_fully_nested_mode: u8,
    pub init4: u8,
    pub elcr: u8,
    pub elcr_mask: u8,
}

/// The hypervisor's I/O APIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoapicSaved {
    /// Where its registers are.
    pub base_address: u64,
    /// The register that the window shows.
    pub select: u32,
    /// The ID register.
    pub id: u32,
    /// A bit for each pin that is asserted.
    pub irr: u32,
    /// The redirection table.
    pub redirection_table: [u64; 24],
}

/// The hypervisor's 8254.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PitSaved {
    /// The three counters, which count on from their start values.
    pub channels: [PitChannelSaved; 3],
    /// Flags of KVM_GET_PIT2: bit 0, the HPET has taken over; bit 1, the speaker's data bits.
    pub flags: u32,
}

/// A counter of an 8254 (KVM API, KVM_GET_PIT2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are those of KVM's structure")]
pub struct PitChannelSaved {
    pub count: u32,
    pub latched_count: u16,
    pub count_latched: u8,
    pub status_latched: u8,
    pub status: u8,
    pub read_state: u8,
    pub write_state: u8,
    pub write_latch: u8,
    pub rw_mode: u8,
    pub mode: u8,
    pub bcd: u8,
    pub gate: u8,
}
