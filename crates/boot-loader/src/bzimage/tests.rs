//! Broken bzImages, one field at a time: each error names the field and its value.

use proptest::prelude::*;

use super::*;
use crate::testing::{CODE, PAYLOAD, bzimage, file_of, put, ram, vmlinux};

fn load_bytes(bytes: &[u8]) -> Result<ElfKernel, BzImageError> {
    let ram = ram(32);
    let file = file_of(bytes);
    let file = &Region::new(&file, 0, bytes.len() as u64);
    let header = Header::read(file)?;
    match compression(file, &header)? {
        Ok(compression) => load_payload(&ram, file, &header, compression),
        Err(start) => Err(unknown_payload(&header, start)),
    }
}

/// The error of the test image with `value` at `offset`.
fn broken(offset: usize, value: &[u8]) -> String {
    let mut image = bzimage(Compression::Gzip, &vmlinux());
    put(&mut image, offset, value);
    load_bytes(&image).unwrap_err().to_string()
}

#[test]
fn each_broken_field_is_named_with_its_value() {
    let table: [(usize, &[u8], &str); 26] = [
        (0x1f1, &[0xff], "setup_sects = 255"),
        (0x1f4, &[0, 0, 0, 0], "syssize = 0x0"),
        (0x1f4, &[0xff; 4], "truncated"),
        (0x1fe, &[0, 0], "boot_flag = 0x0"),
        (0x200, &[0xe9], "jump = 0x6ae9"),
        (0x201, &[0x10], "jump = 0x10eb"),
        (0x206, &[0x01, 0x02], "boot protocol 2.01"),
        (0x206, &[0x00, 0x00], "boot protocol 0.00"),
        (0x211, &[0], "loadflags = 0x0"),
        (0x230, &[1, 1, 0, 0], "kernel_alignment = 0x101"),
        (0x230, &[0, 0, 0, 0], "kernel_alignment = 0x0"),
        (
            0x230,
            &[0, 0, 0, 0x40],
            "pref_address = 0x1000000 in the bzImage's setup header: it is not aligned",
        ),
        (0x234, &[2], "relocatable_kernel = 0x2"),
        (0x248, &[0xff; 4], "payload_offset = 0xffffffff"),
        (0x248, &[0, 0, 0, 0], "the payload starts with"),
        (0x24c, &[0xff; 4], "payload_length = 0xffffffff"),
        (0x24c, &[2, 0, 0, 0], "payload_length = 0x2"),
        (0x24c, &[0, 0, 0, 0], "this bzImage has no payload"),
        (0x258, &[0; 8], "pref_address = 0x0"),
        (0x258, &[1], "pref_address = 0x1000001"),
        (0x258, &[0, 0, 0, 0, 1], "pref_address = 0x100000000"),
        (
            0x258,
            &[0, 0, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff],
            "pref_address = 0xffffffffffe00000",
        ),
        (0x260, &[1, 0, 0, 0], "init_size = 0x1"),
        (
            0x260,
            &[0xff; 4],
            "init_size = 0xffffffff bytes at pref_address = 0x1000000",
        ),
        (0x260, &[0, 0, 0, 4], "guest RAM ends at 0x2000000"),
        (CODE + PAYLOAD, b"\x89LZO", "89, 4c, 5a, 4f"),
    ];
    for (offset, value, expected) in table {
        let message = broken(offset, value);
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn a_truncated_image_tells_how_much_there_is() {
    let image = bzimage(Compression::Gzip, &vmlinux());

    let header = load_bytes(&image[..0x220]).unwrap_err().to_string();
    let code = load_bytes(&image[..5000]).unwrap_err().to_string();

    assert!(
        header.starts_with("the bzImage is truncated: 544 of "),
        "{header}"
    );
    assert!(
        code.contains(&format!("5000 of {} bytes", image.len())),
        "{code}"
    );
}

#[test]
fn zero_setup_sectors_mean_four() {
    let mut image = bzimage(Compression::Gzip, &vmlinux());
    put(&mut image, 0x1f1, &[0]);

    assert!(load_bytes(&image).is_ok());
}

#[test]
fn the_header_ends_where_its_jump_says() {
    let mut image = bzimage(Compression::Gzip, &vmlinux());
    put(&mut image, 0x201, &[0x46]); // to 0x248: protocol 2.07
    put(&mut image, 0x206, &0x207_u16.to_le_bytes());

    let header = Header::read(&Region::new(&file_of(&image), 0, image.len() as u64)).unwrap();

    assert_eq!({ header.raw.payload_offset }, 0);
    assert_eq!({ header.raw.init_size }, 0);
    assert_eq!(header.payload(), None);
    assert_eq!(header.address(), 0x10_0000);
}

#[test]
fn a_payload_that_claims_more_than_init_size_is_refused_before_it_is_decompressed() {
    for compression in crate::testing::COMPRESSIONS {
        let mut image = bzimage(compression, &vmlinux());
        let length = u32::from_le_bytes(*image[0x24c..].first_chunk().unwrap()) as usize;
        put(
            &mut image,
            CODE + PAYLOAD + length - 4,
            &0x20_0001_u32.to_le_bytes(),
        );

        let message = load_bytes(&image).unwrap_err().to_string();

        assert!(
            message.contains("decompresses to 2097153 bytes"),
            "{compression}: {message}"
        );
    }
}

#[test]
fn a_payload_longer_or_shorter_than_it_says_is_refused() {
    let vmlinux = vmlinux();
    for claimed in [vmlinux.len() - 1, vmlinux.len() + 1] {
        let mut image = bzimage(Compression::Zstd, &vmlinux);
        let length = u32::from_le_bytes(*image[0x24c..].first_chunk().unwrap()) as usize;
        put(
            &mut image,
            CODE + PAYLOAD + length - 4,
            &(claimed as u32).to_le_bytes(),
        );

        let error = load_bytes(&image).unwrap_err();

        assert!(matches!(error, BzImageError::Payload { .. }), "{error:?}");
    }
}

#[test]
fn a_damaged_payload_is_an_error() {
    for compression in crate::testing::COMPRESSIONS {
        let mut image = bzimage(compression, &vmlinux());
        let middle = CODE + PAYLOAD + 200;
        for byte in &mut image[middle..middle + 400] {
            *byte ^= 0x5a;
        }

        // lz4 has no checksum: damage in literals passes, as it does in the kernel.
        let result = load_bytes(&image);

        assert!(
            result.is_err() || compression == Compression::Lz4,
            "{compression}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any bytes in the setup header: no panic, and nothing outside RAM.
    #[test]
    fn any_header_is_loaded_or_refused(
        offset in 0x1f1_usize..0x26c,
        bytes in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut image = bzimage(Compression::Lz4, &vmlinux());
        put(&mut image, offset, &bytes);
        if let Ok(kernel) = load_bytes(&image) {
            prop_assert!(kernel.end <= 32 << 20);
        }
        let (ram, file) = (ram(32), file_of(&image));
        let file = &Region::new(&file, 0, image.len() as u64);
        if let Ok(header) = Header::read(file) {
            let _ = load_setup(&ram, file, &header);
            let _ = version(file, &header);
        }
    }

    /// Any bytes in the payload: no panic.
    #[test]
    fn any_payload_is_loaded_or_refused(
        which in 0_usize..6,
        offset in 0_usize..2000,
        bytes in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut image = bzimage(crate::testing::COMPRESSIONS[which], &vmlinux());
        put(&mut image, CODE + PAYLOAD + offset, &bytes);
        let _ = load_bytes(&image);
    }
}
