//! Devices of an embedder's own, one at a port and at an address with an interrupt, and one that speaks virtio: reset,
//! paused, inspected, saved and restored with the machine, like those that vmmkit has. On the fake hypervisor,
//! whose guest is a script: it needs no KVM.

use std::error::Error;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{
    DeviceMmio, DevicePio, IrqLine, Lifecycle, MmioAddress, MmioAddressOffset, PioAddress,
    PioAddressOffset, SaveState, SavedState, StateError, StateForm,
};
use vmmkit_guest_memory::{RamConfig, RamSize};
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_snapshot::{Reader, Writer};
use vmmkit_telemetry::{Inspect, Tree};
use vmmkit_virtio::{ActivateError, Activation, Active, Context, Device, DeviceKind, Engine};
use vmmkit_vmm::{
    AcpiId, Boot, DeviceId, MachineBuilder, MachineConfig, Needs, OwnDevice, OwnPlace, PauseOutcome,
};

/// Its name: on the buses, in what `inspect` shows, and in a snapshot.
pub(crate) const NAME: &str = "adder";
/// The registers of the first virtio device in a machine without a PCI bus, and its configuration space there
/// (virtio 1.2, section 4.2.2).
pub(crate) const NOTE_CONFIG: u64 = 0xd000_0000 + 0x100;

/// A register that adds up what the guest writes, at a port of one byte, and is read at an address of 4 bytes. Each
/// write raises the interrupt.
#[derive(Debug)]
struct Adder {
    // Ordering: one number, and nothing that it goes with.
    sum: AtomicU32,
    is_resting: AtomicBool,
    line: IrqLine,
}

impl DevicePio for Adder {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        let value = data.first().copied().unwrap_or_default();
        self.sum.fetch_add(value.into(), Ordering::Relaxed);
        self.line.pulse();
    }
}

impl DeviceMmio for Adder {
    fn mmio_read(&self, _: MmioAddress, _: MmioAddressOffset, data: &mut [u8]) {
        let sum = self.sum.load(Ordering::Relaxed).to_le_bytes();
        data.fill(0);
        for (byte, value) in data.iter_mut().zip(sum) {
            *byte = value;
        }
    }

    fn mmio_write(&self, _: MmioAddress, _: MmioAddressOffset, _: &[u8]) {}
}

/// The steps of its life that mean something for it; it has no threads.
impl Lifecycle for Adder {
    fn pause(&self) {
        self.is_resting.store(true, Ordering::Relaxed);
    }

    fn resume(&self) {
        self.is_resting.store(false, Ordering::Relaxed);
    }

    fn reset(&self) {
        self.sum.store(0, Ordering::Relaxed);
    }
}

impl Inspect for Adder {
    fn inspect(&self) -> Tree {
        Tree::new()
            .number("sum", self.sum.load(Ordering::Relaxed))
            .flag("resting", self.is_resting.load(Ordering::Relaxed))
    }
}

/// The saved form, apart from the device itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdderForm {
    sum: u32,
}

impl StateForm for AdderForm {
    const KIND: &'static str = "adder";
    const VERSION: u32 = 1;
}

impl SaveState for Adder {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let sum = self.sum.load(Ordering::Relaxed);
        SavedState::new(&AdderForm { sum })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let AdderForm { sum } = saved.read()?;
        self.sum.store(sum, Ordering::Relaxed);
        Ok(())
    }
}

/// A virtio device of an ID that nobody else has: 4 bytes of configuration space that the guest writes and reads,
/// and a queue whose buffers come back as they are.
#[derive(Debug, Default)]
struct Note {
    // Ordering: as above.
    text: AtomicU32,
}

impl Device for Note {
    fn kind(&self) -> DeviceKind {
        DeviceKind::new(63, "note")
    }

    fn queue_sizes(&self) -> &[u16] {
        &[16]
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let text = self.text.load(Ordering::Relaxed).to_le_bytes();
        for (byte, value) in bytes.iter_mut().zip(text.iter().skip(offset)) {
            *byte = *value;
        }
    }

    fn write_config(&self, offset: usize, bytes: &[u8]) {
        if let (0, Ok(text)) = (offset, bytes.try_into()) {
            self.text.store(u32::from_le_bytes(text), Ordering::Relaxed);
        }
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        activation.on_shared_thread(Box::new(NoteEngine))
    }

    fn reset(&self) {
        self.text.store(0, Ordering::Relaxed);
    }

