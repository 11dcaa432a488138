//! Why a machine cannot be built, in the words of the options that it was asked for by.

use std::error::Error;

use vmmkit_boot_loader::{BootPart, EntryChoice, LoadError};
use vmmkit_vmm::{BootFile, BuildError, ConfigError, MachineConfig, VirtioTransport};

use crate::failure::Failure;
use crate::{cpus, load_advice, memory};

/// A field of a machine's configuration, as errors of the library tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Kernel,
    Firmware,
    Initrd,
    Module(usize),
    Cmdline,
    Memory,
    Cpus,
    Cpu,
    /// All paravirtual devices, each of which has an option of its own.
    Devices,
}

impl Field {
    /// The option that sets it, and what to do where the error itself says no more.
    fn option(self) -> (&'static str, &'static str) {
        const PATH: &str = "check the path and its permissions";
        match self {
            Self::Kernel => ("--kernel", PATH),
            Self::Firmware => ("--firmware", PATH),
            Self::Initrd => ("--initrd", PATH),
            Self::Module(_) => ("--module", PATH),
            Self::Cmdline => (
                "--cmdline",
                "leave it out, or boot on a host with VT-x or AMD-V",
            ),
            Self::Memory => ("--memory", "ask for more, such as --memory 256M"),
            Self::Cpus => ("--cpus", "ask for fewer with --cpus"),
            Self::Cpu => (
                "--cpu",
                "`vmmkit cpu dump` says what this host has; leave out what it lacks, as in --cpu host,-avx2",
            ),
            Self::Devices => ("--disk, --net and other devices", "leave some of them out"),
        }
    }

    /// Its value in `config`, as it is given.
    fn value(self, config: &MachineConfig) -> String {
        let kernel = config.boot.as_kernel();
        let file = |file: Option<&BootFile>| file.map_or(String::new(), BootFile::to_string);
        match self {
            Self::Kernel | Self::Firmware => config.boot.image().to_string(),
            Self::Initrd => file(kernel.and_then(|it| Some(&it.initrd.as_ref()?.file))),
            Self::Module(index) => file(kernel.and_then(|it| Some(&it.modules.get(index)?.file))),
            Self::Memory => memory::text(&config.ram),
            Self::Cpus => cpus::text(config.vcpus, config.topology),
            Self::Cpu => config.cpu.to_string(),
            Self::Cmdline | Self::Devices => String::new(),
        }
    }
}

impl From<BootPart> for Field {
    fn from(part: BootPart) -> Self {
        match part {
            BootPart::Firmware => Self::Firmware,
            BootPart::Initrd => Self::Initrd,
            BootPart::Module(index) => Self::Module(index),
            BootPart::Cmdline => Self::Cmdline,
            BootPart::Ram => Self::Memory,
            _ => Self::Kernel,
        }
    }
}

/// `error`, met with `config`, as the user reads it.
pub(crate) fn explain(error: &BuildError, config: &MachineConfig) -> Failure {
    let of = |field: Field, reason: &dyn Error, next: Option<String>| {
        let (option, advice) = field.option();
        let thing = match field.value(config) {
            value if value.is_empty() => option.to_owned(),
            value => format!("{option} {value}"),
        };
        Failure::host(&thing, reason, next.unwrap_or_else(|| advice.to_owned()))
    };
    match error {
        BuildError::Config(error) => match error {
            ConfigError::TooManyDevices { .. } => of(Field::Devices, error, too_many(config)),
            _ => of(Field::Cpus, error, None),
        },
        BuildError::Ram(error) => of(Field::Memory, error, Some(memory::advice(error))),
        BuildError::Cpu(error) => of(Field::Cpu, error, None),
        BuildError::Open { part, source, .. } => of((*part).into(), source, None),
        BuildError::Cmdline(conflict) => {
            let (option, advice) = Field::Cmdline.option();
            let what = format!("{option} {}: {}", conflict.parameter, conflict.reason);
            Failure::usage(what, advice)
        }
        BuildError::Load { image, source } => {
            let kernel = config.boot.as_kernel();
            let chose_entry = kernel.is_some_and(|it| it.entry != EntryChoice::Auto);
            let next = load_advice::of(source, image, chose_entry);
            let field = match load_advice::memory_needed(source) {
                Some(_) => Field::Memory,
                None => source.part().into(),
            };
            match source {
                // Which one it is, the option says.
                LoadError::Module { source, .. } => of(field, source, Some(next)),
                source => of(field, source, Some(next)),
            }
        }
        // These name the thing, and their cause is the reason.
        error => {
            let next = "`vmmkit doctor` says what this host's KVM can do";
            match error.source() {
                Some(reason) => Failure::host(&error.to_string(), reason, next),
                None => Failure::because(error.to_string(), Vec::new(), next),
            }
        }
    }
}

/// What to do about more devices than there is room for.
fn too_many(config: &MachineConfig) -> Option<String> {
    let has_room = config.virtio == VirtioTransport::Mmio;
    has_room.then(|| "leave some of them out, or give --virtio pci, which has more room".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use vmmkit_vmm::Boot;

    use super::*;

    #[test]
    fn the_reason_is_in_the_first_line() {
        let error = BuildError::Open {
            part: BootPart::Kernel,
            file: "/nope".into(),
            source: io::Error::from_raw_os_error(2),
        };
        let config = MachineConfig::new(Boot::kernel("/nope"));
        assert_eq!(
            explain(&error, &config).text(),
            "error: --kernel /nope: No such file or directory\n  next: check the path and its \
             permissions"
        );
    }

    #[test]
    fn the_option_at_fault_is_named() {
        let error = BuildError::Load {
            image: "vmlinux".into(),
            source: LoadError::RamTooSmall { size: 1, least: 2 },
        };
        assert!(
            explain(&error, &MachineConfig::new(Boot::kernel("vmlinux")))
                .text()
                .starts_with("error: --memory 256M: 1 bytes of guest RAM are too few")
        );
    }
}
