use proptest::prelude::*;

use super::*;
use vmmkit_guest_memory::{RamConfig, RamSize};

use crate::memory_map::{ACPI_TABLES, ACPI_TABLES_SIZE};
use crate::testing::ram;

const AT: u64 = ACPI_TABLES.0;

fn platform() -> AcpiConfig {
    AcpiConfig {
        apic_ids: vec![0, 1],
        memory: memory(3584, 4096),
        devices: vec![
            AcpiDevice::Serial {
                index: 0,
                port: 0x3f8,
                gsi: 4,
            },
            AcpiDevice::Keyboard,
            AcpiDevice::Rtc,
            AcpiDevice::VirtioMmio {
                index: 0,
                base: 0xd000_0000,
                size: 0x1000,
                gsi: 5,
            },
            AcpiDevice::VirtioMmio {
                index: 31,
                base: 1 << 40,
                size: 0x1000,
                gsi: 17,
            },
            AcpiDevice::Pvpanic { port: 0x505 },
            AcpiDevice::FwCfg {
                port: 0x510,
                count: 12,
            },
            AcpiDevice::Generation {
                id: 0x1_000f_d000,
                clock: 0xf_e000,
                gsi: 3,
            },
        ],
        pci: Some(PciHost {
            high_window: Some(AddressWindow {
                base: 1 << 42,
                size: 1 << 36,
            }),
            ..PciHost::default()
        }),
        ..AcpiConfig::default()
    }
}

/// So many MiB of RAM, and how many it may become.
fn memory(size: u32, max: u32) -> Vec<MemoryRange> {
    MemoryRange::of(&RamConfig {
        size: RamSize::mebibytes(size),
        max: Some(RamSize::mebibytes(max)),
        ..RamConfig::default()
    })
}

fn made(config: &AcpiConfig) -> Vec<u8> {
    tables(config, ACPI_TABLES).unwrap()
}

fn number<const N: usize>(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0; 8];
    value[..N].copy_from_slice(&bytes[offset..offset + N]);
    u64::from_le_bytes(value)
}

/// The table at `address`, cut to its length.
fn table_at(bytes: &[u8], address: u64) -> &[u8] {
    let rest = &bytes[usize::try_from(address - AT).unwrap()..];
    &rest[..usize::try_from(number::<4>(rest, 4)).unwrap()]
}

/// The table that the XSDT names by `signature`.
fn table<'a>(bytes: &'a [u8], signature: &[u8; 4]) -> &'a [u8] {
    let xsdt = table_at(bytes, number::<8>(bytes, 24));
    let (addresses, rest) = xsdt[36..].as_chunks::<8>();
    assert!(rest.is_empty());
    let found = addresses
        .iter()
        .map(|address| table_at(bytes, u64::from_le_bytes(*address)));
    found
        .into_iter()
        .find(|table| table.starts_with(signature))
        .unwrap()
}

