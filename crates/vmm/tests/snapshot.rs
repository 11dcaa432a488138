//! Machines that are saved and restored, on the fake hypervisor.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use support::*;
use vmmkit_boot_loader::memory_map::{GENERATION_ID, VM_CLOCK};
use vmmkit_device_bus::{AddressRange, DevicePio, Gsi, PioAddress, PioAddressOffset};
use vmmkit_guest_memory::{GuestAddress, GuestRam, PageRuns, RamConfig, RamSize};
use vmmkit_hypervisor::Irqchip;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_snapshot::{Reader, Section, Writer};
use vmmkit_virtio_devices::{
    Balloon, BalloonConfig, Block, BlockConfig, Console, Mem, Port, Rng, VhostUser, Vsock,
    VsockConfig,
};
use vmmkit_vmm::{
    Extent, FREE_PORTS, Machine, MachineBuilder, MachineConfig, MachineState, PauseOutcome, Paused,
    Ready, RestoreError, SaveError, SaveRamError, SavedRam, VirtioTransport,
};

/// A folder of one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vmmkit-machine-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// An empty file for RAM.
    fn ram(&self, name: &str) -> File {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        options.open(self.path(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A machine with two vCPUs and a device of each kind that can be made without privileges.
fn full(
    kernel: &Kernel,
    scratch: &Scratch,
    virtio: VirtioTransport,
    irqchip: Irqchip,
) -> MachineBuilder {
    let config = MachineConfig {
        vcpus: 2,
        virtio,
        irqchip,
        ..kernel.config()
    };
    let disk = scratch.path("disk");
    if !disk.exists() {
        fs::write(&disk, [0; 8192]).unwrap();
    }
    let socket = scratch.path("vsock");
    let _ = fs::remove_file(&socket);
    let block = Block::open(&BlockConfig {
        path: disk,
        ..BlockConfig::default()
    });
    let vsock = Vsock::new(VsockConfig { cid: 3, socket });
    MachineBuilder::new(config)
        .virtio_device(Arc::new(Rng::new()))
        .virtio_device(Arc::new(block.unwrap()))
        .virtio_device(Arc::new(vsock.unwrap()))
        .virtio_device(Arc::new(Console::new(vec![Port::null()]).unwrap()))
        .virtio_device(Arc::new(Balloon::new(&BalloonConfig::default()).unwrap()))
}

/// A guest that sets a few registers of the platform and idles.
fn idle() -> FakeHypervisor {
    let script = Script::new()
        .port_write(0x80, &[0x42])
        .port_write(COM1 + 7, &[0x5a])
        .port_write(0x70, &[0x20])
        .port_write(0x71, &[0x77]);
    FakeHypervisor::new().with_script(BOOT, script.then(End::WaitForKick))
}

fn pause(machine: Machine<Ready>) -> Machine<Paused> {
    let machine = machine.start().unwrap();
    let handle = machine.handle();
    eventually("the guest has run", || {
        handle.inspect().to_string().contains("0x42")
    });
    match machine.pause() {
        PauseOutcome::Paused(machine) => machine,
        PauseOutcome::Ended(_) => panic!("the guest has ended"),
    }
}

/// Restores a machine and pauses it before it runs.
fn restored(
    builder: MachineBuilder,
    hypervisor: &FakeHypervisor,
    (state, ram): (&[u8], &File),
) -> Result<Machine<Ready>, RestoreError> {
    let reader = Reader::new(state).unwrap();
    builder.restore(hypervisor, reader, ram.try_clone().unwrap())
}

fn save(machine: &Machine<Paused>, ram: &File) -> Result<Vec<u8>, SaveError> {
    let mut writer = Writer::new();
    machine.save(&mut writer, ram)?;
    Ok(writer.finish())
}

/// The sections, but for times that go on.
fn sections(state: &[u8]) -> Vec<(String, String)> {
    let reader = Reader::new(state).unwrap();
    let sections = reader.sections().iter();
    let of = |section: &Section<'_>| {
        let text = String::from_utf8(section.contents.to_vec()).unwrap();
        (section.id.to_owned(), text)
    };
    sections
        .filter(|section| section.id != "ram-pages")
        .map(of)
        .filter(|(id, _)| id != "acpi-pm" && id != "cmos")
        .collect()
}

const MACHINES: [(VirtioTransport, Irqchip); 4] = [
    (VirtioTransport::Mmio, Irqchip::InKernel { pit: true }),
    (VirtioTransport::Mmio, Irqchip::Split),
    (VirtioTransport::Pci, Irqchip::InKernel { pit: false }),
    (VirtioTransport::Q35, Irqchip::InKernel { pit: true }),
];

#[test]
fn a_machine_is_the_same_in_the_second_and_third_generation() {
    for (virtio, irqchip) in MACHINES {
        let (kernel, scratch) = (Kernel::new(), Scratch::new());
        let machine = || full(&kernel, &scratch, virtio, irqchip);
        let hypervisor = idle();
        let first = pause(machine().build(&hypervisor).unwrap());
        let address = GuestAddress(0x9000);
        first
            .handle()
            .ram()
            .write(address, 0x1234_5678_u32)
            .unwrap();
        let mut ram = scratch.ram("ram0");
        let first_state = save(&first, &ram).unwrap();
        drop(first);
        let mut state = first_state.clone();
        for generation in 1..=2 {
            let hypervisor = FakeHypervisor::new();
            let machine = restored(machine(), &hypervisor, (&state, &ram)).unwrap();
            assert_eq!(machine.handle().ram().read::<u32>(address), Ok(0x1234_5678));
            let machine = pause(machine);
            let next = scratch.ram(&format!("ram{generation}"));
            state = save(&machine, &next).unwrap();
            assert_eq!(
                sections(&state),
                sections(&first_state),
                "{virtio:?} {irqchip:?}"
            );
            ram = next;
        }
    }
}

#[test]
fn all_that_a_guest_reaches_is_a_part_that_is_inspected_and_saved() {
    for (virtio, irqchip) in MACHINES {
        let (kernel, scratch) = (Kernel::new(), Scratch::new());
        let machine = pause(
            full(&kernel, &scratch, virtio, irqchip)
                .build(&idle())
                .unwrap(),
        );
        let handle = machine.handle();
        let state = save(&machine, &scratch.ram("ram")).unwrap();
        let reader = Reader::new(&state).unwrap();
        let tree = handle.inspect();
        let is_shown = |name: &str| tree.entries().any(|(entry, _)| entry == name);
        let core = ["machine", "vm", "vcpu0", "vcpu1"];
        for section in reader.sections() {
            assert!(section.must_understand);
            if !core.contains(&section.id) {
                assert!(is_shown(section.id), "{} is not inspected", section.id);
            }
        }
        let is_saved = |name: &str| reader.sections().iter().any(|section| section.id == name);
        for region in handle.port_regions() {
            let name = match &*region.name {
                "pci configuration" => "pci-config-ports",
                name => name,
            };
            assert!(is_saved(name), "{name} is not saved");
        }
        for device in handle.devices() {
            assert!(is_saved(&device.name), "{} is not saved", device.name);
        }
        // It runs on.
        let machine = machine.resume();
        assert_eq!(handle.state(), MachineState::Running);
        handle.stop();
        machine.wait().unwrap();
    }
}

#[test]
fn a_restored_machine_rests_until_it_runs_and_may_begin_paused() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let machine = || full(&kernel, &scratch, VirtioTransport::Mmio, Irqchip::Split);
    let ram = scratch.ram("ram");
    let state = save(&pause(machine().build(&idle()).unwrap()), &ram).unwrap();
    let hypervisor = idle();
    let machine = restored(machine(), &hypervisor, (&state, &ram)).unwrap();
    let handle = machine.handle();
    assert!(handle.pause());
    let machine = machine.start().unwrap();
    assert_eq!(handle.state(), MachineState::Paused);
    assert_eq!(hypervisor.transcript(BOOT).steps, 0);
    // It is saved as it was, without having run.
    let mut writer = Writer::new();
    eventually("the vCPUs have threads", || handle.dump_vcpus().len() == 2);
    handle.save(&mut writer, &scratch.ram("again")).unwrap();
    assert_eq!(sections(&writer.finish()), sections(&state));
    handle.resume();
    eventually("it runs", || hypervisor.transcript(BOOT).steps > 0);
    handle.stop();
    machine.wait().unwrap();
}

/// The VM generation ID where ACPI says that it is, and the VMClock's counter.
fn generation(machine: &Machine<Ready>) -> (u128, u64) {
    let (handle, mut id) = (machine.handle(), [0; 16]);
    let ram = handle.ram();
    ram.read_bytes(GENERATION_ID, &mut id).unwrap();
    let counter = ram.read(GuestAddress(VM_CLOCK.0 + 104)).unwrap();
    (u128::from_le_bytes(id), counter)
}

#[test]
fn each_clone_has_a_generation_of_its_own_and_is_told_as_it_runs() {
    for (virtio, irqchip) in MACHINES {
        let (kernel, scratch) = (Kernel::new(), Scratch::new());
        let machine = || full(&kernel, &scratch, virtio, irqchip);
        let ram = scratch.ram("ram");
        let first = machine().build(&idle()).unwrap();
        let mut seen = vec![generation(&first)];
        let state = save(&pause(first), &ram).unwrap();
        for _ in 0..2 {
            let hypervisor = idle();
            let clone = restored(machine(), &hypervisor, (&state, &ram)).unwrap();
            let own = generation(&clone);
            let of_others = |(id, counter): &(u128, u64)| *id == own.0 || *counter == own.1;
            assert!(!seen.iter().any(of_others), "{virtio:?} {irqchip:?}");
            seen.push(own);
            let told = || {
                hypervisor
                    .line_changes()
                    .iter()
                    .any(|change| change.gsi == Gsi(3))
            };
            assert!(!told(), "it does not run yet");
            let handle = clone.handle();
            let clone = clone.start().unwrap();
            if irqchip != Irqchip::Split {
                eventually("the guest is told", told);
            }
            handle.stop();
            clone.wait().unwrap();
        }
    }
}

#[test]
fn a_machine_without_acpi_has_no_generation_and_its_low_memory_to_itself() {
    let kernel = Kernel::new();
    let config = MachineConfig {
        acpi: false,
        ..kernel.config()
    };
    let machine = MachineBuilder::new(config).build(&idle()).unwrap();
    assert_eq!(generation(&machine), (0, 0));
    assert!(
        !machine
            .handle()
            .inspect()
            .to_string()
            .contains("generation")
    );
}

#[test]
fn a_machine_that_runs_or_has_ended_is_not_saved() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let machine = MachineBuilder::new(kernel.config()).build(&idle()).unwrap();
    let handle = machine.handle();
    let saved = || handle.save(&mut Writer::new(), &scratch.ram("ram"));
    assert!(matches!(saved(), Err(SaveError::NotPaused)));
    let machine = machine.start().unwrap();
    assert!(matches!(saved(), Err(SaveError::NotPaused)));
    handle.stop();
    machine.wait().unwrap();
    assert!(saved().is_err());
}

