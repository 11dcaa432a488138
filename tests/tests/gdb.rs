//! GDB on a guest: of a few instructions, and Linux; in the lab, as a software KVM may not do it.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vmmkit_benches::micro_guest::{ENTRY, elf};
use vmmkit_hypervisor_kvm::{KvmKind, kvm_kind};
use vmmkit_tests::disk::Scratch;
use vmmkit_tests::diskless::skip;
use vmmkit_tests::gdb::GdbClient;
use vmmkit_tests::guest::Guests;
use vmmkit_tests::process::wait_until;

/// Counts in RAX, stores it, and ends the run with code 7.
const CODE: [u8; 28] = [
    0x48, 0xc7, 0xc0, 5, 0, 0, 0, // mov rax, 5
    0x48, 0xff, 0xc0, // inc rax
    0x48, 0x89, 0x04, 0x25, 0, 0, 0x80, 0, // at STORE: mov [DATA], rax
    0x90, 0x90, // at AFTER: nop; nop
    0xb0, 0x07, 0xe6, 0xf4, // mov al, 7; out 0xf4, al
    0xf4, 0xeb, 0xfd, 0x90, // hlt; jmp
];
const STORE: u64 = ENTRY + 10;
const AFTER: u64 = ENTRY + 18;
const DATA: u64 = 0x80_0000;
const RIP: usize = 16;

/// A guest under GDB; killed when it is dropped.
struct Debugged(Child);

impl Debugged {
    fn start(guests: &Guests, kernel: &Path, socket: &Path, more: &[&str]) -> Self {
        let gdb = format!("unix:{}", socket.display());
        let child = Command::new(&guests.vmmkit)
            .args(["run", "--no-instance", "--serial", "null", "--kernel"])
            .arg(kernel)
            .args(["--gdb", &gdb])
            .args(more)
            .stdin(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn code(&mut self) -> Option<i32> {
        let late = Instant::now() + Duration::from_secs(120);
        let status = wait_until(&mut self.0, late).unwrap();
        status.and_then(|status| status.code())
    }
}

impl Drop for Debugged {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this host's KVM stops for it: the server has tried. A software KVM and an emulated AMD-V may
/// not, and then steps take its place.
fn has(gdb: &mut GdbClient, kind: &str, address: u64, length: u64) -> bool {
    let answer = gdb.ask(&format!("{kind},{address:x},{length:x}")).unwrap();
    if answer != "OK" {
        skip(kind, "this host's KVM does not stop for it");
    }
    answer == "OK"
}

#[test]
fn a_guest_is_stepped_and_stopped_by_each_kind_of_breakpoint() {
    const NAME: &str = "gdb on a micro-guest";
    let guests = match kvm_kind() {
        KvmKind::Software => Guests::find_on_software(NAME),
        _ => Guests::find(NAME),
    };
    let Some(guests) = guests else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let (kernel, socket) = (scratch.path().join("kernel"), scratch.path().join("gdb"));
    fs::write(&kernel, elf(&CODE)).unwrap();
    let mut guest = Debugged::start(&guests, &kernel, &socket, &[]);
    let mut gdb = GdbClient::connect(&socket).unwrap();
    gdb.ask("?").unwrap();
    assert_eq!(gdb.register(RIP).unwrap(), Some(ENTRY), "before its start");

    assert!(gdb.ask("vCont;s:1").unwrap().starts_with("T05"));
    assert_eq!(gdb.register(RIP).unwrap(), Some(ENTRY + 7));
    assert_eq!(gdb.register(0).unwrap(), Some(5));

    if has(&mut gdb, "Z0", STORE, 1) {
        assert!(gdb.ask("vCont;c").unwrap().starts_with("T05"));
        assert_eq!(gdb.ask(&format!("z0,{STORE:x},1")).unwrap(), "OK");
    } else {
        assert!(gdb.ask("vCont;s:1").unwrap().starts_with("T05"));
    }
    assert_eq!(gdb.register(RIP).unwrap(), Some(STORE));

    let registers = gdb.ask("g").unwrap();
    let changed = registers.replacen("0600000000000000", "4d00000000000000", 1);
    assert_eq!(gdb.ask(&format!("G{changed}")).unwrap(), "OK");
    if has(&mut gdb, "Z2", DATA, 8) {
        let watch = gdb.ask("vCont;c").unwrap();
        assert!(watch.contains("watch:"), "{watch}");
    } else {
        assert!(gdb.ask("vCont;s:1").unwrap().starts_with("T05"));
    }
    assert_eq!(gdb.register(RIP).unwrap(), Some(AFTER));
    assert_eq!(gdb.read(DATA).unwrap(), Some(0x4d), "what GDB put in RAX");

    if has(&mut gdb, "Z1", AFTER + 1, 1) {
        assert!(gdb.ask("vCont;c").unwrap().starts_with("T05"));
        assert_eq!(gdb.register(RIP).unwrap(), Some(AFTER + 1));
        assert_eq!(gdb.ask(&format!("z1,{:x},1", AFTER + 1)).unwrap(), "OK");
    }

    assert_eq!(gdb.ask("vCont;c").unwrap(), "W07");
    assert_eq!(guest.code(), Some(7));
    assert!(!socket.exists());
}

#[test]
fn linux_is_interrupted_and_boots_on_when_gdb_goes() {
    let Some(guests) = Guests::find("gdb on Linux") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let socket = scratch.path().join("gdb");
    let initrd = guests.initramfs();
    let more = [
        "--initrd",
        initrd.to_str().unwrap(),
        "--cmdline",
        "console=ttyS0 reboot=k panic=-1 quiet vmmkit.batch",
    ];
    let mut guest = Debugged::start(&guests, &guests.lean_elf(), &socket, &more);
    let mut gdb = GdbClient::connect(&socket).unwrap();
    let rip = |gdb: &mut GdbClient| gdb.register(RIP).unwrap().unwrap();
    gdb.ask("?").unwrap();
    // Until it runs where the kernel is linked to.
    while rip(&mut gdb) < 1 << 63 {
        gdb.send("vCont;c").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        gdb.send_raw(&[3]).unwrap();
        assert!(gdb.answer().unwrap().starts_with("T02"));
    }
    let before = rip(&mut gdb);
    assert!(gdb.ask("vCont;s:1").unwrap().starts_with("T05"));
    // A string instruction is stepped one element at a time.
    let code = gdb.read(before).unwrap().unwrap();
    let repeats = matches!(code as u8, 0xf2 | 0xf3);
    assert!(rip(&mut gdb) != before || repeats, "{before:#x}: {code:#x}");
    assert_eq!(gdb.ask("D").unwrap(), "OK");
    assert_eq!(guest.code(), Some(0));
}
