//! Interrupt controllers, timers and clocks.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data,
    kvm_ioapic_state, kvm_irqchip, kvm_pic_state, kvm_pit_channel_state, kvm_pit_state2,
};
use kvm_ioctls::VmFd;
use vmmkit_hypervisor::saved::{IoapicSaved, PicSaved, PitChannelSaved, PitSaved, SaveVm, VmSaved};
use vmmkit_hypervisor::{Irqchip, Result};

use super::{SOFTWARE, host};
use crate::KvmVm;
use crate::clock::host_tsc;

impl SaveVm for KvmVm {
    fn save(&self) -> Result<VmSaved> {
        if self.inner.support.is_some() {
            return Err(SOFTWARE);
        }
        let current = self.inner.current();
        let vm = &current.vm;
        let clock = vm.get_clock().map_err(host("KVM_GET_CLOCK"))?;
        let host_tsc = host_tsc();
        let (has_chips, has_pit) = match self.inner.irqchip() {
            Irqchip::InKernel { pit } => (true, pit),
            // `create_irqchip` knows no more of them.
            _ => (false, false),
        };
        let mut saved = VmSaved {
            clock_ns: clock.clock,
            host_tsc,
            ..VmSaved::default()
        };
        if has_chips {
            let master = pic(vm, KVM_IRQCHIP_PIC_MASTER)?;
            saved.pics = Some([master, pic(vm, KVM_IRQCHIP_PIC_SLAVE)?]);
            saved.ioapic = Some(ioapic(vm)?);
        }
        if has_pit {
            let state = vm.get_pit2().map_err(host("KVM_GET_PIT2"))?;
            saved.pit = Some(PitSaved {
                channels: state.channels.map(|channel| pit_channel(&channel)),
                flags: state.flags,
            });
        }
        Ok(saved)
    }

    /// The clock comes before the vCPUs, whose time-stamp counters all get the same shift.
    fn restore(&self, saved: &VmSaved) -> Result<()> {
        if self.inner.support.is_some() {
            return Err(SOFTWARE);
        }
        saved.check(self.inner.settings())?;
        let current = self.inner.current();
        let vm = &current.vm;
        for (chip, saved) in [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE]
            .into_iter()
            .zip(saved.pics.iter().flatten())
        {
            set_pic(vm, chip, saved)?;
        }
        if let Some(ioapic) = &saved.ioapic {
            set_ioapic(vm, ioapic)?;
        }
        if let Some(pit) = &saved.pit {
            let state = kvm_pit_state2 {
                channels: pit.channels.map(|channel| to_pit_channel(&channel)),
                flags: pit.flags,
                ..Default::default()
            };
            vm.set_pit2(&state).map_err(host("KVM_SET_PIT2"))?;
        }
        self.inner
            .shift_tsc(saved.host_tsc.wrapping_sub(host_tsc()));
        let clock = kvm_clock_data {
            clock: saved.clock_ns,
            ..Default::default()
        };
        vm.set_clock(&clock).map_err(host("KVM_SET_CLOCK"))
    }
}

fn chip(vm: &VmFd, chip_id: u32) -> Result<kvm_irqchip> {
    let mut chip = kvm_irqchip {
        chip_id,
        ..Default::default()
    };
    vm.get_irqchip(&mut chip).map_err(host("KVM_GET_IRQCHIP"))?;
    Ok(chip)
}

/// The fields of two structures that have the same names.
macro_rules! same_fields {
    ($from:expr => $to:ident { $($field:ident),* $(,)? } $(.. $rest:expr)?) => {{
        let from = $from;
        $to { $($field: from.$field,)* $(..$rest)? }
    }};
}

fn pic(vm: &VmFd, chip_id: u32) -> Result<PicSaved> {
    let chip = chip(vm, chip_id)?;
    // SAFETY: every bit pattern is a valid `kvm_pic_state`, and KVM has written all 512 bytes of the union.
    let state = unsafe { chip.chip.pic };
    Ok(same_fields!(state => PicSaved {
        last_irr, irr, imr, isr, priority_add, irq_base, read_reg_select, poll, special_mask,
        init_state, auto_eoi, rotate_on_auto_eoi, special_fully_nested_mode, init4, elcr, elcr_mask,
    }))
}

fn set_pic(vm: &VmFd, chip_id: u32, saved: &PicSaved) -> Result<()> {
    let mut chip = kvm_irqchip {
        chip_id,
        ..Default::default()
    };
    chip.chip.pic = same_fields!(saved => kvm_pic_state {
        last_irr, irr, imr, isr, priority_add, irq_base, read_reg_select, poll, special_mask,
        init_state, auto_eoi, rotate_on_auto_eoi, special_fully_nested_mode, init4, elcr, elcr_mask,
    });
    vm.set_irqchip(&chip).map_err(host("KVM_SET_IRQCHIP"))
}

fn ioapic(vm: &VmFd) -> Result<IoapicSaved> {
    let chip = chip(vm, KVM_IRQCHIP_IOAPIC)?;
    // SAFETY: every bit pattern is a valid `kvm_ioapic_state`, and KVM has written all 512 bytes of the union.
    let state = unsafe { chip.chip.ioapic };
    Ok(IoapicSaved {
        base_address: state.base_address,
        select: state.ioregsel,
        id: state.id,
        irr: state.irr,
        redirection_table: state.redirtbl.map(|entry| {
            // SAFETY: both parts of the union are 8 bytes of which every bit pattern is valid.
            unsafe { entry.bits }
        }),
    })
}

fn set_ioapic(vm: &VmFd, saved: &IoapicSaved) -> Result<()> {
    let mut state = kvm_ioapic_state {
        base_address: saved.base_address,
        ioregsel: saved.select,
        id: saved.id,
        irr: saved.irr,
        ..Default::default()
    };
    for (place, entry) in state.redirtbl.iter_mut().zip(saved.redirection_table) {
        place.bits = entry;
    }
    let mut chip = kvm_irqchip {
        chip_id: KVM_IRQCHIP_IOAPIC,
        ..Default::default()
    };
    chip.chip.ioapic = state;
    vm.set_irqchip(&chip).map_err(host("KVM_SET_IRQCHIP"))
}

fn pit_channel(channel: &kvm_pit_channel_state) -> PitChannelSaved {
    same_fields!(channel => PitChannelSaved {
        count, latched_count, count_latched, status_latched, status, read_state, write_state,
        write_latch, rw_mode, mode, bcd, gate,
    })
}

/// KVM starts the counter again when it is set, whatever the time of its start.
fn to_pit_channel(saved: &PitChannelSaved) -> kvm_pit_channel_state {
    same_fields!(saved => kvm_pit_channel_state {
        count, latched_count, count_latched, status_latched, status, read_state, write_state,
        write_latch, rw_mode, mode, bcd, gate,
    } .. Default::default())
}
