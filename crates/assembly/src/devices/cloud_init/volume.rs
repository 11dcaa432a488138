//! A FAT file system with the label that cloud-init looks for.

use std::io::{self, Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

/// The label, in the 11 bytes of a FAT file system's.
const LABEL: [u8; 11] = *b"CIDATA     ";
/// Room for the file system itself, in bytes.
const MARGIN: usize = 256 << 10;
/// The unit of its size, in bytes.
const UNIT: usize = 1 << 20;

/// A file system with `files` in its root directory.
///
/// # Errors
/// That of the file system, which is in memory.
pub(super) fn of(files: &[(&str, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let contents: usize = files.iter().map(|file| file.1.len()).sum();
    let size = contents.saturating_add(MARGIN).next_multiple_of(UNIT);
    let mut image = vec![0; size];
    let options = FormatVolumeOptions::new().volume_label(LABEL);
    format_volume(Cursor::new(&mut image[..]), options)?;
    {
        let volume = FileSystem::new(Cursor::new(&mut image[..]), FsOptions::new())?;
        let root = volume.root_dir();
        for (name, contents) in files {
            let mut file = root.create_file(name)?;
            file.truncate()?;
            file.write_all(contents)?;
            file.flush()?;
        }
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_files_are_there_under_the_label() {
        let large = vec![0x5a; 3 << 20];
        let files = [
            ("user-data", b"#cloud-config\n".to_vec()),
            ("network-config", large.clone()),
        ];
        let image = of(&files).unwrap();
        assert!(image.len().is_multiple_of(512));
        let volume = FileSystem::new(Cursor::new(image), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "CIDATA");
        let label = volume.read_volume_label_from_root_dir().unwrap();
        assert_eq!(label.as_deref(), Some("CIDATA"));
        for (name, contents) in files {
            let mut read = Vec::new();
            let mut file = volume.root_dir().open_file(name).unwrap();
            file.read_to_end(&mut read).unwrap();
            assert_eq!(read, contents, "{name}");
        }
    }
}
