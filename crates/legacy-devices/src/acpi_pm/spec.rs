//! Numbers of the ACPI fixed hardware: ACPI 6.5, section 4.8.

/// First port of the whole block.
pub const BLOCK: u16 = 0x600;
/// Ports of the whole block.
pub const BLOCK_LENGTH: u16 = 16;
/// PM1a event block: status and enable, 2 bytes each (section 4.8.3.1); FADT PM1a_EVT_BLK.
pub const PM1A_EVENT: u16 = 0x600;
/// FADT PM1_EVT_LEN.
pub const PM1A_EVENT_LENGTH: u8 = 4;
/// PM1a control block (section 4.8.3.2); FADT PM1a_CNT_BLK.
pub const PM1A_CONTROL: u16 = 0x604;
/// FADT PM1_CNT_LEN.
pub const PM1A_CONTROL_LENGTH: u8 = 2;
/// Power management timer (section 4.8.3.3); FADT PM_TMR_BLK.
pub const PM_TIMER: u16 = 0x608;
/// FADT PM_TMR_LEN.
pub const PM_TIMER_LENGTH: u8 = 4;
/// Frequency of the timer in hertz (section 4.8.3.3). It has 32 bits: FADT TMR_VAL_EXT.
pub const PM_TIMER_HERTZ: u32 = 3_579_545;
/// The interrupt, FADT SCI_INT.
pub const SCI: u32 = 9;
/// SLP_TYP of S5 in the DSDT's \_S5 package.
pub const S5_SLEEP_TYPE: u8 = 5;
/// SLP_TYP of S5 on QEMU's q35, which UEFI firmware made for it writes itself, whatever the DSDT says
/// (EDK II, OvmfPkg/Library/ResetSystemLib). No other state has it here.
pub const FIRMWARE_S5_SLEEP_TYPE: u8 = 0;

/// PM1 status and enable: global lock released (table 4.11).
pub const GLOBAL: u16 = 1 << 5;
/// PM1 status and enable: power button.
pub const POWER_BUTTON: u16 = 1 << 8;
/// PM1 status and enable: sleep button.
pub const SLEEP_BUTTON: u16 = 1 << 9;
/// PM1 status and enable: RTC alarm.
pub const RTC: u16 = 1 << 10;
/// The events that this block has.
pub const EVENTS: u16 = GLOBAL | POWER_BUTTON | SLEEP_BUTTON | RTC;

/// PM1 control: ACPI mode; always set, there is no other (table 4.13).
pub const CONTROL_SCI_ENABLE: u16 = 1 << 0;
/// PM1 control: bus master requests end C3; kept, without an effect.
pub const CONTROL_BUS_MASTER_RELOAD: u16 = 1 << 1;
/// PM1 control: lowest bit of the 3 of SLP_TYP.
pub const CONTROL_SLEEP_TYPE_SHIFT: u32 = 10;
/// PM1 control: SLP_TYP.
pub const CONTROL_SLEEP_TYPE: u16 = 7 << CONTROL_SLEEP_TYPE_SHIFT;
/// PM1 control: go to sleep; reads as 0.
pub const CONTROL_SLEEP_ENABLE: u16 = 1 << 13;
