//! Unified kernel images: a PE file whose sections hold a kernel, its initrd and its command line
//! (UAPI Group specification "Unified Kernel Image", Microsoft PE format).

use std::fs::File;

use crate::KindError;
use crate::little_endian::{u16_at, u32_at};
use crate::region::Region;

/// Offset of `e_lfanew` in the MS-DOS header: where the PE header is.
const LFANEW: u64 = 0x3c;
/// Signature and COFF header.
const HEADER: usize = 24;
/// `IMAGE_FILE_MACHINE_I386` and `IMAGE_FILE_MACHINE_AMD64`.
const MACHINES: [u16; 2] = [0x14c, 0x8664];
/// The size of a section header, and the highest number of sections that the Windows loader takes.
const SECTION: usize = 40;
const MAX_SECTIONS: u16 = 96;
/// The longest command line that is read, in bytes.
const MAX_CMDLINE: usize = 64 << 10;

/// Where in the file a section's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    offset: u64,
    size: u64,
}

impl Section {
    /// Its bytes in `file`.
    pub(crate) fn of<'a>(&self, file: &Region<'a>) -> Region<'a> {
        file.part(self.offset, self.size)
    }
}

/// The sections of a unified kernel image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uki {
    /// `.linux`.
    pub(crate) kernel: Section,
    /// `.ucode` and `.initrd`, in the order in which they make one RAM disk.
    pub(crate) initrd: Vec<Section>,
    cmdline: Option<Section>,
}

/// The sections of `file`, a PE; `None` where there is no kernel among them. Of several of one name,
/// as images of several profiles have them, the first counts.
pub(crate) fn read(file: &Region<'_>) -> Result<Option<Uki>, KindError> {
    let start = file.bytes(LFANEW, 4)?;
    let Some(start) = u32_at(&start, 0) else {
        return Ok(None);
    };
    let header = file.bytes(start.into(), HEADER)?;
    let (Some(machine), Some(count), Some(optional)) =
        (u16_at(&header, 4), u16_at(&header, 6), u16_at(&header, 20))
    else {
        return Ok(None);
    };
    if !header.starts_with(b"PE\0\0") || !MACHINES.contains(&machine) {
        return Ok(None);
    }
    let table = u64::from(start)
        .saturating_add(HEADER as u64)
        .saturating_add(optional.into());
    let table = file.bytes(table, SECTION * usize::from(count.min(MAX_SECTIONS)))?;
    let find = |name: &[u8; 8]| {
        let section = table
            .chunks_exact(SECTION)
            .find(|section| section.starts_with(name));
        section
            .map(|section| check(file, name, section))
            .transpose()
    };
    let Some(kernel) = find(b".linux\0\0")? else {
        return Ok(None);
    };
    let initrd = [find(b".ucode\0\0")?, find(b".initrd\0")?];
    Ok(Some(Uki {
        kernel,
        initrd: initrd.into_iter().flatten().collect(),
        cmdline: find(b".cmdline")?,
    }))
}

/// A section's place, which must be in the file.
fn check(file: &Region<'_>, name: &[u8; 8], header: &[u8]) -> Result<Section, KindError> {
    let word = |at| u32_at(header, at).unwrap_or(0);
    let (virtual_size, raw_size, offset) = (word(8), word(16), word(20));
    // The size in the file is rounded up; the size in memory is that of the contents.
    let size = u64::from(match virtual_size {
        0 => raw_size,
        size => size.min(raw_size),
    });
    let offset = u64::from(offset);
    let (end, file_size) = (offset.saturating_add(size), file.size());
    if end > file_size {
        let name = String::from_utf8_lossy(name);
        return Err(KindError::Section {
            name: name.trim_end_matches('\0').to_owned(),
            end,
            size: file_size,
        });
    }
    Ok(Section { offset, size })
}

/// The command line in a unified kernel image, its control characters made spaces; `None` where
/// `kernel` has none, or is another kind of file. Loading does not use it: the caller's own counts.
pub fn unified_cmdline(kernel: &File) -> Option<String> {
    let size = kernel.metadata().ok().filter(|data| data.is_file())?.len();
    let file = Region::new(kernel, 0, size);
    if !file.bytes(0, 2).ok()?.starts_with(b"MZ") {
        return None;
    }
    let section = read(&file).ok()??.cmdline?;
    let bytes = section.of(&file).bytes(0, MAX_CMDLINE).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.split('\0').next().unwrap_or_default();
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(printable).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{file_of, put, uki};

    fn read_bytes(bytes: &[u8]) -> Result<Option<Uki>, KindError> {
        read(&Region::new(&file_of(bytes), 0, bytes.len() as u64))
    }

    #[test]
    fn sections_are_found_by_name() {
        let image = uki(&[
            (b".text\0\0\0", b"stub"),
            (b".cmdline", b"root=/dev/vda\nquiet\0"),
            (b".initrd\0", b"070701"),
            (b".linux\0\0", b"kernel"),
            (b".ucode\0\0", b"micro"),
            (b".linux\0\0", b"of another profile"),
        ]);
        let file = file_of(&image);
        let all = Region::new(&file, 0, image.len() as u64);

        let found = read(&all).unwrap().unwrap();

        let text = |section: &Section| section.of(&all).bytes(0, 100).unwrap();
        assert_eq!(text(&found.kernel), b"kernel");
        let initrd: Vec<_> = found.initrd.iter().map(text).collect();
        assert_eq!(initrd, [&b"micro"[..], b"070701"]);
        assert_eq!(unified_cmdline(&file).unwrap(), "root=/dev/vda quiet");
    }

    #[test]
    fn a_pe_without_a_kernel_is_none_and_a_section_outside_the_file_is_told() {
        assert_eq!(read_bytes(&uki(&[(b".text\0\0\0", b"x")])).unwrap(), None);
        assert_eq!(read_bytes(b"MZ").unwrap(), None);
        let mut image = uki(&[(b".linux\0\0", b"kernel")]);
        let table = 0x40 + HEADER;
        put(&mut image, table + 20, &0x10_0000_u32.to_le_bytes());
        assert_eq!(
            read_bytes(&image).unwrap_err().to_string(),
            format!(
                "the kernel's section .linux ends at {:#x}, and the file at {:#x}",
                0x10_0006,
                image.len()
            )
        );
        assert_eq!(unified_cmdline(&file_of(b"MZ")), None);
        assert_eq!(unified_cmdline(&file_of(b"")), None);
    }

    proptest! {
        /// Any bytes in the headers: no panic, and every section inside the file.
        #[test]
        fn any_header_is_read_or_refused(
            offset in 0_usize..150,
            bytes in prop::collection::vec(any::<u8>(), 1..16),
        ) {
            let mut image = uki(&[(b".linux\0\0", b"kernel"), (b".initrd\0", b"070701")]);
            put(&mut image, offset, &bytes);
            let _ = unified_cmdline(&file_of(&image));
            if let Ok(Some(uki)) = read_bytes(&image) {
                for section in uki.initrd.iter().chain([&uki.kernel]) {
                    prop_assert!(section.offset + section.size <= image.len() as u64);
                }
            }
        }
    }
}