#[test]
fn what_cannot_be_saved_is_named_before_ram_is_written() {
    struct Stranger;
    impl DevicePio for Stranger {
        fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}
        fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {}
    }
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let socket = scratch.path("back-end");
    back_end::serve_at(&socket);
    let back_end = VhostUser::blk(&socket).unwrap();
    let memory = GuestRam::pluggable(&RamConfig {
        size: RamSize::mebibytes(16),
        max: Some(RamSize::mebibytes(144)),
        ..RamConfig::default()
    });
    let builder = || MachineBuilder::new(kernel.config());
    let port = AddressRange::new(FREE_PORTS.base, 1);
    let machines = [
        (
            builder().plug_port_device("stranger", port, Arc::new(Stranger)),
            "stranger: has no saved form",
        ),
        (
            builder().virtio_device(Arc::new(back_end)),
            "blk0: its back end, another process",
        ),
        (
            builder().virtio_device(Arc::new(Mem::new(memory.unwrap().unwrap()).unwrap())),
            "mem0: what its blocks hold",
        ),
    ];
    for (builder, expected) in machines {
        let machine = pause(builder.build(&idle()).unwrap());
        let ram = scratch.ram("ram");
        let error = save(&machine, &ram).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(ram.metadata().unwrap().len(), 0);
        let machine = machine.resume();
        machine.handle().stop();
        machine.wait().unwrap();
    }
}

