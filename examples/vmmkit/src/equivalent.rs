//! A machine as the full command line that makes it.

use std::path::Path;

use vmmkit_boot_loader::EntryChoice;
use vmmkit_vmm::{Boot, BootFile, Initrd, KernelBoot, MachineConfig, MpTable, VirtioTransport};
use vmmkit_x86_cpu::CpuModel;

use crate::boot_files::ModuleOption;
use crate::cpus;
use crate::memory;
use crate::os_text::{self, quoted};
use crate::platform::{self, DebugChoice};
use crate::policy::{self, Policy};
use crate::priority::Priorities;
use crate::settings::Settings;

/// The command that says everything that was left out, ready for a shell.
pub(crate) fn command(settings: &Settings) -> String {
    let machine = &settings.machine;
    let mut words = vec!["vmmkit run".to_owned()];
    words.extend(boot(machine));
    let mut option = |name: &str, value: String| words.push(format!("{name} {value}"));
    option("--cpus", cpus::text(machine.vcpus, machine.topology));
    if !machine.affinity.is_empty() {
        option("--affinity", cpus::affinity_text(&machine.affinity));
    }
    let priorities = Priorities {
        vcpu: machine.vcpu_priority,
        io: settings.io_priority,
    };
    if priorities != Priorities::default() {
        option("--priority", priorities.to_string());
    }
    if machine.cpu != CpuModel::default() {
        option("--cpu", quoted(&machine.cpu.to_string()));
    }
    option("--memory", quoted(&memory::text(&machine.ram)));
    option("--serial", quoted(&settings.serial.to_string()));
    for device in &settings.devices {
        let (name, value) = device.option();
        match value {
            Some(value) => words.push(format!("{name} {}", quoted(&value))),
            None => words.push(name.to_owned()),
        }
    }
    let mut option = |name: &str, value: String| words.push(format!("{name} {value}"));
    if let Some(entry) = machine.boot.as_kernel().and_then(entry) {
        option("--entry", entry.to_owned());
    }
    if settings.debug_port != DebugChoice::Null {
        option("--debug-port", quoted(&settings.debug_port.to_string()));
    }
    for option in platform::irqchip_options(machine.irqchip) {
        words.push((*option).to_owned());
    }
    if !machine.acpi {
        words.push("--no-acpi".to_owned());
    }
    match (machine.virtio, machine.packed) {
        (VirtioTransport::Mmio, false) => {}
        (VirtioTransport::Mmio, true) => words.push("--virtio mmio,packed".to_owned()),
        (VirtioTransport::Pci, false) => words.push("--virtio pci".to_owned()),
        (VirtioTransport::Pci, true) => words.push("--virtio pci,packed".to_owned()),
    }
    if machine.mp_table == MpTable::Always {
        words.push("--mp-table".to_owned());
    }
    words.extend(control(settings));
    if let Some(metrics) = &settings.metrics {
        words.push(format!("--metrics {}", quoted(&metrics.to_string())));
    }
    if let Some(timeline) = &settings.timeline {
        words.push(format!("--timeline {}", quoted(&timeline.to_string())));
    }
    if let Some(log) = &settings.log {
        words.push(format!("--log {}", quoted(&log.to_string())));
    }
    let policy = policy::options(Policy::with(machine, settings.reset_fails));
    words.extend(policy.into_iter().map(str::to_owned));
    words.join(" ")
}

/// What is booted, and what goes with it.
fn boot(machine: &MachineConfig) -> Vec<String> {
    let mut words = Vec::new();
    let mut option = |name: &str, value: String| words.push(format!("{name} {value}"));
    let kernel = match &machine.boot {
        Boot::Kernel(kernel) => kernel,
        Boot::Firmware(image) => {
            option("--firmware", quoted_file(image));
            return words;
        }
    };
    option("--kernel", quoted_file(&kernel.image));
    if let Some(Initrd { file, any }) = &kernel.initrd {
        let any = if *any { ",any" } else { "" };
        option("--initrd", format!("{}{any}", quoted_file(file)));
    }
    for module in &kernel.modules {
        option("--module", quoted(&ModuleOption::text(module)));
    }
    option("--cmdline", quoted(&kernel.cmdline));
    words
}

/// The word of `--entry`; none for the default.
fn entry(kernel: &KernelBoot) -> Option<&'static str> {
    match kernel.entry {
        EntryChoice::Payload => Some("payload"),
        EntryChoice::Setup => Some("setup"),
        EntryChoice::Pvh => Some("pvh"),
        EntryChoice::Multiboot => Some("multiboot"),
        EntryChoice::Auto => None,
    }
}

/// How the machine is controlled.
fn control(settings: &Settings) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(name) = &settings.control.name {
        words.push(format!("--name {name}"));
    }
    if let Some(path) = &settings.control.socket {
        words.push(format!("--api-socket {}", quoted_path(path)));
    }
    if settings.control.unlisted {
        words.push("--no-instance".to_owned());
    }
    if settings.paused {
        words.push("--paused".to_owned());
    }
    if let Some(place) = &settings.gdb {
        words.push(format!("--gdb {}", quoted(&place.to_string())));
    }
    words
}

fn quoted_file(file: &BootFile) -> String {
    file.path().map(quoted_path).unwrap_or_default()
}

fn quoted_path(path: &Path) -> String {
    quoted(&os_text::of_path(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RunOptions;

    #[test]
    fn what_was_left_out_is_said() {
        let options = RunOptions {
            kernel: Some("a kernel".into()),
            ..RunOptions::default()
        };
        let settings = Settings::new(options).unwrap();
        assert_eq!(
            command(&settings),
            format!(
                "vmmkit run --kernel 'a kernel' --cmdline '{}' --cpus 1 --memory 256M --serial \
                 stdio",
                crate::settings::DEFAULT_CMDLINE
            )
        );
    }

    #[test]
    fn how_it_is_controlled_is_said() {
        let options = RunOptions {
            kernel: Some("k".into()),
            name: Some("web".to_owned()),
            api_socket: Some("a socket".into()),
            no_instance: true,
            paused: true,
            gdb: Some("tcp:1234".to_owned()),
            log: Some("info,a log".to_owned()),
            ..RunOptions::default()
        };
        let command = command(&Settings::new(options).unwrap());
        let end = " --name web --api-socket 'a socket' --no-instance --paused --gdb tcp:127.0.0.1:1234 --log 'info,a log'";
        assert!(command.ends_with(end), "{command}");
    }

    #[test]
    fn what_was_chosen_of_the_cpus_is_said() {
        let options = RunOptions {
            kernel: Some("k".into()),
            cpus: Some("4,threads=2".into()),
            cpu: Some("baseline,+aes".into()),
            priority: Some("io=nice:19,vcpu=nice:19".into()),
            ..RunOptions::default()
        };
        let text = command(&Settings::new(options).unwrap());
        let cpus = " --cpus 4,sockets=1,dies=1,cores=2,threads=2 --priority vcpu=nice:19,io=nice:19 --cpu x86-64-v2,+aes ";
        assert!(text.contains(cpus), "{text}");
    }
}
