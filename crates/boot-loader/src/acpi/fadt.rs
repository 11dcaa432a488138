//! The FADT (ACPI 6.5, section 5.2.9): fixed hardware, and what of a PC is not there.

use acpi_tables::fadt::{FADT, FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

use super::header::OEM_REVISION;
use super::{AcpiConfig, AcpiDevice};

/// Bytes of the PM1a event block.
const EVENT_LENGTH: u8 = 4;
/// Bytes of the PM1a control block.
const CONTROL_LENGTH: u8 = 2;
/// Bytes of the timer.
const TIMER_LENGTH: u8 = 4;
/// P_LVL2_LAT and P_LVL3_LAT above 100 and 1000 microseconds: neither C2 nor C3.
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;

/// IAPC_BOOT_ARCH (ACPI 6.5, table 5.11): devices of an ISA bus that a user can see.
const LEGACY_DEVICES: u16 = 1 << 0;
/// IAPC_BOOT_ARCH: a keyboard controller at ports 0x60 and 0x64.
const I8042: u16 = 1 << 1;
/// IAPC_BOOT_ARCH: VGA must not be probed for.
const NO_VGA: u16 = 1 << 2;
/// IAPC_BOOT_ARCH: no CMOS clock.
const NO_CMOS_RTC: u16 = 1 << 5;

/// The FADT that points to the FACS and DSDT at these addresses.
pub(super) fn fadt(config: &AcpiConfig, facs: u64, dsdt: u64) -> FADT {
    let pm = &config.pm;
    let mut fadt = FADTBuilder::new(config.oem.id, config.oem.table_id, OEM_REVISION)
        .firmware_ctrl_64(facs)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::Unspecified)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // Set: there is no fixed sleep button; PwrButton is clear: there is a power button.
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc) // the clock wakes nothing
        .flag(Flags::ResetRegSup);
    if !config.legacy.vga {
        fadt = fadt.flag(Flags::Headless);
    }
    // SMI_CMD stays 0: the machine is in ACPI mode from the start (section 4.8.2.5).
    fadt.sci_int = u16::try_from(pm.sci).unwrap_or_default().into();
    fadt.p_lvl2_lat = NO_C2.into();
    fadt.p_lvl3_lat = NO_C3.into();
    fadt.iapc_boot_arch = boot_architecture(config).into();

    fadt.pm1a_evt_blk = u32::from(pm.pm1a_event).into();
    fadt.pm1_evt_len = EVENT_LENGTH;
    fadt.x_pm1a_evt_blk = ports(pm.pm1a_event, EVENT_LENGTH, AccessSize::WordAccess);
    fadt.pm1a_cnt_blk = u32::from(pm.pm1a_control).into();
    fadt.pm1_cnt_len = CONTROL_LENGTH;
    fadt.x_pm1a_cnt_blk = ports(pm.pm1a_control, CONTROL_LENGTH, AccessSize::WordAccess);
    if let Some(timer) = pm.pm_timer {
        fadt = fadt.flag(Flags::TmrValExt);
        fadt.pm_tmr_blk = u32::from(timer).into();
        fadt.pm_tmr_len = TIMER_LENGTH;
        fadt.x_pm_tmr_blk = ports(timer, TIMER_LENGTH, AccessSize::DwordAccess);
    }
    fadt.reset_reg = ports(config.reset.port, 1, AccessSize::ByteAccess);
    fadt.reset_value = config.reset.value;
    fadt.finalize()
}

fn boot_architecture(config: &AcpiConfig) -> u16 {
    let legacy = &config.legacy;
    let serial = |device: &AcpiDevice| matches!(device, AcpiDevice::Serial { .. });
    let mut flags = 0;
    if legacy.i8042 || config.devices.iter().any(serial) {
        flags |= LEGACY_DEVICES;
    }
    if legacy.i8042 {
        flags |= I8042;
    }
    if !legacy.vga {
        flags |= NO_VGA;
    }
    if !legacy.cmos_rtc {
        flags |= NO_CMOS_RTC;
    }
    flags
}

/// `length` ports from `port` on.
fn ports(port: u16, length: u8, access: AccessSize) -> GAS {
    let bits = length.saturating_mul(8);
    GAS::new(AddressSpace::SystemIo, bits, 0, access, port.into())
}
