//! Why a machine cannot be built, in the words of the options that it was asked for by.

use std::error::Error;
use std::fs;

use vmmkit_assembly::{AssemblyError, FlashError, Reason};
use vmmkit_boot_loader::{BootPart, EntryChoice, LoadError};
use vmmkit_guest_memory::{RamError, RamSize};
use vmmkit_host_io::ThreadPriority;
use vmmkit_machine_spec::{Field, MachineSpec};
use vmmkit_vmm::{BuildError, ConfigError, MachineConfig, VirtioTransport};

use crate::failure::Failure;
use crate::options;
use crate::settings::Settings;
use crate::{cpu, device_failure, load_advice};

/// The next step for a machine that cannot be built for `field`, where the error itself says no more.
fn advice(field: Field) -> &'static str {
    match field {
        Field::Kernel | Field::Firmware | Field::Initrd | Field::Module(_) => {
            "check the path and its permissions"
        }
        Field::Cmdline => "leave it out, or boot on a host with VT-x or AMD-V",
        Field::Memory => "ask for more, such as --memory 256M",
        Field::Vcpus => "ask for fewer with --cpus",
        Field::CpuModel => {
            "`vmmkit cpu dump` says what this host has; leave out what it lacks, as in --cpu host,-avx2"
        }
        _ => "leave some of them out",
    }
}

/// The option that sets `field`, as it is written on a command line.
fn option(field: Field, spec: &MachineSpec) -> String {
    match options::option_of(spec, field) {
        Some(option) => format!("--{}", option.name),
        None => "--disk, --net and other devices".to_owned(),
    }
}

/// Its value in the machine of `settings`, as it is shown.
fn value(field: Field, settings: &Settings) -> String {
    match field {
        Field::CpuModel => settings.machine.cpu.to_string(),
        // It may be long.
        Field::Cmdline => String::new(),
        field => settings.spec.value(field),
    }
}

fn field_of(part: BootPart) -> Field {
    match part {
        BootPart::Firmware => Field::Firmware,
        BootPart::Initrd => Field::Initrd,
        BootPart::Module(index) => Field::Module(index),
        BootPart::Cmdline => Field::Cmdline,
        BootPart::Ram => Field::Memory,
        _ => Field::Kernel,
    }
}

/// `error` of a machine `spec`, whose devices were given as `texts`, as the user reads it.
pub(crate) fn of_assembly(error: &AssemblyError, spec: &MachineSpec, texts: &[String]) -> Failure {
    let AssemblyError { field, reason, .. } = error;
    let option = options::option_of(spec, *field);
    let (name, advice) = option.map_or(("", ""), |option| (option.name, option.advice));
    let what = options::shown(spec, *field, texts);
    if let Some(failure) = device_failure::explain(&what, spec, *field, reason) {
        return failure;
    }
    match reason {
        Reason::Conflict(conflict) => Failure::usage(
            format!("{what}: {conflict}"),
            options::of_conflict(conflict, advice, name),
        ),
        Reason::Flash(error) => Failure::host(&what, error, of_flash(error)),
        Reason::CpuFile(error) => cpu::failure("--cpu ", &spec.cpus.model, error),
        Reason::Priority { priority, source } => {
            let what = format!("{what}: {priority}");
            Failure::host(&what, source, allowed_by(*priority))
        }
        reason => Failure::usage(format!("{what}: {reason}"), advice),
    }
}

/// Advice for a file of variables that cannot be had.
fn of_flash(error: &FlashError) -> &'static str {
    match error {
        FlashError::InUse { .. } => "end the guest that has it, or give this one a copy of its own",
        FlashError::Open(_) => {
            "make one for this machine: cp /usr/share/OVMF/OVMF_VARS_4M.fd FILE, and give vars=FILE"
        }
        _ => {
            "give vars=FILE, a copy of the store that comes with the firmware, such as OVMF_VARS_4M.fd"
        }
    }
}

/// The permission that a process needs for a priority, in a shell (getrlimit(2), capabilities(7)).
fn allowed_by(priority: ThreadPriority) -> String {
    let limit = match priority {
        ThreadPriority::Fifo(least) | ThreadPriority::RoundRobin(least) => {
            format!("raise the limit of real-time priorities to {least} (ulimit -r {least})")
        }
        // RLIMIT_NICE is 20 minus the nice value.
        ThreadPriority::Nice(nice) => {
            let least = 20 - i32::from(nice);
            format!("raise the limit of nice values to {least} (ulimit -e {least})")
        }
        _ => "raise the limits of priorities".to_owned(),
    };
    format!("{limit} as root, in limits.conf or in a systemd unit, or run it with CAP_SYS_NICE")
}

