//! Whether the parts of a machine go together.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::{
    AffinityFault, BackingSpec, BootSpec, DeviceSpec, Fault, IrqchipPlace, MachineSpec, MemoryFault,
};

/// A field of a [`MachineSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// `boot`: the kernel.
    Kernel,
    /// `boot`: the firmware.
    Firmware,
    /// `boot`: the file of the firmware's variables.
    FirmwareVars,
    /// `boot`: the initial RAM disk.
    Initrd,
    /// `boot`: the module of this number.
    Module(usize),
    /// `boot`: the kernel's command line.
    Cmdline,
    /// `cpus.vcpus`.
    Vcpus,
    /// `cpus.model`.
    CpuModel,
    /// `cpus.affinity`.
    Affinity,
    /// `cpus.priority`.
    Priority,
    /// `memory`.
    Memory,
    /// `platform.irqchip`.
    Irqchip,
    /// `platform.legacy-timer`.
    LegacyTimer,
    /// `platform.debug-port`.
    DebugPort,
    /// `platform.smbios`.
    Smbios,
    /// `platform.credentials`: the one of this number.
    Credential(usize),
    /// `serial`.
    Serial,
    /// The device of this number.
    Device(usize),
    /// `devices` as a whole.
    Devices,
}

/// A field that cannot be as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field:?}: {conflict}")]
pub struct Invalid {
    /// The field.
    pub field: Field,
    /// The reason.
    #[source]
    pub conflict: Conflict,
}

