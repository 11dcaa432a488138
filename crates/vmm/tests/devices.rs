//! What the guest finds behind ports and addresses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::sync::{Arc, Mutex};

use support::*;
use vmmkit_device_bus::{
    AddressRange, DeviceMmio, DevicePio, MmioAddress, MmioAddressOffset, PioAddress,
    PioAddressOffset,
};
use vmmkit_hypervisor::Width;
use vmmkit_hypervisor::fake::{FakeHypervisor, Script};
use vmmkit_vmm::{BuildError, MachineBuilder, Outcome};

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
        let mut next = self.next.lock().unwrap();
        for byte in data {
            *next += 1;
            *byte = *next;
        }
    }

    fn note(&self, offset: u64, data: &[u8]) {
        self.written.lock().unwrap().push((offset, data.to_vec()));
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
    let written = device.written.lock().unwrap();
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
    assert_eq!(*device.written.lock().unwrap(), [(0xff8, vec![9; 8])]);
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

#[test]
fn a_device_that_would_never_be_asked_does_not_get_in() {
    for (base, owner) in [
        (0xff_f000, "RAM"),
        (0xfec0_0000, "the I/O APIC"),
        (0xfee0_0800, "the local APIC"),
    ] {
        let kernel = Kernel::new();
        let error = MachineBuilder::new(kernel.config())
            .plug_mmio_device(
                "ghost",
                AddressRange::new(base, 0x1000),
                Arc::new(Notebook::default()),
            )
            .build(&FakeHypervisor::new())
            .unwrap_err();
        let BuildError::Plug(source) = error else {
            panic!("{error:?}")
        };
        assert!(source.to_string().contains(owner), "{source}");
    }
}
