//! Guests of a few instructions on this machine's KVM, genuine or software: what CPUID tells them, how many
//! vCPUs there can be, and that none of many boots fails or leaves anything. A test program of its own,
//! since it counts what its process has.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vmmkit_benches::micro_guest::{Work, elf};
use vmmkit_device_bus::{
    AddressRange, DevicePio, Lifecycle, PioAddress, PioAddressOffset, SaveState, SavedState,
    StateError,
};
use vmmkit_guest_memory::PageRuns;
use vmmkit_hypervisor::x86::CpuidEntry;
use vmmkit_hypervisor::{Hypervisor, Irqchip, VcpuId};
use vmmkit_hypervisor_kvm::{Kvm, KvmKind, forced_cpuid, kvm_kind};
use vmmkit_snapshot::stream::{Offer, PageStore, Parting, Sender};
use vmmkit_snapshot::{Folder, FolderError, Reader, Writer};
use vmmkit_telemetry::Inspect;
use vmmkit_tests::disk::Scratch;
use vmmkit_tests::diskless::skip;
use vmmkit_virtio_devices::Rng;
use vmmkit_vmm::{
    Boot, BuildError, Extent, Machine, MachineBuilder, MachineConfig, Outcome, PauseOutcome,
    Paused, Ready, Running, SaveError, SavedRam, VirtioTransport,
};
use vmmkit_x86_cpu::{Clocks, CpuModel, Topology, cpuid};

/// One test at a time, since one counts descriptors and threads.
static ALONE: Mutex<()> = Mutex::new(());

fn kvm(name: &str) -> Option<Kvm> {
    Kvm::open()
        .inspect_err(|error| skip(name, &error.to_string()))
        .ok()
}

fn machine(kernel: &Path, vcpus: u32) -> MachineConfig {
    MachineConfig {
        vcpus,
        ..MachineConfig::new(Boot::kernel(kernel))
    }
}

fn kernel(scratch: &Scratch, code: &[u8]) -> std::path::PathBuf {
    let path = scratch.path().join("kernel");
    fs::write(&path, elf(code)).unwrap();
    path
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn of_many_boots_none_fails_and_none_leaves_anything() {
    let _alone = ALONE.lock().unwrap();
    let Some(kvm) = kvm("many boots") else {
        return;
    };
    // `VMMKIT_MICRO_BOOTS=1000` is the long form.
    let boots = std::env::var("VMMKIT_MICRO_BOOTS").map_or(50, |text| text.parse().unwrap());
    let scratch = Scratch::new().unwrap();
    let kernel = kernel(&scratch, &Work::PortWrites(10).code());
    let boot = || {
        let built = MachineBuilder::new(machine(&kernel, 1))
            .build(&kvm)
            .unwrap();
        built.start().unwrap().wait().unwrap()
    };
    boot();
    let before = (entries("/proc/self/fd"), entries("/proc/self/task"));
    for number in 0..boots {
        assert_eq!(boot(), Outcome::Reset, "boot {number}");
        let after = (entries("/proc/self/fd"), entries("/proc/self/task"));
        assert_eq!(after, before, "descriptors, threads after boot {number}");
    }
}

#[test]
fn every_vcpu_of_a_large_machine_is_started_by_the_first() {
    let _alone = ALONE.lock().unwrap();
    let Some(kvm) = kvm("256 vCPUs") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    // 300: APIC IDs above 255 need an x2APIC.
    for vcpus in [2, 8, 256, 300] {
        if vcpus > kvm.capabilities().max_vcpus {
            skip(&format!("{vcpus} vCPUs"), "this KVM gives a VM fewer");
            continue;
        }
        let kernel = kernel(&scratch, &Work::PortWritesOnAll { vcpus, count: 10 }.code());
        let built = MachineBuilder::new(machine(&kernel, vcpus))
            .build(&kvm)
            .unwrap();
        let handle = built.handle();
        let outcome = built.start().unwrap().wait().unwrap();
        assert_eq!(outcome, Outcome::Reset, "{vcpus}");
        let unclaimed = handle.unclaimed_ports();
        assert_eq!(
            unclaimed.writes,
            u64::from(vcpus) * 10,
            "each vCPU's writes"
        );
    }
}

#[test]
fn apic_ids_with_holes_are_those_of_the_vcpus() {
    let _alone = ALONE.lock().unwrap();
    let Some(kvm) = kvm("APIC IDs with holes") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let topology = Topology::new(3, 1, 3, 1).unwrap();
    let kernel = kernel(
        &scratch,
        &Work::PortWritesOnAll { vcpus: 9, count: 1 }.code(),
    );
    let config = MachineConfig {
        topology: Some(topology),
        ..machine(&kernel, 9)
    };
    let built = MachineBuilder::new(config).build(&kvm).unwrap();
    assert_eq!(built.start().unwrap().wait().unwrap(), Outcome::Reset);
}

/// Where the guest's answers go, 4 bytes at a time.
#[derive(Default)]
struct Answers(Mutex<Vec<u32>>);

/// The port of them.
const ANSWERS: u16 = 0x520;

impl DevicePio for Answers {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        data.fill(0);
    }
    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        let word = data.try_into().map_or(u32::MAX, u32::from_le_bytes);
        self.0.lock().unwrap().push(word);
    }
}

