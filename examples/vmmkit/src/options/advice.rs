//! Advice for an invalid value, in the words of the options.

use vmmkit_machine_spec::{Conflict, DeviceSpec, Fault, Field, MachineSpec, MemoryFault, Unknown};

use super::RunOption;
use crate::settings;

const SIZES: &str = "give a whole number with a unit K, M, G or T, such as --memory 256M";
const BACKENDS: &str = "give backend=anon, memfd, hugetlb, hugetlb=1G or file=PATH";

/// Advice for `fault` of `text`, a value of `option`.
pub(super) fn of_fault(option: &RunOption, text: &str, fault: &Fault) -> String {
    match fault {
        Fault::Unattached => unattached(text).unwrap_or(option.advice).to_owned(),
        fault => next(option.advice, fault),
    }
}

/// Advice for `fault`; where it does not say so itself, `advice`.
pub(crate) fn next(advice: &str, fault: &Fault) -> String {
    match fault {
        Fault::NoValue { key } => format!("write {key}=..."),
        Fault::ZeroMac | Fault::GroupMac { .. } => {
            "give one whose first byte is even, such as mac=52:54:00:12:34:56".to_owned()
        }
        Fault::NotASwitch { key, .. } => format!("write {key}, or leave it out"),
        Fault::NotA { key, wanted, .. } => format!("give {key} as {wanted}"),
        Fault::Twice { key } => format!("give {key} once"),
        Fault::UnknownKey {
            meant: Some(meant), ..
        } => format!("did you mean {meant}? Else {advice}"),
        Fault::NoPath { place } | Fault::EmptyPath { place } => format!("give {place}=PATH"),
        Fault::Unknown(Unknown::QueueFormat(_)) => {
            "give packed after the comma, or nothing and no comma".to_owned()
        }
        Fault::Size(_) | Fault::NoUnit { .. } => SIZES.to_owned(),
        Fault::Memory(fault) => of_memory(fault),
        _ => advice.to_owned(),
    }
}

fn of_memory(fault: &MemoryFault) -> String {
    let next = match fault {
        MemoryFault::Backend(_) => BACKENDS,
        MemoryFault::MaxWithoutUnit { .. } | MemoryFault::MaxNotASize(_) => SIZES,
        MemoryFault::MaxTooSmall { .. } => "give a larger max, or leave it out",
        MemoryFault::MaxMultiple { possible, .. } => {
            return format!("give max={possible}, for instance");
        }
        MemoryFault::MaxBackend => "leave max out, or that backend",
        MemoryFault::ThpOfHuge => "leave thp out, or backend=hugetlb",
        MemoryFault::MergeBackend => "leave merge out, or give backend=anon",
        MemoryFault::NotShared => "give backend=memfd, or leave backend out",
        _ => SIZES,
    };
    next.to_owned()
}

/// Advice for parts that do not go together; `advice` is that of the option.
pub(crate) fn of_conflict(conflict: &Conflict, advice: &str, option: &str) -> String {
    match conflict {
        Conflict::Memory(fault) => of_memory(fault),
        Conflict::CpuModel(fault) => next(advice, fault),
        Conflict::TimerOfSplit => "leave --legacy-timer out, or give --irqchip kernel".to_owned(),
        Conflict::SplitWithoutAcpi => "leave --no-acpi out, or give --irqchip kernel".to_owned(),
        Conflict::TakenTwice { .. } => {
            format!("give --{option} once for each; the guest has one device for each")
        }
        Conflict::BalloonTooLarge { .. } => "give a smaller size, or more --memory".to_owned(),
        _ => advice.to_owned(),
    }
}

/// The option that sets `field` with its value, as messages show it; `texts` are the values of devices as they
/// were given.
pub(crate) fn shown(spec: &MachineSpec, field: Field, texts: &[String]) -> String {
    let value = match field {
        Field::Device(index) => texts.get(index).cloned().unwrap_or_default(),
        field => spec.value(field),
    };
    let name = option_of(spec, field).map_or("", |option| option.name);
    format!("--{name} {}", settings::shown(&value))
}

/// The option that sets `field` of `spec`, without dashes; none for what many options set.
pub(crate) fn option_of(spec: &MachineSpec, field: Field) -> Option<&'static RunOption> {
    super::named(match field {
        Field::Kernel => "kernel",
        Field::Firmware | Field::FirmwareVars => "firmware",
        Field::Initrd => "initrd",
        Field::Module(_) => "module",
        Field::Cmdline => "cmdline",
        Field::Vcpus => "cpus",
        Field::CpuModel => "cpu",
        Field::Affinity => "affinity",
        Field::Priority => "priority",
        Field::Memory => "memory",
        Field::Irqchip => "irqchip",
        Field::LegacyTimer => "legacy-timer",
        Field::DebugPort => "debug-port",
        Field::Smbios => "smbios",
        Field::Credential(_) => "credential",
        Field::Serial => "serial",
        Field::Device(index) => match spec.devices.get(index)? {
            DeviceSpec::Disk(_) => "disk",
            DeviceSpec::Net(_) => "net",
            DeviceSpec::Pmem(_) => "pmem",
            DeviceSpec::Console(_) => "console",
            DeviceSpec::Balloon(_) => "balloon",
            DeviceSpec::Vsock(_) => "vsock",
            DeviceSpec::Fs(_) => "fs",
            DeviceSpec::Rng => "rng",
            DeviceSpec::CloudInit(_) => "cloud-init",
        },
        _ => return None,
    })
}

/// Advice for `text`, a network interface that names nothing to attach to.
fn unattached(text: &str) -> Option<&'static str> {
    match text.split([',', '=', ':']).next() {
        Some("slirp" | "nat" | "usernet") => {
            Some("give user: a network without privilege, by passt")
        }
        Some("bridge" | "br" | "network") => Some(
            "make a tap in the bridge (ip tuntap add dev tap0 mode tap user $USER; ip link set tap0 master \
             BRIDGE), and give tap=tap0",
        ),
        Some("none" | "off") => Some("leave --net out: there is no interface without it"),
        _ => None,
    }
}