    fn inspect(&self) -> Tree {
        Tree::new().number("text", self.text.load(Ordering::Relaxed))
    }

    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

struct NoteEngine;

impl Engine for NoteEngine {
    fn kicked(&mut self, context: &mut Context, index: u16) {
        let mut chain = vmmkit_virtio::Chain::default();
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        while queue.pop(&mut chain) {
            queue.complete(&chain, 0);
        }
        queue.publish();
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteForm {
    text: u32,
}

impl StateForm for NoteForm {
    const KIND: &'static str = "note";
    const VERSION: u32 = 1;
}

impl SaveState for Note {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let text = self.text.load(Ordering::Relaxed);
        SavedState::new(&NoteForm { text })
    }

    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let NoteForm { text } = saved.read()?;
        self.text.store(text, Ordering::Relaxed);
        Ok(())
    }
}

/// A machine with both devices, and where they are.
pub(crate) struct Plugged {
    pub(crate) builder: MachineBuilder,
    pub(crate) adder: OwnPlace,
    pub(crate) note: DeviceId,
}

/// A small machine that runs `kernel`.
fn config(kernel: &str) -> MachineConfig {
    MachineConfig {
        ram: RamConfig {
            size: RamSize::mebibytes(16),
            ..RamConfig::default()
        },
        ..MachineConfig::new(Boot::kernel(kernel))
    }
}

/// Plugs both devices into the machine of `config`.
pub(crate) fn plug(config: MachineConfig) -> Result<Plugged, Box<dyn Error>> {
    let mut builder = MachineBuilder::new(config);
    let id = AcpiId::new("VMKT0001").ok_or("not an ACPI ID")?;
    let needs = Needs::new().ports(1).mmio(4).line().acpi(id);
    let adder = builder.add_device(NAME, &needs, |slot| {
        let device = Arc::new(Adder {
            sum: AtomicU32::new(0),
            is_resting: AtomicBool::new(false),
            line: slot.line,
        });
        OwnDevice::new(device.clone())
            .at_ports(device.clone())
            .at_mmio(device)
    })?;
    let note = builder.add_virtio(Arc::new(Note::default()));
    Ok(Plugged {
        builder,
        adder,
        note,
    })
}

/// The script of a guest that writes 2 and 3 to the port and 7 to the virtio device's configuration space.
pub(crate) fn writes(adder: OwnPlace) -> Result<Script, Box<dyn Error>> {
    let port = u16::try_from(adder.ports.ok_or("no port")?.base)?;
    let script = Script::new().port_write(port, &[2, 3]);
    Ok(script.mmio_write(NOTE_CONFIG, &7_u32.to_le_bytes()))
}

/// The same of one that reads `sum` and `text`.
pub(crate) fn reads(adder: OwnPlace, sum: u64, text: u64) -> Result<Script, Box<dyn Error>> {
    let address = adder.mmio.ok_or("no address")?.base;
    let script = Script::new().mmio_read(address, 4, sum);
    Ok(script.mmio_read(NOTE_CONFIG, 4, text))
}

/// Runs a guest that writes to the devices until it idles, saves it, and restores it into a second machine, whose
/// guest reads what it wrote. Returns what the second guest found otherwise than expected.
pub(crate) fn save_and_restore(kernel: &str, state: &File) -> Result<Vec<String>, Box<dyn Error>> {
    let Plugged {
        builder,
        adder,
        note,
    } = plug(config(kernel))?;
    let script = writes(adder)?.then(End::WaitForKick);
    let hypervisor = FakeHypervisor::new().with_script(VcpuId(0), script);
    let machine = builder.build(&hypervisor)?.start()?;
    let note = machine.handle().device::<Note>(&note).ok_or("no note")?;
    while note.text.load(Ordering::Relaxed) != 7 {
        std::thread::yield_now();
    }
    let PauseOutcome::Paused(machine) = machine.pause() else {
        return Err("the guest has ended".into());
    };
    let mut writer = Writer::new();
    machine.save(&mut writer, state)?;
    let snapshot = writer.finish();
    drop(machine);

    let Plugged { builder, adder, .. } = plug(config(kernel))?;
    let hypervisor = FakeHypervisor::new().with_script(VcpuId(0), reads(adder, 5, 7)?);
    let reader = Reader::new(&snapshot)?;
    let machine = builder.restore(&hypervisor, reader, state.try_clone()?)?;
    machine.start()?.wait()?;
    Ok(hypervisor.transcript(VcpuId(0)).surprises)
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: own_device KERNEL FILE";
    let mut arguments = std::env::args().skip(1);
    let (kernel, file) = (
        arguments.next().ok_or(usage)?,
        arguments.next().ok_or(usage)?,
    );
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(true);
    let surprises = save_and_restore(&kernel, &options.open(file)?)?;
    std::io::Write::write_fmt(
        &mut std::io::stdout(),
        format_args!("surprises of the restored guest: {surprises:?}\n"),
    )?;
    Ok(())
}