#[test]
fn a_machine_that_differs_is_refused_in_a_sentence() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let builder = |config| MachineBuilder::new(config).virtio_device(Arc::new(Rng::new()));
    let ram = scratch.ram("ram");
    let machine = pause(builder(kernel.config()).build(&idle()).unwrap());
    let state = save(&machine, &ram).unwrap();
    drop(machine);
    type Change = fn(&mut MachineConfig);
    let configs: [(Change, &str); 3] = [
        (|config| config.vcpus = 2, "vcpus 1: this machine has 2"),
        (
            |config| config.virtio = VirtioTransport::Pci,
            "virtio mmio: this machine has pci",
        ),
        (
            |config| config.ram.size = RamSize::mebibytes(32),
            "memory 16777216: this machine has 33554432",
        ),
    ];
    let refused = |builder: MachineBuilder, hypervisor: &FakeHypervisor| {
        let error = restored(builder, hypervisor, (&state, &ram)).unwrap_err();
        let sources = std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
            error.source()
        });
        sources
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    };
    for (change, expected) in configs {
        let mut config = kernel.config();
        change(&mut config);
        let error = refused(builder(config), &FakeHypervisor::new());
        assert!(error.contains(expected), "{error}");
    }
    let more = builder(kernel.config()).virtio_device(Arc::new(Rng::new()));
    let error = refused(more, &FakeHypervisor::new());
    assert!(
        error.contains("rng1") && error.contains("absent"),
        "{error}"
    );
    let fewer = MachineBuilder::new(kernel.config());
    let error = refused(fewer, &FakeHypervisor::new());
    assert!(error.contains("rng0"), "{error}");
    // A processor of another vendor.
    let cpu = vec![CpuidEntry::default()];
    let error = refused(
        builder(kernel.config()),
        &FakeHypervisor::new().with_cpuid(cpu),
    );
    assert!(error.contains("this host is"), "{error}");
    // RAM that is not there.
    ram.set_len(4096).unwrap();
    let error = refused(builder(kernel.config()), &FakeHypervisor::new());
    assert!(error.contains("memory image: 4096 bytes"), "{error}");
}

/// A machine that was saved, and one that was restored from it and has written to its RAM since.
fn changed(kernel: &Kernel, scratch: &Scratch) -> (File, Machine<Paused>) {
    let (virtio, irqchip) = MACHINES[0];
    let machine = || full(kernel, scratch, virtio, irqchip);
    let ram = scratch.ram("ram0");
    let first = pause(machine().build(&idle()).unwrap());
    first.handle().ram().fill(SAME, 0x3000, 0x55).unwrap();
    first.handle().ram().fill(GONE, 0x1000, 0x66).unwrap();
    let state = save(&first, &ram).unwrap();
    drop(first);
    let second = pause(restored(machine(), &idle(), (&state, &ram)).unwrap());
    let handle = second.handle();
    let memory = handle.ram();
    memory.write(CHANGED, 0x1234_5678_u32).unwrap();
    memory.discard(GONE, 0x1000).unwrap();
    (ram, second)
}

