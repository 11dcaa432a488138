//! The protocol on a fake machine of two vCPUs, whose stops are a script.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use vmmkit_gdb::{Debugged, Ended, Notices, Place, RunningServer, Server, Supported};
use vmmkit_guest_memory::{GuestAddress, GuestRam, RamConfig, RamSize};
use vmmkit_hypervisor::fake::{End, FakeHypervisor, FakeVcpu, Script};
use vmmkit_hypervisor::x86::{DebugExit, VcpuState};
use vmmkit_hypervisor::{Hypervisor, Kick, Vcpu, VcpuExit, VcpuId, Vm, VmSettings};
use vmmkit_run_control::{Ending, Hardware, Settings, Supervisor, VcpuBody, VcpuThread, Vcpus};
use vmmkit_tests::gdb::GdbClient;

const CODE: u64 = 0x1000;

struct Machine {
    supervisor: Supervisor,
    ram: GuestRam,
}

impl Debugged for Machine {
    fn vcpus(&self) -> u32 {
        self.supervisor.control().vcpus()
    }

    fn ram(&self) -> &GuestRam {
        &self.ram
    }

    fn halt(&self) {
        self.supervisor.control().hold(|_| true);
        let _ = self.supervisor.pause(None);
    }

    fn resume(&self, runs: &dyn Fn(VcpuId) -> bool) {
        self.supervisor.control().hold(|vcpu| !runs(vcpu));
        self.supervisor.resume(false);
    }

    fn visit<T: Send + 'static>(
        &self,
        vcpu: VcpuId,
        work: impl Fn(&mut dyn VcpuState) -> T + Send + Sync + 'static,
    ) -> Option<T> {
        let visited = self
            .supervisor
            .control()
            .visit(vcpu.0..vcpu.0 + 1, move |_, it| work(it));
        visited.into_iter().next()
    }

    fn stop(&self) {
        self.supervisor.control().stop();
    }
}

/// A machine that runs, with a client; all of it ends when it is dropped.
struct Bench {
    fake: FakeHypervisor,
    supervisor: Supervisor,
    ram: GuestRam,
    server: Option<RunningServer>,
    vcpus: Vec<thread::JoinHandle<()>>,
    socket: PathBuf,
}

impl Bench {
    /// vCPU 0 plays `script`, and then waits; vCPU 1 waits.
    fn new(name: &str, script: Script) -> Self {
        let fake = FakeHypervisor::new().with_script(VcpuId(0), script.then(End::WaitForKick));
        let vm = fake.create_vm(&VmSettings::default()).unwrap();
        let ram = GuestRam::new(&RamConfig {
            size: RamSize::mebibytes(1),
            ..RamConfig::default()
        })
        .unwrap();
        ram.write_bytes(GuestAddress(CODE), &[0x90; 16]).unwrap();
        let vcpus: Vec<_> = (0..2)
            .map(|id| vm.create_vcpu(VcpuId(id)).unwrap())
            .collect();
        let settings = Settings {
            vcpus: 2,
            ..Settings::default()
        };
        let supervisor = Supervisor::new(settings, Arc::default());
        let kickers: Vec<Arc<dyn Kick>> = vcpus.iter().map(Vcpu::kicker).collect();
        let socket = std::env::temp_dir().join(format!("vmmkit-gdb-{name}-{}", std::process::id()));
        let server = Server::bind(&Place::Unix(socket.clone())).unwrap();
        let notices = Arc::new(Notices::new().unwrap());
        let told = notices.clone();
        let control = supervisor.control();
        control.attach_debugger(move |vcpu, exit| told.stopped(vcpu, exit));
        let machine = Machine {
            supervisor: supervisor.clone(),
            ram: ram.clone(),
        };
        machine.halt();
        let server = server
            .start(machine, Supported::default(), notices.clone())
            .unwrap();
        supervisor.start(kickers);
        notices.started();
        let threads = vcpus.into_iter().map(|vcpu| {
            let (supervisor, id) = (supervisor.clone(), vcpu.id());
            let body: VcpuBody = Box::new(move |thread| run(vcpu, thread));
            thread::spawn(move || supervisor.run_vcpu(id, body, &NeverReset))
        });
        Self {
            fake,
            vcpus: threads.collect(),
            supervisor,
            ram,
            server: Some(server),
            socket,
        }
    }

