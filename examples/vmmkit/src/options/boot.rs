//! The boot options.

use vmmkit_machine_spec::{
    BootSpec, CredentialSpec, Entry, FirmwareSpec, InitrdSpec, KernelSpec, ModuleSpec, RootSpec,
    SmbiosSpec, path_text,
};

use super::{BOOT, FLAG, PATH, RunOption, TEXT, Takes, changed, flag, one};
use crate::settings::Settings;

fn kernel(settings: &Settings) -> Option<&KernelSpec> {
    settings.spec.boot.as_kernel()
}

pub(super) const OPTIONS: &[RunOption] = &[
    RunOption {
        name: "kernel",
        heading: BOOT,
        help: "Kernel to boot [default: the first one found]",
        more: "An ELF vmlinux, a bzImage, a unified kernel image, or a PVH or Multiboot kernel. The default is \
               the first of ./vmlinux, ./bzImage, arch/x86/boot/bzImage, target/guest and /boot/vmlinuz-*.",
        read: |options, given| {
            options.kernel = Some(given.path(given.as_text()));
            Ok(())
        },
        write: |settings| one(kernel(settings).map(|kernel| path_text::of_path(&kernel.image))),
        ..PATH
    },
    RunOption {
        name: "initrd",
        value: "PATH[,any]",
        heading: BOOT,
        help: "Initial RAM disk",
        more: "A cpio archive, compressed or not; with any, whatever the file contains.",
        read: |options, given| {
            options.initrd = Some(InitrdSpec::parse(given, |path| path.exists()));
            Ok(())
        },
        write: |settings| one(kernel(settings).and_then(|kernel| kernel.initrd.as_ref())),
        ..PATH
    },
    RunOption {
        name: "root",
        value: "DIR[,rw]",
        takes: Takes::Words,
        heading: BOOT,
        help: "Directory of the host as the guest's root",
        more: "The words after -- are the command to run there, a login shell by default; its stdin, stdout, stderr and exit \
               code are those of this process. Writes stay in the guest's memory without rw. The kernel needs virtio-fs, \
               overlayfs and virtio consoles built in.",
        advice: "give DIR, and rw where the guest may change it, such as --root /",
        read: |options, given| {
            options.root = Some(RootSpec::parse(given)?);
            Ok(())
        },
        write: |settings| one(settings.root.as_ref().map(|root| &root.spec)),
        ..TEXT
    },
    RunOption {
        name: "command",
        value: "WORD",
        takes: Takes::Many,
        heading: BOOT,
        help: "Word of the command to run with --root",
        more: "The same as a word after --; may be repeated.",
        read: |options, given| {
            options.command.push(given.as_text().to_owned());
            Ok(())
        },
        write: |settings| {
            let root = settings.root.as_ref();
            root.map(|root| root.command.clone()).unwrap_or_default()
        },
        ..TEXT
    },
    RunOption {
        name: "module",
        value: "PATH[ ARGUMENTS]",
        takes: Takes::Many,
        heading: BOOT,
        help: "Boot module of a PVH or Multiboot kernel",
        more: "With its arguments; may be repeated.",
        advice: "give PATH, and after a space its arguments",
        read: |options, given| {
            let module = ModuleSpec::parse(given, |path| path.exists())?;
            options.modules.push(module);
            Ok(())
        },
        write: |settings| {
            let modules = kernel(settings).map(|kernel| kernel.modules.iter());
            modules
                .into_iter()
                .flatten()
                .map(ModuleSpec::to_string)
                .collect()
        },
        ..TEXT
    },
    RunOption {
        name: "cmdline",
        value: "STRING",
        takes: Takes::Line,
        heading: BOOT,
        help: "Kernel command line, replacing the default",
        more: "--dry-run prints the default.",
        read: |options, given| {
            options.cmdline = Some(given.as_text().to_owned());
            Ok(())
        },
        write: |settings| one(kernel(settings).and_then(|kernel| kernel.cmdline.as_ref())),
        ..TEXT
    },
    RunOption {
        name: "entry",
        value: "HOW",
        heading: BOOT,
        help: "Entry point of the kernel [default: auto]",
        more: "auto, payload, setup, pvh or multiboot.",
        words: Entry::WORDS,
        advice: "give auto, payload, setup, pvh or multiboot",
        read: |options, given| {
            options.entry = Some(Entry::parse(given)?);
            Ok(())
        },
        write: |settings| kernel(settings).map_or(Vec::new(), |kernel| changed(&kernel.entry)),
        ..TEXT
    },
    RunOption {
        name: "firmware",
        value: "PATH[,vars=PATH]",
        heading: BOOT,
        help: "Firmware to run instead of a kernel",
        more: "A flat image, which is mapped so that it ends at 4 GiB. UEFI firmware, such as OVMF_CODE_4M.fd, keeps its variables in \
               the file of vars, a copy of OVMF_VARS_4M.fd that is this machine's own; without it they are lost at its end. Where no boot option is given and the first disk \
               has a boot loader for a BIOS, the default is SeaBIOS, on PCI and with 1G of memory.",
        read: |options, given| {
            options.firmware = Some(FirmwareSpec::parse(given, |path| path.exists())?);
            Ok(())
        },
        write: |settings| match &settings.spec.boot {
            BootSpec::Firmware(firmware) => vec![firmware.to_string()],
            BootSpec::Kernel(_) => Vec::new(),
        },
        ..PATH
    },
    RunOption {
        name: "no-acpi",
        heading: BOOT,
        help: "Omit the ACPI tables",
        read: |options, _| {
            options.platform.acpi = false;
            Ok(())
        },
        write: |settings| flag(!settings.spec.platform.acpi),
        ..FLAG
    },
    RunOption {
        name: "mp-table",
        heading: BOOT,
        help: "Require an MP table",
        more: "By default there is one for up to 40 vCPUs.",
        read: |options, _| {
            options.platform.mp_table = true;
            Ok(())
        },
        write: |settings| flag(settings.spec.platform.mp_table),
        ..FLAG
    },
    RunOption {
        name: "smbios",
        value: "KEY=TEXT[,KEY=TEXT...]",
        takes: Takes::Words,
        heading: BOOT,
        help: "Name the machine by SMBIOS tables",
        more: "Keys: manufacturer, product, version, serial, uuid, sku, family, and oem (OEM strings) any number of times.",
        advice: "give manufacturer=TEXT, product=TEXT, version=TEXT, serial=TEXT, sku=TEXT, family=TEXT, oem=TEXT or \
                 uuid=01234567-89ab-cdef-0123-456789abcdef",
        read: |options, given| {
            options.platform.smbios = Some(SmbiosSpec::parse(given)?);
            Ok(())
        },
        write: |settings| one(settings.spec.platform.smbios.as_ref()),
        ..TEXT
    },
    RunOption {
        name: "credential",
        value: "NAME=TEXT|NAME=@FILE",
        takes: Takes::Many,
        heading: BOOT,
        help: "A credential for systemd in the guest",
        more: "Such as passwd.plaintext-password.root, ssh.authorized_keys.root or system.hostname \
               (systemd.system-credentials(7)). Every user of the host can read TEXT in the list of processes; @FILE \
               keeps it in a file.",
        advice: "give NAME=TEXT or NAME=@FILE, such as --credential ssh.authorized_keys.root=@id_ed25519.pub",
        read: |options, given| {
            options
                .platform
                .credentials
                .push(CredentialSpec::parse(given)?);
            Ok(())
        },
        write: |settings| {
            let credentials = settings.spec.platform.credentials.iter();
            credentials.map(CredentialSpec::to_string).collect()
        },
        ..TEXT
    },
    RunOption {
        name: "config",
        heading: BOOT,
        help: "TOML file with these options",
        more: "The command line takes precedence. docs/config.md describes the keys.",
        read: |options, given| {
            options.config = Some(given.path(given.as_text()));
            Ok(())
        },
        ..PATH
    },
];