fn dsdt(bytes: &[u8]) -> &[u8] {
    table_at(bytes, number::<8>(table(bytes, b"FACP"), 140))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The MADT's structures: type and contents.
fn structures(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    split(&table(bytes, b"APIC")[44..])
}

fn split(mut rest: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (structure, after) = rest.split_at(usize::from(rest[1]));
        found.push((structure[0], structure));
        rest = after;
    }
    found
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[test]
fn the_rsdp_comes_first_and_its_sums_are_zero() {
    let bytes = made(&platform());

    assert!(bytes.starts_with(b"RSD PTR "));
    assert_eq!(bytes[15], 2);
    assert_eq!(sum(&bytes[..20]), 0);
    assert_eq!(sum(&bytes[..36]), 0);
}

#[test]
fn the_sum_of_every_table_is_zero() {
    let bytes = made(&platform());

    assert_eq!(sum(table_at(&bytes, number::<8>(&bytes, 24))), 0, "XSDT");
    assert_eq!(sum(table(&bytes, b"FACP")), 0);
    assert_eq!(sum(table(&bytes, b"APIC")), 0);
    assert_eq!(sum(table(&bytes, b"SRAT")), 0);
    assert_eq!(sum(table(&bytes, b"MCFG")), 0);
    assert_eq!(sum(dsdt(&bytes)), 0);
}

#[test]
fn the_facs_lies_at_a_multiple_of_64() {
    let bytes = made(&platform());

    let address = number::<8>(table(&bytes, b"FACP"), 132);
    assert_eq!(address % 64, 0);
    assert!(table_at(&bytes, address).starts_with(b"FACS"));
}

#[test]
fn the_fadt_names_the_fixed_hardware_twice_alike() {
    let bytes = made(&platform());
    let fadt = table(&bytes, b"FACP");

    assert_eq!(number::<2>(fadt, 46), 9, "SCI_INT");
    assert_eq!(number::<4>(fadt, 48), 0, "SMI_CMD");
    for (old, new, port, bits) in [
        (56, 148, 0x600, 32),
        (64, 172, 0x604, 16),
        (76, 208, 0x608, 32),
    ] {
        assert_eq!(number::<4>(fadt, old), port);
        assert_eq!(number::<8>(fadt, new + 4), port);
        assert_eq!(fadt[new..new + 2], [1, bits], "I/O ports of {bits} bits");
    }
    assert_eq!(fadt[88..92], [4, 2, 0, 4], "lengths");
    assert_eq!(fadt[116..120], [1, 8, 0, 1], "RESET_REG");
    assert_eq!(number::<8>(fadt, 120), 0xcf9);
    assert_eq!(fadt[128], 6, "RESET_VALUE");
}

#[test]
fn the_fadt_tells_what_is_not_there() {
    let flags = |legacy, devices| {
        let bytes = made(&AcpiConfig {
            legacy,
            devices,
            ..AcpiConfig::default()
        });
        number::<2>(table(&bytes, b"FACP"), 109)
    };
    let nothing = LegacyHardware {
        i8042: false,
        cmos_rtc: false,
        vga: false,
        pic: false,
        pit: false,
    };
    let everything = LegacyHardware {
        i8042: true,
        cmos_rtc: true,
        vga: true,
        pic: true,
        pit: true,
    };
    let serial = AcpiDevice::Serial {
        index: 0,
        port: 0x3f8,
        gsi: 4,
    };

    assert_eq!(flags(nothing, vec![]), 0b10_0100);
    assert_eq!(flags(nothing, vec![serial]), 0b10_0101);
    assert_eq!(flags(everything, vec![]), 0b00_0011);
    assert_eq!(flags(LegacyHardware::default(), vec![]), 0b00_0111);
}

#[test]
fn the_madt_tells_of_8259s_and_of_the_8254_where_they_are() {
    let told = |pic, pit| {
        let legacy = LegacyHardware {
            pic,
            pit,
            ..LegacyHardware::default()
        };
        let bytes = made(&AcpiConfig {
            legacy,
            ..AcpiConfig::default()
        });
        let overrides = structures(&bytes).into_iter().filter(|it| it.0 == 2);
        let sources: Vec<u8> = overrides.map(|it| it.1[3]).collect();
        (number::<4>(table(&bytes, b"APIC"), 40), sources)
    };

    assert_eq!(told(true, true), (1, vec![0, 9]));
    assert_eq!(told(true, false), (1, vec![9]));
    assert_eq!(told(false, false), (0, vec![9]));
}

#[test]
fn there_is_a_power_button_but_no_sleep_button() {
    let bytes = made(&platform());

    let flags = number::<4>(table(&bytes, b"FACP"), 112);
    assert_eq!(flags & (1 << 4), 0, "PWR_BUTTON: it is fixed hardware");
    assert_ne!(flags & (1 << 5), 0, "SLP_BUTTON: it is not");
    assert_ne!(flags & (1 << 8), 0, "TMR_VAL_EXT");
    assert_ne!(flags & (1 << 10), 0, "RESET_REG_SUP");
    assert_eq!(flags & (1 << 20), 0, "HW_REDUCED_ACPI");
}

#[test]
fn without_a_timer_the_fadt_has_none() {
    let pm = PmPorts {
        pm_timer: None,
        ..PmPorts::default()
    };
    let bytes = made(&AcpiConfig {
        pm,
        ..AcpiConfig::default()
    });

    let fadt = table(&bytes, b"FACP");
    assert_eq!(number::<4>(fadt, 76), 0);
    assert_eq!(fadt[91], 0);
    assert_eq!(number::<4>(fadt, 112) & (1 << 8), 0);
}

#[test]
fn the_madt_has_every_cpu_and_pin() {
    let bytes = made(&platform());

    let expected: [(u8, &[u8]); 6] = [
        (0, &[0, 8, 0, 0, 1, 0, 0, 0]),
        (0, &[0, 8, 1, 1, 1, 0, 0, 0]),
        (1, &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]),
        (2, &[2, 10, 0, 0, 2, 0, 0, 0, 0, 0]),
        (2, &[2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0]),
        (4, &[4, 6, 0xff, 5, 0, 1]),
    ];
    assert_eq!(structures(&bytes), expected);
}

