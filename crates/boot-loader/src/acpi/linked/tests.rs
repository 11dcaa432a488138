use std::collections::HashMap;

use super::*;
use crate::acpi::{AcpiDevice, PciHost, tables};
use vmmkit_guest_memory::GuestAddress;

fn platform() -> AcpiConfig {
    AcpiConfig {
        apic_ids: vec![0, 1, 2],
        devices: vec![AcpiDevice::Keyboard, AcpiDevice::Rtc],
        pci: Some(PciHost::default()),
        ..AcpiConfig::default()
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Firmware that puts the tables at `at`: the files as they are in memory then.
fn link(linked: &LinkedTables, at: u64) -> HashMap<String, Vec<u8>> {
    let mut files = HashMap::from([
        (LinkedTables::TABLES.to_owned(), linked.tables.clone()),
        (LinkedTables::RSDP.to_owned(), linked.rsdp.clone()),
    ]);
    let mut allocated = Vec::new();
    let (commands, rest) = linked.script.as_chunks::<COMMAND>();
    assert!(rest.is_empty());
    for command in commands {
        let fields = &command[4..];
        let file = text(fields);
        match number(&command[..4]) {
            1 => {
                let zone = fields[60];
                assert!(number(&fields[56..60]).is_power_of_two());
                allocated.push((file, zone));
            }
            2 => {
                assert_eq!(text(&fields[56..]), LinkedTables::TABLES);
                let offset = number(&fields[112..116]) as usize;
                let size = usize::from(fields[116]);
                let place = &mut files.get_mut(&file).unwrap()[offset..offset + size];
                let address = number(place) + at;
                assert!(number(place) < linked.tables.len() as u64);
                place.copy_from_slice(&address.to_le_bytes()[..size]);
            }
            3 => {
                let at = |field: usize| number(&fields[field..field + 4]) as usize;
                let (offset, start, length) = (at(56), at(60), at(64));
                let bytes = files.get_mut(&file).unwrap();
                assert_eq!(bytes[offset], 0, "some firmware sets it, some subtracts");
                bytes[offset] = sum(&bytes[start..start + length]).wrapping_neg();
            }
            other => panic!("command {other}"),
        }
    }
    let expected = [(LinkedTables::TABLES, 1), (LinkedTables::RSDP, 2)];
    assert_eq!(
        allocated,
        expected.map(|(file, zone)| (file.to_owned(), zone))
    );
    files
}

#[test]
fn firmware_that_links_them_has_what_a_direct_boot_has() {
    let linked = LinkedTables::new(&platform()).unwrap();
    let files = link(&linked, 0x10_0040);
    let (rsdp, linked) = (&files[LinkedTables::RSDP], &files[LinkedTables::TABLES]);

    // There the RSDP has the first 64 bytes.
    let direct = tables(&platform(), GuestAddress(0x10_0000)).unwrap();
    assert_eq!(rsdp[..], direct[..36]);
    let differs: Vec<_> = (0..linked.len())
        .filter(|at| linked[*at] != direct[at + 64])
        .collect();
    let fadt = linked
        .windows(4)
        .position(|bytes| bytes == b"FACP")
        .unwrap();
    let dsdt = fadt + FADT_DSDT as usize..fadt + FADT_DSDT as usize + 4;
    let allowed = |at: &usize| dsdt.contains(at) || *at == fadt + CHECKSUM as usize;
    assert!(differs.iter().all(allowed), "{differs:?}");
    assert_eq!(linked[dsdt], linked[fadt + 140..fadt + 144]);
    let length = number(&linked[fadt + 4..fadt + 8]) as usize;
    assert_eq!(sum(&linked[fadt..fadt + length]), 0);
}

#[test]
fn what_cannot_be_described_is_an_error() {
    let mut config = platform();
    config.pm.sci = 16;
    let error = LinkedTables::new(&config).unwrap_err();
    assert!(matches!(error, AcpiError::Sci { sci: 16 }), "{error}");
}
