//! The serial console: input that waits for its reader, output whose reader takes its time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use support::*;
use vmmkit_device_bus::{AddressRange, DevicePio, Gsi, PioAddress, PioAddressOffset};
use vmmkit_hypervisor::Width;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_vmm::{Console, FdInput, Machine, MachineBuilder, Outcome, Ready};

/// The guest reads this port where a real one halts until its serial port interrupts.
const HALT: u16 = 0x520;

/// Answers a read of [`HALT`] once COM1's line is high.
struct HaltUntilInterrupt(FakeHypervisor);

impl DevicePio for HaltUntilInterrupt {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, _: &mut [u8]) {
        eventually("the serial port interrupts", || self.0.line_level(Gsi(4)));
    }
    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, _: &[u8]) {}
}

/// The guest opens its port: FIFOs on, one byte interrupts, the line connected.
fn open_port(script: Script) -> Script {
    script
        .port_write(COM1_FCR, &[0x01])
        .port_write(COM1 + 4, &[0x0b])
        .port_write(COM1_IER, &[0x01])
}

/// The guest reads `count` bytes, each when it is interrupted.
fn read_bytes(script: Script, count: usize) -> Script {
    let one = Script::new()
        .port_read(HALT, Width::Byte, None)
        .port_read(COM1, Width::Byte, None);
    script.repeat(count, &one)
}

fn with_input(hypervisor: &FakeHypervisor, input: OwnedFd) -> Machine<Ready> {
    let kernel = Kernel::new();
    let console = Console {
        input: Some(Box::new(FdInput::new(input))),
        ..Console::default()
    };
    let halt = Arc::new(HaltUntilInterrupt(hypervisor.clone()));
    MachineBuilder::new(kernel.config())
        .console(console)
        .plug_port_device("halt", AddressRange::new(HALT.into(), 1), halt)
        .build(hypervisor)
        .unwrap()
}

/// The bytes the guest read from the receiver.
fn received(hypervisor: &FakeHypervisor) -> Vec<u8> {
    let answers = hypervisor.transcript(BOOT).answers;
    let port =
        |exit: &_| matches!(exit, vmmkit_hypervisor::VcpuExit::PortRead(a) if a.port == COM1);
    answers
        .into_iter()
        .filter(|answer| port(&answer.exit))
        .flat_map(|answer| answer.data)
        .collect()
}

/// Bytes of which no stretch repeats soon.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| byte()).collect()
}

fn file_with(bytes: &[u8]) -> OwnedFd {
    let file = Kernel::of(bytes);
    File::open(&file.path).unwrap().into()
}

const A_LOT: usize = 100 << 10;

#[test]
fn a_hundred_kilobytes_piped_in_arrive_whole_and_in_order() {
    let sent = noise(A_LOT);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let hypervisor = playing(reset(read_bytes(open_port(Script::new()), A_LOT)));
    let machine = with_input(&hypervisor, reader.into());
    let typist = thread::spawn({
        let sent = sent.clone();
        move || writer.write_all(&sent).unwrap()
    });
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
    typist.join().unwrap();
    assert!(
        received(&hypervisor) == sent,
        "bytes were lost or changed places"
    );
}

#[test]
fn a_hundred_kilobytes_of_a_file_arrive_whole_and_in_order() {
    let sent = noise(A_LOT);
    let hypervisor = playing(reset(read_bytes(open_port(Script::new()), A_LOT)));
    let machine = with_input(&hypervisor, file_with(&sent));
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
    assert!(
        received(&hypervisor) == sent,
        "bytes were lost or changed places"
    );
}

#[test]
fn a_guest_that_turns_its_receiver_off_and_on_loses_nothing() {
    let sent = noise(4096);
    // Off and on between all bytes; the FIFOs stay, so that what they hold does.
    let one = read_bytes(Script::new(), 1)
        .port_write(COM1_IER, &[0x00])
        .port_write(COM1_IER, &[0x01]);
    let script = open_port(Script::new()).repeat(sent.len(), &one);
    let hypervisor = playing(reset(script));
    let machine = with_input(&hypervisor, file_with(&sent));
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
    assert!(
        received(&hypervisor) == sent,
        "bytes were lost or changed places"
    );
}

#[test]
fn input_ends_and_the_guest_goes_on() {
    for input in [
        File::open("/dev/null").unwrap().into(),
        file_with(b""),
        std::io::pipe().unwrap().0.into(),
    ] {
        let hypervisor = playing(reset(open_port(Script::new())));
        let machine = with_input(&hypervisor, input);
        assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
        assert!(received(&hypervisor).is_empty());
    }
}

