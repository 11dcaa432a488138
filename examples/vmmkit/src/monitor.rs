//! What a machine is at, for people.

use std::fmt::Write;

use vmmkit_vmm::Handle;

/// Everything that there is to see.
pub(crate) fn describe(machine: &Handle) -> String {
    let mut text = format!("machine: {:?}", machine.state());
    let ram = machine.ram();
    for region in ram.regions() {
        let end = region.guest_address.0 + region.size;
        let _ = write!(
            text,
            "\n  RAM   {:#012x}-{:#012x}",
            region.guest_address.0,
            end - 1
        );
    }
    for region in machine.port_regions() {
        let _ = write!(text, "\n  ports {} {}", region.range, region.name);
    }
    for device in machine.devices() {
        let driven = if device.was_driven {
            "driven"
        } else {
            "no driver yet"
        };
        let _ = write!(text, "\n  device {}: {driven}", device.name);
        if let Some(fault) = device.fault {
            let _ = write!(text, ", stopped: {fault}");
        }
    }
    for (kind, unclaimed) in [
        ("ports", machine.unclaimed_ports()),
        ("memory", machine.unclaimed_mmio()),
    ] {
        let (reads, writes) = (unclaimed.reads, unclaimed.writes);
        let _ = write!(text, "\n  unclaimed {kind}: {reads} reads, {writes} writes");
        for address in unclaimed.addresses {
            let _ = write!(text, " {address:#x}");
        }
    }
    let _ = write!(text, "\n{}", vcpus(machine));
    text
}

/// The registers of each vCPU, a paragraph each.
pub(crate) fn vcpus(machine: &Handle) -> String {
    let lines = machine.dump_vcpus().into_iter().map(|dump| {
        let state = dump.state.map_or("in a state unknown".to_owned(), |state| {
            format!("{state:?}").to_lowercase()
        });
        format!("{} is {state}: {dump}", dump.vcpu)
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return "no vCPU runs".to_owned();
    }
    lines.join("\n")
}