#[test]
fn from_the_256th_cpu_on_they_are_x2apics() {
    let bytes = made(&AcpiConfig {
        apic_ids: (0..300).collect(),
        ..AcpiConfig::default()
    });

    let found = structures(&bytes);
    let count = |kind| found.iter().filter(|structure| structure.0 == kind).count();
    assert_eq!((count(0), count(9), count(0xa)), (255, 45, 1));
    let first = found.iter().find(|structure| structure.0 == 9).unwrap().1;
    assert_eq!(first, [9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0]);
}

#[test]
fn the_dsdt_has_s5_and_each_device() {
    let bytes = made(&platform());
    let dsdt = dsdt(&bytes);

    assert!(holds(dsdt, b"\x08_S5_\x12\x07\x04\x0a\x05\x00\x00\x00"));
    for name in [b"COM1", b"KBD_", b"RTC_", b"V000", b"V01F", b"PEVT"] {
        assert!(holds(dsdt, name));
    }
    assert!(
        holds(dsdt, &[0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8]),
        "8 ports at 0x3f8"
    );
    assert!(
        holds(dsdt, &[0x89, 6, 0, 3, 1, 4, 0, 0, 0]),
        "interrupt 4, edge"
    );
    assert!(
        holds(dsdt, &[0x86, 9, 0, 1, 0, 0, 0, 0xd0, 0, 0x10, 0, 0]),
        "registers below 4 GiB"
    );
    assert!(holds(dsdt, &(1_u64 << 40).to_le_bytes()), "registers above");
}

#[test]
fn the_srat_has_every_cpu_and_all_memory_5_2_16() {
    let bytes = made(&AcpiConfig {
        apic_ids: vec![0, 254, 255, 4096],
        ..platform()
    });
    let srat = table(&bytes, b"SRAT");
    assert_eq!(
        (srat[8], number::<4>(srat, 36), number::<8>(srat, 40)),
        (3, 1, 0)
    );
    let entries = split(&srat[48..]);
    let kinds: Vec<_> = entries.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [0, 0, 2, 2, 1, 1, 1]);
    assert_eq!((entries[1].1[3], number::<4>(entries[1].1, 4)), (254, 1));
    let x2apic = entries[3].1;
    assert_eq!((number::<4>(x2apic, 8), number::<4>(x2apic, 12)), (4096, 1));
    let memory = |entry: &[u8]| {
        let (node, flags) = (number::<4>(entry, 2), number::<4>(entry, 28));
        (node, number::<8>(entry, 8), number::<8>(entry, 16), flags)
    };
    let memory: Vec<_> = entries[4..]
        .iter()
        .map(|(_, entry)| memory(entry))
        .collect();
    let expected = [
        (0, 0, 3 << 30, 1),
        (0, 4 << 30, 512 << 20, 1),
        (0, 5 << 30, 512 << 20, 3),
    ];
    assert_eq!(memory, expected);
}

#[test]
fn without_memory_there_is_no_srat() {
    let bytes = made(&AcpiConfig {
        memory: Vec::new(),
        ..platform()
    });
    assert!(!holds(&bytes, b"SRAT"));
}

#[test]
fn the_tables_of_4096_cpus_fit() {
    let bytes = |vcpus: u32| {
        made(&AcpiConfig {
            apic_ids: (0..vcpus).collect(),
            ..platform()
        })
    };
    for vcpus in [2048, 4096] {
        assert!(bytes(vcpus).len() as u64 <= ACPI_TABLES_SIZE, "{vcpus}");
    }
    assert!(holds(&bytes(2048), b"SRAT") && !holds(&bytes(2049), b"SRAT"));
}

#[test]
fn the_mcfg_says_where_the_configuration_spaces_are() {
    let bytes = made(&platform());
    let mcfg = table(&bytes, b"MCFG");

    assert_eq!(mcfg.len(), 36 + 8 + 16);
    assert_eq!(number::<8>(mcfg, 44), 0xe000_0000);
    assert_eq!(number::<2>(mcfg, 52), 0, "segment");
    assert_eq!(mcfg[54..56], [0, 0], "first and last bus");
}

