//! The devices the guest finds behind ports and addresses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use support::*;
use vmmkit_device_bus::{
    AddressRange, DeviceMmio, DevicePio, GuestRequest, MmioAddress, MmioAddressOffset, PioAddress,
    PioAddressOffset, RequestSink,
};
use vmmkit_guest_memory::{GuestRam, RamConfig};
use vmmkit_hypervisor::fake::{FakeHypervisor, Script};
use vmmkit_hypervisor::{CmdlineAddition, Width};
use vmmkit_virtio_devices::{Mem, Pmem, PmemConfig, Rng};
use vmmkit_vmm::{
    BuildError, DeviceId, FREE_MMIO, FREE_PORTS, KernelBoot, MachineBuilder, MachineConfig,
    MemoryPlace, Outcome, VirtioTransport, WeakHandle,
};

#[test]
fn what_the_guest_sends_comes_out_of_the_console() {
    let script = Script::new()
        .port_write(COM1, b"Hello ")
        .port_write(COM1, b"world\n");
    let (ending, output) = play_to_console(reset(script));
    assert_eq!(ending.unwrap(), Outcome::Reset);
    assert_eq!(output, b"Hello world\n");
}

#[test]
fn the_guest_s_last_words_are_written_before_wait_returns() {
    let kernel = Kernel::new();
    let (reader, console) = piped_output();
    let machine = MachineBuilder::new(kernel.config())
        .console(console)
        .build(&playing(reset(Script::new().port_write(COM1, b"bye"))))
        .unwrap();
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
    assert_eq!(std::io::read_to_string(reader).unwrap(), "bye");
}

#[test]
fn an_idle_serial_port_has_an_empty_transmitter_and_no_interrupt() {
    let script = Script::new()
        .port_read(COM1_LSR, Width::Byte, 0x60)
        .port_read(COM1_FCR, Width::Byte, 0x01);
    let (ending, transcript) = play(reset(script));
    assert_eq!(ending.unwrap(), Outcome::Reset);
    assert_eq!(transcript.surprises, Vec::<String>::new());
    assert_eq!(transcript.answers.len(), 2);
}

#[test]
fn an_enabled_empty_transmitter_raises_its_line() {
    let hypervisor = playing(reset(
        Script::new()
            .port_write(COM1 + 4, &[0x08]) // OUT2 connects the line
            .port_write(COM1_IER, &[0x02]),
    ));
    build(&hypervisor, 1).start().unwrap().wait().unwrap();
    let change = hypervisor.line_changes()[0];
    assert_eq!((change.gsi.0, change.high), (4, true));
}

#[test]
fn ports_that_nobody_claims_read_as_ones_and_swallow_writes() {
    let script = Script::new()
        .port_read(0x510, Width::Byte, 0xff)
        .port_read(0x510, Width::Word, 0xffff)
        .port_read(0x510, Width::Dword, 0xffff_ffff)
        .port_write(0x510, &[1, 2, 3]);
    let hypervisor = playing(reset(script));
    let machine = build(&hypervisor, 1);
    let handle = machine.handle();
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
    assert!(hypervisor.transcript(BOOT).surprises.is_empty());
    let unclaimed = handle.unclaimed_ports();
    assert!(
        unclaimed.reads >= 3 && unclaimed.writes >= 1,
        "{unclaimed:?}"
    );
}

#[test]
fn addresses_that_nobody_claims_read_as_ones_in_every_length() {
    let script = (1..=8).fold(Script::new(), |script, length| {
        let ones = u64::MAX >> (64 - 8 * u32::from(length));
        script
            .mmio_read(0xd000_0000, length, ones)
            .mmio_write(0xd000_0000, &[0; 8][..length.into()])
    });
    let (ending, transcript) = play(reset(script));
    assert_eq!(ending.unwrap(), Outcome::Reset);
    assert_eq!(transcript.surprises, Vec::<String>::new());
    assert_eq!(transcript.answers.len(), 8);
}

