//! The platform that the tables describe: plain data.

use vmmkit_guest_memory::{GuestAddress, RamConfig};

use super::object::AcpiObject;
use crate::Oem;

/// A platform. The default is one vCPU with the fixed hardware of vmmkit-legacy-devices, its
/// keyboard controller and clock, and no further device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiConfig {
    /// The APIC ID of each vCPU, that of the one that starts first.
    pub apic_ids: Vec<u32>,
    /// RAM, and where memory may be plugged; without any there is no SRAT, and none for
    /// more than 2,048 vCPUs.
    pub memory: Vec<MemoryRange>,
    /// The I/O APIC.
    pub ioapic: IoapicInfo,
    /// The fixed power management hardware.
    pub pm: PmPorts,
    /// How the guest resets the machine.
    pub reset: ResetRegister,
    /// The legacy hardware of a PC that is present.
    pub legacy: LegacyHardware,
    /// Devices with a name in the DSDT.
    pub devices: Vec<AcpiDevice>,
    /// Devices in AML of an embedder's own.
    pub objects: Vec<AcpiObject>,
    /// The PCI host bridge, where there is one.
    pub pci: Option<PciHost>,
    /// The maker of the platform.
    pub oem: Oem,
}

impl Default for AcpiConfig {
    fn default() -> Self {
        Self {
            apic_ids: vec![0],
            memory: Vec::new(),
            ioapic: IoapicInfo::default(),
            pm: PmPorts::default(),
            reset: ResetRegister::default(),
            legacy: LegacyHardware::default(),
            devices: Vec::new(),
            objects: Vec::new(),
            pci: None,
            oem: Oem::default(),
        }
    }
}

/// A range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// The first address.
    pub base: u64,
    /// The size in bytes, not 0.
    pub size: u64,
    /// Whether there is none from the start, and there may be some later.
    pub is_pluggable: bool,
}

impl MemoryRange {
    /// Those of a guest that has the RAM of `config`.
    pub fn of(config: &RamConfig) -> Vec<Self> {
        let range = |is_pluggable| {
            move |(start, size): (GuestAddress, u64)| Self {
                base: start.0,
                size,
                is_pluggable,
            }
        };
        let layout = config.layout();
        let ram = layout.ranges().iter().copied().map(range(false));
        let area = config.plug_area().into_iter().map(range(true));
        ram.chain(area).collect()
    }
}

/// An I/O APIC. The default is where every PC, and KVM, has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoapicInfo {
    /// The address of its registers.
    pub address: u32,
    /// The APIC ID in its registers.
    pub id: u8,
    /// The global system interrupt of its first pin.
    pub gsi_base: u32,
}

impl Default for IoapicInfo {
    fn default() -> Self {
        Self {
            address: 0xfec0_0000,
            id: 0,
            gsi_base: 0,
        }
    }
}

/// Ports of the fixed power management hardware (ACPI 6.5, section 4.8), which is always in ACPI
/// mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmPorts {
    /// The PM1a event block: 4 ports.
    pub pm1a_event: u16,
    /// The PM1a control block: 2 ports.
    pub pm1a_control: u16,
    /// The timer of 32 bits: 4 ports, where the guest is told of one. Linux spends 4.5 ms on seeing
    /// whether it goes backwards, whatever other clock it has, and needs it only where there is no
    /// [PIT](LegacyHardware::pit) to measure those by.
    pub pm_timer: Option<u16>,
    /// The interrupt, below 16: active high, level-triggered.
    pub sci: u32,
    /// SLP_TYP value of the control block for S5, below 8.
    pub sleep_type_s5: u8,
}

impl Default for PmPorts {
    fn default() -> Self {
        Self {
            pm1a_event: 0x600,
            pm1a_control: 0x604,
            pm_timer: Some(0x608),
            sci: 9,
            sleep_type_s5: 5,
        }
    }
}

/// A port that resets the machine (ACPI 6.5, section 4.8.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetRegister {
    /// The port, 8 bits wide.
    pub port: u16,
    /// The value to write there.
    pub value: u8,
}

impl Default for ResetRegister {
    fn default() -> Self {
        Self {
            port: 0xcf9,
            value: 6,
        }
    }
}

/// Hardware that a kernel expects of a PC and may probe for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyHardware {
    /// The keyboard controller at ports 0x60 and 0x64.
    pub i8042: bool,
    /// The clock at ports 0x70 and 0x71.
    pub cmos_rtc: bool,
    /// VGA.
    pub vga: bool,
    /// Two 8259 interrupt controllers.
    pub pic: bool,
    /// The 8254 timer, on interrupt 0 of ISA.
    pub pit: bool,
}