/// Asks CPUID for each of `places`, and writes EAX, EBX, ECX, EDX of each answer.
fn asks_cpuid(places: &[CpuidEntry]) -> Vec<u8> {
    let mut code = Vec::new();
    for place in places {
        code.push(0xb8); // mov eax, leaf
        code.extend(place.function.to_le_bytes());
        code.push(0xb9); // mov ecx, sub-leaf
        code.extend(place.index.to_le_bytes());
        code.extend([0x0f, 0xa2, 0x89, 0xd6]); // cpuid; mov esi, edx
        code.extend([0x66, 0xba]); // mov dx, port
        code.extend(ANSWERS.to_le_bytes());
        // out dx, eax; mov eax, ebx; out; mov eax, ecx; out; mov eax, esi; out
        code.extend([0xef, 0x89, 0xd8, 0xef, 0x89, 0xc8, 0xef, 0x89, 0xf0, 0xef]);
    }
    code.extend(Work::Nothing.code());
    code
}

/// The guest's own dump of CPUID under `model` is the table that was made for it. Returns whether this
/// host has all of the model.
fn dumps_its_cpuid(kvm: &Kvm, model: &str, topology: Topology) -> bool {
    let model: CpuModel = model.parse().unwrap();
    let host = kvm.supported_cpuid().unwrap();
    // Some, so that the leaf of the clocks is there.
    let clocks = Clocks {
        tsc_khz: Some(1_000_000),
        ..Clocks::default()
    };
    let Ok(table) = cpuid(&host, &model, &topology, VcpuId(0), clocks) else {
        return false;
    };
    // The clocks themselves are those of the machine.
    let places: Vec<CpuidEntry> = table
        .into_iter()
        .filter(|leaf| ![0x15, 0x16, 0x4000_0010].contains(&leaf.function))
        .collect();
    let scratch = Scratch::new().unwrap();
    let kernel = kernel(&scratch, &asks_cpuid(&places));
    let answers = Arc::new(Answers::default());
    let config = MachineConfig {
        cpu: model.clone(),
        topology: Some(topology),
        ..machine(&kernel, topology.vcpus())
    };
    let range = AddressRange::new(ANSWERS.into(), 4);
    let built = MachineBuilder::new(config)
        .plug_port_device("answers", range, answers.clone())
        .build(kvm)
        .unwrap();
    assert_eq!(built.start().unwrap().wait().unwrap(), Outcome::Reset);

    let words = answers.0.lock().unwrap().clone();
    assert_eq!(words.len(), places.len() * 4);
    let forced = match kvm_kind() {
        KvmKind::Software => forced_cpuid(kvm).unwrap(),
        _ => Vec::new(),
    };
    for (place, seen) in places.iter().zip(words.chunks(4)) {
        let at = |leaf: &CpuidEntry| (leaf.function, leaf.index) == (place.function, place.index);
        let bits = forced.iter().find(|bits| at(&bits.on));
        let given = [place.eax, place.ebx, place.ecx, place.edx];
        let mask = |leaf: CpuidEntry| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx];
        let on = bits.map_or([0; 4], |bits| mask(bits.on));
        let off = bits.map_or([0; 4], |bits| mask(bits.off));
        for (register, name) in ["EAX", "EBX", "ECX", "EDX"].into_iter().enumerate() {
            // What of XSAVE's area is in use follows from XCR0.
            let is_size = place.function == 0xd && place.index < 2 && register == 1;
            if !is_size {
                let (seen, given) = (
                    seen[register],
                    given[register] | on[register] & !off[register],
                );
                assert_eq!(
                    seen & !off[register],
                    given & !off[register],
                    "{model}: leaf {:#x}.{} {name}: {seen:#x}, and {given:#x} was given",
                    place.function,
                    place.index
                );
            }
        }
    }
    true
}