/// Pages that stay as they are, change, and are given back.
const SAME: GuestAddress = GuestAddress(0x90_0000);
const CHANGED: GuestAddress = GuestAddress(0xa0_0000);
const GONE: GuestAddress = GuestAddress(0xb0_0000);

fn check_changed(machine: &Machine<Ready>) {
    let handle = machine.handle();
    let ram = handle.ram();
    assert_eq!(ram.read::<u8>(GuestAddress(SAME.0 + 0x2fff)), Ok(0x55));
    assert_eq!(ram.read::<u32>(CHANGED), Ok(0x1234_5678));
    assert_eq!(ram.read::<u64>(GONE), Ok(0));
}

#[test]
fn changes_are_restored_on_top_of_what_they_differ_from() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let (virtio, irqchip) = MACHINES[0];
    let machine = || full(&kernel, &scratch, virtio, irqchip);
    let (base, second) = changed(&kernel, &scratch);
    let whole = save(&second, &scratch.ram("whole")).unwrap();
    let saved_ram = || SavedRam::from(base.try_clone().unwrap());
    let mut chain: Vec<(File, Vec<u8>)> = Vec::new();
    let mut last = second;
    for generation in 1..=3 {
        let image = scratch.ram(&format!("changes{generation}"));
        let mut writer = Writer::new();
        last.handle()
            .save_extent(Extent::Changes, &mut writer, &image)
            .unwrap();
        drop(last);
        // Holes take no room: few pages changed of 4096.
        assert!(image.metadata().unwrap().blocks() * 512 < 256 << 10);
        chain.push((image, writer.finish()));
        let mut ram = saved_ram();
        for (image, state) in &chain {
            let reader = Reader::new(state).unwrap();
            ram = ram.changed(image.try_clone().unwrap(), reader).unwrap();
        }
        let state = &chain.last().unwrap().1;
        let restored = machine().restore(&idle(), Reader::new(state).unwrap(), ram);
        let restored = restored.unwrap();
        check_changed(&restored);
        last = pause(restored);
        // The state is that of a whole snapshot.
        let ids = |state| {
            sections(state)
                .into_iter()
                .map(|it| it.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(state), ids(&whole));
        let address = GuestAddress(CHANGED.0 + generation * 0x1_0000);
        last.handle().ram().write(address, generation).unwrap();
    }
}

#[test]
fn changes_without_their_base_and_a_base_without_changes_are_refused() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let (virtio, irqchip) = MACHINES[0];
    let (base, second) = changed(&kernel, &scratch);
    let (whole, changes) = (scratch.ram("whole"), scratch.ram("changes"));
    let whole_state = save(&second, &whole).unwrap();
    let mut writer = Writer::new();
    second
        .handle()
        .save_extent(Extent::Changes, &mut writer, &changes)
        .unwrap();
    drop(second);
    let state = writer.finish();
    let restore = |state: &[u8], ram: SavedRam| {
        let machine = full(&kernel, &scratch, virtio, irqchip);
        let restored = machine.restore(&idle(), Reader::new(state).unwrap(), ram);
        restored.unwrap_err().to_string()
    };
    let with_changes = || {
        let base = SavedRam::from(base.try_clone().unwrap());
        base.changed(changes.try_clone().unwrap(), Reader::new(&state).unwrap())
    };
    let error = restore(&state, SavedRam::from(base.try_clone().unwrap()));
    assert!(error.contains("ram-pages"), "{error}");
    let error = restore(&whole_state, with_changes().unwrap());
    assert!(error.contains("ram-pages"), "{error}");
    let reader = Reader::new(&whole_state).unwrap();
    let absent = SavedRam::from(base.try_clone().unwrap()).changed(whole, reader);
    assert!(absent.unwrap_err().to_string().contains("ram-pages"));
    // A file that is shorter than its pages say, and one of another RAM.
    changes.set_len(0x8000).unwrap();
    assert!(
        with_changes()
            .unwrap_err()
            .to_string()
            .contains("ram-pages")
    );
    changes.set_len((16 << 20) - 1).unwrap();
    assert_eq!(
        restore(&state, with_changes().unwrap()),
        "memory image",
        "its source says the size"
    );
}

/// The pages that `state` says its file with RAM has.
fn pages_of(state: &[u8]) -> PageRuns {
    let reader = Reader::new(state).unwrap();
    let section = reader.sections().iter().find(|it| it.id == SavedRam::PAGES);
    PageRuns::from_bytes(section.unwrap().contents, 16 << 20).unwrap()
}