#[test]
fn the_dsdt_has_the_pci_bridge_and_reserves_its_configuration_spaces() {
    let bytes = made(&platform());
    let dsdt = dsdt(&bytes);

    assert!(holds(dsdt, b"PCI0\x08_HID\x0c\x41\xd0\x0a\x08\x08_UID"));
    assert!(holds(dsdt, b"_CID\x0c\x41\xd0\x0a\x03"));
    assert!(holds(dsdt, b"_BBN\x00"));
    let words = |kind: u8, flags: u8, fields: [u16; 5]| {
        let mut descriptor = vec![0x88, 13, 0, kind, 0x0c, flags];
        descriptor.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        descriptor
    };
    assert!(holds(dsdt, &words(2, 0, [0, 0, 0, 0, 1])), "bus 0");
    assert!(
        holds(dsdt, &[0x47, 1, 0xf8, 0xc, 0xf8, 0xc, 1, 8]),
        "8 ports at 0xcf8 are its own"
    );
    assert!(holds(dsdt, &words(1, 3, [0, 0, 0xcf7, 0, 0xcf8])));
    assert!(holds(dsdt, &words(1, 3, [0, 0xd00, 0xffff, 0, 0xf300])));
    let mut low = vec![0x87, 23, 0, 0, 0x0c, 1];
    for field in [0, 0xe800_0000, 0xefff_ffff, 0, 0x800_0000_u32] {
        low.extend(field.to_le_bytes());
    }
    assert!(holds(dsdt, &low), "the window below 4 GiB");
    let mut high = vec![0x8a, 43, 0, 0, 0x0c, 1];
    for field in [0, 1 << 42, (1 << 42) + (1 << 36) - 1, 0, 1_u64 << 36] {
        high.extend(field.to_le_bytes());
    }
    assert!(holds(dsdt, &high), "the window above");
    assert!(
        holds(dsdt, &[0x86, 9, 0, 1, 0, 0, 0, 0xe0, 0, 0, 0x10, 0]),
        "1 MiB of configuration spaces"
    );
}

/// Linux reads ADDR as two integers, and the clock's address from _CRS (drivers/virt/vmgenid.c,
/// drivers/ptp/ptp_vmclock.c).
#[test]
fn the_dsdt_has_the_generation_and_the_event_of_its_change() {
    let bytes = made(&platform());
    let dsdt = dsdt(&bytes);

    assert!(holds(dsdt, b"VGEN\x08_HID\x0dVMGENCTR\x00"));
    assert!(holds(dsdt, b"_CID\x0dVM_Gen_Counter\x00"));
    assert!(
        holds(dsdt, b"ADDR\x12\x08\x02\x0c\x00\xd0\x0f\x00\x01"),
        "low and high half"
    );
    assert!(holds(dsdt, b"VCLK\x08_HID\x0dAMZNC10C\x00"));
    assert!(holds(dsdt, b"_CID\x0dVMCLOCK\x00"));
    assert!(
        holds(dsdt, &[0x86, 9, 0, 1, 0, 0xe0, 0x0f, 0, 0, 0x10, 0, 0]),
        "a page of its own"
    );
    assert!(holds(dsdt, b"GED_\x08_HID\x0dACPI0013\x00"));
    assert!(holds(dsdt, &[0x89, 6, 0, 3, 1, 3, 0, 0, 0]), "interrupt 3");
    let event = b"_EVT\x09\x86\\\x2e_SB_VGEN\x0a\x80\x86\\\x2e_SB_VCLK\x0a\x80";
    assert!(holds(dsdt, event), "both are notified");
}

#[test]
fn without_pci_there_is_neither_bridge_nor_mcfg() {
    let bytes = made(&AcpiConfig {
        pci: None,
        ..platform()
    });

    assert!(!holds(&bytes, b"MCFG"));
    assert!(!holds(&bytes, b"PCI0"));
}

#[test]
fn the_same_platform_gives_the_same_bytes() {
    assert_eq!(made(&platform()), made(&platform()));
}

#[test]
fn tables_are_written_where_they_are_asked_for() {
    let ram = ram(16);

    let rsdp = write_tables(&ram, &platform(), ACPI_TABLES, ACPI_TABLES_SIZE).unwrap();

    let mut bytes = vec![0; made(&platform()).len()];
    ram.read_bytes(rsdp, &mut bytes).unwrap();
    assert_eq!(bytes, made(&platform()));
    assert!(bytes.len() < 2048, "{} bytes", bytes.len());
}