#[test]
fn the_guest_s_own_dump_of_cpuid_is_the_one_asked_for() {
    let _alone = ALONE.lock().unwrap();
    let Some(kvm) = kvm("CPUID of a guest") else {
        return;
    };
    let topologies = [Topology::of(1), Topology::new(2, 2, 3, 2).unwrap()];
    for model in ["host", "host,-cx16,-clflushopt", "baseline", "x86-64-v3"] {
        for topology in topologies {
            if !dumps_its_cpuid(&kvm, model, topology) {
                skip(
                    &format!("CPUID of a guest with {model}"),
                    "this host has not all of it",
                );
            }
        }
    }
}

#[test]
fn more_than_the_host_has_is_refused_by_name() {
    let Some(kvm) = kvm("a profile that asks for more") else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let kernel = kernel(&scratch, &Work::Nothing.code());
    let text = "others = \"host\"\ncpuid = [{ leaf = 7, subleaf = 0, ebx = 0x0800_0000 }]";
    let profile = vmmkit_x86_cpu::Profile::parse("more", text).unwrap();
    let config = MachineConfig {
        cpu: CpuModel::of_profile(profile, []).unwrap(),
        ..machine(&kernel, 1)
    };
    let error = MachineBuilder::new(config).build(&kvm).unwrap_err();
    let BuildError::Cpu(error) = error else {
        panic!("{error}");
    };
    assert_eq!(
        error.to_string(),
        "the host has no avx512er (CPUID leaf 0x7.0, EBX bit 27)"
    );
}

/// Enables its local APIC, leads pin 3 of the I/O APIC to vector 0x40, and with interrupts off writes to port 0x520 again and
/// again: whether that vector waits (IRR, Intel SDM volume 3, 12.8.4), and the first word of the VM generation ID.
const READS_GENERATION: [u8; 54] = [
    0xbb, 0, 0, 0xe0, 0xfe, // mov ebx, 0xfee00000
    0xc7, 0x83, 0xf0, 0, 0, 0, 0xff, 1, 0, 0, // mov dword [rbx + 0xf0], 0x1ff
    0xb9, 0, 0, 0xc0, 0xfe, // mov ecx, 0xfec00000
    0xc7, 0x01, 0x16, 0, 0, 0, // mov dword [rcx], 0x16
    0xc7, 0x41, 0x10, 0x40, 0, 0, 0, // mov dword [rcx + 0x10], 0x40
    0x66, 0xba, 0x20, 0x05, // mov dx, 0x520
    0x8b, 0x83, 0x20, 0x02, 0, 0,    // again: mov eax, [rbx + 0x220]
    0xef, // out dx, eax
    0x8b, 0x04, 0x25, 0, 0xd0, 0x0f, 0,    // mov eax, [0xfd000]
    0xef, // out dx, eax
    0xeb, 0xef, // jmp again
];

/// Counts in a register and in RAM, and writes the number to port 0x520; exits with code 1 where they differ.
const COUNTS: [u8; 39] = [
    0x31, 0xdb, // xor ebx, ebx
    0x48, 0xff, 0xc3, // again: inc rbx
    0x48, 0xff, 0x04, 0x25, 0, 0, 0x80, 0, // inc qword [0x800000]
    0x48, 0x3b, 0x1c, 0x25, 0, 0, 0x80, 0, // cmp rbx, [0x800000]
    0x75, 0x09, // jne differ
    0x66, 0xba, 0x20, 0x05, // mov dx, 0x520
    0x89, 0xd8, 0xee, // mov eax, ebx; out dx, al
    0xeb, 0xe2, // jmp again
    0xb0, 0x01, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, // differ: mov al, 1; out 0xf4, al; hlt; jmp
];

