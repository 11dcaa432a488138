//! A guest of a few instructions on this machine's own KVM that starts anew again and again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use support::clients::Clients;
use support::*;
use vmmkit_device_bus::{AddressRange, DevicePio, PioAddress, PioAddressOffset};
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_vmm::{
    Machine, MachineBuilder, MachineConfig, MachineState, OnCrash, OnReboot, Outcome, Running,
};

/// Exits with code 1 where its RAM at 8 MiB is not zero, and makes it so for the next boot; then asks
/// port 0x520 for a port and a byte, and writes that; port 0 is a triple fault.
const CODE: [u8; 61] = [
    0x48, 0x8b, 0x04, 0x25, 0, 0, 0x80, 0, // mov rax, [0x800000]
    0x48, 0x85, 0xc0, 0x75, 0x29, // test rax, rax; jnz fail
    0x48, 0xc7, 0x04, 0x25, 0, 0, 0x80, 0, 1, 0, 0, 0, // mov qword [0x800000], 1
    0x66, 0xba, 0x20, 0x05, 0xed, // mov dx, 0x520; in eax, dx
    0x89, 0xc2, 0xc1, 0xe8, 0x10, // mov edx, eax; shr eax, 16
    0x66, 0x85, 0xd2, 0x74, 0x05, // test dx, dx; jz fault
    0xee, 0xf4, 0xeb, 0xfd, 0x90, // out dx, al; wait: hlt; jmp wait; nop
    0x0f, 0x01, 0x1c, 0x25, 0, 0, 0x90, 0, 0xcc, // fault: lidt [0x900000]; int3
    0xb0, 0x01, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, // fail: mov al, 1; out 0xf4, al; hlt; jmp
];

/// Ways to start anew: keyboard controller, reset register, triple fault, panic.
const WAYS: [(u16, u8); 4] = [(0x64, 0xfe), (0xcf9, 6), (0, 0), (0x505, 1)];
/// The high byte of PM1a control: SLP_EN, SLP_TYP 5.
const POWER_OFF: (u16, u8) = (0x605, 0x34);
const RESETS: usize = 200;
/// Until then everything that is made once is there.
const SETTLED: usize = 20;

/// Resources of this process.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    descriptors: usize,
    threads: usize,
    /// Kilobytes.
    address_space: u64,
    resident: u64,
}

fn held() -> Held {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    };
    Held {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        threads: fs::read_dir("/proc/self/task").unwrap().count(),
        address_space: field("VmSize:"),
        resident: field("VmRSS:"),
    }
}

/// Tells the guest what to do, and looks at the process meanwhile.
#[derive(Default)]
struct Director {
    boots: AtomicUsize,
    seen: Mutex<Vec<Held>>,
}

impl DevicePio for Director {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        if boot == SETTLED || boot == RESETS {
            self.seen.lock().push(held());
        }
        let (port, byte) = match boot {
            RESETS => POWER_OFF,
            _ => WAYS[boot % WAYS.len()],
        };
        let [low, high] = port.to_le_bytes();
        data.copy_from_slice(&[low, high, byte, 0]);
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {}
}

/// A guest with `vcpus` vCPUs that starts anew whatever happens, as `director` says.
fn directed(kvm: &Kvm, vcpus: u32, director: &Arc<Director>) -> Machine<Running> {
    let kernel = Kernel::of(&elf(&CODE));
    let config = MachineConfig {
        vcpus,
        on_reboot: OnReboot::Reboot,
        on_crash: OnCrash::Reboot,
        ..kernel.config()
    };
    MachineBuilder::new(config)
        .plug_port_device("director", AddressRange::new(0x520, 4), director.clone())
        .build(kvm)
        .unwrap()
        .start()
        .unwrap()
}

/// 200 resets of a guest with `vcpus` vCPUs; what was held early and in the end.
fn reset_again_and_again(kvm: &Kvm, vcpus: u32) -> (Held, Held) {
    let director = Arc::new(Director::default());
    let outcome = directed(kvm, vcpus, &director).wait().unwrap();
    assert_eq!(outcome, Outcome::PowerOff, "{vcpus} vCPUs");
    assert_eq!(director.boots.load(Ordering::Relaxed), RESETS + 1);
    let seen = director.seen.lock();
    (seen[0], seen[1])
}

/// This host's KVM, unless it has none for `test`. One test at a time: they count what the process holds.
#[expect(clippy::print_stderr, reason = "a skip is loud")]
fn kvm(test: &str) -> Option<(Kvm, MutexGuard<'static, ()>)> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock();
    match Kvm::open() {
        Ok(kvm) => Some((kvm, turn)),
        Err(reason) => {
            eprintln!("SKIPPED: {test}: {reason}");
            None
        }
    }
}

#[test]
fn two_hundred_resets_by_every_way_leave_nothing_behind() {
    let Some((kvm, _turn)) = kvm("200 resets of a micro-guest") else {
        return;
    };
    for vcpus in [1, 2] {
        let (early, late) = reset_again_and_again(&kvm, vcpus);
        eprintln!("{vcpus} vCPUs: {early:?}, then {late:?}");
        assert_eq!(late.descriptors, early.descriptors);
        assert_eq!(late.threads, early.threads);
        // One guest has 16 MiB of RAM: a leak of each would be 2.8 GiB.
        assert!(late.address_space < early.address_space + (16 << 10));
        assert!(late.resident < early.resident + (4 << 10));
    }
}

#[test]
fn resets_amid_pauses_and_inspections_keep_nobody_waiting() {
    let Some((kvm, _turn)) = kvm("resets of a micro-guest amid pauses and inspections") else {
        return;
    };
    for vcpus in [1, 2] {
        let director = Arc::new(Director::default());
        let running = directed(&kvm, vcpus, &director);
        let handle = running.handle();
        let clients = Clients::of(&handle);
        for boots in 1..=50 {
            eventually("one boot more", || {
                director.boots.load(Ordering::Relaxed) >= boots
            });
        }
        clients.leave();
        handle.resume();
        eventually("it runs on", || handle.state() != MachineState::Paused);
        handle.stop();
        running.wait().unwrap();
    }
}