/// `error`, met with the machine of `settings`, as the user reads it.
pub(crate) fn explain(error: &BuildError, settings: &Settings) -> Failure {
    let config = &settings.machine;
    let of = |field: Field, reason: &dyn Error, next: Option<String>| {
        let option = option(field, &settings.spec);
        let thing = match value(field, settings) {
            value if value.is_empty() => option,
            value => format!("{option} {value}"),
        };
        let next = next.unwrap_or_else(|| advice(field).to_owned());
        Failure::host(&thing, reason, next)
    };
    match error {
        BuildError::Config(error) => match error {
            ConfigError::TooManyDevices { .. } => of(Field::Devices, error, too_many(config)),
            _ => of(Field::Vcpus, error, None),
        },
        BuildError::Ram(error) => of(Field::Memory, error, Some(of_memory(error))),
        BuildError::Cpu(error) => of(Field::CpuModel, error, None),
        BuildError::Open { part, source, .. } => of(field_of(*part), source, None),
        BuildError::Cmdline(conflict) => {
            let option = option(Field::Cmdline, &settings.spec);
            let what = format!("{option} {}: {}", conflict.parameter, conflict.reason);
            Failure::usage(what, advice(Field::Cmdline))
        }
        BuildError::Load { image, source } => {
            let kernel = config.boot.as_kernel();
            let chose_entry = kernel.is_some_and(|it| it.entry != EntryChoice::Auto);
            let next = load_advice::of(source, image, chose_entry);
            let field = match load_advice::memory_needed(source) {
                Some(_) => Field::Memory,
                None => field_of(source.part()),
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

/// Advice where RAM cannot be had.
pub(crate) fn of_memory(error: &RamError) -> String {
    match error {
        RamError::HugePages {
            needed,
            free,
            reserve,
            ..
        } => {
            let text = fs::read_to_string(reserve).unwrap_or_default();
            let pages: u64 = text.trim().parse().unwrap_or(0);
            let pages = pages.saturating_add(needed.saturating_sub(*free));
            format!(
                "reserve them (`echo {pages} | sudo tee {reserve}`), or leave backend=hugetlb out"
            )
        }
        RamError::NoHugePages { .. } | RamError::HugePageSize { .. } => {
            "give backend=hugetlb=2M or hugetlb=1G, as /sys/kernel/mm/hugepages has them".to_owned()
        }
        RamError::HugePageMultiple { page_size, .. } => {
            let unit = RamSize::new(*page_size).map_or(String::new(), |size| size.to_string());
            format!("ask for a multiple of {unit}, or leave backend=hugetlb out")
        }
        RamError::File { .. } | RamError::NotAFile { .. } => {
            "check the path, its permissions and the room on its file system".to_owned()
        }
        RamError::FileInUse { .. } => "end that guest, or give another file".to_owned(),
        RamError::FileSize { .. } => {
            "give the path of a new file, or --memory with the size of that one".to_owned()
        }
        RamError::Merge(_) => "leave merge out, or use a kernel with CONFIG_KSM".to_owned(),
        _ => "ask for less with --memory, or free memory of the host".to_owned(),
    }
}

/// Advice for more devices than there is room for.
fn too_many(config: &MachineConfig) -> Option<String> {
    let has_room = config.virtio == VirtioTransport::Mmio;
    has_room.then(|| "leave some of them out, or give --virtio pci, which has more room".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use vmmkit_machine_spec::Given;

    use super::*;
    use crate::options::Values;

    fn settings(kernel: &str) -> Settings {
        let mut values = Values::default();
        values.add("kernel", Given::text(kernel));
        Settings::new(&values).unwrap()
    }

    #[test]
    fn what_a_process_lacks_is_said() {
        assert!(allowed_by(ThreadPriority::Fifo(7)).contains("ulimit -r 7"));
        assert!(allowed_by(ThreadPriority::Nice(-5)).contains("ulimit -e 25"));
    }

    #[test]
    fn the_reason_is_in_the_first_line() {
        let error = BuildError::Open {
            part: BootPart::Kernel,
            file: "/nope".into(),
            source: io::Error::from_raw_os_error(2),
        };
        assert_eq!(
            explain(&error, &settings("/nope")).text(),
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
            explain(&error, &settings("vmlinux"))
                .text()
                .starts_with("error: --memory 256M: 1 bytes of guest RAM is too little")
        );
    }
}