impl Default for LegacyHardware {
    fn default() -> Self {
        Self {
            i8042: true,
            cmos_rtc: true,
            vga: false,
            pic: true,
            pit: true,
        }
    }
}

/// A PCI host bridge, whose devices have no interrupt pins (PNP0A08). The default is where
/// vmmkit-pci has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciHost {
    /// Where the configuration spaces are in memory (ECAM): 1 MiB for each bus. The e820 map reserves
    /// them. Without it a kernel reads them by ports alone, and there is no MCFG.
    pub ecam: Option<u64>,
    /// The number of buses, 1 to 256; the first is 0.
    pub buses: u16,
    /// Where base addresses are below 4 GiB.
    pub window: AddressWindow,
    /// Where base addresses may be besides, above 4 GiB.
    pub high_window: Option<AddressWindow>,
}

impl Default for PciHost {
    fn default() -> Self {
        Self {
            ecam: Some(0xe000_0000),
            buses: 1,
            window: AddressWindow {
                base: 0xe800_0000,
                size: 128 << 20,
            },
            high_window: None,
        }
    }
}

/// A range of addresses that a bridge passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressWindow {
    /// The first address, not 0.
    pub base: u64,
    /// The size in bytes.
    pub size: u64,
}

/// A device with a name in the DSDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcpiDevice {
    /// A 16550A serial port, 8 ports (PNP0501).
    Serial {
        /// Its number from 0: the kernel's ttyS0 and so on. At most 14.
        index: u32,
        /// Its first port.
        port: u16,
        /// Its interrupt: edge-triggered, active high.
        gsi: u32,
    },
    /// The keyboard controller and a keyboard, on interrupt 1 (PNP0303); no mouse.
    Keyboard,
    /// The CMOS clock without its interrupt (PNP0B00).
    Rtc,
    /// A virtio device by MMIO (LNRO0005; virtio 1.2, section 4.2).
    VirtioMmio {
        /// Its number from 0, at most 4095.
        index: u32,
        /// The address of its registers.
        base: u64,
        /// The size of its registers in bytes.
        size: u64,
        /// Its interrupt: edge-triggered, active high.
        gsi: u32,
    },
    /// The VM generation ID (VMGENCTR; Microsoft, "Virtual Machine Generation ID", 2012), the VMClock page
    /// (AMZNC10C; Linux, include/uapi/linux/vmclock-abi.h), and the generic event device that tells of a
    /// change of both (ACPI0013; ACPI 6.5, section 5.6.9).
    Generation {
        /// The address of the ID's 16 bytes, a multiple of 8.
        id: u64,
        /// The address of the VMClock's page.
        clock: u32,
        /// The interrupt of a change: edge-triggered, active high.
        gsi: u32,
    },
    /// A device of the embedder's own.
    Own {
        /// Its number among those from 0, at most 4095.
        index: u32,
        /// Its _HID, by which a driver finds it.
        id: AcpiId,
        /// Its first port, and their number.
        ports: Option<(u16, u8)>,
        /// The address and the size in bytes of its registers.
        memory: Option<(u64, u64)>,
        /// Its interrupt: edge-triggered, active high.
        gsi: Option<u32>,
    },
    /// The device by which firmware and guests read their configuration (QEMU0002; QEMU, docs/specs/fw_cfg.rst).
    FwCfg {
        /// Its first port.
        port: u16,
        /// The number of its ports.
        count: u8,
    },
    /// The port by which a guest tells of its panic (QEMU0001).
    Pvpanic {
        /// The port, 8 bits wide.
        port: u16,
    },
}

/// The identifier of a kind of device: a vendor's four letters or digits, and four hexadecimal digits (ACPI 6.5,
/// section 6.1.5), such as `LNRO0005`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AcpiId([u8; AcpiId::LENGTH]);

impl AcpiId {
    const LENGTH: usize = 8;
    const VENDOR_LENGTH: usize = 4;

    /// The identifier `text`; `None` where it is not of that form.
    pub fn new(text: &str) -> Option<Self> {
        let id: [u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        let (vendor, number) = id.split_at(Self::VENDOR_LENGTH);
        let is_letter = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
        (vendor.iter().all(is_letter) && number.iter().all(is_digit)).then_some(Self(id))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // Made of ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_a_vendor_and_a_number() {
        assert_eq!(AcpiId::new("LNRO0005").unwrap().as_str(), "LNRO0005");
        for text in [
            "",
            "LNRO005",
            "lnro0005",
            "LNRO000G",
            "LNRO00055",
            "ÄNR0005",
        ] {
            assert_eq!(AcpiId::new(text), None, "{text}");
        }
    }
}