    fn client(&self) -> GdbClient {
        GdbClient::connect(&self.socket).unwrap()
    }

    fn byte(&self, address: u64) -> u8 {
        let mut byte = [0];
        self.ram
            .read_bytes(GuestAddress(address), &mut byte)
            .unwrap();
        byte[0]
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.supervisor.control().stop();
        self.server.take().unwrap().finish(Ended::Exited(0));
        for vcpu in self.vcpus.drain(..) {
            vcpu.join().unwrap();
        }
        assert!(!self.socket.exists());
    }
}

/// The loop of a vCPU, as a VMM has it.
fn run(mut vcpu: FakeVcpu, thread: &VcpuThread<'_>) -> Option<Ending> {
    while thread.may_run() || (!thread.is_over() && thread.park(&mut vcpu)) {
        match vcpu.run().unwrap() {
            VcpuExit::Debug(exit) => assert!(thread.stop_for_debugger(*exit)),
            VcpuExit::Interrupted => {}
            other => panic!("{other:?}"),
        }
    }
    None
}

/// Hardware under the vCPUs, of which nothing is wanted here.
struct NeverReset;

impl Hardware for NeverReset {
    fn power_on(&self) -> Result<Vcpus, Box<dyn std::error::Error + Send + Sync>> {
        Err("nobody resets it".into())
    }

    fn quiesce(&self, _: &Supervisor) {}
}

fn breakpoint(exception: u32, address: u64, dr6: u64) -> VcpuExit {
    VcpuExit::Debug(Box::new(DebugExit {
        exception,
        address,
        dr6,
    }))
}

fn stop(exception: u32, address: u64, dr6: u64) -> Script {
    Script::new().exit(breakpoint(exception, address, dr6))
}

#[test]
fn each_vcpu_is_a_thread_with_registers_and_memory() {
    let bench = Bench::new("registers", Script::new());
    let mut gdb = bench.client();
    assert!(gdb.ask("?").unwrap().starts_with('T'), "it is halted");
    assert_eq!(
        gdb.ask("qfThreadInfo").unwrap().replace("p01.", ""),
        "m01,02"
    );
    assert_eq!(gdb.register(16).unwrap(), Some(0xfff0));
    assert_eq!(gdb.read(CODE).unwrap(), Some(0x9090_9090_9090_9090));
    assert_eq!(gdb.ask("M2000,2:1234").unwrap(), "OK");
    assert_eq!((bench.byte(0x2000), bench.byte(0x2001)), (0x12, 0x34));
    // Beyond RAM, and the last address of all.
    assert_eq!(gdb.read(0x20_0000).unwrap(), None);
    assert_eq!(gdb.read(u64::MAX).unwrap(), None);
    let all = gdb.ask("g").unwrap();
    let changed = format!("efbeadde00000000{}", &all[16..]);
    assert_eq!(gdb.ask(&format!("G{changed}")).unwrap(), "OK");
    let snapshot = bench.fake.snapshot(VcpuId(0)).unwrap();
    assert_eq!(snapshot.registers.rax, 0xdead_beef);
}

