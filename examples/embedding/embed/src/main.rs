//! A machine of vmmkit with devices of its own: one in memory that interrupts and ends the run, a virtio device of an ID
//! of its own, a PCI function. The console is a string, and the exit code is what the guest makes of them.

mod guest;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use vmmkit::pci::Mutex as PciMutex;
use vmmkit::prelude::*;

/// Doubles what is written at 0 and interrupts; what is written at 4 is the exit code.
struct Doubler(AtomicU8, IrqLine, RequestSink);

impl DeviceMmio for Doubler {
    fn mmio_read(&self, _: MmioAddress, _: MmioAddressOffset, data: &mut [u8]) {
        data.fill(self.0.load(Ordering::Relaxed));
    }

    fn mmio_write(&self, _: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        let value = data.first().copied().unwrap_or(0);
        if offset == 0 {
            self.0.store(value.wrapping_mul(2), Ordering::Relaxed);
            self.1.pulse();
        } else {
            (self.2)(GuestRequest::DebugExit(value));
        }
    }
}

impl Lifecycle for Doubler {}
impl Inspect for Doubler {}
impl SaveState for Doubler {}

/// A PCI function whose only register is a number.
struct Number(PciMutex<ConfigSpace>);

impl PciFunction for Number {
    fn name(&self) -> Arc<str> {
        "number".into()
    }

    fn config(&self) -> &PciMutex<ConfigSpace> {
        &self.0
    }

    fn read_bar(&self, _bar: u8, _offset: u64, data: &mut [u8]) {
        data.fill(21);
    }
}

impl Lifecycle for Number {
    fn reset(&self) {
        self.0.lock().reset();
    }
}

impl Inspect for Number {}
impl SaveState for Number {}

/// A virtio device whose buffers come back as they are.
struct Null;

impl Device for Null {
    fn kind(&self) -> DeviceKind {
        DeviceKind::new(63, "null")
    }

    fn queue_sizes(&self) -> &[u16] {
        &[16]
    }

    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        activation.on_shared_thread(Box::new(NullEngine))
    }
}

struct NullEngine;

impl Engine for NullEngine {
    fn kicked(&mut self, context: &mut Context, index: u16) {
        let mut chain = Chain::new();
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        while queue.pop(&mut chain) {
            queue.complete(&chain, 0);
        }
        queue.publish();
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let text = Arc::new(Mutex::new(String::new()));
    let screen = text.clone();
    let output = OutputBuffer::to_fn(move |bytes| {
        if let Ok(mut text) = screen.lock() {
            text.push_str(&String::from_utf8_lossy(bytes));
        }
    })?;
    let console = Console {
        output: Some(Arc::new(output)),
        ..Console::default()
    };
    let mut builder = MachineBuilder::new(MachineConfig {
        virtio: VirtioTransport::Pci,
        ..MachineConfig::new(Boot::kernel(Vec::new()))
    })
    .console(console);
    builder.add_virtio(Arc::new(Null));
    builder.add_pci_function(0, |_| {
        let mut config = ConfigSpace::new(&Identity {
            vendor: 0x1b36,
            device: 0x00ff,
            ..Identity::default()
        });
        config.add_bar(0, 4096, false)?;
        Ok(Arc::new(Number(config.into())))
    });
    let place = builder.add_device("doubler", &Needs::new().mmio(8).line(), |slot| {
        let device = Arc::new(Doubler(AtomicU8::new(0), slot.line, slot.requests));
        OwnDevice::new(device.clone()).at_mmio(device)
    })?;
    let kernel = guest::kernel(place).ok_or("the doubler has no place")?;
    let machine = builder.boot(Boot::kernel(kernel)).build(&Kvm::open()?)?;
    let outcome = machine.start()?.wait()?;
    print!("{}", text.lock().map_err(|_| "the console panicked")?);
    match outcome {
        Outcome::DebugExit(code) => Ok(ExitCode::from(code)),
        other => Err(format!("the guest ended with {other:?}").into()),
    }
}