#[test]
fn an_access_at_the_very_end_of_both_spaces_is_answered() {
    let script = Script::new()
        .port_read(0xffff, Width::Dword, 0xffff_ffff)
        .mmio_read(u64::MAX, 8, u64::MAX)
        .mmio_write(u64::MAX - 3, &[0; 8]);
    let (ending, transcript) = play(reset(script));
    assert_eq!(ending.unwrap(), Outcome::Reset);
    assert_eq!(transcript.surprises, Vec::<String>::new());
}

#[test]
fn string_io_is_one_access_per_element() {
    let text: Vec<u8> = (0..4096).map(|byte| b'a' + (byte % 26) as u8).collect();
    let script = Script::new()
        .port_write(COM1, &text)
        .port_read_string(COM1_LSR, Width::Byte, 100);
    let (ending, output) = play_to_console(reset(script));
    assert_eq!(ending.unwrap(), Outcome::Reset);
    assert_eq!(output, text);
}

/// Remembers what is written to it and answers 1, 2, 3, ...
#[derive(Default)]
struct Notebook {
    written: Mutex<Vec<(u64, Vec<u8>)>>,
    next: Mutex<u8>,
}

impl Notebook {
    fn answer(&self, data: &mut [u8]) {
        let mut next = self.next.lock();
        for byte in data {
            *next += 1;
            *byte = *next;
        }
    }

    fn note(&self, offset: u64, data: &[u8]) {
        self.written.lock().push((offset, data.to_vec()));
    }
}

impl DevicePio for Notebook {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        self.answer(data);
    }
    fn pio_write(&self, _: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        self.note(offset.into(), data);
    }
}

impl DeviceMmio for Notebook {
    fn mmio_read(&self, _: MmioAddress, _: MmioAddressOffset, data: &mut [u8]) {
        self.answer(data);
    }
    fn mmio_write(&self, _: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.note(offset, data);
    }
}

#[test]
fn an_embedder_s_device_answers_ports() {
    let device = Arc::new(Notebook::default());
    let script = Script::new()
        .port_read(0x520, Width::Byte, 0x01)
        .port_read(0x522, Width::Word, 0x0302)
        .port_read_string(0x520, Width::Byte, 3)
        .port_write_wide(0x524, Width::Dword, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let hypervisor = playing(reset(script));
    let kernel = Kernel::new();
    let machine = MachineBuilder::new(kernel.config())
        .plug_port_device("notebook", AddressRange::new(0x520, 8), device.clone())
        .build(&hypervisor)
        .unwrap();
    let names: Vec<_> = machine
        .handle()
        .port_regions()
        .into_iter()
        .map(|region| region.name)
        .collect();
    assert!(names.iter().any(|name| &**name == "notebook"), "{names:?}");
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);

    let transcript = hypervisor.transcript(BOOT);
    assert_eq!(transcript.surprises, Vec::<String>::new());
    assert_eq!(transcript.answers[2].data, [4, 5, 6]);
    let written = device.written.lock();
    assert_eq!(*written, [(4, vec![1, 2, 3, 4]), (4, vec![5, 6, 7, 8])]);
}

#[test]
fn an_embedder_s_device_answers_addresses() {
    let device = Arc::new(Notebook::default());
    let script = Script::new()
        .mmio_read(0xd000_0000, 4, 0x0403_0201)
        .mmio_write(0xd000_0ff8, &[9; 8])
        .mmio_read(0xd000_1000, 1, 0xff);
    let hypervisor = playing(reset(script));
    let kernel = Kernel::new();
    let machine = MachineBuilder::new(kernel.config())
        .plug_mmio_device(
            "notebook",
            AddressRange::new(0xd000_0000, 0x1000),
            device.clone(),
        )
        .build(&hypervisor)
        .unwrap();
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
    assert_eq!(hypervisor.transcript(BOOT).surprises, Vec::<String>::new());
    assert_eq!(*device.written.lock(), [(0xff8, vec![9; 8])]);
}

#[test]
fn a_device_where_another_is_does_not_get_in() {
    for (base, owner) in [(COM1 + 7, "serial"), (0x64, "i8042"), (0xcf9, "reset")] {
        let kernel = Kernel::new();
        let error = MachineBuilder::new(kernel.config())
            .plug_port_device(
                "intruder",
                AddressRange::new(base.into(), 1),
                Arc::new(Notebook::default()),
            )
            .build(&FakeHypervisor::new())
            .unwrap_err();
        let BuildError::Plug(source) = error else {
            panic!("{error:?}")
        };
        let text = source.to_string();
        assert!(text.contains("intruder") && text.contains(owner), "{text}");
    }
}

