use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use vmmkit_device_bus::{Gsi, LineDriver};

#[derive(Default)]
struct Level(AtomicU64);
impl LineDriver for Level {
    fn set_level(&self, _: Gsi, high: bool) {
        self.0.store(high.into(), Ordering::Relaxed);
    }
}

struct Rig {
    pm: AcpiPm,
    level: Arc<Level>,
    requests: Arc<Mutex<Vec<GuestRequest>>>,
}

fn rig(now: u64) -> Rig {
    let level = Arc::new(Level::default());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let sink = requests.clone();
    let line = IrqLine::new(level.clone(), Gsi(spec::SCI));
    let request: RequestSink = Arc::new(move |request| sink.lock().push(request));
    Rig {
        pm: AcpiPm::new(Arc::new(move || now), line, request),
        level,
        requests,
    }
}

impl Rig {
    fn write(&self, offset: u16, value: u16) {
        self.pm
            .pio_write(PioAddress(AcpiPm::PORT), offset, &value.to_le_bytes());
    }
    fn read(&self, offset: u16) -> u32 {
        let mut data = [0; 4];
        self.pm
            .pio_read(PioAddress(AcpiPm::PORT), offset, &mut data);
        u32::from_le_bytes(data)
    }
}

#[test]
fn power_button_raises_the_sci_until_its_status_is_cleared_4_8_3_1() {
    let rig = rig(0);
    assert!(!rig.pm.power_button());
    assert_eq!(rig.level.0.load(Ordering::Relaxed), 0);
    rig.write(2, spec::POWER_BUTTON);
    assert_eq!(rig.level.0.load(Ordering::Relaxed), 1);
    rig.write(0, spec::POWER_BUTTON);
    assert_eq!(rig.level.0.load(Ordering::Relaxed), 0);
    assert!(rig.pm.power_button());
}

#[test]
fn sleep_type_5_with_sleep_enable_turns_the_machine_off_4_8_3_2_1() {
    let rig = rig(0);
    rig.write(4, 5 << 10);
    rig.write(4, 3 << 10 | spec::CONTROL_SLEEP_ENABLE);
    assert!(rig.requests.lock().is_empty());
    rig.write(4, 5 << 10 | spec::CONTROL_SLEEP_ENABLE);
    assert_eq!(*rig.requests.lock(), [GuestRequest::PowerOff]);
    assert_eq!(rig.read(4) as u16, 5 << 10 | spec::CONTROL_SCI_ENABLE);
}

/// As EDK II does it: the type is cleared first.
#[test]
fn sleep_type_0_with_sleep_enable_turns_the_machine_off_for_firmware() {
    let rig = rig(0);
    rig.write(4, spec::CONTROL_SCI_ENABLE);
    assert!(rig.requests.lock().is_empty());
    rig.write(4, rig.read(4) as u16 | spec::CONTROL_SLEEP_ENABLE);
    assert_eq!(*rig.requests.lock(), [GuestRequest::PowerOff]);
}

#[test]
fn timer_counts_3_579_545_ticks_a_second_and_wraps_at_32_bits_4_8_3_3() {
    assert_eq!(rig(1_000_000_000).read(8), 3_579_545);
    assert_eq!(
        rig(1_200_000_000_000).read(8),
        (3_579_545_u64 * 1200) as u32
    );
}

#[test]
fn state_survives_a_round_trip_and_reset_forgets_it() {
    let rig = rig(0);
    rig.write(2, 0xffff);
    rig.pm.power_button();
    let state = rig.pm.state();
    rig.pm.reset();
    assert_eq!(
        (rig.pm.state(), rig.level.0.load(Ordering::Relaxed)),
        (AcpiPmState::default(), 0)
    );
    rig.pm.restore(state.clone());
    assert_eq!(
        (rig.pm.state(), rig.level.0.load(Ordering::Relaxed)),
        (state, 1)
    );
}
