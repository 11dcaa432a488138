//! Reports of a machine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use support::*;
use vmmkit_guest_memory::GuestAddress;
use vmmkit_host_io::OutputBuffer;
use vmmkit_hypervisor::fake::{End, Script};
use vmmkit_hypervisor::{VcpuId, Width};
use vmmkit_telemetry::{BootLog, Milestone, Node};
use vmmkit_virtio_devices::Rng;
use vmmkit_vmm::{Console, Handle, MachineBuilder, MachineConfig, Oem, Outcome};

/// A guest that says "hi", probes a port and an address twice each, and resets.
fn ran() -> Handle {
    let script = Script::new()
        .port_write(COM1, b"hi\n")
        .port_read(0x510, Width::Byte, 0xff)
        .port_read(0x510, Width::Word, 0xffff)
        .mmio_write(0xd800_0000, &[0; 4])
        .mmio_read(0xd800_0000, 4, 0xffff_ffff);
    let machine = build(&playing(reset(script)), 1);
    let handle = machine.handle();
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
    handle
}

#[test]
fn exits_are_counted_by_reason_and_by_device() {
    let handle = ran();
    let exits = handle.exits();
    assert_eq!(exits.len(), 1);
    assert_eq!(exits[0].vcpu, BOOT);
    // A string of three bytes is one exit and three accesses.
    assert_eq!((exits[0].ports.reads, exits[0].ports.writes), (2, 2));
    assert_eq!((exits[0].mmio.reads, exits[0].mmio.writes), (1, 1));
    let metrics = handle.metrics();
    let exits = |reason| {
        let labels = [("vcpu", "0"), ("reason", reason)];
        metrics.value("vcpu_exits_total", &labels)
    };
    assert_eq!(exits("io_in"), Some(2.0));
    assert_eq!(exits("mmio_write"), Some(1.0));
    let serial = [
        ("vcpu", "0"),
        ("space", "ports"),
        ("device", "serial"),
        ("access", "write"),
    ];
    let name = "vcpu_accesses_total";
    assert_eq!(metrics.value(name, &serial), Some(3.0));
}

#[test]
fn milestones_come_in_order_and_the_console_is_kept_where_it_is_asked_for() {
    let kernel = Kernel::new();
    let log = Arc::new(BootLog::since(Instant::now()).with_lines());
    let script = reset(Script::new().port_write(COM1, b"hello\nworld"));
    let machine = MachineBuilder::with_boot_log(kernel.config(), log.clone())
        .build(&playing(script))
        .unwrap();
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
    let reached: Vec<_> = log.milestones().all().collect();
    assert_eq!(reached.len(), Milestone::ALL.len(), "{reached:?}");
    // VM and load go side by side; everything else has its order.
    let in_order = reached
        .iter()
        .filter(|(what, _)| *what != Milestone::VmCreated);
    assert!(in_order.is_sorted_by_key(|(_, at)| *at));
    let lines: Vec<_> = log.lines().0.into_iter().map(|line| line.text).collect();
    assert_eq!(lines, ["hello", "world"]);
}

#[test]
fn every_part_is_in_the_tree() {
    let kernel = Kernel::new();
    let machine = MachineBuilder::new(kernel.config())
        .virtio_device(Arc::new(Rng::new()))
        .build(&playing(reset(Script::new())))
        .unwrap();
    let tree = machine.handle().inspect();
    assert_eq!(tree.at("machine.vcpus"), Some(&Node::Number(1)));
    assert_eq!(
        tree.at("memory.0x0-0xffffff.bytes"),
        Some(&Node::Number(16 << 20))
    );
    assert_eq!(
        tree.at("ports.0x3f8-0x3ff"),
        Some(&Node::Text("serial".into()))
    );
    assert_eq!(tree.at("serial.divisor"), Some(&Node::Number(12)));
    assert_eq!(tree.at("rng0.status"), Some(&Node::Text("reset".into())));
    assert_eq!(tree.at("rng0.queue0.enabled"), Some(&Node::Flag(false)));
    assert_eq!(tree.at("vcpu0.exits.io_in"), Some(&Node::Counter(0)));
    assert!(tree.to_json().contains("\"cmdline\""));
}

#[test]
fn a_kick_is_counted_and_every_vcpu_has_its_own_counts() {
    let script = Script::new().then(End::WaitForKick);
    let hypervisor = playing(script);
    let machine = build(&hypervisor, 2);
    let handle = machine.handle();
    let machine = machine.start().unwrap();
    // A pause that comes before a vCPU's first entry needs no kick.
    eventually("both vCPUs are kicked out of the guest", || {
        assert!(handle.pause());
        handle.resume();
        let exits = handle.exits();
        assert_eq!((exits[0].vcpu, exits[1].vcpu), (BOOT, VcpuId(1)));
        exits
            .iter()
            .all(|vcpu| vcpu.others.contains_key("KVM_EXIT_INTR"))
    });
    handle.stop();
    machine.wait().unwrap();
}

/// The names of this process's threads that begin with `prefix`.
fn threads(prefix: &str) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<_> = names
        .filter_map(|name| Some(name.trim_end().strip_prefix(prefix)?.to_owned()))
        .collect();
    names.sort();
    names
}

#[test]
fn machines_of_one_process_differ_in_what_the_embedder_chooses() {
    let mut machines = Vec::new();
    for (name, id) in [("one", *b"ONE   "), ("two", *b"TWO   ")] {
        let kernel = Kernel::new();
        let mut config = MachineConfig {
            oem: Oem {
                id,
                table_id: *b"PLATFORM",
            },
            mp_table: vmmkit_vmm::MpTable::Always,
            ..kernel.config()
        };
        name.clone_into(&mut config.threads.name_prefix);
        let (sender, output) = std::sync::mpsc::channel();
        let console = Console {
            output: Some(Arc::new(
                OutputBuffer::to_fn(move |bytes| _ = sender.send(bytes.to_vec())).unwrap(),
            )),
            ..Console::default()
        };
        let script = Script::new().port_write(COM1, name.as_bytes());
        let script = script.then(End::WaitForKick);
        let machine = MachineBuilder::new(config).console(console);
        let machine = machine.build(&playing(script)).unwrap();
        let handle = machine.handle();
        // The tables lie below 1 MiB: pointers to them, and the tables themselves.
        let mut low = vec![0; 1 << 20];
        handle.ram().read_bytes(GuestAddress(0), &mut low).unwrap();
        let count = |id: &[u8]| low.windows(id.len()).filter(|bytes| *bytes == id).count();
        assert!(count(&id) > 4, "{name}: {}", count(&id));
        assert_eq!(count(b"VMMKIT"), 0, "{name}");
        machines.push((name, machine.start().unwrap(), handle, output));
    }
    for (name, _, _, output) in &machines {
        assert_eq!(
            output.recv_timeout(PATIENCE).as_deref(),
            Ok(name.as_bytes())
        );
        // A thread gives itself its name, soon after it was started.
        let started = Instant::now();
        let mut seen = threads(&format!("{name}:"));
        while seen != ["setup", "vcpu0", "vmm"] {
            assert!(started.elapsed() < PATIENCE, "{name}: {seen:?}");
            thread::yield_now();
            seen = threads(&format!("{name}:"));
        }
    }
    for (_, machine, handle, _) in machines {
        handle.stop();
        machine.wait().unwrap();
    }
}