/// Writes of a machine that was not restored, after it was saved whole, ahead of its pause or not, are a snapshot on top.
#[test]
fn changes_since_a_whole_snapshot_are_those_of_the_guest_and_of_its_devices() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    for is_live in [false, true] {
        let hypervisor = idle();
        let machine = MachineBuilder::new(kernel.config());
        let machine = pause(machine.build(&hypervisor).unwrap());
        let (handle, base) = (machine.handle(), scratch.ram("base"));
        let ram = handle.ram();
        ram.fill(SAME, 0x3000, 0x55).unwrap();
        ram.fill(GONE, 0x1000, 0x66).unwrap();
        let mut writer = Writer::new();
        if is_live {
            let ahead = handle.save_ahead(Extent::Base, &base).unwrap();
            // Written while the rest is under way: to zeros, too.
            ram.write(CHANGED, 7_u32).unwrap();
            ram.fill(GONE, 0x1000, 0).unwrap();
            handle.save_rest(ahead, &mut writer, &base).unwrap();
        } else {
            handle
                .save_extent(Extent::Base, &mut writer, &base)
                .unwrap();
        }
        let state = writer.finish();
        let whole = MachineBuilder::new(kernel.config());
        let reader = Reader::new(&state).unwrap();
        let whole = whole.restore(&idle(), reader, base.try_clone().unwrap());
        let whole = whole.unwrap().handle();
        let gone = if is_live { 0 } else { 0x66 };
        assert_eq!(whole.ram().read::<u8>(GONE), Ok(gone));
        let changed = if is_live { 7 } else { 0 };
        assert_eq!(whole.ram().read::<u32>(CHANGED), Ok(changed));
        drop(whole);

        // Twice: both are changes of the base.
        for (round, image) in ["changes1", "changes2"].into_iter().enumerate() {
            let image = scratch.ram(image);
            ram.write(CHANGED, 0x1234_5678_u32).unwrap();
            ram.discard(GONE, 0x1000).unwrap();
            // The guest's own writes are in the hypervisor's log alone.
            hypervisor.mark_dirty(0, 3 + round as u64);
            let mut writer = Writer::new();
            if is_live {
                let ahead = handle.save_ahead(Extent::Changes, &image).unwrap();
                hypervisor.mark_dirty(0, 9);
                handle.save_rest(ahead, &mut writer, &image).unwrap();
            } else {
                handle
                    .save_extent(Extent::Changes, &mut writer, &image)
                    .unwrap();
            }
            let state = writer.finish();
            let pages = pages_of(&state);
            let has = |page: u64| {
                let mut runs = pages.as_slice().iter();
                runs.any(|run| (run.first..run.end()).contains(&page))
            };
            assert!(has(3) && has(CHANGED.0 >> 12) && has(GONE.0 >> 12));
            assert_eq!(has(9), is_live);
            assert_eq!(has(4), round == 1);
            assert!(!has(SAME.0 >> 12) && pages.pages() < 64, "{pages:?}");
            let saved = SavedRam::from(base.try_clone().unwrap());
            let saved = saved.changed(image, Reader::new(&state).unwrap()).unwrap();
            let machine = MachineBuilder::new(kernel.config());
            let restored = machine.restore(&idle(), Reader::new(&state).unwrap(), saved);
            check_changed(&restored.unwrap());
        }
    }
}

#[test]
fn changes_are_saved_ahead_of_a_restored_machine_and_all_of_it_too() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let (virtio, irqchip) = MACHINES[0];
    let (base, second) = changed(&kernel, &scratch);
    let handle = second.handle();
    for extent in [
        Extent::Changes,
        Extent::Whole,
        Extent::Base,
        Extent::Changes,
    ] {
        let image = scratch.ram("image");
        let ahead = handle.save_ahead(extent, &image).unwrap();
        let address = GuestAddress(CHANGED.0 + 0x5000);
        handle.ram().write(address, 5_u8).unwrap();
        let mut writer = Writer::new();
        handle.save_rest(ahead, &mut writer, &image).unwrap();
        let state = writer.finish();
        let reader = || Reader::new(&state).unwrap();
        let ram = match extent {
            Extent::Changes => {
                let base = SavedRam::from(base.try_clone().unwrap());
                base.changed(image, reader()).unwrap()
            }
            _ => SavedRam::from(image),
        };
        // Its disk and its socket are its own.
        let other = Scratch::new();
        let machine = full(&kernel, &other, virtio, irqchip);
        let restored = machine.restore(&idle(), reader(), ram).unwrap();
        check_changed(&restored);
        assert_eq!(restored.handle().ram().read::<u8>(address), Ok(5));
    }
}

/// The pages that are data in `file`, which has some of its own for others.
fn data_of(file: &File) -> Vec<u64> {
    use std::os::unix::fs::FileExt;
    let (mut page, pages) = ([0; 4096], file.metadata().unwrap().len() >> 12);
    let is_written = |number: &u64| {
        file.read_exact_at(&mut page, number << 12).unwrap();
        page != [0xee; 4096]
    };
    (0..pages).filter(is_written).collect()
}

/// An image of the size of RAM whose every byte is a stranger's.
fn strange(scratch: &Scratch, name: &str) -> File {
    fs::write(scratch.path(name), vec![0xee; 16 << 20]).unwrap();
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .open(scratch.path(name))
        .unwrap()
}

