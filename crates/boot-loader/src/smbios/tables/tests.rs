use super::*;
use crate::smbios::MAX_TEXT;
use crate::testing::ram;

const PROCESSORS: Processors = Processors {
    sockets: 2,
    cores: 3,
    threads: 2,
};

/// A structure as a kernel reads it: type, formatted part and texts.
struct Read {
    kind: u8,
    handle: u16,
    bytes: Vec<u8>,
    texts: Vec<String>,
}

fn read(mut bytes: &[u8]) -> Vec<Read> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (formatted, rest) = bytes.split_at(bytes[1].into());
        let end = rest.windows(2).position(|pair| pair == [0, 0]).unwrap();
        let texts = rest[..end].split(|byte| *byte == 0);
        let texts = texts.filter(|text| !text.is_empty());
        let texts = texts.map(|text| String::from_utf8(text.to_vec()).unwrap());
        all.push(Read {
            kind: formatted[0],
            handle: u16::from_le_bytes([formatted[2], formatted[3]]),
            bytes: formatted.to_vec(),
            texts: texts.collect(),
        });
        bytes = &rest[end + 2..];
    }
    all
}

fn tables(named: &Smbios, mib: u32) -> Vec<Read> {
    read(
        SmbiosTables::new(named, PROCESSORS, &ram(mib))
            .unwrap()
            .structures(),
    )
}

fn of(all: &[Read], kind: u8) -> Vec<&Read> {
    all.iter().filter(|read| read.kind == kind).collect()
}

#[test]
fn every_structure_has_the_length_of_its_type_and_a_handle_of_its_own() {
    let named = Smbios {
        oem_strings: vec!["x".to_owned()],
        ..Smbios::default()
    };
    let all = tables(&named, 4096);
    let kinds: Vec<_> = all
        .iter()
        .map(|read| (read.kind, read.bytes.len()))
        .collect();
    let expected = [
        (0, 0x1a),
        (1, 0x1b),
        (3, 0x16),
        (4, 0x30),
        (4, 0x30),
        (11, 5),
        (16, 0x17),
        (17, 0x28),
        (19, 0x1f),
        (19, 0x1f),
        (32, 0x0b),
        (127, 4),
    ];
    assert_eq!(kinds, expected);
    let mut handles: Vec<_> = all.iter().map(|read| read.handle).collect();
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), all.len());
}

#[test]
fn the_system_is_named_as_it_is_asked_for() {
    let named = Smbios {
        manufacturer: Some("Acme".to_owned()),
        serial: Some("42".to_owned()),
        uuid: Some(std::array::from_fn(|index| index as u8)),
        ..Smbios::default()
    };
    let all = tables(&named, 64);
    let system = of(&all, 1)[0];
    assert_eq!(system.texts, ["Acme", "KVM", "42"]);
    // Manufacturer, product, no version, serial number.
    assert_eq!(system.bytes[4..8], [1, 2, 0, 3]);
    let uuid = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    assert_eq!(system.bytes[8..24], uuid);
    assert_eq!(of(&all, 3)[0].texts, ["Acme"]);
}

#[test]
fn ram_is_told_in_the_units_that_its_size_fits() {
    let small = tables(&Smbios::default(), 64);
    assert_eq!(of(&small, 16)[0].bytes[7..11], 0x1_0000_u32.to_le_bytes());
    assert_eq!(of(&small, 17)[0].bytes[12..14], 64_u16.to_le_bytes());
    let large = tables(&Smbios::default(), 4096);
    let ranges = of(&large, 19);
    assert_eq!(ranges.len(), 2);
    // From 4 GiB on, in KiB.
    assert_eq!(ranges[1].bytes[4..8], (4_u32 << 20).to_le_bytes());
}

#[test]
fn more_texts_than_one_structure_holds_are_in_several() {
    let named = Smbios {
        oem_strings: (0..300).map(|number| number.to_string()).collect(),
        ..Smbios::default()
    };
    let all = tables(&named, 64);
    let texts = of(&all, 11);
    assert_eq!((texts[0].bytes[4], texts[1].bytes[4]), (255, 45));
    assert_eq!(texts[1].texts[44], "299");
}

#[test]
fn texts_that_cannot_be_written_are_refused() {
    let refused = |text: &str| {
        let named = Smbios {
            oem_strings: vec![text.to_owned()],
            ..Smbios::default()
        };
        SmbiosTables::new(&named, PROCESSORS, &ram(64)).unwrap_err()
    };
    let field = "oem_strings";
    assert_eq!(refused("a\0b"), SmbiosError::Nul { field });
    assert_eq!(refused(""), SmbiosError::Empty { field });
    let size = MAX_TEXT + 1;
    assert_eq!(
        refused(&"x".repeat(MAX_TEXT)),
        SmbiosError::TooLarge { size }
    );
}

#[test]
fn the_largest_machine_fits_where_structures_lie() {
    // The shortest texts take the most structures, the longest the most room.
    for (count, length) in [(MAX_TEXT / 2, 1), (1, MAX_TEXT - 1)] {
        let named = Smbios {
            oem_strings: vec!["x".repeat(length); count],
            ..Smbios::default()
        };
        let many = Processors {
            sockets: 4096,
            ..PROCESSORS
        };
        let tables = SmbiosTables::new(&named, many, &ram(4096)).unwrap();
        assert!(tables.structures().len() <= crate::smbios::MAX_SIZE);
    }
}

#[test]
fn the_entry_point_sums_to_zero_and_leads_to_the_structures() {
    let tables = SmbiosTables::new(&Smbios::default(), PROCESSORS, &ram(64)).unwrap();
    let entry = tables.entry_point(0xd_0000);
    assert_eq!(entry[..5], *b"_SM3_");
    let sum = entry
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    assert_eq!(sum, 0);
    assert_eq!(entry[16..], 0xd_0000_u64.to_le_bytes());
    let size = u32::try_from(tables.structures().len()).unwrap();
    assert_eq!(entry[12..16], size.to_le_bytes());
}