#[test]
fn what_cannot_be_described_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut AcpiConfig)| {
        let mut config = AcpiConfig::default();
        change(&mut config);
        tables(&config, ACPI_TABLES).unwrap_err().to_string()
    };
    let device = |device| move |config: &mut AcpiConfig| config.devices = vec![device];

    assert_eq!(
        refused(&|config| config.pm.sci = 16),
        "ACPI interrupt 16: it must be below 16"
    );
    assert!(refused(&|config| config.pm.sleep_type_s5 = 8).contains("sleep type 8"));
    assert!(
        refused(&device(AcpiDevice::Serial {
            index: 15,
            port: 0,
            gsi: 0
        }))
        .starts_with("serial port 15")
    );
    for (base, size) in [(u64::MAX, 2), (0, 0), (0, u64::MAX)] {
        let virtio = AcpiDevice::VirtioMmio {
            index: 0,
            base,
            size,
            gsi: 0,
        };
        assert!(refused(&device(virtio)).starts_with("virtio device 0"));
    }
    let virtio = AcpiDevice::VirtioMmio {
        index: 4096,
        base: 0,
        size: 1,
        gsi: 0,
    };
    assert!(refused(&device(virtio)).starts_with("virtio device 4096"));
    let host = |change: &dyn Fn(&mut PciHost)| {
        let mut host = PciHost::default();
        change(&mut host);
        refused(&|config| config.pci = Some(host))
    };
    for (base, size) in [(0, 0), (u64::MAX, 2)] {
        let is_pluggable = false;
        let range = MemoryRange {
            base,
            size,
            is_pluggable,
        };
        let error = refused(&|config| config.memory = vec![range]);
        assert!(error.starts_with("memory range 0"), "{error}");
    }
    let window = |base, size| AddressWindow { base, size };
    assert!(host(&|host| host.buses = 0).starts_with("PCI bus"));
    assert!(host(&|host| host.buses = 257).starts_with("PCI bus 256"));
    assert!(host(&|host| host.window = window(0xf000_0000, 1 << 29)).starts_with("PCI window 0"));
    for (base, size) in [(0, 1), (1 << 40, 0), (u64::MAX, 2)] {
        let error = host(&|host| host.high_window = Some(window(base, size)));
        assert!(error.starts_with("PCI window 1"), "{error}");
    }
    assert!(host(&|host| host.ecam = Some(u64::MAX)).starts_with("PCI configuration space 0"));
}

#[test]
fn a_place_without_room_is_refused() {
    let ram = ram(16);
    let write = |at, limit| write_tables(&ram, &platform(), GuestAddress(at), limit).unwrap_err();

    assert!(matches!(
        write(0xe_0010, 4096),
        AcpiError::Unaligned { at: 0xe_0010 }
    ));
    assert!(matches!(
        write(AT, 64),
        AcpiError::DoesNotFit { limit: 64, .. }
    ));
    assert!(matches!(write(16 << 20, 4096), AcpiError::Write { .. }));
    assert!(matches!(
        write(u64::MAX - 63, 4096),
        AcpiError::AddressSpace { .. }
    ));
}

/// Writes tables for `iasl -d`: `cargo test -p vmmkit-boot-loader tables_for_iasl -- --ignored`.
#[test]
#[ignore = "writes files for a person to look at"]
fn tables_for_iasl_are_written() {
    let bytes = made(&platform());
    let folder = std::env::temp_dir().join("vmmkit-acpi");
    std::fs::create_dir_all(&folder).unwrap();
    let facs = table_at(&bytes, number::<8>(table(&bytes, b"FACP"), 132));
    let xsdt = table_at(&bytes, number::<8>(&bytes, 24));
    let all = [
        ("rsdp", &bytes[..36]),
        ("xsdt", xsdt),
        ("facs", facs),
        ("facp", table(&bytes, b"FACP")),
        ("apic", table(&bytes, b"APIC")),
        ("srat", table(&bytes, b"SRAT")),
        ("mcfg", table(&bytes, b"MCFG")),
        ("dsdt", dsdt(&bytes)),
    ];
    for (name, bytes) in all {
        std::fs::write(folder.join(name).with_extension("dat"), bytes).unwrap();
    }
}

