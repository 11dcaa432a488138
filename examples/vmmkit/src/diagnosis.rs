//! Lacks of a guest's kernel, as far as they can be seen from outside.

use std::collections::BTreeSet;

use vmmkit_device_bus::Unclaimed;
use vmmkit_telemetry::Milestone;
use vmmkit_vmm::{DeviceInfo, Handle};

use crate::messages;

/// So many accesses to what nobody owns are not probing any more: each costs the guest some
/// microseconds. A Linux that finds nothing at a place gives up after some dozens.
const STORM: u64 = 5_000;
/// A guest that used so many devices is a kernel, and has a console.
const DEVICES_OF_A_KERNEL: usize = 3;

/// Ports of PCs that this machine does not have, and what a Linux is told so that it leaves them
/// alone.
const KNOWN: [(u64, u64, &str, &str); 9] = [
    (0x20, 0x21, "an interrupt controller", ""),
    (0x40, 0x43, "the timer", ""),
    (0xa0, 0xa1, "an interrupt controller", ""),
    (0x170, 0x1f7, "an IDE controller", ""),
    (0x2e8, 0x2ff, "more serial ports", "8250.nr_uarts=1"),
    (0x3b0, 0x3df, "a VGA adapter", "console=ttyS0 alone"),
    (0x3e8, 0x3ef, "more serial ports", "8250.nr_uarts=1"),
    (
        0xcf8,
        0xcff,
        "a PCI bus",
        "pci=off, or run it with --virtio pci",
    ),
    (0x5658, 0x5659, "the VMware backdoor", ""),
];

/// Says which devices the guest did not or could not use.
pub(crate) fn review_devices(devices: &[DeviceInfo]) {
    for device in devices {
        let name = &device.name;
        if !device.was_driven {
            let driver = device.kernel_option.unwrap_or("its driver");
            messages::say(&format!(
                "{name} was never initialised: the guest's kernel may lack {driver}"
            ));
        }
        if let Some(fault) = &device.fault {
            messages::say(&format!("{name} could not go on: {fault}"));
        }
    }
}

/// Observations of a guest.
#[derive(Debug, Default)]
struct Seen {
    ports: Unclaimed,
    mmio: Unclaimed,
    /// The devices that it used.
    devices: BTreeSet<String>,
    /// It wrote to the serial console.
    has_spoken: bool,
    /// Its console is the serial port.
    should_speak: bool,
}

/// Says what the guest of `machine` seems to lack. `should_speak` says whether its console is the
/// serial port.
pub(crate) fn review(machine: &Handle, should_speak: bool) {
    let exits = machine.exits();
    let owners = exits.iter().flat_map(|vcpu| {
        let mmio = vcpu.mmio.owners.iter();
        vcpu.ports.owners.iter().chain(mmio)
    });
    let milestones = machine.boot_log().milestones();
    let seen = Seen {
        ports: machine.unclaimed_ports(),
        mmio: machine.unclaimed_mmio(),
        devices: owners.map(|owner| owner.name.to_string()).collect(),
        has_spoken: milestones.reached(Milestone::FirstOutput).is_some(),
        should_speak,
    };
    for finding in findings(&seen) {
        messages::say(&finding);
    }
}

fn findings(seen: &Seen) -> Vec<String> {
    let mut findings = Vec::new();
    findings.extend(storm("ports", &seen.ports));
    findings.extend(storm("addresses", &seen.mmio));
    if seen.should_speak && !seen.has_spoken && seen.devices.len() >= DEVICES_OF_A_KERNEL {
        findings.push(
            "the guest wrote nothing to its serial console: its kernel may lack \
             CONFIG_SERIAL_8250_CONSOLE, or its command line console=ttyS0"
                .to_owned(),
        );
    }
    findings
}

/// Too many accesses to what nobody owns.
fn storm(what: &str, unclaimed: &Unclaimed) -> Option<String> {
    let count = unclaimed.reads + unclaimed.writes;
    if count < STORM {
        return None;
    }
    let addresses = unclaimed.addresses.iter().take(4);
    let addresses: Vec<_> = addresses.map(|address| format!("{address:#x}")).collect();
    let places = addresses.join(", ");
    let mut text = format!(
        "the guest accessed {what} that no device has {count} times, at first {places}: it waits for \
         a device that is not there"
    );
    let at = |address| {
        let mut known = KNOWN.iter();
        known.find(|(first, last, ..)| (*first..=*last).contains(address))
    };
    let known = (what == "ports").then(|| unclaimed.addresses.iter().find_map(at));
    if let Some((.., device, cure)) = known.flatten() {
        text.push_str(&format!(", maybe {device}"));
        if !cure.is_empty() {
            text.push_str(&format!("; its command line may need {cure}"));
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn probing_is_normal_and_a_storm_is_told_with_its_cure() {
        let mut seen = Seen::default();
        seen.ports.reads = 200;
        assert!(findings(&seen).is_empty());
        seen.ports.reads = 100_000;
        seen.ports.addresses = vec![0x2f9, 0x80];
        let [finding] = &findings(&seen)[..] else {
            panic!("not one finding");
        };
        assert!(
            finding.contains("100000 times, at first 0x2f9, 0x80"),
            "{finding}"
        );
        assert!(finding.contains("8250.nr_uarts=1"), "{finding}");
    }

    #[test]
    fn a_kernel_that_says_nothing_is_told_of_and_a_small_guest_is_not() {
        let mut seen = Seen {
            devices: devices(&["i8042", "unclaimed"]),
            should_speak: true,
            ..Seen::default()
        };
        assert!(findings(&seen).is_empty());
        seen.devices = devices(&["i8042", "cmos", "acpi-pm"]);
        assert!(findings(&seen)[0].contains("CONFIG_SERIAL_8250_CONSOLE"));
        seen.has_spoken = true;
        assert!(findings(&seen).is_empty());
    }
}
