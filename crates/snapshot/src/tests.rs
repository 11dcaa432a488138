use proptest::prelude::*;

use super::*;

fn section<'a>(id: &'a str, contents: &'a [u8]) -> Section<'a> {
    Section {
        id,
        kind: "kind",
        version: 7,
        must_understand: id.starts_with("must"),
        contents,
    }
}

fn file(sections: &[Section<'_>]) -> Vec<u8> {
    let mut writer = Writer::new();
    for section in sections {
        writer.add(*section).unwrap();
    }
    writer.finish()
}

/// Version 1 of the container, which loads for ever.
const GOLDEN: &[u8] = include_bytes!("../goldens/container.v1");

fn golden() -> [Section<'static>; 3] {
    [
        section("must0", b"{\"a\":1}"),
        section("note", b""),
        section("must1", &[0xff, 0, 0x80]),
    ]
}

#[test]
fn containers_of_earlier_builds_load_and_are_written_so() {
    let reader = Reader::new(GOLDEN).unwrap();
    assert_eq!(reader.sections(), golden());
    assert_eq!(file(&golden()), GOLDEN);
}

#[test]
fn every_change_of_a_byte_is_seen() {
    for place in 0..GOLDEN.len() {
        for bit in 0..8 {
            let mut bytes = GOLDEN.to_vec();
            bytes[place] ^= 1 << bit;
            assert!(Reader::new(&bytes).is_err(), "bit {bit} of byte {place}");
        }
        assert!(Reader::new(&GOLDEN[..place]).is_err(), "{place} bytes");
    }
    let longer = [GOLDEN, &[0]].concat();
    assert_eq!(Reader::new(&longer).unwrap_err(), ReadError::Trailing(1));
}

#[test]
fn damage_is_told_with_the_name_of_the_section() {
    let mut bytes = GOLDEN.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let error = Reader::new(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "section \"must1\" is damaged");
    let error = Reader::new(&GOLDEN[..GOLDEN.len() - 1]).unwrap_err();
    let length = GOLDEN.len() - 1;
    assert_eq!(
        error.to_string(),
        format!("ends after {length} bytes, in must1")
    );
}

#[test]
fn a_section_that_must_be_understood_is_not_left() {
    let mut reader = Reader::new(GOLDEN).unwrap();
    assert!(reader.take("must0").is_some() && reader.take("must0").is_none());
    let error = reader.clone().finish().unwrap_err();
    assert!(error.to_string().contains("\"must1\""), "{error}");
    reader.take("must1").unwrap();
    assert_eq!(reader.finish().unwrap(), [golden()[1]]);
}

#[test]
fn names_and_numbers_are_bounded() {
    let long = "x".repeat(MAX_NAME + 1);
    for id in ["", "a b", "ä", "a/b", &long] {
        let answer = Writer::new().add(section(id, b""));
        assert!(matches!(answer, Err(WriteError::Id { .. })), "{id:?}");
    }
    let mut writer = Writer::new();
    for number in 0..MAX_SECTIONS {
        let id = format!("s{number}");
        writer.add(section(&id, b"")).unwrap();
        assert_eq!(writer.add(section(&id, b"")), Err(WriteError::Twice(id)));
    }
    let answer = writer.add(section("one-more", b""));
    assert_eq!(answer, Err(WriteError::Sections));
    let file = writer.finish();
    assert_eq!(Reader::new(&file).unwrap().sections().len(), MAX_SECTIONS);
    // What a header names is not allocated.
    let mut bytes = MAGIC.to_vec();
    bytes.extend([
        1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    assert!(matches!(Reader::new(&bytes), Err(ReadError::Table { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Reader::new(&bytes);
        let _ = Reader::new(&[&MAGIC[..], &bytes].concat());
        let _ = Reader::new(&[&GOLDEN[..24], &bytes].concat());
    }

    #[test]
    fn what_is_written_is_read(contents in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let ids: Vec<String> = (0..contents.len()).map(|place| format!("part{place}")).collect();
        let sections: Vec<_> = ids.iter().zip(&contents).map(|(id, it)| section(id, it)).collect();
        let file = file(&sections);
        let reader = Reader::new(&file).unwrap();
        prop_assert_eq!(reader.sections(), sections);
    }
}
