//! An image of a format that is chosen by the first byte: headers and tables, and reads at places that the last
//! bytes choose.

use vmmkit_disk_image::{DiskImage, Format};

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((format, bytes)) = data.split_first() else {
        return;
    };
    let format = match format % 4 {
        0 => Format::Vdi,
        1 => Format::Vhd,
        2 => Format::Vmdk,
        _ => Format::Qcow2,
    };
    let Ok(image) = DiskImage::open(bytes.to_vec(), format) else {
        return;
    };
    let mut piece = vec![0; 70_000];
    let size = image.size();
    let chosen = bytes.iter().rev().take(8);
    let chosen = chosen.fold(0, |all: u64, byte| all << 8 | u64::from(*byte));
    for offset in [
        0,
        chosen % size.max(1),
        size.saturating_sub(piece.len() as u64),
    ] {
        let length = (size - offset.min(size)).min(piece.len() as u64) as usize;
        let _ = image.read(&mut piece[..length], offset);
    }
    assert!(image.read(&mut piece[..1], size).is_err());
}
