//! Linux on the platforms that a machine may have: interrupt controllers in the host's kernel or here,
//! no legacy timer, RAM on both sides of the MMIO hole; and firmware, as far as it gets.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, its helpers too, and a skip is loud"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vmmkit_tests::disk::Scratch;
use vmmkit_tests::guest::{BOOT_LIMIT, Guests};
use vmmkit_tests::process::{Finished, run_bounded, run_watched};

/// A console, a reset through the keyboard controller, and a script instead of a shell.
const BATCH: &str = "console=ttyS0 reboot=k panic=-1 vmmkit.batch";
/// The same, without the kernel's own words: they are most of the time that a boot takes in the lab.
const QUIET: &str = "console=ttyS0 reboot=k panic=-1 quiet vmmkit.batch";
/// The root is the first disk, the script the second one.
const DISKS: &str = "console=ttyS0 reboot=k panic=-1 quiet root=/dev/vda rw init=/init vmmkit.batch \
     vmmkit.run=sh,/dev/vdb";

#[track_caller]
fn assert_reached_user_space(run: &Finished) {
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(run.stdout.contains("Linux (none)"), "no uname in {run:#?}");
    assert!(run.stdout.contains("MemFree"), "no free memory in {run:#?}");
}

/// Boots both kernels with two vCPUs; what the lean one said.
fn boots(name: &str, arguments: &[&str]) -> Option<Finished> {
    let guests = Guests::find(name)?;
    let arguments = [arguments, &["--cpus", "2"]].concat();
    let cloud = guests.boot(&guests.cloud(), QUIET, &arguments).unwrap();
    assert_reached_user_space(&cloud);
    let lean = guests.boot(&guests.lean_elf(), BATCH, &arguments).unwrap();
    assert_reached_user_space(&lean);
    assert!(lean.stdout.contains("cpus online: 2"), "{lean:#?}");
    Some(lean)
}

#[test]
fn linux_boots_with_the_io_apic_in_the_vmm() {
    let Some(run) = boots("split irqchip", &["--irqchip", "split"]) else {
        return;
    };
    // ACPI says that there is none, and nothing answers a probe.
    assert!(run.stdout.contains("Using NULL legacy PIC"), "{run:#?}");
}

#[test]
fn linux_boots_without_the_legacy_timer() {
    boots("no legacy timer", &["--legacy-timer", "off"]);
}

#[test]
fn a_pipe_is_answered_through_the_io_apic_in_the_vmm() {
    let Some(guests) = Guests::find("input, split irqchip") else {
        return;
    };
    let arguments = [
        "--irqchip",
        "split",
        "--cmdline",
        "console=ttyS0 reboot=k panic=-1 quiet",
    ];
    let mut command = guests.command(&guests.lean_elf(), &arguments);
    command.arg("--initrd").arg(guests.initramfs());
    let run = guests.run(
        &mut command,
        b"echo $((6 * 7)) is the answer; cat /proc/interrupts\n",
    );
    let run = run.unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(run.stdout.contains("\n42 is the answer"), "{run:#?}");
    // Without an 8259 Linux numbers interrupts as it likes, and the pin follows.
    let serial = run.stdout.lines().find(|line| line.ends_with("ttyS0"));
    assert!(
        serial.is_some_and(|line| line.contains("IO-APIC")),
        "{run:#?}"
    );
}

#[test]
fn devices_interrupt_through_the_io_apic_in_the_vmm_and_by_messages() {
    let Some(guests) = Guests::find("devices, split irqchip") else {
        return;
    };
    for transport in ["mmio", "pci"] {
        let scratch = Scratch::new().unwrap();
        let root = scratch.path().join("root");
        fs::copy(guests.root_disk(), &root).unwrap();
        let script = "busybox --install -s /bin 2>/dev/null\n\
             dd if=/dev/vda of=/dev/null bs=1M count=8 2>&1; cat /proc/interrupts; echo read it all";
        let script = scratch.script(script).unwrap();
        let arguments = [
            "--irqchip",
            "split",
            "--virtio",
            transport,
            "--cmdline",
            DISKS,
        ];
        let mut command = guests.command(&guests.lean_elf(), &arguments);
        command.arg("--disk").arg(&root).arg("--disk");
        command.arg(format!("{},readonly", script.display()));
        let run = guests.run(&mut command, b"").unwrap();
        assert_eq!(run.code(), Some(0), "{transport}: {run:#?}");
        assert!(run.stdout.contains("read it all"), "{transport}: {run:#?}");
    }
}