/// Maps 1 GiB at 4 GiB (a page of that size, Intel SDM volume 3, 5.5.4), counts, and adds each number to one of 64 pages
/// there, and to one of 64 below 3 GiB; writes the number to port 0x520. Exits with code 1 where a page does not hold how
/// often its turn has come.
const COUNTS_HIGH: [u8; 103] = [
    0x0f, 0x20, 0xd8, // mov rax, cr3
    0x48, 0x8b, 0x00, // mov rax, [rax]
    0x48, 0x25, 0, 0xf0, 0xff, 0xff, // and rax, ~0xfff
    0x48, 0xb9, 0x83, 0, 0, 0, 1, 0, 0, 0, // mov rcx, 0x100000083
    0x48, 0x89, 0x48, 0x20, // mov [rax + 0x20], rcx
    0x48, 0xbe, 0, 0, 0, 0, 1, 0, 0, 0, // mov rsi, 0x100000000
    0x41, 0xb8, 0, 0, 0, 0xb0, // mov r8d, 0xb0000000
    0x31, 0xdb, // xor ebx, ebx
    0x48, 0xff, 0xc3, // again: inc rbx
    0x48, 0x89, 0xdf, // mov rdi, rbx
    0x83, 0xe7, 0x3f, // and edi, 63
    0xc1, 0xe7, 0x0c, // shl edi, 12
    0x48, 0xff, 0x04, 0x3e, // inc qword [rsi + rdi]
    0x49, 0xff, 0x04, 0x38, // inc qword [r8 + rdi]
    0x48, 0x89, 0xd9, // mov rcx, rbx
    0x48, 0x83, 0xc1, 0x3f, // add rcx, 63
    0x48, 0xc1, 0xe9, 0x06, // shr rcx, 6
    0x48, 0x3b, 0x0c, 0x3e, // cmp rcx, [rsi + rdi]
    0x75, 0x0f, // jne differ
    0x49, 0x3b, 0x0c, 0x38, // cmp rcx, [r8 + rdi]
    0x75, 0x09, // jne differ
    0x66, 0xba, 0x20, 0x05, // mov dx, 0x520
    0x89, 0xd8, 0xee, // mov eax, ebx; out dx, al
    0xeb, 0xcc, // jmp again
    0xb0, 0x01, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, // differ: mov al, 1; out 0xf4, al; hlt; jmp
];

/// The guest's counts; a part of the machine, which is saved.
#[derive(Debug, Default)]
struct Counted(Mutex<Vec<u8>>);

impl Counted {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Waits until `machine` has counted 300 numbers more, or has ended.
    fn wait(&self, machine: &Machine<Running>) {
        let before = self.count();
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.count() < before + 300 && !machine.handle().has_ended() {
            assert!(Instant::now() < deadline, "{} counted", self.count());
            std::thread::yield_now();
        }
    }

    /// No number is lost, and none comes twice, of `least` and more.
    #[track_caller]
    fn check(&self, least: usize) {
        let numbers = self.0.lock().unwrap().clone();
        assert!(numbers.len() >= least, "{} counted", numbers.len());
        for (number, seen) in (1_usize..).zip(numbers) {
            assert_eq!(seen, number as u8, "number {number}");
        }
    }
}

/// A machine of `config` whose guest counts into `counted`.
fn counting(config: MachineConfig, counted: &Arc<Counted>) -> MachineBuilder {
    MachineBuilder::new(config)
        .virtio_device(Arc::new(Rng::new()))
        .plug_port_device("counted", AddressRange::new(0x520, 1), counted.clone())
        .lead("counted", counted.clone())
}

/// A KVM that gives all its state, for the test called `name`.
fn saving_kvm(name: &str) -> Option<Kvm> {
    let kvm = kvm(name)?;
    if !kvm.capabilities().saved_state {
        skip(name, "a software KVM does not give all its state");
        return None;
    }
    Some(kvm)
}

impl DevicePio for Counted {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        self.0.lock().unwrap().extend(data);
    }
}

impl Lifecycle for Counted {}
impl Inspect for Counted {}

impl SaveState for Counted {
    fn save_state(&self) -> Result<SavedState, StateError> {
        Ok(SavedState::empty("counted"))
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        saved.read_empty("counted")
    }
}

/// Lets the guest count, pauses it and saves it into `folder`.
fn count_and_save(machine: Machine<Ready>, counted: &Counted, folder: &Folder) {
    let machine = count(machine, counted);
    let saved = folder.save(|writer, ram| machine.save(writer, ram).map_err(SaveFailure::from));
    saved.unwrap();
}