/// The two owners that a refusal names.
fn refusal(builder: MachineBuilder) -> String {
    let error = builder.build(&FakeHypervisor::new()).unwrap_err();
    let BuildError::Plug(source) = error else {
        panic!("{error:?}")
    };
    source.to_string()
}

#[test]
fn a_device_that_would_never_be_asked_does_not_get_in() {
    use VirtioTransport::{Mmio, Pci};
    for (base, transport, owner) in [
        (0xff_f000, Mmio, "RAM owns"),
        (0xd000_0800, Mmio, "rng0 owns"),
        (0xe000_0000, Pci, "pci configuration owns"),
        (0xe800_0000, Pci, "the PCI bus owns"),
        (0xefff_f000, Pci, "the PCI bus owns"),
        (0xfec0_0000, Mmio, "the I/O APIC owns"),
        (0xfee0_0800, Mmio, "the local APIC owns"),
        (0xfeff_f000, Mmio, "the hypervisor owns"),
    ] {
        let kernel = Kernel::new();
        let config = MachineConfig {
            virtio: transport,
            ..kernel.config()
        };
        let range = AddressRange::new(base, 0x1000);
        let builder = MachineBuilder::new(config)
            .virtio_device(Arc::new(Rng::new()))
            .plug_mmio_device("ghost", range, Arc::new(Notebook::default()));
        let text = refusal(builder);
        assert!(text.contains("ghost") && text.contains(owner), "{text}");
    }
}

#[test]
fn a_device_at_a_port_that_the_hypervisor_answers_does_not_get_in() {
    for (base, owner) in [
        (0x21, "the PIC owns"),
        (0xa0, "the PIC owns"),
        (0x43, "the PIT owns"),
        (0x61, "the PIT owns"),
    ] {
        let range = AddressRange::new(base, 1);
        let kernel = Kernel::new();
        let builder = MachineBuilder::new(kernel.config()).plug_port_device(
            "ghost",
            range,
            Arc::new(Notebook::default()),
        );
        let text = refusal(builder);
        assert!(text.contains("ghost") && text.contains(owner), "{text}");
    }
}

#[test]
fn what_the_documentation_calls_free_is_free_with_either_transport() {
    for virtio in [VirtioTransport::Mmio, VirtioTransport::Pci] {
        let kernel = Kernel::new();
        let config = MachineConfig {
            virtio,
            ..kernel.config()
        };
        let device = Arc::new(Notebook::default());
        MachineBuilder::new(config)
            .virtio_device(Arc::new(Rng::new()))
            .plug_mmio_device("mmio", FREE_MMIO, device.clone())
            .plug_port_device("ports", FREE_PORTS, device)
            .build(&FakeHypervisor::new())
            .unwrap();
    }
}

/// A port: what the guest writes is the code of its end.
struct ExitCode(RequestSink, OnceLock<WeakHandle>);

impl DevicePio for ExitCode {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {}

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        assert!(self.1.get().unwrap().upgrade().is_some());
        (self.0)(GuestRequest::DebugExit(data[0]));
    }
}

#[test]
fn an_embedder_s_device_ends_its_machine_and_does_not_keep_it() {
    let kernel = Kernel::new();
    let builder = MachineBuilder::new(kernel.config());
    let device = Arc::new(ExitCode(builder.requests(), OnceLock::new()));
    let range = AddressRange::new(FREE_PORTS.base, 1);
    let port = u16::try_from(FREE_PORTS.base).unwrap();
    let machine = builder
        .plug_port_device("exit code", range, device.clone())
        .build(&playing(Script::new().port_write(port, &[77])))
        .unwrap();
    device.1.set(machine.handle().downgrade()).unwrap();
    let outcome = machine.start().unwrap().wait().unwrap();
    assert_eq!(outcome, Outcome::DebugExit(77));
    assert!(device.1.get().unwrap().upgrade().is_none());
    // Nobody is there to be asked, and no harm is done.
    (device.0)(GuestRequest::Reset);
    assert_eq!(Arc::strong_count(&device), 1);
}