#[test]
fn changes_over_an_image_are_all_those_since_the_last_time_and_zeros_too() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let hypervisor = idle();
    let machine = MachineBuilder::new(kernel.config());
    let machine = pause(machine.build(&hypervisor).unwrap());
    let handle = machine.handle();
    let (ram, saver) = (handle.ram(), handle.ram_saver().unwrap());
    let page = |address: GuestAddress| address.0 >> 12;
    ram.fill(GONE, 0x1000, 0x66).unwrap();
    // Nobody knows what has changed: all of it, and one page that is the stranger's.
    let first = strange(&scratch, "first");
    saver.save_over(&first, true).unwrap();
    assert_eq!(data_of(&first).len(), 4096);
    for round in 0..2 {
        let image = strange(&scratch, "next");
        ram.write(CHANGED, 7_u32).unwrap();
        ram.discard(GONE, 0x1000).unwrap();
        hypervisor.mark_dirty(0, 3 + round);
        saver.save_over(&image, true).unwrap();
        let data = data_of(&image);
        // Not those of the round before.
        assert!(
            data.contains(&(3 + round)) && !data.contains(&(4 - round)),
            "{data:?}"
        );
        assert!(data.contains(&page(CHANGED)) && data.contains(&page(GONE)));
        assert!(data.len() < 64, "{data:?}");
    }
    // A snapshot that did not get its place is nothing that a later one differs from.
    saver.forget();
    let all = strange(&scratch, "all");
    saver.save_over(&all, false).unwrap();
    assert_eq!(data_of(&all).len(), 4096);
    // An image of another length is begun anew.
    all.set_len(0x1000).unwrap();
    saver.save_over(&all, false).unwrap();
    assert_eq!(all.metadata().unwrap().len(), 16 << 20);
    assert_eq!(data_of(&all).len(), 4096);
    let mut writer = Writer::new();
    handle.save(&mut writer, &scratch.ram("unused")).unwrap();
    let state = writer.finish();
    drop(machine);
    let restored = MachineBuilder::new(kernel.config());
    let restored = restored.restore(&idle(), Reader::new(&state).unwrap(), all);
    let handle = restored.unwrap().handle();
    assert_eq!(handle.ram().read::<u32>(CHANGED), Ok(7));
    assert_eq!(handle.ram().read::<u64>(GONE), Ok(0));
}

#[test]
fn changes_of_a_restored_machine_go_over_the_image_that_it_is_mapped_from() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let (base, second) = changed(&kernel, &scratch);
    let saver = second.handle();
    let mut writer = Writer::new();
    let saved: Result<(), SaveError> = saver.save_as(&mut writer, |saver, _| {
        let apart = strange(&scratch, "apart");
        saver.save_over(&apart, true)?;
        let data = data_of(&apart);
        assert!(
            data.contains(&(GONE.0 >> 12)) && data.len() < 64,
            "{data:?}"
        );
        Ok(saver.save_over(&base, true)?)
    });
    saved.unwrap();
    let state = writer.finish();
    // The machine itself goes on as it was.
    assert_eq!(saver.ram().read::<u64>(GONE), Ok(0));
    drop((second, saver));
    let (virtio, irqchip) = MACHINES[0];
    let builder = full(&kernel, &scratch, virtio, irqchip);
    check_changed(&restored(builder, &idle(), (&state, &base)).unwrap());
}

#[test]
fn memory_that_was_made_elsewhere_is_a_machines_and_its_changes_are_logged() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let first = pause(MachineBuilder::new(kernel.config()).build(&idle()).unwrap());
    let state = save(&first, &scratch.ram("unused")).unwrap();
    drop(first);
    let config = kernel.config();
    let restore = |ram: GuestRam| {
        let builder = MachineBuilder::new(kernel.config());
        builder.restore(&idle(), Reader::new(&state).unwrap(), ram)
    };
    let other = RamConfig {
        size: RamSize::mebibytes(2),
        ..config.ram.clone()
    };
    let refused = restore(GuestRam::new(&other).unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "memory image");
    let ram = GuestRam::new(&config.ram).unwrap();
    ram.write(CHANGED, 7_u32).unwrap();
    let machine = restore(ram).unwrap();
    let handle = machine.handle();
    assert_eq!(handle.ram().read::<u32>(CHANGED), Ok(7));
    let saver = handle.ram_saver().unwrap();
    saver.log_changes().unwrap();
    handle.ram().write(SAME, 8_u32).unwrap();
    let image = strange(&scratch, "image");
    saver.save_over(&image, true).unwrap();
    assert_eq!(data_of(&image), [SAME.0 >> 12]);
}

#[test]
fn a_machine_that_was_not_restored_has_no_changes() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let machine = MachineBuilder::new(kernel.config()).build(&idle()).unwrap();
    let machine = pause(machine);
    let ram = scratch.ram("ram");
    let answer = machine
        .handle()
        .save_extent(Extent::Changes, &mut Writer::new(), &ram);
    assert!(matches!(
        answer,
        Err(SaveError::Ram(SaveRamError::Changes(_)))
    ));
    assert_eq!(ram.metadata().unwrap().len(), 0);
}

/// Changes of memory that an earlier build has saved; they load for ever.
const CHANGES: &[u8] = include_bytes!("../goldens/changes.v1");