/// Lets the guest count, and pauses it.
fn count(machine: Machine<Ready>, counted: &Counted) -> Machine<Paused> {
    let before = counted.count();
    let machine = machine.start().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while counted.count() < before + 300 && !machine.handle().has_ended() {
        assert!(Instant::now() < deadline, "{} counted", counted.count());
        std::thread::yield_now();
    }
    let paused = match machine.pause() {
        PauseOutcome::Paused(machine) => Ok(machine),
        PauseOutcome::Ended(machine) => Err(machine.wait()),
    };
    // Code 1: another number in RAM than in the register.
    paused.unwrap()
}

#[derive(Debug)]
#[expect(dead_code, reason = "for the message of a failed test")]
enum SaveFailure {
    Machine(SaveError),
    Folder(FolderError),
}

impl From<SaveError> for SaveFailure {
    fn from(error: SaveError) -> Self {
        Self::Machine(error)
    }
}

impl From<FolderError> for SaveFailure {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

#[test]
fn a_saved_guest_counts_on_in_the_second_third_and_fourth_generation() {
    let _alone = ALONE.lock().unwrap();
    let name = "a guest that is saved and restored";
    let Some(kvm) = saving_kvm(name) else {
        return;
    };
    for (irqchip, virtio) in [
        (Irqchip::InKernel { pit: true }, VirtioTransport::Mmio),
        (Irqchip::Split, VirtioTransport::Pci),
    ] {
        let scratch = Scratch::new().unwrap();
        let kernel = kernel(&scratch, &COUNTS);
        let counted = Arc::new(Counted::default());
        let builder = || {
            let config = MachineConfig {
                irqchip,
                virtio,
                ..machine(&kernel, 2)
            };
            counting(config, &counted)
        };
        let folder = Folder::new(scratch.path().join("snapshot"));
        count_and_save(builder().build(&kvm).unwrap(), &counted, &folder);
        for _ in 0..3 {
            let snapshot = folder.open().unwrap();
            let ram = snapshot.ram().try_clone().unwrap();
            let restored = builder().restore(&kvm, snapshot.reader(), ram);
            count_and_save(restored.unwrap(), &counted, &folder);
        }
        println!("{irqchip:?}");
        counted.check(1200);
        let snapshot = folder.open().unwrap();
        let sections = snapshot.reader();
        let sizes = sections.sections().iter();
        let sizes: Vec<_> = sizes.map(|it| (it.id, it.contents.len())).collect();
        println!("bytes of each section: {sizes:?}");
        let state = fs::metadata(folder.path().join("machine.snapshot")).unwrap();
        assert!(state.len() < 64 << 10, "{} bytes: {sizes:?}", state.len());
    }
}

/// Saves `extent` of the guest that counts while it runs, but for the last of it; it is paused then. How long the rest took.
fn save_live(
    machine: &Machine<Running>,
    extent: Extent,
    writer: &mut Writer,
    ram: &File,
) -> Result<Duration, SaveFailure> {
    let handle = machine.handle();
    let ahead = handle.save_ahead(extent, ram)?;
    let began = Instant::now();
    assert!(handle.pause());
    handle.save_rest(ahead, writer, ram)?;
    Ok(began.elapsed())
}

/// RAM that arrives, in a file.
struct Arriving<'a>(&'a File);

impl PageStore for Arriving<'_> {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(length).unwrap()];
        self.0.write_all_at(&zeros, offset)
    }
}

/// Sends the guest of `machine` while it runs, and lets go of it.
fn send(machine: &Machine<Running>, stream: UnixStream) {
    let handle = machine.handle();
    let copy = |sender: &mut Sender<UnixStream>, pages: &PageRuns| {
        let sent = handle.ram().copy_pages(pages, |first, count, bytes| {
            let sent = match bytes {
                Some(bytes) => sender.pages(first, bytes),
                None => sender.zeros(first, count),
            };
            sent.map_err(io::Error::other)
        });
        sent.unwrap();
    };
    let saver = handle.ram_saver().unwrap();
    let mut sender = Sender::begin(stream, b"", handle.ram().size()).unwrap();
    let mut pages = saver.log_all().unwrap();
    for _ in 0..3 {
        copy(&mut sender, &pages);
        sender.round().unwrap();
        pages = saver.written().unwrap().runs();
    }
    assert!(handle.pause());
    let mut writer = Writer::new();
    let parting = handle.save_as(&mut writer, |saver, writer| -> Result<_, SaveFailure> {
        copy(&mut sender, &pages);
        copy(&mut sender, &saver.written().unwrap().runs());
        let state = std::mem::take(writer).finish();
        let parting = sender.state(&state, true).unwrap().commit();
        handle.stop();
        Ok(parting)
    });
    assert!(matches!(parting, Ok(Parting::Running)));
}

