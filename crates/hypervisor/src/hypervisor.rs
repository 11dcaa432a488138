//! The hypervisor itself: what it can do, and the VMs it makes.

use crate::x86::{CpuidEntry, Msr};
use crate::{CmdlineAddition, CmdlineConflict, Result, Vm};

/// Abilities of a back end, known before anything is created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The most vCPUs one VM may have.
    pub max_vcpus: u32,
    /// The highest APIC ID that a vCPU may have.
    pub max_apic_id: u32,
    /// The number of memory slots one VM may have.
    pub memory_slots: u32,
    /// PIC, IOAPIC and local APICs are emulated by the hypervisor.
    pub irqchip: bool,
    /// The 8254 PIT is emulated by the hypervisor.
    pub pit: bool,
    /// Local APICs are emulated by the hypervisor, and the other controllers by the VMM.
    pub split_irqchip: bool,
    /// Memory may be read-only for the guest.
    pub read_only_memory: bool,
    /// Interrupts may be raised by an eventfd.
    pub irqfd: bool,
    /// Guest writes may signal an eventfd without an exit.
    pub ioeventfd: bool,
    /// A kick needs no signal race: KVM_CAP_IMMEDIATE_EXIT.
    pub immediate_exit: bool,
    /// A vCPU may stop for a debugger:
    /// [`VcpuState::set_guest_debug`](crate::x86::VcpuState::set_guest_debug).
    pub guest_debug: bool,
    /// vCPUs and VMs can be [saved](crate::saved).
    pub saved_state: bool,
    /// The frequency of the guest's TSC in kHz, where the back end knows it.
    pub tsc_khz: Option<u32>,
}

impl Capabilities {
    /// A back end that can do everything, with room for `max_vcpus`.
    pub fn complete(max_vcpus: u32) -> Self {
        Self {
            max_vcpus,
            max_apic_id: max_vcpus.saturating_mul(4).saturating_sub(1),
            memory_slots: 32,
            irqchip: true,
            pit: true,
            split_irqchip: true,
            read_only_memory: true,
            irqfd: true,
            ioeventfd: true,
            immediate_exit: true,
            guest_debug: true,
            saved_state: true,
            tsc_khz: None,
        }
    }
}

/// Which interrupt controllers the hypervisor emulates for a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Irqchip {
    /// None: interrupts cannot be delivered; micro-guests and tests.
    None,
    /// PIC, IOAPIC and local APICs, and the 8254 PIT where `pit` is set.
    InKernel {
        /// Emulate the 8254 PIT too.
        pit: bool,
    },
    /// Local APICs only: the VMM has the I/O APIC, whose interrupts are
    /// [messages](crate::Interrupts::signal_msi) and whose pins it [routes](crate::Interrupts::route_pin). There is
    /// no PIC and no PIT.
    Split,
}

impl Irqchip {
    /// Its name in saved machines and in messages: `none`, `hypervisor`, `hypervisor-with-pit` or `split`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Split => "split",
            Self::InKernel { pit: true } => "hypervisor-with-pit",
            Self::InKernel { pit: false } => "hypervisor",
        }
    }
}

/// The fixed properties of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmSettings {
    /// The interrupt controllers.
    pub irqchip: Irqchip,
    /// Ticks of the PIT that the guest was too late for are dropped; otherwise that is the hypervisor's choice.
    pub drop_late_ticks: bool,
}

impl VmSettings {
    /// A VM with these interrupt controllers.
    pub const fn new(irqchip: Irqchip) -> Self {
        Self {
            irqchip,
            drop_late_ticks: false,
        }
    }

    /// The same, and a guest gets no ticks of the PIT that it was too late for. KVM takes two grace periods of the
    /// host's kernel for that, some 15 ms each time a VM is made (KVM API, KVM_REINJECT_CONTROL).
    #[must_use]
    pub const fn dropping_late_ticks(mut self) -> Self {
        self.drop_late_ticks = true;
        self
    }
}

impl Default for VmSettings {
    /// All interrupt controllers, and the PIT, in the hypervisor.
    fn default() -> Self {
        Self::new(Irqchip::InKernel { pit: true })
    }
}

/// A back end: the door to VMs.
pub trait Hypervisor: Send + Sync {
    /// The VMs it makes.
    type Vm: Vm + 'static;

    /// The back end's name, for messages: `KVM`, `fake`.
    fn name(&self) -> &'static str;

    /// Its abilities.
    fn capabilities(&self) -> &Capabilities;

    /// Makes an empty VM: no memory, no vCPU.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses,
    /// [`Error::Unsupported`](crate::Error::Unsupported) where `settings` ask for what it lacks.
    fn create_vm(&self, settings: &VmSettings) -> Result<Self::Vm>;

    /// The CPUID leaves a guest may be given, the host's values in them
    /// (`KVM_GET_SUPPORTED_CPUID`).
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses.
    fn supported_cpuid(&self) -> Result<Vec<CpuidEntry>>;

    /// The MSRs that say what the CPU can do, as far as a guest may be given them, with the host's values
    /// (`KVM_GET_MSR_FEATURE_INDEX_LIST`); none where the back end knows of none.
    ///
    /// # Errors
    /// [`Error::Host`](crate::Error::Host) where the host refuses.
    fn feature_msrs(&self) -> Result<Vec<Msr>> {
        Ok(Vec::new())
    }

    /// The kernel parameters that a Linux guest should be given besides `parameters`, on this host;
    /// none where the back end runs every guest as it is. Each of them is `name` or `name=value`, as
    /// the kernel takes its command line apart; those for init are not among them. What they say
    /// themselves is left alone.
    ///
    /// # Errors
    /// [`CmdlineConflict`] where it asks for what cannot work here.
    fn cmdline_additions(
        &self,
        _parameters: &[String],
    ) -> std::result::Result<Vec<CmdlineAddition>, CmdlineConflict> {
        Ok(Vec::new())
    }
}