proptest! {
    #[test]
    fn any_platform_gives_tables_or_an_error(
        vcpus in 0..600_u32, sci in 0..20_u32, sleep in 0..10_u8, timer in any::<Option<u16>>(),
        virtio in any::<(u32, u64, u64, u32)>(), pci in any::<(u64, u16, u64, u64)>(), at in any::<u64>(), serial in 0..20_u32,
    ) {
        let (index, base, size, gsi) = virtio;
        let config = AcpiConfig {
            apic_ids: (0..vcpus).collect(),
            pm: PmPorts { sci, sleep_type_s5: sleep, pm_timer: timer, ..PmPorts::default() },
            devices: vec![
                AcpiDevice::VirtioMmio { index: index % 5000, base, size, gsi },
                AcpiDevice::Serial { index: serial, port: 0xffff, gsi },
            ],
            pci: Some(PciHost {
                ecam: Some(pci.0),
                buses: pci.1,
                window: AddressWindow { base: pci.2 & 0xffff_ffff, size: pci.3 & 0x1_ffff_ffff },
                high_window: Some(AddressWindow { base: pci.2, size: pci.3 }),
            }),
            ..AcpiConfig::default()
        };

        if let Ok(bytes) = tables(&config, GuestAddress(at & !0x3f)) {
            prop_assert_eq!(sum(&bytes[..36]), 0);
        }
    }
}

#[test]
fn a_device_of_the_embedders_own_is_described_with_what_it_has() {
    let own = |ports, memory, gsi| AcpiConfig {
        devices: vec![AcpiDevice::Own {
            index: 0,
            id: AcpiId::new("ACME0001").unwrap(),
            ports,
            memory,
            gsi,
        }],
        ..AcpiConfig::default()
    };
    let bytes = made(&own(
        Some((0x7f0, 8)),
        Some((0xcfff_f000, 0x1000)),
        Some(23),
    ));
    let table = dsdt(&bytes);
    assert!(holds(table, b"E000\x08_HID\x0dACME0001\x00"));
    // The descriptors of ports, of 32-bit memory and of an extended interrupt (ACPI 6.5, sections 6.4.2.5, 6.4.3.4, 6.4.3.6).
    assert!(holds(table, b"\x47\x01\xf0\x07\xf0\x07\x01\x08"));
    assert!(holds(
        table,
        b"\x86\x09\x00\x01\x00\xf0\xff\xcf\x00\x10\x00\x00"
    ));
    assert!(holds(table, b"\x89\x06\x00\x03\x01\x17\x00\x00\x00"));
    let bytes = made(&own(None, None, None));
    assert!(holds(dsdt(&bytes), b"ACME0001") && !holds(dsdt(&bytes), b"\x89\x06\x00"));
}

#[test]
fn an_embedders_aml_is_a_device_of_a_name_that_nobody_else_has() {
    let object = |name: &str| AcpiObject::device(name, b"\x08_HID\x0dVMKT0002\x00".to_vec());
    let with = |objects: Vec<AcpiObject>| AcpiConfig {
        devices: vec![AcpiDevice::Keyboard],
        objects,
        pci: Some(PciHost::default()),
        ..AcpiConfig::default()
    };
    let bytes = made(&with(vec![
        object("ADDR").unwrap(),
        object("_A_9").unwrap(),
    ]));
    // DefDevice and its PkgLength (ACPI 6.5, sections 20.2.5.2 and 20.2.4).
    assert!(holds(
        dsdt(&bytes),
        b"\x5b\x82\x14ADDR\x08_HID\x0dVMKT0002\x00"
    ));
    for taken in ["KBD_", "PCI0", "ADDR"] {
        let config = with(vec![object("ADDR").unwrap(), object(taken).unwrap()]);
        let error = tables(&config, GuestAddress(0)).unwrap_err();
        assert!(
            matches!(&error, AcpiError::Twice { name } if name == taken),
            "{error}"
        );
    }
    for bad in [
        "", "ADD", "ADDRE", "addr", "9ADR", "AD.R", "\\ADR", "^ADR", "ÄAD",
    ] {
        let error = object(bad).unwrap_err();
        assert!(
            matches!(&error, AcpiError::Name { name } if name == bad),
            "{error}"
        );
    }
    let long = AcpiObject::device("LONG", vec![0; AcpiObject::MAX_BYTES + 1]);
    assert!(matches!(long, Err(AcpiError::Object { size: 16385, .. })));
}