#[test]
fn a_guest_that_is_sent_counts_on_without_a_step_back() {
    let _alone = ALONE.lock().unwrap();
    let name = "a guest that is sent while it runs";
    let Some(kvm) = saving_kvm(name) else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let kernel = kernel(&scratch, &COUNTS);
    let counted = Arc::new(Counted::default());
    let builder = || counting(machine(&kernel, 2), &counted);
    let wait = |machine: &Machine<Running>| counted.wait(machine);
    let mut running = builder().build(&kvm).unwrap().start().unwrap();
    for generation in 1..4 {
        wait(&running);
        let (ours, theirs) = UnixStream::pair().unwrap();
        running = std::thread::scope(|scope| {
            scope.spawn(|| send(&running, ours));
            let offer = Offer::read(theirs).unwrap();
            let mut options = File::options();
            let options = options.read(true).write(true).create_new(true);
            let ram = options
                .open(scratch.path().join(format!("ram{generation}")))
                .unwrap();
            ram.set_len(offer.ram_bytes()).unwrap();
            let receiving = offer.accept().unwrap();
            let received = receiving.receive(&mut Arriving(&ram)).unwrap();
            let state = Reader::new(received.state()).unwrap();
            let restored = builder().restore(&kvm, state, SavedRam::own(ram)).unwrap();
            let committed = received.ready().unwrap();
            let next = restored.start().unwrap();
            committed.running();
            next
        });
    }
    wait(&running);
    drop(running);
    counted.check(1200);
}

#[test]
fn a_guest_is_saved_while_it_counts_and_its_changes_too() {
    let _alone = ALONE.lock().unwrap();
    let name = "a guest that is saved while it runs";
    let Some(kvm) = saving_kvm(name) else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let kernel = kernel(&scratch, &COUNTS_HIGH);
    let counted = Arc::new(Counted::default());
    let builder = || {
        let mut config = machine(&kernel, 1);
        config.ram.size = "3200M".parse().unwrap();
        counting(config, &counted)
    };
    let built = match builder().build(&kvm) {
        Err(BuildError::Ram(error)) => {
            skip(name, &error.to_string());
            return;
        }
        built => built.unwrap(),
    };
    let wait = |machine: &Machine<Running>| counted.wait(machine);
    // All of it, its changes, and its changes once more, of one that was not restored.
    let folders: Vec<Folder> = (0..4)
        .map(|number| Folder::new(scratch.path().join(format!("live{number}"))))
        .collect();
    let running = built.start().unwrap();
    wait(&running);
    let mut pause = Duration::ZERO;
    let mut base = None;
    for (folder, extent) in folders
        .iter()
        .zip([Extent::Base, Extent::Changes, Extent::Changes])
    {
        running.handle().resume();
        wait(&running);
        let write = |writer: &mut Writer, ram: &File| {
            pause = save_live(&running, extent, writer, ram)?;
            Ok::<(), SaveFailure>(())
        };
        let saved = match &base {
            None => folder.save(write),
            Some(base) => folder.save_changes(base, write),
        };
        let saved = saved.unwrap();
        println!("{extent:?}: the rest took {pause:?}");
        base.get_or_insert(saved);
    }
    drop(running);
    // It goes on from there, is saved while it runs again, and goes on from there.
    for folder in &folders[2..] {
        let chain = folder.open_chain(None).unwrap();
        let ram = SavedRam::of(&chain).unwrap();
        let restored = builder().restore(&kvm, chain.top().reader(), ram);
        let running = restored.unwrap().start().unwrap();
        wait(&running);
        if folder.path() == folders[2].path() {
            let lineage = chain.lineage().unwrap();
            let saved = folders[3].save_changes(&lineage, |writer, ram| {
                save_live(&running, Extent::Changes, writer, ram).map(drop)
            });
            saved.unwrap();
        }
    }
    // No number is lost, and none comes twice, but for those behind the last save.
    counted.check(1500);
}

