use parking_lot::Mutex;

use proptest::prelude::*;

use super::spec::*;
use super::*;

/// The device's calls to the outside.
#[derive(Default)]
struct Outside {
    delivered: Mutex<Vec<MsiMessage>>,
    routed: Mutex<Vec<(u32, Option<MsiMessage>)>>,
}

impl IoapicOutput for Outside {
    fn deliver(&self, message: MsiMessage) {
        self.delivered.lock().push(message);
    }

    fn route(&self, pin: u32, message: Option<MsiMessage>) {
        self.routed.lock().push((pin, message));
    }
}

struct Machine {
    outside: Arc<Outside>,
    ioapic: Ioapic,
}

impl Machine {
    fn new() -> Self {
        let outside = Arc::<Outside>::default();
        let ioapic = Ioapic::new(outside.clone());
        Self { outside, ioapic }
    }

    fn write(&self, register: u8, value: u32) {
        let base = MmioAddress(ADDRESS);
        self.ioapic.mmio_write(base, SELECT, &[register, 0, 0, 0]);
        self.ioapic.mmio_write(base, WINDOW, &value.to_le_bytes());
    }

    fn read(&self, register: u8) -> u32 {
        let base = MmioAddress(ADDRESS);
        let mut value = [0; 4];
        self.ioapic.mmio_write(base, SELECT, &[register]);
        self.ioapic.mmio_read(base, WINDOW, &mut value);
        u32::from_le_bytes(value)
    }

    fn set_entry(&self, pin: u8, entry: u64) {
        self.write(TABLE + 2 * pin + 1, (entry >> 32) as u32);
        self.write(TABLE + 2 * pin, entry as u32);
    }

    fn raise(&self, pin: u32) {
        self.ioapic.set_level(Gsi(pin), true);
    }

    fn lower(&self, pin: u32) {
        self.ioapic.set_level(Gsi(pin), false);
    }

    /// The interrupts delivered since the last call.
    fn delivered(&self) -> Vec<u32> {
        let messages = std::mem::take(&mut *self.outside.delivered.lock());
        messages.into_iter().map(|message| message.data).collect()
    }

    fn remote_irr(&self, pin: u8) -> bool {
        self.read(TABLE + 2 * pin) & REMOTE_IRR as u32 != 0
    }
}

#[test]
fn after_power_on_every_pin_is_masked_3_2_4() {
    let machine = Machine::new();
    for pin in 0..PINS as u8 {
        assert_eq!(machine.read(TABLE + 2 * pin), MASKED as u32);
    }
    machine.raise(4);
    assert!(machine.delivered().is_empty());
}

#[test]
fn version_tells_24_entries_and_cannot_be_written_3_2_2() {
    let machine = Machine::new();
    machine.write(VERSION, 0);
    assert_eq!(machine.read(VERSION), 0x0017_0011);
}

#[test]
fn id_has_four_bits_and_is_the_arbitration_id_3_2_1() {
    let machine = Machine::new();
    machine.write(ID, u32::MAX);
    assert_eq!(machine.read(ID), 0x0f00_0000);
    assert_eq!(machine.read(ARBITRATION), 0x0f00_0000);
}

#[test]
fn an_entry_is_the_message_to_its_destination() {
    let machine = Machine::new();
    machine.set_entry(4, 3 << DESTINATION_SHIFT | LOGICAL | 1 << 8 | 0x31);
    machine.raise(4);
    let expected = MsiMessage {
        address: 0xfee0_3004,
        data: 0x131,
    };
    assert_eq!(*machine.outside.delivered.lock(), [expected]);
    let routed = machine.outside.routed.lock();
    assert_eq!(*routed, [(4, Some(expected))]);
}

#[test]
fn an_edge_comes_once_and_a_masked_one_never_3_2_4() {
    let machine = Machine::new();
    machine.set_entry(1, 0x21);
    machine.raise(1);
    machine.raise(1);
    assert_eq!(machine.delivered(), [0x21]);
    machine.lower(1);
    machine.set_entry(1, MASKED | 0x21);
    machine.raise(1);
    machine.set_entry(1, 0x21);
    assert!(machine.delivered().is_empty());
}