#[test]
#[ignore = "writes crates/vmm/goldens/changes.v1 and a seed of a fuzz target"]
fn golden_changes_are_written() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let (_, machine) = changed(&kernel, &scratch);
    let mut writer = Writer::new();
    let image = scratch.ram("changes");
    machine
        .handle()
        .save_extent(Extent::Changes, &mut writer, &image)
        .unwrap();
    let state = writer.finish();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let golden = root.join("goldens/changes.v1");
    if !golden.exists() || fs::metadata(&golden).unwrap().len() == 0 {
        fs::write(golden, &state).unwrap();
    }
    let mut seed = b"ram-pages\n".to_vec();
    seed.extend(
        Reader::new(&state)
            .unwrap()
            .take("ram-pages")
            .unwrap()
            .contents,
    );
    fs::write(
        root.join("../../fuzz/corpus/snapshot_load/changes.v1"),
        seed,
    )
    .unwrap();
}

#[test]
fn changes_of_earlier_builds_load_and_mutated_ones_are_refused_by_name() {
    let (kernel, scratch) = (Kernel::new(), Scratch::new());
    let (virtio, irqchip) = MACHINES[0];
    let golden = Reader::new(CHANGES).unwrap();
    let pages = golden.clone().take("ram-pages").unwrap();
    assert_eq!((pages.kind, pages.version), ("page-runs", 1));
    let load = |contents: &[u8]| {
        let mut writer = Writer::new();
        for section in golden.sections() {
            let is_pages = section.id == "ram-pages";
            let contents = if is_pages { contents } else { section.contents };
            let section = Section {
                contents,
                ..*section
            };
            writer.add(section).unwrap();
        }
        let state = writer.finish();
        let ram = SavedRam::from(empty_ram(&scratch));
        let ram = ram.changed(empty_ram(&scratch), Reader::new(&state).unwrap())?;
        let machine = full(&kernel, &scratch, virtio, irqchip);
        machine.restore(&FakeHypervisor::new(), Reader::new(&state).unwrap(), ram)
    };
    let machine = load(pages.contents).unwrap();
    assert_eq!(machine.handle().ram().read::<u32>(CHANGED), Ok(0));
    drop(machine);
    let mut refusals = 0;
    for place in 0..pages.contents.len() {
        let mut contents = pages.contents.to_vec();
        contents[place] ^= 0x81;
        if let Err(error) = load(&contents) {
            assert!(error.to_string().contains("ram-pages"), "{place}: {error}");
            refusals += 1;
        }
    }
    assert!(refusals > pages.contents.len() / 2);
    for length in [0, 1, pages.contents.len() - 1] {
        let answer = load(&pages.contents[..length]);
        assert_eq!(answer.is_ok(), length == 0);
    }
}

#[test]
fn hostile_sections_end_in_an_error_with_their_name() {
    for (virtio, irqchip) in MACHINES {
        let (kernel, scratch) = (Kernel::new(), Scratch::new());
        let ram = scratch.ram("ram");
        let machine = pause(
            full(&kernel, &scratch, virtio, irqchip)
                .build(&idle())
                .unwrap(),
        );
        let state = save(&machine, &ram).unwrap();
        drop(machine);
        let original = Reader::new(&state).unwrap();
        for victim in original.sections() {
            let text = std::str::from_utf8(victim.contents).unwrap();
            let version = format!("\"version\":{}", victim.version);
            let changes = [
                String::new(),
                "[[[[".repeat(1000),
                text[..text.len() / 2].to_owned(),
                text.replace(&version, "\"version\":99"),
                text.replace("\"state\":{", "\"state\":{\"unknown\":1,"),
                text.replace("\"kind\":\"", "\"kind\":\"x"),
            ];
            for contents in changes {
                let mut writer = Writer::new();
                for section in original.sections() {
                    let changed = match section.id == victim.id {
                        true => contents.as_bytes(),
                        false => section.contents,
                    };
                    writer
                        .add(Section {
                            contents: changed,
                            ..*section
                        })
                        .unwrap();
                }
                let builder = full(&kernel, &scratch, virtio, irqchip);
                let answer = restored(builder, &FakeHypervisor::new(), (&writer.finish(), &ram));
                let error = answer.unwrap_err().to_string();
                assert!(error.contains(victim.id), "{}: {error}", victim.id);
            }
        }
    }
}

/// Whole machines that earlier builds have saved; they load for ever.
const GOLDENS: [(&str, VirtioTransport, Irqchip, &[u8]); 3] = [
    (
        "mmio.v1",
        MACHINES[0].0,
        MACHINES[0].1,
        include_bytes!("../goldens/mmio.v1"),
    ),
    (
        "split.v1",
        MACHINES[1].0,
        MACHINES[1].1,
        include_bytes!("../goldens/split.v1"),
    ),
    (
        "pci.v1",
        MACHINES[2].0,
        MACHINES[2].1,
        include_bytes!("../goldens/pci.v1"),
    ),
];

