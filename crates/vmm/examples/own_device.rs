//! A device of an embedder's own, at a port and at an address: reset, paused, inspected, saved and restored with
//! the machine, like those that vmmkit has. On the fake hypervisor, whose guest is a script: it needs no KVM.

use std::error::Error;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{
    AddressRange, DeviceMmio, DevicePio, Lifecycle, MmioAddress, MmioAddressOffset, PioAddress,
    PioAddressOffset, SaveState, SavedState, StateError, StateForm,
};
use vmmkit_guest_memory::{RamConfig, RamSize};
use vmmkit_hypervisor::VcpuId;
use vmmkit_hypervisor::fake::{End, FakeHypervisor, Script};
use vmmkit_snapshot::{Reader, Writer};
use vmmkit_telemetry::{Inspect, Tree};
use vmmkit_vmm::{Boot, FREE_MMIO, FREE_PORTS, MachineBuilder, MachineConfig, PauseOutcome};

/// Its name: on the buses, in what `inspect` shows, and in a snapshot.
const NAME: &str = "adder";

/// A register that adds up what the guest writes, at a port of one byte, and is read at an address of 4 bytes.
#[derive(Debug, Default)]
struct Adder {
    // Ordering: one number, and nothing that it goes with.
    sum: AtomicU32,
    is_resting: AtomicBool,
}

impl DevicePio for Adder {
    fn pio_read(&self, _: PioAddress, _: PioAddressOffset, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        let value = data.first().copied().unwrap_or_default();
        self.sum.fetch_add(value.into(), Ordering::Relaxed);
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

/// A machine with the device.
fn builder(kernel: &str, device: &Arc<Adder>) -> MachineBuilder {
    let config = MachineConfig {
        ram: RamConfig {
            size: RamSize::mebibytes(16),
            ..RamConfig::default()
        },
        ..MachineConfig::new(Boot::kernel(kernel))
    };
    let port = AddressRange::new(FREE_PORTS.base, 1);
    let address = AddressRange::new(FREE_MMIO.base, 4);
    MachineBuilder::new(config)
        .plug_port_device(NAME, port, device.clone())
        .plug_mmio_device(NAME, address, device.clone())
        .lead(NAME, device.clone())
}

/// Runs a guest that writes 2 and 3 until it idles, saves it, and restores it into a second machine, whose guest
/// reads the sum. Returns the sum that it found.
pub(crate) fn save_and_restore(kernel: &str, state: &File) -> Result<u32, Box<dyn Error>> {
    let port = u16::try_from(FREE_PORTS.base)?;
    let script = Script::new().port_write(port, &[2, 3]);
    let script = script.then(End::WaitForKick);
    let hypervisor = FakeHypervisor::new().with_script(VcpuId(0), script);
    let device = Arc::new(Adder::default());
    let machine = builder(kernel, &device).build(&hypervisor)?.start()?;
    while device.sum.load(Ordering::Relaxed) != 5 {
        std::thread::yield_now();
    }
    let PauseOutcome::Paused(machine) = machine.pause() else {
        return Err("the guest has ended".into());
    };
    let mut writer = Writer::new();
    machine.save(&mut writer, state)?;
    let snapshot = writer.finish();
    drop(machine);

    let script = Script::new().mmio_read(FREE_MMIO.base, 4, 5);
    let hypervisor = FakeHypervisor::new().with_script(VcpuId(0), script);
    let device = Arc::new(Adder::default());
    let reader = Reader::new(&snapshot)?;
    let machine = builder(kernel, &device).restore(&hypervisor, reader, state.try_clone()?)?;
    machine.start()?.wait()?;
    match hypervisor.transcript(VcpuId(0)).surprises.as_slice() {
        [] => Ok(device.sum.load(Ordering::Relaxed)),
        [surprise, ..] => Err(surprise.clone().into()),
    }
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
    let sum = save_and_restore(&kernel, &options.open(file)?)?;
    std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("sum: {sum}\n"))?;
    Ok(())
}
