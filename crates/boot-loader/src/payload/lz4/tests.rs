//! The streaming decoder against lz4_flex, and damaged frames.

use proptest::prelude::*;

use super::*;
use crate::payload::Compression;
use crate::testing::{compress, noise};

fn frame(blocks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    for block in blocks {
        bytes.extend((block.len() as u32).to_le_bytes());
        bytes.extend(*block);
    }
    bytes
}

fn decode(frame: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    LegacyFrame::new(frame)?.read_to_end(&mut decoded)?;
    Ok(decoded)
}

fn message(blocks: &[&[u8]]) -> String {
    decode(&frame(blocks)).unwrap_err().to_string()
}

#[test]
fn long_literals_long_matches_and_overlaps_come_out_whole() {
    let mut original = noise(500_000); // one literal run longer than every buffer
    original.extend(vec![7; 1_000_000]); // one match longer than every buffer
    original.extend(b"abc".repeat(100_000));
    original.extend(noise(10));

    assert!(decode(&compress(Compression::Lz4, &original)).unwrap() == original);
}

#[test]
fn data_of_several_blocks_comes_out_in_order() {
    let original = noise(1000).repeat(20_000);

    assert!(decode(&compress(Compression::Lz4, &original)).unwrap() == original);
}

#[test]
fn a_match_reaches_back_no_further_than_its_own_block() {
    let first = [0x50, b'a', b'b', b'c', b'd', b'e'];
    let second = [0x10, b'f', 2, 0, 0x00];

    assert_eq!(
        message(&[&first, &second]),
        "damaged lz4 data: a match starts 2 bytes back, and 1 are there"
    );
}

#[test]
fn damaged_frames_are_errors() {
    let short: &[u8] = &[0x50, b'a'];
    assert!(decode(b"\x04\x22\x4d\x18").is_err());
    assert!(message(&[short]).contains("inside a sequence"));
    assert!(message(&[&[0x10, b'a', 0, 0]]).contains("0 bytes back"));
    assert!(message(&[&[0x10, b'a', 1, 0]]).contains("inside a sequence"));
    let huge = [&MAGIC.to_le_bytes()[..], &[0xff; 4]].concat();
    assert!(
        decode(&huge)
            .unwrap_err()
            .to_string()
            .contains("block size 0xffffffff")
    );
}

#[test]
fn a_block_cannot_grow_beyond_8_mib() {
    let mut bomb = vec![0x1f, b'a', 1, 0];
    bomb.extend(vec![255; 40_000]); // a match of 10 MB
    bomb.extend([0, 0x10, b'b']);

    assert!(message(&[&bomb]).contains("more than the legacy frame's 8 MiB"));
}

proptest! {
    /// Where lz4_flex takes a block, so does this decoder, with the same bytes; where not, not.
    #[test]
    fn it_agrees_with_lz4_flex_on_any_block(block in prop::collection::vec(any::<u8>(), 1..400)) {
        let mut reference = vec![0; 1 << 20];
        let theirs = lz4_flex::block::decompress_into(&block, &mut reference);
        let ours = decode(&frame(&[&block]));
        match (theirs, ours) {
            (Ok(count), Ok(bytes)) => prop_assert_eq!(&bytes[..], &reference[..count]),
            (Err(_), Err(_)) => {}
            (theirs, ours) => prop_assert!(false, "{theirs:?} but {ours:?}"),
        }
    }

    /// Data packed by lz4_flex comes out again, and damage to it never panics.
    #[test]
    fn packed_data_comes_out_and_damage_is_survived(
        seed in prop::collection::vec(0_u8..4, 1..3000),
        at in 0_usize..3000,
        byte in any::<u8>(),
    ) {
        let original = seed.repeat(20);
        let mut packed = compress(Compression::Lz4, &original);
        prop_assert_eq!(&decode(&packed).unwrap(), &original);
        let at = 8 + at % (packed.len() - 8);
        packed[at] = byte;
        let _ = decode(&packed);
    }
}