#[test]
fn changes_of_a_guest_on_both_sides_of_the_mmio_hole_build_on_each_other() {
    let _alone = ALONE.lock().unwrap();
    let name = "a guest whose changes are saved";
    let Some(kvm) = saving_kvm(name) else {
        return;
    };
    let scratch = Scratch::new().unwrap();
    let kernel = kernel(&scratch, &COUNTS_HIGH);
    let counted = Arc::new(Counted::default());
    let builder = || {
        let mut config = machine(&kernel, 1);
        config.ram.size = "3200M".parse().unwrap();
        MachineBuilder::new(config)
            .plug_port_device("counted", AddressRange::new(0x520, 1), counted.clone())
            .lead("counted", counted.clone())
    };
    let folder = |generation: u32| Folder::new(scratch.path().join(generation.to_string()));
    let first = match builder().build(&kvm) {
        Err(BuildError::Ram(error)) => {
            skip(name, &error.to_string());
            return;
        }
        first => first.unwrap(),
    };
    let machine = count(first, &counted);
    let saved = folder(0).save(|writer, ram| machine.save(writer, ram).map_err(SaveFailure::from));
    saved.unwrap();
    drop(machine);
    for generation in 1..=4 {
        let chain = folder(generation - 1).open_chain(None).unwrap();
        assert_eq!(chain.bases().len() as u32, generation - 1);
        let ram = SavedRam::of(&chain).unwrap();
        let restored = builder().restore(&kvm, chain.top().reader(), ram);
        let machine = count(restored.unwrap(), &counted);
        let own = folder(generation);
        let saved = own.save_changes(&chain.lineage().unwrap(), |writer, ram| {
            machine
                .handle()
                .save_extent(Extent::Changes, writer, ram)
                .map_err(SaveFailure::from)
        });
        saved.unwrap();
        // The pages that it writes, and some of the VMM's, of 3200 MiB.
        let blocks = own.open().unwrap().ram().metadata().unwrap().blocks();
        assert!((128 * 8..1024 * 8).contains(&blocks), "{blocks} blocks");
    }
    // No number is lost, and none comes twice.
    counted.check(1500);
}

#[test]
fn a_clone_finds_another_generation_and_the_interrupt_of_it() {
    let _alone = ALONE.lock().unwrap();
    let name = "a guest that learns of its restore";
    let Some(kvm) = saving_kvm(name) else {
        return;
    };
    for irqchip in [Irqchip::InKernel { pit: true }, Irqchip::Split] {
        let scratch = Scratch::new().unwrap();
        let kernel = kernel(&scratch, &READS_GENERATION);
        let counted = Arc::new(Counted::default());
        let builder = || {
            let config = MachineConfig {
                irqchip,
                ..machine(&kernel, 1)
            };
            let range = AddressRange::new(0x520, 4);
            MachineBuilder::new(config)
                .plug_port_device("counted", range, counted.clone())
                .lead("counted", counted.clone())
        };
        let folder = Folder::new(scratch.path().join("snapshot"));
        let mut seen = Vec::new();
        count_and_save(builder().build(&kvm).unwrap(), &counted, &folder);
        seen.push(std::mem::take(&mut *counted.0.lock().unwrap()));
        // Two clones of one snapshot.
        for clone in ["clone1", "clone2"] {
            let snapshot = folder.open().unwrap();
            let ram = snapshot.ram().try_clone().unwrap();
            let restored = builder().restore(&kvm, snapshot.reader(), ram);
            let own = Folder::new(scratch.path().join(clone));
            count_and_save(restored.unwrap(), &counted, &own);
            seen.push(std::mem::take(&mut *counted.0.lock().unwrap()));
        }
        let mut ids = Vec::new();
        for (generation, bytes) in seen.iter().enumerate() {
            let words = bytes.chunks_exact(4);
            let words = words.map(|word| u32::from_le_bytes(word.try_into().unwrap()));
            // Of what was under way when the guest was saved, one word may be of before.
            let words: Vec<u32> = words.skip(2).collect();
            // Pairs begin with either, as the guest was saved between any two.
            let (even, odd): (Vec<_>, Vec<_>) = (0..).zip(&words).partition(|it| it.0 % 2 == 0);
            let is_pending = |words: &[(i32, &u32)]| words.iter().all(|it| *it.1 <= 1);
            let (pending, id) = match is_pending(&even) {
                true => (even, odd),
                false => (odd, even),
            };
            let expected = u32::from(generation > 0);
            assert!(
                pending.iter().all(|it| *it.1 == expected),
                "{irqchip:?} {generation}: {words:x?}"
            );
            assert!(id.iter().all(|it| it.1 == id[0].1), "{words:x?}");
            assert!(!ids.contains(id[0].1), "{words:x?}");
            ids.push(*id[0].1);
        }
    }
}
