//! The saved state of each device: a new device goes on from it as the old one does, and the forms of
//! earlier builds load for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;
use vmmkit_device_bus::{
    DeviceMmio, DevicePio, Gsi, IrqLine, LineDriver, MmioAddress, MsiMessage, PioAddress,
    RequestSink, SaveState, SavedState, check_golden,
};

use crate::{
    AcpiPm, Cmos, DebugConsole, DebugExit, I8042, Ioapic, IoapicOutput, PostCode, Pvpanic,
    ResetControl, SerialOutput, SerialPort, SystemControlB,
};

#[derive(Default)]
struct Level(AtomicBool);

impl LineDriver for Level {
    fn set_level(&self, _: Gsi, high: bool) {
        self.0.store(high, Ordering::Relaxed);
    }
}

impl Level {
    fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Takes ASCII alone, so that some bytes wait.
struct Ascii;

impl SerialOutput for Ascii {
    fn push(&mut self, byte: u8) -> bool {
        byte.is_ascii()
    }
}

fn ignore() -> RequestSink {
    Arc::new(|_| ())
}

/// A device, its line, and what happens to it besides accesses.
struct Rig {
    device: Box<dyn Saved>,
    level: Arc<Level>,
    event: Box<dyn Fn(u8)>,
    ports: Vec<(u16, u16)>,
}

trait Saved: DevicePio + SaveState {}
impl<T: DevicePio + SaveState> Saved for T {}

/// Both halves of a device, of which tests need one to access and one to give events to.
struct Shared<T>(Arc<T>);

impl<T: DevicePio> DevicePio for Shared<T> {
    fn pio_read(&self, base: PioAddress, offset: u16, data: &mut [u8]) {
        self.0.pio_read(base, offset, data);
    }
    fn pio_write(&self, base: PioAddress, offset: u16, data: &[u8]) {
        self.0.pio_write(base, offset, data);
    }
}

impl<T: SaveState> SaveState for Shared<T> {
    fn save_state(&self) -> Result<SavedState, vmmkit_device_bus::StateError> {
        self.0.save_state()
    }
    fn restore_state(&self, saved: &SavedState) -> Result<(), vmmkit_device_bus::StateError> {
        self.0.restore_state(saved)
    }
}

fn rig<T: DevicePio + SaveState + 'static>(
    ports: &[(u16, u16)],
    make: impl FnOnce(IrqLine) -> T,
    event: impl Fn(&T, u8) + 'static,
) -> Rig {
    let level = Arc::new(Level::default());
    let device = Arc::new(make(IrqLine::new(level.clone(), Gsi(4))));
    let shared = device.clone();
    Rig {
        device: Box::new(Shared(device)),
        level,
        event: Box::new(move |value| event(&shared, value)),
        ports: ports.to_vec(),
    }
}

/// Each device with ports; its clock is at `now` nanoseconds.
fn rigs(now: u64) -> Vec<Rig> {
    vec![
        rig(
            &[(SerialPort::PORT, SerialPort::LENGTH)],
            |line| SerialPort::new(Box::new(Ascii), line),
            |port, value| match value & 3 {
                0 => _ = port.receive(&[value; 5]),
                1 => _ = port.send_break(),
                _ => port.output_ready(),
            },
        ),
        rig(
            &[(I8042::PORT, 1), (I8042::COMMAND_PORT, 1)],
            |line| I8042::new(line, ignore()),
            |device, _| _ = device.ctrl_alt_del(),
        ),
        rig(
            &[(Cmos::PORT, Cmos::LENGTH)],
            |_| Cmos::new(Arc::new(|| 1_700_000_000), 3 << 30, 5 << 30),
            |_, _| (),
        ),
        rig(
            &[(AcpiPm::PORT, AcpiPm::LENGTH)],
            move |line| AcpiPm::new(Arc::new(move || now), line, ignore()),
            |device, _| _ = device.power_button(),
        ),
        rig(
            &[(ResetControl::PORT, 4), (ResetControl::FAST_PORT, 1)],
            |_| ResetControl::new(ignore()),
            |_, _| (),
        ),
        rig(&[(PostCode::PORT, 1)], |_| PostCode::new(), |_, _| ()),
        rig(
            &[(SystemControlB::PORT, 1)],
            |_| SystemControlB::new(),
            |_, _| (),
        ),
        rig(
            &[(DebugExit::PORT, 4)],
            |_| DebugExit::new(ignore()),
            |_, _| (),
        ),
        rig(
            &[(DebugConsole::PORT, 1)],
            |_| DebugConsole::new(Box::new(Ascii)),
            |_, _| (),
        ),
        rig(&[(Pvpanic::PORT, 1)], |_| Pvpanic::new(ignore()), |_, _| ()),
    ]
}

impl Rig {
    /// One step; what can be seen of it.
    fn step(&self, [place, what, value]: [u8; 3]) -> (u8, bool) {
        let place = u16::from(place);
        let (base, length) = self.ports[usize::from(place >> 4) % self.ports.len()];
        let offset = place % length;
        let mut seen = [0];
        match what % 11 {
            0..=4 => self.device.pio_write(PioAddress(base), offset, &[value]),
            10 => (self.event)(value),
            _ => self.device.pio_read(PioAddress(base), offset, &mut seen),
        }
        (seen[0], self.level.is_high())
    }
}

/// Through JSON, as a file would have it.
fn carry(from: &dyn SaveState, to: &dyn SaveState) {
    let json = from.save_state().unwrap().to_json();
    let saved = SavedState::from_json(json.as_bytes()).unwrap();
    to.restore_state(&saved).unwrap();
    assert_eq!(to.save_state().unwrap(), saved);
}