#[test]
fn linux_finds_its_ram_on_both_sides_of_the_hole() {
    let Some(guests) = Guests::find("RAM round the hole") else {
        return;
    };
    for (mebibytes, high_end) in [(3584_u64, 0x1_1fff_ffff_u64), (6144, 0x1_bfff_ffff)] {
        let scratch = Scratch::new().unwrap();
        // A sparse file, as the lab has less.
        let file = scratch.path().join("ram");
        let memory = format!("{mebibytes}M,backend=file={}", file.display());
        let cmdline = format!("{BATCH} vmmkit.run=cat,/proc/meminfo");
        let run = guests.boot(&guests.lean_elf(), &cmdline, &["--memory", &memory]);
        let run = run.unwrap();
        assert_reached_user_space(&run);
        for (start, end) in [(0x10_0000, 0xbfff_ffff), (0x1_0000_0000_u64, high_end)] {
            let line = format!("[mem {start:#018x}-{end:#018x}] usable");
            assert!(run.stdout.contains(&line), "no {line:?} in {run:#?}");
        }
        let total = run
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let total: u64 = total
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        // Linux keeps a page of 64 bytes for each page, and itself.
        let asked = mebibytes << 10;
        assert!(
            total < asked && total > asked / 100 * 95,
            "{total} of {asked} kB"
        );
    }
}

/// Firmware of Debian's package seabios; `None`, and said, where it is not.
fn seabios(name: &str, image: &str, arguments: &[&str]) -> Option<Command> {
    let guests = Guests::find(name)?;
    let image = Path::new("/usr/share/seabios").join(image);
    if !image.exists() {
        eprintln!("SKIPPED: {name}: {} is not there", image.display());
        return None;
    }
    let mut command = Command::new(&guests.vmmkit);
    command.args(["run", "--debug-port", "stderr", "--stop-timeout", "0"]);
    command.arg("--firmware").arg(image).args(arguments);
    Some(command)
}

#[test]
fn seabios_looks_for_something_to_boot() {
    let Some(mut command) = seabios("SeaBIOS", "bios-microvm.bin", &[]) else {
        return;
    };
    // It waits a minute for a disk to come, which is long enough to be killed meanwhile.
    let limit = Duration::from_secs(120);
    let run = run_watched(&mut command, b"", limit, Duration::from_secs(30)).unwrap();
    assert!(run.stderr.contains("SeaBIOS (version"), "{run:#?}");
    assert!(run.stderr.contains("Running on KVM"), "{run:#?}");
    assert!(run.stderr.contains("No bootable device"), "{run:#?}");
}

/// A disk that brings its system with it: firmware is found, and starts GRUB, which loads a Linux that finds the
/// disk by PCI and powers off by ACPI, whose tables firmware linked.
#[test]
fn a_disk_with_a_boot_loader_needs_no_other_option() {
    let Some(guests) = Guests::find("a disk with GRUB") else {
        return;
    };
    let disk = guests.grub_disk();
    if !disk.exists() || !Path::new("/usr/share/seabios/bios-microvm.bin").exists() {
        eprintln!("SKIPPED: a disk with GRUB: it or SeaBIOS is not there");
        return;
    }
    let mut command = Command::new(&guests.vmmkit);
    command.args(["run", "--cpus", "2", "--disk"]).arg(&disk);
    let run = run_bounded(&mut command, b"", BOOT_LIMIT).unwrap();
    assert_reached_user_space(&run);
    let firmware = "--firmware /usr/share/seabios";
    assert!(run.stderr.contains(firmware), "{run:#?}");
    for expected in [
        "Welcome to GRUB",
        "[vda]",
        "cpus online: 2",
        "ACPI: PM: Preparing to enter system sleep state S5",
    ] {
        assert!(run.stdout.contains(expected), "{expected}: {run:#?}");
    }
}

/// A boot sector: it writes what stands behind it to the first serial port, then resets the machine
/// through the keyboard controller.
const BOOT_SECTOR: [u8; 25] = [
    0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
    0xbe, 0x19, 0x7c, // mov si, 0x7c19
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xac, 0x84, 0xc0, 0x74, 0x03, // next: lodsb; test al, al; jz end
    0xee, 0xeb, 0xf8, // out dx, al; jmp next
    0xb0, 0xfe, 0xe6, 0x64, // end: mov al, 0xfe; out 0x64, al
    0xf4, 0xeb, 0xfd, // hlt; jmp hlt
];

#[test]
fn seabios_boots_a_disk_by_its_boot_sector() {
    let scratch = Scratch::new().unwrap();
    let disk = scratch.path().join("disk");
    let mut sector = BOOT_SECTOR.to_vec();
    sector.extend(b"hello from the boot sector\r\n\0");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    fs::write(&disk, sector).unwrap();
    let arguments = ["--virtio", "pci", "--disk", disk.to_str().unwrap()];
    for image in ["bios.bin", "bios-microvm.bin"] {
        let Some(mut command) = seabios("a boot sector", image, &arguments) else {
            return;
        };
        let run = run_bounded(&mut command, b"", BOOT_LIMIT).unwrap();
        assert_eq!(run.code(), Some(0), "{run:#?}");
        assert!(run.stderr.contains("found virtio-blk"), "{run:#?}");
        // Below the firmware's own words, as it has its console on the serial port.
        assert!(run.stdout.contains("SeaBIOS"), "{run:#?}");
        assert!(
            run.stdout.ends_with("hello from the boot sector\r\n"),
            "{run:#?}"
        );
    }
}
