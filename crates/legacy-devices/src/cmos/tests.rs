use super::spec::*;
use super::*;
use vmmkit_device_bus::SaveState;

/// 2024-02-29 23:59:58 UTC, a Thursday.
const LEAP_DAY: i64 = 1_709_251_198;

fn cmos(now: i64) -> Cmos {
    Cmos::new(Arc::new(move || now), 3 << 30, 1 << 30)
}

fn read(cmos: &Cmos, index: u8) -> u8 {
    let mut byte = [0];
    cmos.pio_write(PioAddress(Cmos::PORT), 0, &[index]);
    cmos.pio_read(PioAddress(Cmos::PORT), 1, &mut byte);
    byte[0]
}

fn write(cmos: &Cmos, index: u8, value: u8) {
    cmos.pio_write(PioAddress(Cmos::PORT), 0, &[index, value]);
}

#[test]
fn time_is_bcd_in_24_hours_at_power_on() {
    let cmos = cmos(LEAP_DAY);
    let registers = [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS, WEEKDAY];
    let shown = registers.map(|index| read(&cmos, index));
    assert_eq!(shown, [0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58, 5]);
}

#[test]
fn register_b_selects_binary_and_12_hours() {
    let cmos = cmos(LEAP_DAY);
    write(&cmos, REGISTER_B, B_BINARY);
    assert_eq!(read(&cmos, HOURS), 11 | HOURS_PM);
    assert_eq!(read(&cmos, MINUTES), 59);
}

#[test]
fn set_holds_the_clock_and_its_end_starts_it_from_the_registers() {
    let cmos = cmos(LEAP_DAY);
    write(&cmos, REGISTER_B, B_24_HOURS | B_SET);
    for (index, value) in [(YEAR, 0x25), (MONTH, 0x03), (DAY, 0x01), (HOURS, 0x00)] {
        write(&cmos, index, value);
    }
    write(&cmos, REGISTER_B, B_24_HOURS);
    assert_eq!(
        [YEAR, MONTH, DAY, HOURS].map(|index| read(&cmos, index)),
        [0x25, 3, 1, 0]
    );
    // To 2025-03-01 00:59:58: 366 days later, 23 hours less.
    assert_eq!(cmos.state().offset, 366 * 86_400 - 23 * 3_600);
}

#[test]
fn no_update_is_ever_in_progress_and_the_clock_is_valid() {
    let cmos = cmos(0);
    write(&cmos, REGISTER_A, 0xff);
    assert_eq!(read(&cmos, REGISTER_A) & A_UPDATE_IN_PROGRESS, 0);
    assert_eq!(
        (read(&cmos, REGISTER_C), read(&cmos, REGISTER_D)),
        (0, D_VALID)
    );
}

#[test]
fn memory_sizes_are_where_firmware_leaves_them() {
    let cmos = cmos(0);
    let word = |index| u16::from_le_bytes([read(&cmos, index), read(&cmos, index + 1)]);
    assert_eq!(word(BASE_MEMORY), 640);
    assert_eq!(
        (word(EXTENDED_MEMORY), word(EXTENDED_MEMORY_FOUND)),
        (64_512, 64_512)
    );
    assert_eq!(word(MEMORY_ABOVE_16M), ((3072 - 16) << 4) as u16);
    assert_eq!(word(MEMORY_ABOVE_4G), 1 << 14);
}

#[test]
fn ram_is_kept_the_nmi_bit_selects_nothing_and_reset_forgets() {
    let cmos = cmos(0);
    write(&cmos, SHUTDOWN | NMI_MASK, 0x0a);
    assert_eq!(read(&cmos, SHUTDOWN), 0x0a);
    let state = cmos.state();
    cmos.reset();
    assert_eq!(read(&cmos, SHUTDOWN), 0);
    cmos.restore(state.clone());
    assert_eq!(cmos.state(), state);
}

#[test]
fn after_a_restore_the_time_is_the_hosts_with_the_guests_own_offset() {
    let before = cmos(LEAP_DAY);
    // The guest's time is an hour behind.
    write(&before, REGISTER_B, B_24_HOURS | B_SET);
    write(&before, HOURS, 0x22);
    write(&before, REGISTER_B, B_24_HOURS);
    let saved = before.save_state().unwrap();
    // A minute later, in another machine.
    let after = cmos(LEAP_DAY + 60);
    after.restore_state(&saved).unwrap();
    let registers = [DAY, HOURS, MINUTES, SECONDS];
    let shown = registers.map(|index| read(&after, index));
    assert_eq!(shown, [0x29, 0x23, 0x00, 0x58]);
}