/// Writes the goldens of a new version: `cargo test -p vmmkit-vmm goldens_are_written -- --ignored`. A golden that is
/// there is never written again.
#[test]
#[ignore = "writes crates/vmm/goldens and seeds of a fuzz target"]
fn goldens_are_written() {
    for (name, virtio, irqchip, _) in GOLDENS {
        let (kernel, scratch) = (Kernel::new(), Scratch::new());
        let machine = full(&kernel, &scratch, virtio, irqchip).build(&idle());
        let state = save(&pause(machine.unwrap()), &scratch.ram("ram")).unwrap();
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let golden = root.join("goldens").join(name);
        if !golden.exists() || fs::metadata(&golden).unwrap().len() == 0 {
            fs::write(golden, &state).unwrap();
        }
        let seeds = root.join("../../fuzz/corpus/snapshot_load");
        fs::create_dir_all(&seeds).unwrap();
        for section in Reader::new(&state).unwrap().sections() {
            let mut seed = format!("{}\n", section.id).into_bytes();
            seed.extend(section.contents);
            fs::write(seeds.join(format!("{name}-{}", section.id)), seed).unwrap();
        }
    }
}

/// RAM of a golden, whose pages are all zero.
fn empty_ram(scratch: &Scratch) -> File {
    let ram = scratch.ram("ram");
    ram.set_len(16 << 20).unwrap();
    ram
}

#[test]
fn machines_of_earlier_builds_load_and_are_saved_alike() {
    for (name, virtio, irqchip, golden) in GOLDENS {
        let (kernel, scratch) = (Kernel::new(), Scratch::new());
        let builder = full(&kernel, &scratch, virtio, irqchip);
        let machine = restored(
            builder,
            &FakeHypervisor::new(),
            (golden, &empty_ram(&scratch)),
        );
        let machine = machine.unwrap();
        let handle = machine.handle();
        assert!(handle.pause());
        let machine = machine.start().unwrap();
        eventually("the vCPUs have threads", || handle.dump_vcpus().len() == 2);
        let mut writer = Writer::new();
        handle.save(&mut writer, &scratch.ram("again")).unwrap();
        let again = writer.finish();
        let (old, new) = (Reader::new(golden).unwrap(), Reader::new(&again).unwrap());
        for (old, new) in old.sections().iter().zip(new.sections()) {
            assert_eq!((old.id, old.kind), (new.id, new.kind), "{name}");
            // Times go on.
            let is_clock = ["acpi-pm", "cmos"].contains(&new.id);
            if old.version == new.version && !is_clock {
                let texts = [old, new].map(|it| std::str::from_utf8(it.contents).unwrap());
                assert_eq!(
                    texts[0], texts[1],
                    "{name}: a form has changed without a new version"
                );
            }
        }
        assert_eq!(old.sections().len(), new.sections().len(), "{name}");
        handle.stop();
        machine.wait().unwrap();
    }
}

#[test]
fn a_damaged_golden_is_refused_with_the_name_of_the_section() {
    let (_, _, _, golden) = GOLDENS[0];
    let whole = Reader::new(golden).unwrap();
    let mut start = golden.len()
        - whole
            .sections()
            .iter()
            .map(|it| it.contents.len())
            .sum::<usize>();
    for section in whole.sections() {
        // Every seventh byte and every bit.
        for place in (0..section.contents.len()).step_by(7) {
            let mut bytes = golden.to_vec();
            bytes[start + place] ^= 1 << (place % 8);
            let error = Reader::new(&bytes).unwrap_err().to_string();
            assert!(error.contains(section.id), "{}: {error}", section.id);
        }
        start += section.contents.len();
    }
}

#[test]
fn mutated_sections_with_right_checksums_are_refused_by_name_or_restored() {
    for (name, virtio, irqchip, golden) in GOLDENS {
        let (kernel, scratch) = (Kernel::new(), Scratch::new());
        let ram = empty_ram(&scratch);
        let whole = Reader::new(golden).unwrap();
        // The same mutations in each run: a linear congruential generator (Numerical Recipes, 7.1).
        let mut random = 1_u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % below
        };
        for victim in whole.sections() {
            for _ in 0..8 {
                let mut contents = victim.contents.to_vec();
                let place = next(contents.len());
                contents[place] = b"0179-\",:[]{}aFnt"[next(16)];
                let mut writer = Writer::new();
                for section in whole.sections() {
                    let is_victim = section.id == victim.id;
                    let contents = if is_victim {
                        &contents
                    } else {
                        section.contents
                    };
                    writer
                        .add(Section {
                            contents,
                            ..*section
                        })
                        .unwrap();
                }
                let builder = full(&kernel, &scratch, virtio, irqchip);
                let state = writer.finish();
                match restored(builder, &FakeHypervisor::new(), (&state, &ram)) {
                    Ok(_) => {}
                    // The hypervisor refused a value, and the message says of which vCPU or that it is the VM's.
                    Err(RestoreError::Build(error)) => {
                        let is_core = victim.id.starts_with("vcpu") || victim.id == "vm";
                        assert!(is_core, "{name}: {}: {error}", victim.id);
                    }
                    Err(error) => {
                        let text = error.to_string();
                        assert!(text.contains(victim.id), "{name}: {}: {text}", victim.id);
                    }
                }
            }
        }
    }
}
