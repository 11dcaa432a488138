//! kvm-unit-tests, a suite that nobody here wrote, on vmmkit: each flat program in the folder that
//! KVM_UNIT_TESTS names (x86/ of a built tree) is booted by Multiboot. docs/kvm-unit-tests.md has the
//! results. KVM_UNIT_TESTS_SECONDS is the limit of each program, KVM_UNIT_TESTS_ONLY names some of them, whose
//! own lines are then shown.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use vmmkit_device_bus::{
    AddressRange, DeviceMmio, DevicePio, MmioAddress, MmioAddressOffset, PioAddress,
    PioAddressOffset,
};
use vmmkit_host_io::{Console, OutputBuffer};
use vmmkit_hypervisor_kvm::{Kvm, KvmKind, kvm_kind};
use vmmkit_tests::disk::Scratch;
use vmmkit_tests::diskless::skip;
use vmmkit_vmm::{KernelBoot, MachineBuilder, MachineConfig, Module, Outcome};

/// Programs that pass on every KVM, a software one and the lab's.
const PASS: [&str; 6] = ["idt_test", "memory", "pcid", "rdpru", "setjmp", "smap"];
/// One that passes besides on a software KVM: the lab's CPU, emulated, fails some of its checks.
const PASS_SOFTWARE: &str = "xsave";
/// Those that pass besides where the KVM is genuine.
const PASS_GENUINE: [&str; 5] = ["hypercall", "rmap_chain", "syscall", "tsc_adjust", "umip"];
/// Programs that are started on two CPUs.
const TWO_CPUS: [&str; 3] = ["apic", "kvmclock_test", "smptest"];
/// The value that a program writes to the debug-exit port when it has skipped everything.
const SKIPPED: u8 = 38;
const MEBIBYTES: u32 = 256;

/// QEMU's pc-testdev (hw/misc/pc-testdev.c), but for its interrupt lines: a register of 4 bytes at
/// ports 0xe0 and 0xe8, a port that has no effect here (it flushes a page of the host's), and 64 KiB
/// of memory that every access of the guest exits for.
struct TestPorts(AtomicU32);

impl DevicePio for TestPorts {
    fn pio_read(&self, _: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        let bytes = self.0.load(Ordering::Relaxed).to_le_bytes();
        let from = bytes.iter().skip(usize::from(offset % 4));
        data.fill(0xff);
        data.iter_mut().zip(from).for_each(|(to, byte)| *to = *byte);
    }

    fn pio_write(&self, _: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        if (4..8).contains(&offset) {
            return;
        }
        let mut bytes = self.0.load(Ordering::Relaxed).to_le_bytes();
        let to = bytes.iter_mut().skip(usize::from(offset % 4));
        to.zip(data).for_each(|(to, byte)| *to = *byte);
        self.0.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
    }
}

struct TestMemory(Mutex<Vec<u8>>);

impl DeviceMmio for TestMemory {
    fn mmio_read(&self, _: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        let memory = self.0.lock().unwrap();
        let from = memory.iter().skip(usize::try_from(offset).unwrap());
        data.iter_mut().zip(from).for_each(|(to, byte)| *to = *byte);
    }

    fn mmio_write(&self, _: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        let mut memory = self.0.lock().unwrap();
        let to = memory.iter_mut().skip(usize::try_from(offset).unwrap());
        to.zip(data).for_each(|(to, byte)| *to = *byte);
    }
}

/// How a program ended, and the last line that it wrote.
struct Run {
    outcome: String,
    passed: bool,
    lines: String,
}

impl Run {
    fn count(&self, word: &str) -> usize {
        self.lines
            .lines()
            .filter(|line| line.starts_with(word))
            .count()
    }
}

