//! Any sequence of port accesses and host events over all devices but the serial port.

use std::sync::Arc;

use vmmkit_device_bus::{AddressRange, DevicePio, IrqLine, PortBus, RequestSink};
use vmmkit_legacy_devices::{
    AcpiPm, Cmos, DebugExit, I8042, PostCode, Pvpanic, ResetControl, SystemControlB,
};

const BASES: [u16; 10] = [
    0x60, 0x64, 0x70, 0xf4, 0x80, 0x61, 0x600, 0xcf8, 0x92, 0x505,
];

/// Takes one input.
pub fn run(data: &[u8]) {
    let ignore: RequestSink = Arc::new(|_| ());
    let [a, b] = [0, 1].map(|index| data.get(index).copied().unwrap_or(0));
    let seconds = i64::from(i8::from_ne_bytes([a])) << (b & 63);
    let keyboard = Arc::new(I8042::new(IrqLine::unconnected(), ignore.clone()));
    let cmos = Arc::new(Cmos::new(
        Arc::new(move || seconds),
        seconds as u64,
        u64::MAX,
    ));
    let clock = Arc::new(move || seconds as u64);
    let power = Arc::new(AcpiPm::new(clock, IrqLine::unconnected(), ignore.clone()));
    let reset = Arc::new(ResetControl::new(ignore.clone()));
    let devices: [(u16, u16, Arc<dyn DevicePio + Send + Sync>); 10] = [
        (I8042::PORT, I8042::LENGTH, keyboard.clone()),
        (I8042::COMMAND_PORT, I8042::LENGTH, keyboard.clone()),
        (Cmos::PORT, Cmos::LENGTH, cmos.clone()),
        (
            DebugExit::PORT,
            DebugExit::LENGTH,
            Arc::new(DebugExit::new(ignore.clone())),
        ),
        (
            Pvpanic::PORT,
            Pvpanic::LENGTH,
            Arc::new(Pvpanic::new(ignore)),
        ),
        (PostCode::PORT, PostCode::LENGTH, Arc::new(PostCode::new())),
        (
            SystemControlB::PORT,
            SystemControlB::LENGTH,
            Arc::new(SystemControlB::new()),
        ),
        (AcpiPm::PORT, AcpiPm::LENGTH, power.clone()),
        (ResetControl::PORT, ResetControl::LENGTH, reset.clone()),
        (
            ResetControl::FAST_PORT,
            ResetControl::FAST_LENGTH,
            reset.clone(),
        ),
    ];
    let bus = PortBus::new();
    for (port, length, device) in devices {
        let range = AddressRange::new(port.into(), length.into());
        bus.plug("device", range, device).expect("no two overlap");
    }
    for step in data.get(2..).unwrap_or_default().chunks_exact(3) {
        let port =
            u64::from(BASES[usize::from(step[0] & 15) % BASES.len()] + u16::from(step[1] >> 4));
        let mut bytes = [step[2]; 8];
        let width = usize::from(step[1] & 7) + 1;
        match step[0] >> 4 {
            0..=7 => bus.write(port, &bytes[..width]),
            8..=12 => bus.read(port, &mut bytes[..width]),
            13 => {
                keyboard.ctrl_alt_del();
            }
            14 => {
                power.power_button();
            }
            _ => {
                keyboard.restore(keyboard.state());
                cmos.restore(cmos.state());
                power.restore(power.state());
            }
        }
    }
}