#[test]
fn nothing_is_read_from_the_host_before_the_guest_reads() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let ours = reader.try_clone().unwrap();
    writer.write_all(b"early").unwrap();
    drop(writer);
    // One look at the line status is not a reader.
    let script = Script::new()
        .port_read(COM1_LSR, Width::Byte, 0x60)
        .then(End::WaitForKick);
    let hypervisor = playing(script);
    let running = with_input(&hypervisor, reader.into()).start().unwrap();
    eventually("the guest has looked", || {
        hypervisor.transcript(BOOT).steps == 1
    });
    drop(running);
    assert_eq!(std::io::read_to_string(ours).unwrap(), "early");
}

#[test]
fn what_waited_before_the_guest_read_reaches_it() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"early").unwrap();
    let hypervisor = playing(reset(read_bytes(
        open_port(Script::new().wait_for_kick()),
        5,
    )));
    let running = with_input(&hypervisor, reader.into()).start().unwrap();
    let handle = running.handle();
    eventually("the guest is idle", || {
        hypervisor.transcript(BOOT).steps == 1
    });
    assert!(handle.pause()); // the kick
    handle.resume();
    assert_eq!(running.wait().unwrap(), Outcome::Reset);
    assert_eq!(received(&hypervisor), b"early");
}

#[test]
fn a_reader_that_takes_nothing_holds_up_output_only() {
    // More than the pipe (64 KiB) and the buffer (twice 32 KiB) hold.
    let text = noise(200 << 10);
    let script = text.chunks(1024).fold(Script::new(), |script, chunk| {
        script.port_write(COM1, chunk)
    });
    let (mut output, console) = piped_output();
    let (input, mut keyboard) = std::io::pipe().unwrap();
    let console = Console {
        input: Some(Box::new(FdInput::new(input.into()))),
        ..console
    };
    let hypervisor = playing(reset(read_bytes(open_port(script), 3)));
    let kernel = Kernel::new();
    let halt = Arc::new(HaltUntilInterrupt(hypervisor.clone()));
    let machine = MachineBuilder::new(kernel.config())
        .console(console)
        .plug_port_device("halt", AddressRange::new(HALT.into(), 1), halt)
        .build(&hypervisor)
        .unwrap();
    let running = machine.start().unwrap();
    let handle = running.handle();
    // Nobody reads, and the guest gets to its end all the same, its input included.
    keyboard.write_all(b"abc").unwrap();
    eventually("the guest ends", || handle.has_ended());
    assert_eq!(received(&hypervisor), b"abc");
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(running.wait().unwrap(), Outcome::Reset);
    drop(handle);
    let bytes = reader.join().unwrap();
    // A guest that does not ask whether there is room loses what comes after, nothing before: on a
    // busy host that may be as soon as half the buffer is full.
    assert!(bytes.len() >= 32 << 10, "{} bytes", bytes.len());
    assert!(text.starts_with(&bytes[..32 << 10]), "bytes changed places");
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_guest() {
    let (output, console) = piped_output();
    drop(output);
    let write = Script::new().port_write(COM1, &[b'x'; 1024]);
    let kernel = Kernel::new();
    let machine = MachineBuilder::new(kernel.config())
        .console(console)
        .build(&playing(reset(Script::new().repeat(200, &write))))
        .unwrap();
    assert_eq!(machine.start().unwrap().wait().unwrap(), Outcome::Reset);
}

#[test]
fn the_first_output_is_announced_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let announced = calls.clone();
    let (_output, console) = piped_output();
    let console = Console {
        on_first_output: Some(Box::new(move || {
            announced.fetch_add(1, Ordering::Relaxed);
        })),
        ..console
    };
    let script = Script::new()
        .port_write(COM1, b"one")
        .wait_for_kick()
        .port_write(COM1, b"two");
    let hypervisor = playing(reset(script));
    let kernel = Kernel::new();
    let running = MachineBuilder::new(kernel.config())
        .console(console)
        .build(&hypervisor)
        .unwrap()
        .start()
        .unwrap();
    let handle = running.handle();
    eventually("output is announced", || calls.load(Ordering::Relaxed) == 1);
    eventually("the guest is idle", || {
        hypervisor.transcript(BOOT).steps == 2
    });
    assert!(handle.pause());
    handle.resume();
    assert_eq!(running.wait().unwrap(), Outcome::Reset);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