fn run(kvm: &Kvm, program: &Path, cpus: u32, limit: Duration, scratch: &Scratch) -> Run {
    let environment = scratch.path().join("env");
    let text = format!("NR_CPUS={cpus}\nMEMSIZE={MEBIBYTES}\nTEST_DEVICE=1\nBOOTLOADER=1\n");
    fs::write(&environment, text).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let reading = thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let output = Arc::new(OutputBuffer::new(writer.into()).unwrap());
    let environment = Module {
        file: environment.into(),
        arguments: String::new(),
    };
    let boot = KernelBoot {
        modules: vec![environment],
        ..KernelBoot::new(program)
    };
    let config = MachineConfig {
        vcpus: cpus,
        ..MachineConfig::new(boot)
    };
    let ports = Arc::new(TestPorts(AtomicU32::new(0)));
    let memory = Arc::new(TestMemory(Mutex::new(vec![0; 64 << 10])));
    let machine = MachineBuilder::new(config)
        .console(Console {
            output: Some(output.clone()),
            ..Console::default()
        })
        .plug_port_device("pc-testdev", AddressRange::new(0xe0, 12), ports)
        .plug_mmio_device(
            "pc-testdev memory",
            AddressRange::new(0xff00_0000, 64 << 10),
            memory,
        )
        .build(kvm)
        .unwrap();
    let handle = machine.handle();
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if end.recv_timeout(limit).is_err() {
            handle.stop();
        }
    });
    let result = machine.start().unwrap().wait();
    let _ = ended.send(());
    watchdog.join().unwrap();
    let _ = output.drain_blocking(Duration::from_secs(10));
    drop(output);
    let (outcome, passed) = match result {
        Ok(Outcome::DebugExit(0)) => ("pass".to_owned(), true),
        Ok(Outcome::DebugExit(SKIPPED)) => ("skip".to_owned(), false),
        Ok(Outcome::DebugExit(code)) => (format!("exit {code}"), false),
        Ok(Outcome::Stopped) => ("time".to_owned(), false),
        Ok(outcome) => (format!("{outcome:?}"), false),
        Err(error) => (format!("{error}"), false),
    };
    Run {
        outcome,
        passed,
        lines: reading.join().unwrap(),
    }
}

fn name_of(program: &Path) -> String {
    program.file_stem().unwrap().to_string_lossy().into_owned()
}

fn seconds() -> u64 {
    let text = std::env::var("KVM_UNIT_TESTS_SECONDS");
    text.map_or(60, |text| text.parse().unwrap())
}

fn programs(folder: &Path) -> Vec<PathBuf> {
    let only = std::env::var("KVM_UNIT_TESTS_ONLY").ok();
    let is_wanted = |path: &PathBuf| {
        let name = name_of(path);
        let only = only.as_ref();
        only.is_none_or(|only| only.split(',').any(|wanted| wanted == name))
    };
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let flat = files.filter(|path| path.extension().is_some_and(|ending| ending == "flat"));
    let mut programs: Vec<_> = flat.filter(is_wanted).collect();
    programs.sort();
    programs
}

#[test]
fn the_programs_that_are_known_to_pass_do() {
    let name = "kvm-unit-tests";
    let Some(folder) = std::env::var_os("KVM_UNIT_TESTS") else {
        return skip(name, "KVM_UNIT_TESTS names no folder of its programs");
    };
    let kvm = match Kvm::open() {
        Ok(kvm) => kvm,
        Err(error) => return skip(name, &error.to_string()),
    };
    let is_genuine = kvm_kind() != KvmKind::Software;
    let limit = Duration::from_secs(seconds());
    let scratch = Scratch::new().unwrap();
    let mut failed = Vec::new();
    for program in programs(Path::new(&folder)) {
        let name = name_of(&program);
        let cpus = if TWO_CPUS.contains(&&*name) { 2 } else { 1 };
        let run = run(&kvm, &program, cpus, limit, &scratch);
        let (good, bad) = (run.count("PASS"), run.count("FAIL"));
        println!("| {name} | {cpus} | {good} | {bad} | {} |", run.outcome);
        if std::env::var_os("KVM_UNIT_TESTS_ONLY").is_some() {
            println!("{}", run.lines);
        }
        let besides = if is_genuine {
            PASS_GENUINE.contains(&&*name)
        } else {
            name == PASS_SOFTWARE
        };
        let known = besides || PASS.contains(&&*name);
        if known && !run.passed {
            failed.push(format!("{name}: {}\n{}", run.outcome, run.lines));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
