//! Linux, booted whole by the `vmmkit` binary: every kernel file, every entry, every way to end.
//! These run in the lab on genuine KVM, and on this machine's own /dev/kvm where it can boot Linux.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use vmmkit_tests::guest::Guests;
use vmmkit_tests::process::Finished;

/// A console, a reset through the keyboard controller, and a reset on panic. Quiet: each byte of the kernel's
/// own messages is two exits, and all of them take longer in the lab than the rest of the boot.
const CMDLINE: &str = "console=ttyS0 reboot=k panic=-1 quiet";
/// The same, and the initramfs runs its script instead of a shell.
const BATCH: &str = "console=ttyS0 reboot=k panic=-1 quiet vmmkit.batch";

#[track_caller]
fn assert_reached_user_space(run: &Finished) {
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(run.stdout.contains("Linux (none)"), "no uname in {run:#?}");
    assert!(
        run.stdout.contains("model name"),
        "no CPU model in {run:#?}"
    );
    assert!(run.stdout.contains("MemFree"), "no free memory in {run:#?}");
    // Nothing but the guest writes to stdout.
    assert!(!run.stdout.contains("vmmkit:"), "{run:#?}");
}

fn boots(name: &str, kernel: impl Fn(&Guests) -> std::path::PathBuf, arguments: &[&str]) {
    let Some(guests) = Guests::find(name) else {
        return;
    };
    let run = guests.boot(&kernel(&guests), BATCH, arguments).unwrap();
    assert_reached_user_space(&run);
}

#[test]
fn lean_elf_boots_to_user_space_and_powers_off() {
    boots("lean ELF", Guests::lean_elf, &[]);
}

#[test]
fn lean_bzimage_boots_by_its_payload() {
    boots(
        "lean bzImage, payload",
        Guests::lean_bzimage,
        &["--entry", "payload"],
    );
}

#[test]
fn lean_bzimage_boots_by_its_own_decompressor() {
    boots(
        "lean bzImage, setup",
        Guests::lean_bzimage,
        &["--entry", "setup"],
    );
}

#[test]
fn lean_elf_boots_by_pvh() {
    boots("lean ELF, PVH", Guests::lean_elf, &["--entry", "pvh"]);
}

#[test]
fn lean_elf_boots_without_acpi_from_an_mp_table() {
    let Some(guests) = Guests::find("MP table") else {
        return;
    };
    // Without ACPI the guest cannot power off, so it resets.
    let cmdline = format!("{BATCH} vmmkit.end=reboot");
    let run = guests
        .boot(&guests.lean_elf(), &cmdline, &["--no-acpi", "--mp-table"])
        .unwrap();
    assert_reached_user_space(&run);
}

#[test]
fn a_kernel_reads_the_name_of_its_machine_by_smbios() {
    let Some(guests) = Guests::find("SMBIOS") else {
        return;
    };
    let files = [
        "sys_vendor",
        "product_name",
        "product_serial",
        "product_uuid",
    ];
    let files = files.map(|name| format!("/sys/class/dmi/id/{name}"));
    let entry = "/sys/firmware/dmi/tables/DMI";
    let cmdline = format!("{BATCH} vmmkit.run=cat,{},{entry}", files.join(","));
    let arguments = [
        "--smbios",
        "manufacturer=Acme,serial=S-7,uuid=01234567-89ab-cdef-0123-456789abcdef",
        "--credential",
        "greeting=hello from outside",
    ];
    let run = guests.boot(&guests.cloud(), &cmdline, &arguments).unwrap();
    assert_reached_user_space(&run);
    for text in [
        "\nAcme\r\nKVM\r\nS-7\r\n01234567-89ab-cdef-0123-456789abcdef\r\n",
        "io.systemd.credential:greeting=hello from outside",
    ] {
        assert!(run.stdout.contains(text), "no {text:?} in {run:#?}");
    }
}

#[test]
fn first_boot_data_is_a_disk_of_its_own() {
    let Some(guests) = Guests::find("first-boot data") else {
        return;
    };
    let cmdline =
        format!("{BATCH} vmmkit.run=grep,-a,-o,-E,CIDATA|#cloud-config|newcomer,/dev/vda");
    let arguments = ["--cloud-init", "user=newcomer,hostname=fresh"];
    let run = guests
        .boot(&guests.lean_elf(), &cmdline, &arguments)
        .unwrap();
    assert_reached_user_space(&run);
    for text in ["\nCIDATA\r", "\n#cloud-config\r", "\nnewcomer\r"] {
        assert!(run.stdout.contains(text), "no {text:?} in {run:#?}");
    }
}

#[test]
fn debian_cloud_kernel_boots_by_its_payload() {
    boots(
        "cloud kernel, payload",
        Guests::cloud,
        &["--entry", "payload"],
    );
}

#[test]
fn debian_cloud_kernel_boots_by_its_own_decompressor() {
    boots("cloud kernel, setup", Guests::cloud, &["--entry", "setup"]);
}

#[test]
fn a_kernel_without_a_root_says_why_and_the_vmm_ends() {
    let Some(guests) = Guests::find("no initrd") else {
        return;
    };
    // Without its driver of pvpanic it only resets: the panic is known by what the console said.
    let silent = format!("{CMDLINE} initcall_blacklist=pvpanic_mmio_driver_init");
    for cmdline in [CMDLINE, silent.as_str()] {
        let mut command = guests.command(&guests.lean_elf(), &["--cmdline", cmdline]);
        let run = guests.run(&mut command, b"").unwrap();
        assert_eq!(run.code(), Some(4), "{run:#?}");
        assert!(
            run.stderr.contains("the guest's kernel panicked"),
            "{run:#?}"
        );
        assert!(
            run.stdout.contains("Kernel panic - not syncing"),
            "{run:#?}"
        );
    }
}

#[test]
fn system_calls_forks_signals_and_page_faults_are_right_on_two_vcpus() {
    let Some(guests) = Guests::find("guest-check") else {
        return;
    };
    let cmdline = format!("{BATCH} vmmkit.run=guest-check,all,1000");
    let run = guests
        .boot(&guests.lean_elf(), &cmdline, &["--cpus", "2"])
        .unwrap();
    assert_reached_user_space(&run);
    assert!(run.stdout.contains("cpus online: 2"), "{run:#?}");
    assert!(run.stdout.contains("guest-check:"), "{run:#?}");
    assert!(run.stdout.contains(", 0 failed"), "{run:#?}");
}

#[test]
fn commands_piped_into_the_console_are_answered() {
    let Some(guests) = Guests::find("pipe") else {
        return;
    };
    let mut command = guests.command(&guests.lean_elf(), &["--cmdline", CMDLINE]);
    command.arg("--initrd").arg(guests.initramfs());
    let input = b"echo $((6 * 7)) is the answer\n";
    let run = guests.run(&mut command, input).unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    // Typed ahead of the prompt, and not a byte of it is lost.
    assert!(run.stdout.contains("\n42 is the answer"), "{run:#?}");
}