proptest! {
    #[test]
    fn a_device_goes_on_as_the_one_that_was_saved(
        before in vec(any::<[u8; 3]>(), 0..80),
        after in vec(any::<[u8; 3]>(), 0..40),
    ) {
        // The process that restores has another clock.
        for (old, new) in rigs(123_456_789_012).iter().zip(rigs(7)) {
            for step in &before {
                old.step(*step);
            }
            carry(&*old.device, &*new.device);
            prop_assert_eq!(old.level.is_high(), new.level.is_high());
            for step in &after {
                prop_assert_eq!(old.step(*step), new.step(*step));
            }
        }
    }

    #[test]
    fn an_ioapic_goes_on_as_the_one_that_was_saved(
        before in vec(any::<(u8, u8, u32)>(), 0..80),
        after in vec(any::<(u8, u8, u32)>(), 0..40),
    ) {
        let (old, old_sent) = ioapic();
        let (new, new_sent) = ioapic();
        for step in before {
            step_ioapic(&old, step);
        }
        carry(&old, &new);
        old_sent.0.lock().clear();
        new_sent.0.lock().clear();
        for step in after {
            prop_assert_eq!(step_ioapic(&old, step), step_ioapic(&new, step));
        }
        prop_assert_eq!(&*old_sent.0.lock(), &*new_sent.0.lock());
    }
}

#[derive(Default)]
struct Sent(Mutex<Vec<MsiMessage>>, AtomicU32);

impl IoapicOutput for Sent {
    fn deliver(&self, message: MsiMessage) {
        self.0.lock().push(message);
    }
    fn route(&self, _: u32, _: Option<MsiMessage>) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

fn ioapic() -> (Ioapic, Arc<Sent>) {
    let sent = Arc::new(Sent::default());
    (Ioapic::new(sent.clone()), sent)
}

fn step_ioapic(ioapic: &Ioapic, (what, place, value): (u8, u8, u32)) -> [u8; 4] {
    let base = MmioAddress(Ioapic::ADDRESS);
    let mut seen = [0; 4];
    match what & 7 {
        0..=2 => {
            ioapic.mmio_write(base, 0, &[place & 0x3f]);
            ioapic.mmio_write(base, 0x10, &value.to_le_bytes());
        }
        3 | 4 => ioapic.set_level(Gsi(u32::from(place) % 24), value & 1 != 0),
        5 => ioapic.end_of_interrupt(place),
        _ => ioapic.mmio_read(base, u64::from(place & 1) << 4, &mut seen),
    }
    seen
}

#[test]
fn the_timer_goes_on_where_it_stood() {
    let make = |now: u64| AcpiPm::new(Arc::new(move || now), IrqLine::unconnected(), ignore());
    let (old, new) = (make(5_000_000_000), make(1));
    carry(&old, &new);
    let read = |device: &AcpiPm| {
        let mut ticks = [0; 4];
        device.pio_read(PioAddress(AcpiPm::PORT), 8, &mut ticks);
        u32::from_le_bytes(ticks)
    };
    assert_eq!(read(&new), 5 * 3_579_545);
    assert_eq!(read(&new), read(&old));
}

/// The goldens of a kind, oldest version first.
macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../goldens/", $name, ".json"))
    };
}

#[test]
fn states_of_earlier_builds_load() {
    let goldens = [
        golden!("serial-16550a.v1"),
        golden!("i8042.v1"),
        golden!("cmos.v1"),
        golden!("acpi-pm.v1"),
        golden!("reset-control.v1"),
        golden!("post-code.v1"),
        golden!("system-control-b.v1"),
        golden!("debug-exit.v1"),
        golden!("debug-console.v1"),
        golden!("pvpanic.v1"),
        golden!("ioapic.v1"),
    ];
    for golden in goldens {
        let kind = SavedState::from_json(golden.as_bytes()).unwrap();
        let rig = rigs(0)
            .into_iter()
            .find(|rig| rig.device.save_state().unwrap().kind() == kind.kind());
        match rig {
            Some(rig) => check_golden(&*rig.device, golden).unwrap(),
            None => check_golden(&ioapic().0, golden).unwrap(),
        }
    }
    assert_eq!(goldens.len(), rigs(0).len() + 1);
}

#[test]
fn values_that_no_chip_could_hold_are_refused_with_their_field() {
    let refusal = |json: &str| {
        let saved = SavedState::from_json(json.as_bytes()).unwrap();
        let rig = rigs(0)
            .into_iter()
            .find(|rig| rig.device.save_state().unwrap().kind() == saved.kind());
        rig.unwrap()
            .device
            .restore_state(&saved)
            .unwrap_err()
            .to_string()
    };
    let serial = golden!("serial-16550a.v1").replace("\"polls\": 3", "\"polls\": 17");
    assert_eq!(
        refusal(&serial),
        "serial-16550a: polls 17: must be from 0 to 16"
    );
    let bytes = format!("\"unsent\": [{}1]", "1,".repeat(16));
    let serial = golden!("serial-16550a.v1").replace("\"unsent\": [33, 10]", &bytes);
    assert_eq!(
        refusal(&serial),
        "serial-16550a: unsent.length 17: must be from 0 to 16"
    );
    let pm = golden!("acpi-pm.v1").replace("\"enable\": 256", "\"enable\": 2");
    assert_eq!(
        refusal(&pm),
        "acpi-pm: enable 0x2: only the bits 0x720 are possible"
    );
    let cmos =
        r#"{"kind":"cmos","version":1,"state":{"index":0,"registers":[1],"offset_seconds":0}}"#;
    assert_eq!(
        refusal(cmos),
        "cmos: registers.length 1: must be from 128 to 128"
    );
}
