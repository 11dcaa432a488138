//! The configuration of a machine: plain data with defaults that boot.

use std::collections::BTreeMap;

use thiserror::Error;
use vmmkit_boot_loader::smbios::{Processors, Smbios};
use vmmkit_boot_loader::{Oem, mp_table::MpTable};
use vmmkit_guest_memory::{GuestRam, RamConfig};
use vmmkit_host_io::{HostCpus, ThreadPolicy, ThreadPriority};
use vmmkit_hypervisor::{Capabilities, Irqchip};
use vmmkit_run_control::{ClockPolicy, OnCrash, OnReboot};
use vmmkit_x86_cpu::{CpuModel, Topology, TopologyError};

use crate::Boot;
use vmmkit_pc_platform::{self as pc_platform, MachineForm, PlatformConfig, VirtioTransport};

/// KVM's KVM_MAX_VCPU_IDS on x86: what is kept for each vCPU before a hypervisor is asked is bounded by it.
pub(crate) const MAX_VCPUS: u32 = 4096;

/// A machine as its user asks for it. Nothing in it has been checked, and no path opened.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// The machine's name, for people: [`Handle::inspect`](crate::Handle::inspect) shows it.
    pub name: String,
    /// Names and priority of its threads: `vcpu0`, or `web:vcpu0` with the prefix `web`.
    pub threads: ThreadPolicy,
    /// The boot.
    pub boot: Boot,
    /// The guest's RAM.
    pub ram: RamConfig,
    /// The number of vCPUs, at least 1.
    pub vcpus: u32,
    /// How they are arranged; without it, as cores of one package.
    pub topology: Option<Topology>,
    /// The CPUs of the host that a vCPU, by its number, is kept on; a number beyond the vCPUs is nobody's.
    pub affinity: BTreeMap<u32, HostCpus>,
    /// How the host schedules the threads of vCPUs, if not as the thread that starts the machine.
    pub vcpu_priority: Option<ThreadPriority>,
    /// Which CPU features the guest sees.
    pub cpu: CpuModel,
    /// Describe the platform by ACPI tables.
    pub acpi: bool,
    /// Describe CPUs and interrupts by an MP table too.
    pub mp_table: MpTable,
    /// The maker that those tables name.
    pub oem: Oem,
    /// The machine as SMBIOS tables name it; none without.
    pub smbios: Option<Smbios>,
    /// The interrupt controllers. [`Irqchip::None`] is for hypervisors that deliver no interrupt.
    pub irqchip: Irqchip,
    /// Where paravirtual devices are.
    pub virtio: VirtioTransport,
    /// Offer them packed queues (virtio 1.2, section 2.8).
    pub packed: bool,
    /// The action on a reset that the guest asks for.
    pub on_reboot: OnReboot,
    /// The action on a crash of the guest.
    pub on_crash: OnCrash,
    /// The time that the guest's clocks show after a pause.
    pub clock_after_pause: ClockPolicy,
}

impl MachineConfig {
    /// A machine that runs `boot`, with one vCPU, 256 MiB of RAM and ACPI tables.
    pub fn new(boot: impl Into<Boot>) -> Self {
        Self {
            name: "vm".to_owned(),
            threads: ThreadPolicy::default(),
            boot: boot.into(),
            ram: RamConfig::default(),
            vcpus: 1,
            topology: None,
            affinity: BTreeMap::new(),
            vcpu_priority: None,
            cpu: CpuModel::default(),
            acpi: true,
            mp_table: MpTable::Auto,
            oem: Oem::default(),
            smbios: None,
            irqchip: Irqchip::InKernel { pit: true },
            virtio: VirtioTransport::Mmio,
            packed: false,
            on_reboot: OnReboot::default(),
            on_crash: OnCrash::default(),
            clock_after_pause: ClockPolicy::default(),
        }
    }
}

/// Why a configuration cannot become a machine, whatever the files in it hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No vCPU.
    #[error("a machine needs at least 1 vCPU")]
    NoVcpu,
    /// More vCPUs than the hypervisor can give.
    #[error("this hypervisor gives a machine at most {max} vCPUs, not {asked}")]
    TooManyVcpus {
        /// The number asked for.
        asked: u32,
        /// The maximum.
        max: u32,
    },
    /// The vCPUs cannot be arranged so.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// More paravirtual devices than there are places or interrupts for.
    #[error("there is room for {max} virtio devices, not for {asked}")]
    TooManyDevices {
        /// The number asked for.
        asked: usize,
        /// The maximum.
        max: usize,
    },
}

impl MachineConfig {
    /// Checks what needs no file to be opened.
    ///
    /// # Errors
    /// [`ConfigError`], a variant for each field and fault.
    pub fn check(&self, capabilities: &Capabilities) -> Result<(), ConfigError> {
        if self.vcpus == 0 {
            return Err(ConfigError::NoVcpu);
        }
        let max = capabilities.max_vcpus.min(MAX_VCPUS);
        if self.vcpus > max {
            return Err(ConfigError::TooManyVcpus {
                asked: self.vcpus,
                max,
            });
        }
        Ok(self
            .topology()
            .check(self.vcpus, capabilities.max_apic_id)?)
    }

    /// There must be room for `asked` paravirtual devices beside `lines` interrupts of the embedder's devices.
    pub(crate) fn check_devices(&self, asked: usize, lines: usize) -> Result<(), ConfigError> {
        let max = self.virtio.max_devices_beside(lines);
        let fits = (asked <= max).then_some(());
        fits.ok_or(ConfigError::TooManyDevices { asked, max })
    }

    pub(crate) fn form(&self) -> MachineForm {
        MachineForm::new(self.vcpus, self.ram.size.bytes(), self.platform())
    }

    pub(crate) fn platform(&self) -> PlatformConfig {
        PlatformConfig {
            irqchip: self.irqchip,
            virtio: self.virtio,
            oem: self.oem,
            has_firmware: matches!(self.boot, Boot::Firmware(_)),
            acpi: self.acpi,
        }
    }

    /// All that a guest with `devices` and `ram` is told.
    pub(crate) fn description<'a>(
        &'a self,
        devices: &'a pc_platform::DescribedDevices,
        ram: &GuestRam,
    ) -> Result<pc_platform::Description<'a>, pc_platform::PlatformError> {
        let topology = self.topology();
        let cores = topology.dies() * topology.cores();
        let processors = Processors::new(topology.sockets(), cores, topology.threads());
        let told = pc_platform::Description::new(devices, &self.ram, topology.apic_ids().collect());
        Ok(told.named(self.smbios.as_ref(), processors, ram)?)
    }

    pub(crate) fn topology(&self) -> Topology {
        self.topology.unwrap_or(Topology::of(self.vcpus))
    }
}
