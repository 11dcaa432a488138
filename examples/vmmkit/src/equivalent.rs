//! A machine as the full command line that makes it.

use std::path::Path;

use vmmkit_boot_loader::EntryChoice;
use vmmkit_vmm::{MpTable, VirtioTransport};

use crate::cpus;
use crate::memory;
use crate::policy;
use crate::settings::Settings;

/// The command that says everything that was left out, ready for a shell.
pub(crate) fn command(settings: &Settings) -> String {
    let machine = &settings.machine;
    let mut words = vec![
        "vmmkit run --kernel".to_owned(),
        quoted_path(&machine.kernel),
    ];
    let mut option = |name: &str, value: String| words.push(format!("{name} {value}"));
    if let Some(initrd) = &machine.initrd {
        option("--initrd", quoted_path(initrd));
    }
    option("--cmdline", quoted(&machine.cmdline));
    option("--cpus", cpus::text(machine.vcpus, machine.topology));
    if !machine.affinity.is_empty() {
        option("--affinity", cpus::affinity_text(&machine.affinity));
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
    match machine.entry {
        EntryChoice::Payload => option("--entry", "payload".to_owned()),
        EntryChoice::Setup => option("--entry", "setup".to_owned()),
        EntryChoice::Pvh => option("--entry", "pvh".to_owned()),
        _ => {}
    }
    if !machine.acpi {
        words.push("--no-acpi".to_owned());
    }
    if machine.virtio == VirtioTransport::Pci {
        words.push("--virtio pci".to_owned());
    }
    if machine.mp_table == MpTable::Always {
        words.push("--mp-table".to_owned());
    }
    let policy = policy::options(machine.on_reboot, machine.on_crash);
    words.extend(policy.into_iter().map(str::to_owned));
    words.join(" ")
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// The text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
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
    fn a_quote_survives_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