#[test]
fn a_breakpoint_is_hidden_from_reads_and_gone_after_its_client() {
    let script = stop(3, CODE + 4, 0).wait_for_kick();
    let bench = Bench::new("break", script);
    let mut gdb = bench.client();
    assert_eq!(gdb.ask("Z0,1004,1").unwrap(), "OK");
    assert_eq!(bench.byte(CODE + 4), 0xcc);
    assert_eq!(gdb.read(CODE).unwrap(), Some(0x9090_9090_9090_9090));
    // What is written in its place is the guest's when it goes.
    assert_eq!(gdb.ask("M1004,1:f4").unwrap(), "OK");
    assert_eq!(bench.byte(CODE + 4), 0xcc);
    let hit = gdb.ask("vCont;c").unwrap();
    assert!(hit.contains("swbreak") || hit.starts_with("T05"), "{hit}");
    let debug = bench.fake.snapshot(VcpuId(0)).unwrap().guest_debug;
    assert!(debug.software_breakpoints);
    assert_eq!(gdb.ask("D").unwrap(), "OK");
    // The next client finds the guest as it was.
    let mut gdb = bench.client();
    gdb.ask("?").unwrap();
    assert_eq!(bench.byte(CODE + 4), 0xf4);
    assert!(bench.fake.snapshot(VcpuId(0)).unwrap().guest_debug.is_off());
}

#[test]
fn an_int3_of_the_guests_own_goes_to_the_guest() {
    let script = stop(3, CODE + 8, 0).exit(breakpoint(3, CODE, 0));
    let bench = Bench::new("own", script);
    let mut gdb = bench.client();
    assert_eq!(gdb.ask("Z0,1000,1").unwrap(), "OK");
    let hit = gdb.ask("vCont;c").unwrap();
    assert!(hit.starts_with("T05"), "{hit}");
    // The script's second stop is the client's; the first was injected.
    assert_eq!(bench.fake.transcript(VcpuId(0)).steps, 2);
}

#[test]
fn a_step_runs_one_vcpu_and_a_watch_names_its_address() {
    let script = stop(1, CODE + 1, 1 << 14).exit(breakpoint(1, CODE + 2, 1));
    let bench = Bench::new("step", script);
    let mut gdb = bench.client();
    gdb.ask("?").unwrap();
    let stepped = gdb.ask("vCont;s:1").unwrap();
    assert!(stepped.starts_with("T05"), "{stepped}");
    assert!(bench.fake.snapshot(VcpuId(0)).unwrap().guest_debug.step);
    assert_eq!(gdb.ask("Z2,2000,8").unwrap(), "OK");
    let watched = gdb.ask("vCont;c").unwrap();
    assert!(
        watched.contains("watch:") && watched.contains("2000"),
        "{watched}"
    );
    let debug = bench.fake.snapshot(VcpuId(1)).unwrap().guest_debug;
    assert_eq!(debug.hardware[0].unwrap().length, 8);
    assert!(!debug.step);
}

#[test]
fn a_running_guest_is_interrupted_and_its_end_is_told() {
    let bench = Bench::new("interrupt", Script::new());
    let mut gdb = bench.client();
    gdb.ask("?").unwrap();
    gdb.send("vCont;c").unwrap();
    gdb.send_raw(&[3]).unwrap();
    let interrupted = gdb.answer().unwrap();
    assert!(interrupted.starts_with("T02"), "{interrupted}");
    gdb.send("vCont;c").unwrap();
    drop(bench);
    assert_eq!(gdb.answer().unwrap(), "W00");
}

#[test]
fn what_no_client_says_ends_its_session_only() {
    let bench = Bench::new("hostile", Script::new());
    for bytes in [
        &b"$"[..],
        b"$#00",
        b"$m#6d",
        b"$mffffffffffffffff,ffffffff#00",
        b"$vCont;s:ffffffff#00",
        b"\x03\x03\x03",
        b"-----",
        &[0xff; 9000],
        &[b'$'; 9000],
    ] {
        let mut gdb = bench.client();
        // The server may have hung up by then.
        let _ = gdb.send_raw(bytes);
    }
    let mut gdb = bench.client();
    assert!(gdb.ask("?").unwrap().starts_with('T'));
}