#[test]
fn a_level_comes_again_after_its_end_while_the_line_is_high() {
    let machine = Machine::new();
    machine.set_entry(9, LEVEL | 0x39);
    machine.raise(9);
    assert_eq!(machine.delivered(), [0xc039]);
    assert!(machine.remote_irr(9));
    machine.ioapic.end_of_interrupt(0x39);
    assert_eq!(machine.delivered(), [0xc039]);
    machine.lower(9);
    machine.ioapic.end_of_interrupt(0x39);
    assert!(machine.delivered().is_empty());
    assert!(!machine.remote_irr(9));
}

#[test]
fn a_level_that_waits_behind_a_mask_comes_when_it_is_lifted() {
    let machine = Machine::new();
    machine.set_entry(9, LEVEL | MASKED | 0x39);
    machine.raise(9);
    assert!(machine.delivered().is_empty());
    machine.set_entry(9, LEVEL | 0x39);
    assert_eq!(machine.delivered(), [0xc039]);
}

#[test]
fn the_end_of_a_masked_level_is_still_told() {
    let machine = Machine::new();
    machine.set_entry(9, LEVEL | 0x39);
    machine.raise(9);
    machine.write(TABLE + 18, (LEVEL | MASKED) as u32 | 0x39);
    let last = machine.outside.routed.lock().last().copied();
    assert!(matches!(last, Some((9, Some(_)))));
    machine.ioapic.end_of_interrupt(0x39);
    assert!(!machine.remote_irr(9));
    assert_eq!(machine.delivered(), [0xc039]);
}

#[test]
fn to_be_an_edge_for_a_moment_ends_a_level() {
    let machine = Machine::new();
    machine.set_entry(9, LEVEL | 0x39);
    machine.raise(9);
    machine.lower(9);
    machine.write(TABLE + 18, MASKED as u32 | 0x39);
    assert!(!machine.remote_irr(9));
}

#[test]
fn read_only_bits_stay_as_they_are() {
    let machine = Machine::new();
    machine.set_entry(2, u64::MAX);
    let entry = u64::from(machine.read(TABLE + 4)) | u64::from(machine.read(TABLE + 5)) << 32;
    assert_eq!(entry, WRITABLE);
}

#[test]
fn what_is_saved_comes_back_with_its_routes() {
    let machine = Machine::new();
    machine.set_entry(9, LEVEL | 0x39);
    machine.set_entry(4, 0x34);
    machine.raise(9);
    let state = machine.ioapic.state();
    let other = Machine::new();
    other.ioapic.restore(state.clone());
    assert_eq!(other.ioapic.state(), state);
    let pins: Vec<_> = other.outside.routed.lock().iter().map(|it| it.0).collect();
    assert_eq!(pins, [4, 9]);
    assert!(other.delivered().is_empty(), "the local APIC has it");
    other.ioapic.end_of_interrupt(0x39);
    assert_eq!(other.delivered(), [0xc039]);
}

#[test]
fn a_reset_masks_every_pin_and_keeps_the_lines() {
    let machine = Machine::new();
    machine.set_entry(9, LEVEL | 0x39);
    machine.raise(9);
    machine.ioapic.reset();
    assert_eq!(machine.read(TABLE + 18), MASKED as u32);
    assert_eq!(machine.ioapic.state().levels, 1 << 9);
    let last = machine.outside.routed.lock().last().copied();
    assert_eq!(last, Some((9, None)));
}

proptest! {
    /// Whatever is written, an interrupt is delivered only for an unmasked entry, and each level at
    /// most once before its end.
    #[test]
    fn no_write_gives_an_interrupt_that_no_entry_has(
        steps in prop::collection::vec((0_u8..4, any::<u8>(), any::<u32>()), 0..200)
    ) {
        let machine = Machine::new();
        for (what, register, value) in steps {
            match what {
                0 => machine.write(register, value),
                1 => { machine.read(register); }
                2 => machine.ioapic.set_level(Gsi(value % 32), register & 1 != 0),
                _ => machine.ioapic.end_of_interrupt(register),
            }
            let state = machine.ioapic.state();
            for data in machine.delivered() {
                let vector = u64::from(data & 0xff);
                let is_heard = |entry: &u64| entry & (MASKED | VECTOR) == vector;
                prop_assert!(state.table.iter().any(is_heard));
            }
            for entry in state.table {
                prop_assert!(entry & REMOTE_IRR == 0 || entry & LEVEL != 0);
            }
        }
    }
}
