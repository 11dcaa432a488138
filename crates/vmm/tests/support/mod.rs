//! Machines on the fake hypervisor: what its vCPUs do is a script, everything else is the real
//! thing.
#![allow(dead_code, reason = "each test file uses its part of this module")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

pub(crate) mod back_end;
pub(crate) mod clients;

use std::fs;
use std::io::{PipeReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use vmmkit_guest_memory::{RamConfig, RamSize};
use vmmkit_host_io::OutputBuffer;
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::fake::{FakeHypervisor, Script, Transcript};
use vmmkit_vmm::{Boot, Console, Machine, MachineBuilder, MachineConfig, Outcome, Ready, RunError};

/// Long enough for a host that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The first port of COM1, and its registers.
pub(crate) const COM1: u16 = 0x3f8;
pub(crate) const COM1_IER: u16 = COM1 + 1;
pub(crate) const COM1_FCR: u16 = COM1 + 2;
pub(crate) const COM1_LSR: u16 = COM1 + 5;

/// The first vCPU.
pub(crate) const BOOT: VcpuId = VcpuId(0);

/// A kernel file of one byte of code; gone when it is dropped.
pub(crate) struct Kernel {
    pub(crate) path: PathBuf,
}

impl Kernel {
    pub(crate) fn new() -> Self {
        Self::of(&elf(&[0xf4]))
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-vmm-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).unwrap();
        Self { path }
    }

    pub(crate) fn config(&self) -> MachineConfig {
        MachineConfig {
            ram: RamConfig {
                size: RamSize::mebibytes(16),
                ..RamConfig::default()
            },
            ..MachineConfig::new(Boot::kernel(&self.path))
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A 64-bit ELF executable with one segment, `code`, at 1 MiB (System V ABI, chapters 4 and 5).
pub(crate) fn elf(code: &[u8]) -> Vec<u8> {
    const LOAD: u64 = 0x10_0000;
    const OFFSET: u64 = 120;
    let length = code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // ET_EXEC, EM_X86_64, version
    for word in [LOAD, 64, 0] {
        file.extend(word.to_le_bytes()); // e_entry, e_phoff, e_shoff
    }
    file.extend([0; 4]); // e_flags
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]); // PT_LOAD, read and execute
    for word in [OFFSET, LOAD, LOAD, length, length, 8] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// A hypervisor whose first vCPU plays `script`; others wait to be kicked.
pub(crate) fn playing(script: Script) -> FakeHypervisor {
    FakeHypervisor::new().with_script(BOOT, script)
}

/// The guest asks the keyboard controller for a reset.
pub(crate) fn reset(script: Script) -> Script {
    script.port_write(0x64, &[0xfe])
}

/// A machine on `hypervisor` with nothing but `vcpus` vCPUs.
pub(crate) fn build(hypervisor: &FakeHypervisor, vcpus: u32) -> Machine<Ready> {
    let kernel = Kernel::new();
    let config = MachineConfig {
        vcpus,
        ..kernel.config()
    };
    MachineBuilder::new(config).build(hypervisor).unwrap()
}

/// Plays `script` on the only vCPU of a machine without a console.
pub(crate) fn play(script: Script) -> (Result<Outcome, RunError>, Transcript) {
    let hypervisor = playing(script);
    let ending = build(&hypervisor, 1).start().unwrap().wait();
    (ending, hypervisor.transcript(BOOT))
}

/// Plays `script`; returns what came out of the serial console.
pub(crate) fn play_to_console(script: Script) -> (Result<Outcome, RunError>, Vec<u8>) {
    let kernel = Kernel::new();
    let (mut output, console) = piped_output();
    let machine = MachineBuilder::new(kernel.config())
        .console(console)
        .build(&playing(script))
        .unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let ending = machine.start().unwrap().wait();
    (ending, reader.join().unwrap())
}

/// A console that writes into a pipe.
pub(crate) fn piped_output() -> (PipeReader, Console) {
    let (reader, writer) = std::io::pipe().unwrap();
    let console = Console {
        output: Some(Arc::new(OutputBuffer::new(writer.into()).unwrap())),
        ..Console::default()
    };
    (reader, console)
}

/// Waits until `condition` holds, and fails the test when it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}
