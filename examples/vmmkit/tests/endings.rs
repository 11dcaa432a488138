//! How guests end: every way in which a PC is reset, a kernel's panic that only its console tells of, and what
//! vmmkit says and answers with.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use support::disk_writer::{CONTENT, REQUEST, STRIDE, writing_guest};
use support::running::{Place, waiting_guest};
use support::{Folder, elf, has_kvm, pvh_elf};

/// Runs `kernel` to its end.
fn run(folder: &Folder, kernel: &[u8], arguments: &[&str]) -> Output {
    Command::new(support::vmmkit())
        .args(["run", "--no-instance", "--memory", "16M", "--kernel"])
        .arg(folder.file("kernel", kernel))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// 64-bit code that writes `text` to the serial port and goes on with `then`.
fn says(text: &str, then: &[u8]) -> Vec<u8> {
    // lea rsi, [rip + text]; mov ecx, length; mov dx, 0x3f8; rep outsb
    let mut code = vec![0x48, 0x8d, 0x35];
    code.extend((11 + then.len() as u32).to_le_bytes());
    code.push(0xb9);
    code.extend((text.len() as u32).to_le_bytes());
    code.extend([0x66, 0xba, 0xf8, 0x03, 0xf3, 0x6e]);
    code.extend(then);
    code.extend(text.as_bytes());
    elf(&code)
}

/// 64-bit code that resets the machine, by each way that a PC has.
const RESETS: [(&str, &[u8]); 9] = [
    ("the keyboard controller's pulse", &[0xb0, 0xfe, 0xe6, 0x64]),
    (
        "the keyboard controller's output port",
        &[0xb0, 0xd1, 0xe6, 0x64, 0xb0, 0xfe, 0xe6, 0x60],
    ),
    (
        "port 0x92",
        // in al, 0x92; and al, 0xfe; out 0x92, al; or al, 1; out 0x92, al
        &[0xe4, 0x92, 0x24, 0xfe, 0xe6, 0x92, 0x0c, 0x01, 0xe6, 0x92],
    ),
    (
        "the reset register, in two steps",
        // mov dx, 0xcf9; mov al, 2; out dx, al; mov al, 6; out dx, al
        &[0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x02, 0xee, 0xb0, 0x06, 0xee],
    ),
    (
        "the reset register, as ACPI writes it",
        &[0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee],
    ),
    (
        "the reset register, with power",
        &[0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x0e, 0xee],
    ),
    (
        "CMOS shutdown code 0x0a",
        &[
            0xb0, 0x0f, 0xe6, 0x70, 0xb0, 0x0a, 0xe6, 0x71, 0xb0, 0xfe, 0xe6, 0x64,
        ],
    ),
    (
        "a jump to the reset vector", // mov eax, 0xfffffff0; jmp rax
        &[0xb8, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xe0],
    ),
    (
        "a pulse while the processor waits",
        &[0xb0, 0xfe, 0xe6, 0x64, 0xfa, 0xf4],
    ),
];

/// 32-bit code that goes to real mode and jumps to ffff:0, as Linux does for `reboot=b`: assembled by GNU as, loaded
/// at 1 MiB.
const BIOS_RESET: &[u8] = &[
    0xfa, // cli
    0x0f, 0x01, 0x15, 0x60, 0x00, 0x10, 0x00, // lgdt [0x100060]
    0xbe, 0x21, 0x00, 0x10, 0x00, // mov esi, 0x100021
    0xbf, 0x00, 0x80, 0x00, 0x00, // mov edi, 0x8000
    0xb9, 0x23, 0x00, 0x00, 0x00, // mov ecx, 35
    0xfc, // cld
    0xf3, 0xa4, // rep movsb
    0xea, 0x00, 0x80, 0x00, 0x00, 0x08, 0x00, // jmp 8:0x8000
    // 16-bit code, which runs at 0x8000
    0xb8, 0x10, 0x00, // mov ax, 16
    0x8e, 0xd8, // mov ds, ax
    0x8e, 0xd0, // mov ss, ax
    0x0f, 0x20, 0xc0, // mov eax, cr0
    0x24, 0xfe, // and al, 0xfe
    0x0f, 0x22, 0xc0, // mov cr0, eax
    0xea, 0x14, 0x80, 0x00, 0x00, // jmp 0:0x8014
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xc7, 0x06, 0x72, 0x04, 0x34, 0x12, // mov word [0x472], 0x1234: a warm boot
    0xea, 0x00, 0x00, 0xff, 0xff, // jmp 0xffff:0
    0x8d, 0xb4, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // padding to 0x48
    0x00, 0x00, 0x00, 0x00, // the GDT: null,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0x00, 0x00, // 16-bit code,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0x00, 0x00, // 16-bit data
    0x17, 0x00, 0x48, 0x00, 0x10, 0x00, // its limit and address
];

/// mov al, 0xfe; out 0x64, al; hlt: what follows is not reached.
const PULSE: &[u8] = &[0xb0, 0xfe, 0xe6, 0x64, 0xfa, 0xf4];
/// ud2, without an IDT: a triple fault.
const UNDEFINED: &[u8] = &[0x0f, 0x0b];
const PANIC: &str = "[    1.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n\
     [    1.6] CPU: 0 PID: 1 Comm: swapper/0\r\n[    1.7] Call Trace:\r\n[    1.8] Rebooting in 1 seconds..\r\n";

#[test]
fn every_way_in_which_a_pc_is_reset_resets() {
    if !has_kvm("every_way_in_which_a_pc_is_reset_resets") {
        return;
    }
    let folder = Folder::new("resets");
    let mut kernels: Vec<_> = RESETS
        .iter()
        .map(|(name, code)| {
            let mut code = code.to_vec();
            code.extend([0xfa, 0xf4]); // cli; hlt: not reached
            (*name, elf(&code))
        })
        .collect();
    kernels.push(("a jump to the BIOS", pvh_elf(BIOS_RESET)));
    let restarts = "[    1.5] reboot: Restarting system\r\n[    1.5] reboot: machine restart\r\n";
    kernels.push((
        "a triple fault of a kernel that restarts",
        says(restarts, UNDEFINED),
    ));
    for (name, kernel) in &kernels {
        for transport in ["mmio", "pci"] {
            // The one code that only a reset has.
            let arguments = ["--on-reboot", "fail", "--virtio", transport];
            let output = run(&folder, kernel, &arguments);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(
                error.contains("error: the guest reset itself"),
                "{name}: {error}"
            );
            assert_eq!(output.status.code(), Some(3), "{name}: {error}");
        }
    }
}

#[test]
fn a_reset_is_said_and_is_a_failure_only_where_it_is_to_be_one() {
    if !has_kvm("a_reset_is_said_and_is_a_failure_only_where_it_is_to_be_one") {
        return;
    }
    let folder = Folder::new("reset-said");
    let output = run(&folder, &elf(PULSE), &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("vmmkit: the guest reset itself\n"),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(0));
    let output = run(&folder, &elf(PULSE), &["--quiet"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("reset"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_panic_that_only_the_console_tells_of_is_one() {
    if !has_kvm("a_panic_that_only_the_console_tells_of_is_one") {
        return;
    }
    let folder = Folder::new("panic");
    for then in [PULSE, UNDEFINED] {
        let output = run(&folder, &says(PANIC, then), &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        let told = "error: the guest's kernel panicked: VFS: Unable to mount root fs on unknown-block(0,0)\n  \
             next: give --initrd, or --disk and root=";
        assert!(error.contains(told), "{error}");
        assert_eq!(output.status.code(), Some(4), "{error}");
    }
    // It is a crash, and what a crash does comes before what a reset does.
    let output = run(&folder, &says(PANIC, PULSE), &["--on-reboot", "reboot"]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn a_guest_that_prints_a_panic_and_ends_in_order_has_not_panicked() {
    if !has_kvm("a_guest_that_prints_a_panic_and_ends_in_order_has_not_panicked") {
        return;
    }
    let folder = Folder::new("no-panic");
    for after in [
        "[    9.5] reboot: Restarting system\r\n",
        "1\n2\n3\n4\n5\n6\n",
    ] {
        let output = run(&folder, &says(&format!("{PANIC}{after}"), PULSE), &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("the guest reset itself"), "{error}");
        assert_eq!(output.status.code(), Some(0), "{error}");
    }
}

/// Options of `qemu-img create` for an image, and whether it stands on another.
const IMAGES: [(&str, bool); 7] = [
    ("cluster_size=512", false),
    ("cluster_size=64k", false),
    ("cluster_size=2M,lazy_refcounts=on", false),
    ("cluster_size=64k,preallocation=metadata", false),
    ("compat=0.10,cluster_size=4k", false),
    ("cluster_size=64k", true),
    ("compat=0.10,cluster_size=512", true),
];
const IMAGE_BYTES: usize = 8 << 20;
const REQUESTS: u32 = 24;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The guest ends the run, and flushes before or not.
    Guest(bool),
    /// SIGTERM, by which a guest that does not hear is stopped.
    Terminate,
    /// SIGKILL after a flush, or without one.
    Kill(bool),
}

fn qemu_img(folder: &Folder, words: &[&str]) -> Option<Output> {
    let mut command = Command::new("qemu-img");
    command.args(words).current_dir(folder.path()).output().ok()
}

/// The contents of the image at the end, as QEMU reads them.
fn check_image(folder: &Folder, end: End, what: &str) {
    let output = qemu_img(folder, &["check", "-q", "disk.qcow2"]).unwrap();
    // 3: clusters are counted that nothing uses.
    let is_right = match end {
        End::Kill(_) => matches!(output.status.code(), Some(0 | 3)),
        _ => output.status.code() == Some(0),
    };
    assert!(is_right, "{what}: {output:?}");
    let words = ["convert", "-O", "raw", "disk.qcow2", "disk.raw"];
    assert!(qemu_img(folder, &words).unwrap().status.success(), "{what}");
    let content = std::fs::read(folder.path().join("disk.raw")).unwrap();
    for (number, part) in content.chunks(STRIDE).enumerate() {
        let was_written = number < REQUESTS as usize && end != End::Kill(false);
        if was_written {
            let written = part[..REQUEST].iter().all(|byte| *byte == CONTENT);
            assert!(written, "{what}: request {number} is lost");
        }
        // Nothing else was.
        assert!(
            part[REQUEST..]
                .iter()
                .all(|byte| *byte == BASE || *byte == 0),
            "{what}: {number}"
        );
    }
}

/// The contents of the backing file.
const BASE: u8 = 0xb5;

#[test]
fn qcow2_images_are_right_after_every_end() {
    if !has_kvm("qcow2_images_are_right_after_every_end") {
        return;
    }
    let folder = Folder::new("qcow2-ends");
    folder.file("base.raw", vec![BASE; IMAGE_BYTES]);
    if qemu_img(&folder, &["--version"]).is_none() {
        eprintln!("SKIPPED: qcow2 images at every end: there is no qemu-img");
        return;
    }
    let ends = [
        End::Guest(true),
        End::Guest(false),
        End::Terminate,
        End::Kill(true),
        End::Kill(false),
    ];
    let size = IMAGE_BYTES.to_string();
    let mut compressed = vec![("compressed", true)];
    compressed.extend(IMAGES);
    for (options, has_base) in compressed {
        let words = match (options, has_base) {
            ("compressed", _) => vec!["convert", "-c", "-O", "qcow2", "base.raw", "disk.qcow2"],
            (options, true) => vec![
                "create",
                "-q",
                "-f",
                "qcow2",
                "-b",
                "base.raw",
                "-F",
                "raw",
                "-o",
                options,
                "disk.qcow2",
            ],
            (options, false) => vec![
                "create",
                "-q",
                "-f",
                "qcow2",
                "-o",
                options,
                "disk.qcow2",
                &size,
            ],
        };
        for end in ends {
            let what = format!("{options}, backing file: {has_base}, {end:?}");
            let made = qemu_img(&folder, &words).unwrap();
            assert!(made.status.success(), "{what}: {made:?}");
            let (flushes, resets) = match end {
                End::Guest(flushes) => (flushes, true),
                End::Kill(flushes) => (flushes, false),
                End::Terminate => (false, false),
            };
            let kernel = folder.file("kernel", writing_guest(REQUESTS, flushes, resets));
            let mut child = Command::new(support::vmmkit())
                .args(["run", "--no-instance", "--quiet", "--memory", "16M"])
                .args([
                    "--stop-timeout",
                    "0",
                    "--disk",
                    "disk.qcow2,backing=on",
                    "--kernel",
                ])
                .arg(&kernel)
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut done = [0];
            child.stdout.take().unwrap().read_exact(&mut done).unwrap();
            assert_eq!(done, *b"D", "{what}: a request failed");
            match end {
                End::Guest(_) => {}
                End::Terminate => {
                    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
                }
                End::Kill(_) => child.kill().unwrap(),
            }
            let status = child.wait().unwrap();
            assert_eq!(
                status.success(),
                matches!(end, End::Guest(_)),
                "{what}: {status:?}"
            );
            check_image(&folder, end, &what);
        }
    }
}

#[test]
fn a_start_that_fills_its_memory_is_ended_by_sigterm() {
    /// In KiB.
    const ALL: u64 = 1536 << 10;
    if !has_kvm("a_start_that_fills_its_memory_is_ended_by_sigterm") {
        return;
    }
    let place = Place::new("prefault", &waiting_guest());
    // Once the memory is filled it is too late, which a busy host can make of a try.
    for _ in 0..20 {
        let mut guest = place.start(&["--no-instance", "--memory", "1536M,prefault"]);
        let mut filled = 0;
        while filled < ALL / 16 {
            assert_eq!(guest.child.try_wait().unwrap(), None);
            std::thread::sleep(Duration::from_millis(1));
            filled = guest.usage().anonymous;
        }
        let pid = Pid::from_child(&guest.child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(guest.ends().signal(), Some(Signal::TERM.as_raw()));
        if filled < ALL {
            return;
        }
    }
    panic!("the memory was always filled before the signal came");
}