#[test]
fn what_the_hypervisor_asks_of_the_command_line_is_added_and_told() {
    let addition = CmdlineAddition {
        parameter: "nopti",
        reason: "a test",
    };
    let kernel = Kernel::new();
    let boot = KernelBoot {
        cmdline: "quiet -- for-init".to_owned(),
        ..KernelBoot::new(&kernel.path)
    };
    let config = MachineConfig::new(boot);
    let hypervisor = FakeHypervisor::new().with_cmdline_addition(addition);
    let builder = MachineBuilder::new(config.clone());
    let machine = builder.build(&hypervisor).unwrap();
    let handle = machine.handle();
    assert_eq!(handle.cmdline_additions(), [addition]);
    let tree = handle.inspect().to_json();
    assert!(tree.contains("quiet nopti -- for-init"), "{tree}");
    let machine = MachineBuilder::new(config)
        .build(&FakeHypervisor::new())
        .unwrap();
    assert_eq!(machine.handle().cmdline_additions(), []);
}

/// RAM on both sides of the MMIO hole, which may grow.
fn growing() -> RamConfig {
    RamConfig {
        size: "3200M".parse().unwrap(),
        max: Some("3456M".parse().unwrap()),
        ..RamConfig::default()
    }
}

#[test]
fn memory_beside_ram_has_an_address_and_a_slot_that_nothing_else_has() {
    let kernel = Kernel::new();
    let ram = growing();
    let config = MachineConfig {
        ram: ram.clone(),
        ..kernel.config()
    };
    let mut builder = MachineBuilder::new(config);
    // Two slots of RAM and that of the area, which is from 5 GiB on.
    let first = builder.next_memory();
    assert_eq!((first.guest_address.0, first.slot), (6 << 30, 3));
    let file = std::env::temp_dir().join(format!("vmmkit-slots-{}", std::process::id()));
    std::fs::File::create(&file)
        .unwrap()
        .set_len(2 << 20)
        .unwrap();
    let pmem = |place: MemoryPlace| {
        Pmem::open(&PmemConfig {
            path: file.clone(),
            discard_writes: true,
            guest_address: place.guest_address,
            slot: place.slot,
        })
    };
    let ids = [
        builder.add_virtio(Arc::new(pmem(first).unwrap())),
        builder.add_virtio(Arc::new(pmem(builder.next_memory()).unwrap())),
    ];
    assert_eq!(ids.each_ref().map(DeviceId::as_str), ["pmem0", "pmem1"]);
    let area = GuestRam::pluggable(&ram).unwrap().unwrap();
    builder.add_virtio(Arc::new(Mem::new(area).unwrap()));
    let next = builder.next_memory();
    assert_eq!((next.guest_address.0, next.slot), (8 << 30, 5));
    let machine = builder.build(&FakeHypervisor::new());
    std::fs::remove_file(&file).unwrap();
    let machine = machine.unwrap().handle();
    let second = machine.device::<Pmem>(&ids[1]).unwrap();
    let region = second.memory().regions()[0];
    assert_eq!((region.guest_address.0, region.slot), (7 << 30, 4));
}

#[test]
fn a_device_is_found_by_its_id_and_its_type() {
    let kernel = Kernel::new();
    let mut builder = MachineBuilder::new(kernel.config());
    let rngs = [Arc::new(Rng::new()), Arc::new(Rng::new())];
    let ids = rngs.clone().map(|rng| builder.add_virtio(rng));
    assert_eq!(ids.each_ref().map(DeviceId::as_str), ["rng0", "rng1"]);
    let machine = builder.build(&FakeHypervisor::new()).unwrap().handle();
    for (id, rng) in ids.iter().zip(&rngs) {
        assert!(Arc::ptr_eq(&machine.device::<Rng>(id).unwrap(), rng));
    }
    assert!(machine.device::<Mem>("rng0").is_none());
    assert!(machine.device::<Rng>("rng2").is_none());
    assert!(Arc::ptr_eq(
        &machine.first_device::<Rng>().unwrap(),
        &rngs[0]
    ));
    assert!(machine.first_device::<Mem>().is_none());
}