/// The reason two fields do not go together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Conflict {
    /// Memory, within itself or with a device of another process.
    #[error(transparent)]
    Memory(#[from] MemoryFault),
    /// The CPUs of the host, with the number of vCPUs.
    #[error(transparent)]
    Affinity(#[from] AffinityFault),
    /// The CPU's name or changes.
    #[error(transparent)]
    CpuModel(Fault),
    /// The legacy timer, with split interrupt controllers.
    #[error("with split interrupt controllers there is neither 8254 nor 8259")]
    TimerOfSplit,
    /// Split interrupt controllers, with a guest without ACPI.
    #[error("without ACPI a kernel takes interrupts from an 8259")]
    SplitWithoutAcpi,
    /// Two devices take the same thing of the host.
    #[error("{kind} {} is given twice", .name.display())]
    TakenTwice {
        /// Interface or socket.
        kind: &'static str,
        /// Which one.
        name: PathBuf,
    },
    /// A balloon of all the guest's memory.
    #[error("the guest has {mebibytes} MiB in all")]
    BalloonTooLarge {
        /// The guest's memory.
        mebibytes: u64,
    },
}

impl MachineSpec {
    /// Checks that its parts go together.
    ///
    /// # Errors
    /// [`Invalid`]: the first field that does not go with the others.
    pub fn check(&self) -> Result<(), Invalid> {
        let invalid = |field| move |conflict| Invalid { field, conflict };
        let model = self.cpus.model.named().map(drop);
        model.map_err(|fault| invalid(Field::CpuModel)(Conflict::CpuModel(fault)))?;
        let placed = self.cpus.placed().map(drop);
        placed.map_err(|fault| invalid(Field::Affinity)(fault.into()))?;
        let memory = self.memory.check(self.needs_shared_memory());
        memory.map_err(|fault| invalid(Field::Memory)(fault.into()))?;
        self.check_irqchip()?;
        self.check_devices()
    }

    fn check_irqchip(&self) -> Result<(), Invalid> {
        let platform = &self.platform;
        let (field, conflict) = match (platform.irqchip, platform.legacy_timer) {
            (IrqchipPlace::Split, Some(true)) => (Field::LegacyTimer, Conflict::TimerOfSplit),
            (IrqchipPlace::Split, _) if !platform.acpi => {
                (Field::Irqchip, Conflict::SplitWithoutAcpi)
            }
            _ => return Ok(()),
        };
        Err(Invalid { field, conflict })
    }

    fn check_devices(&self) -> Result<(), Invalid> {
        let mebibytes = self.memory.size.bytes() >> 20;
        for (index, device) in self.devices.iter().enumerate() {
            let others = self.devices.iter().take(index);
            let conflict = match (device, device.takes()) {
                (DeviceSpec::Balloon(balloon), _) => (u64::from(balloon.size_mib) >= mebibytes)
                    .then_some(Conflict::BalloonTooLarge { mebibytes }),
                (_, Some(taken)) => others
                    .filter_map(DeviceSpec::takes)
                    .any(|other| other == taken)
                    .then(|| Conflict::TakenTwice {
                        kind: taken.0,
                        name: taken.1.to_owned(),
                    }),
                _ => None,
            };
            if let Some(conflict) = conflict {
                let field = Field::Device(index);
                return Err(Invalid { field, conflict });
            }
        }
        Ok(())
    }

    /// The value of `field`, as it would be written; empty where it has none.
    pub fn value(&self, field: Field) -> String {
        let kernel = self.boot.as_kernel();
        let text =
            |value: Option<&dyn fmt::Display>| value.map_or(String::new(), |it| it.to_string());
        match field {
            Field::Kernel | Field::Firmware => crate::path_text::of_path(self.boot.image()),
            Field::FirmwareVars => match &self.boot {
                BootSpec::Firmware(firmware) => firmware
                    .vars
                    .as_deref()
                    .map_or(String::new(), crate::path_text::of_path),
                BootSpec::Kernel(_) => String::new(),
            },
            Field::Initrd => kernel
                .and_then(|kernel| kernel.initrd.as_ref())
                .map_or(String::new(), |initrd| {
                    crate::path_text::of_path(&initrd.path)
                }),
            Field::Module(index) => kernel
                .and_then(|kernel| kernel.modules.get(index))
                .map_or(String::new(), |module| {
                    crate::path_text::of_path(&module.path)
                }),
            Field::Cmdline => kernel
                .and_then(|kernel| kernel.cmdline.clone())
                .unwrap_or_default(),
            Field::Vcpus => self.cpus.vcpus.to_string(),
            Field::CpuModel => self.cpus.model.to_string(),
            Field::Affinity => text(self.cpus.affinity.as_ref().map(|it| it as _)),
            Field::Priority => self.cpus.priority.to_string(),
            Field::Memory => self.memory_as_built().to_string(),
            Field::Irqchip => self.platform.irqchip.to_string(),
            Field::LegacyTimer => match self.platform.legacy_timer {
                Some(true) => "on".to_owned(),
                Some(false) => "off".to_owned(),
                None => String::new(),
            },
            Field::Smbios => text(self.platform.smbios.as_ref().map(|it| it as _)),
            Field::Credential(index) => {
                text(self.platform.credentials.get(index).map(|it| it as _))
            }
            Field::DebugPort => self.platform.debug_port.to_string(),
            Field::Serial => self.serial_console().to_string(),
            Field::Device(index) => text(self.devices.get(index).map(|it| it as _)),
            Field::Devices => String::new(),
        }
    }

    /// The memory with the back end that it gets.
    pub fn memory_as_built(&self) -> crate::MemorySpec {
        let mut memory = self.memory.clone();
        if self.needs_shared_memory() && memory.backing.is_none() {
            memory.backing = Some(BackingSpec::Memfd);
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BalloonSpec, BootSpec, DiskSpec, FsSpec, Given, MemorySpec, NetSpec, VsockSpec};

    fn machine() -> MachineSpec {
        MachineSpec::new(BootSpec::Firmware(crate::FirmwareSpec::new("f")))
    }

    fn refused(change: impl FnOnce(&mut MachineSpec)) -> Invalid {
        let mut machine = machine();
        change(&mut machine);
        machine.check().unwrap_err()
    }

    #[test]
    fn split_interrupt_controllers_have_neither_8254_nor_8259() {
        let split = |timer, acpi| {
            let mut machine = machine();
            machine.platform.irqchip = IrqchipPlace::Split;
            machine.platform.legacy_timer = timer;
            machine.platform.acpi = acpi;
            machine.check().map_err(|invalid| invalid.field)
        };
        assert_eq!(split(None, true), Ok(()));
        assert_eq!(split(Some(false), true), Ok(()));
        assert_eq!(split(Some(true), true), Err(Field::LegacyTimer));
        assert_eq!(split(None, false), Err(Field::Irqchip));
    }

    #[test]
    fn a_device_of_another_process_must_see_the_memory() {
        let fs = || DeviceSpec::Fs(FsSpec::parse(&Given::text("s,tag=t"), |_| false).unwrap());
        let invalid = refused(|machine| {
            machine.memory = MemorySpec::parse(&Given::text("1G,backend=anon")).unwrap();
            machine.devices.push(fs());
        });
        assert_eq!(invalid.field, Field::Memory);
        assert_eq!(invalid.conflict, MemoryFault::NotShared.into());
        let mut machine = machine();
        machine.devices.push(fs());
        assert_eq!(machine.value(Field::Memory), "256M,backend=memfd");
    }

    #[test]
    fn no_two_devices_take_the_same() {
        let net = |text| DeviceSpec::Net(NetSpec::parse(&Given::text(text)).unwrap());
        let fs = |text| DeviceSpec::Fs(FsSpec::parse(&Given::text(text), |_| false).unwrap());
        let invalid = refused(|machine| {
            machine.devices = vec![net("tap=t"), net("passt=s"), fs("s,tag=t")];
        });
        assert_eq!(invalid.field, Field::Device(2));
        assert_eq!(invalid.conflict.to_string(), "socket s is given twice");
        let disk = DiskSpec::parse(&Given::text("d")).unwrap();
        let vsock = VsockSpec::parse(&Given::text("cid=3,socket=s")).unwrap();
        let mut machine = machine();
        machine.devices = vec![
            DeviceSpec::Disk(disk.clone()),
            DeviceSpec::Disk(disk),
            DeviceSpec::Vsock(vsock),
        ];
        assert_eq!(machine.check(), Ok(()));
    }

    #[test]
    fn a_balloon_is_smaller_than_the_memory() {
        let invalid = refused(|machine| {
            machine.devices.push(DeviceSpec::Balloon(BalloonSpec {
                size_mib: 256,
                ..BalloonSpec::default()
            }));
        });
        assert_eq!(invalid.conflict.to_string(), "the guest has 256 MiB in all");
    }
}
