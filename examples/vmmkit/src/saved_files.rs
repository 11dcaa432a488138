//! The disk images of a saved machine, as they were then: a guest that goes on with others loses what it holds of them in its
//! page cache, or worse.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vmmkit_host_io::open_options;
use vmmkit_machine_spec::{DeviceSpec, DiskSpec, path_text};
use vmmkit_virtio_devices::ForeignFormat;

use crate::failure::Failure;
use crate::settings::Settings;

/// The section of them.
pub(crate) const FILES: &str = "files";
pub(crate) const FILES_KIND: &str = "vmmkit-files";

/// The images in a snapshot.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilesForm {
    files: Vec<FileForm>,
}

/// An image, and when it was last written to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    path: String,
    bytes: u64,
    /// Since 1970; absent where it says nothing.
    modified: Option<(i64, i64)>,
}

/// An image that a machine opens. It is looked into beforehand: a process that is confined may not, later.
#[derive(Debug)]
pub(crate) struct Image {
    path: PathBuf,
    is_qcow2: bool,
}

impl Image {
    fn new(path: PathBuf) -> Self {
        let is_qcow2 = is_qcow2(&path);
        Self { path, is_qcow2 }
    }
}

/// The images that a machine of `settings` opens.
pub(crate) fn images(settings: &Settings) -> Vec<Image> {
    let devices = settings.spec.devices.iter();
    let images = devices.filter_map(|device| match device {
        DeviceSpec::Disk(DiskSpec::Own(disk)) => std::path::absolute(&disk.path).ok(),
        _ => None,
    });
    images.map(Image::new).collect()
}

impl FilesForm {
    /// `images` as they are now. Block devices are not among them: the host keeps no time of a write to one.
    pub(crate) fn of(images: &[Image]) -> Self {
        let form = |Image { path, is_qcow2 }: &Image| {
            let metadata = path.metadata().ok().filter(Metadata::is_file)?;
            Some(FileForm {
                path: path_text::of_path(path),
                bytes: metadata.len(),
                modified: (!is_qcow2).then(|| (metadata.mtime(), metadata.mtime_nsec())),
            })
        };
        let files = images.iter().filter_map(form).collect();
        Self { files }
    }

    /// Checks that all are as they were.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.files.iter().try_for_each(FileForm::check)
    }
}

impl FileForm {
    fn check(&self) -> Result<(), Failure> {
        let path = path_text::path(&self.path);
        let refused = |reason: &str| {
            Failure::because(
                format!("{}: {reason}", path.display()),
                Vec::new(),
                "give the disk as it was when the guest was saved, or a copy of it: --disk PATH",
            )
        };
        let metadata = path.metadata().map_err(|error| match error.kind() {
            ErrorKind::NotFound => refused("the disk is gone since the guest was saved"),
            _ => refused(&format!("the disk cannot be looked at: {error}")),
        })?;
        // The length of a qcow2 image changes with what is allocated in it as it is closed.
        let Some(modified) = self.modified else {
            return Ok(());
        };
        if metadata.len() != self.bytes {
            let (then, now) = (self.bytes, metadata.len());
            return Err(refused(&format!(
                "the disk has {now} bytes, and had {then} when the guest was saved"
            )));
        }
        if (metadata.mtime(), metadata.mtime_nsec()) != modified {
            return Err(refused("the disk was written to since the guest was saved"));
        }
        Ok(())
    }
}

/// Such an image is written to once more as it is closed. Anything but a file is refused later, and left alone here.
fn is_qcow2(path: &Path) -> bool {
    if !path.is_file() {
        return false;
    }
    let file = open_options().read(true).open(path);
    let found = file.and_then(|file| ForeignFormat::of(&file));
    found.is_ok_and(|found| found == Some(ForeignFormat::Qcow2))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A disk of one test, gone when it is dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, contents: &[u8]) -> Self {
            let name = format!("vmmkit-saved-files-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, contents).unwrap();
            Self(path)
        }

        fn image(&self) -> Image {
            Image::new(self.0.clone())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn refusal(form: &FilesForm) -> String {
        form.check().unwrap_err().text()
    }

    #[test]
    fn a_disk_that_changed_or_is_gone_is_told() {
        let image = Scratch::new("raw", &[0; 1024]);
        let form = FilesForm::of(&[image.image()]);
        assert!(form.check().is_ok());

        let file = File::options().write(true).open(&image.0).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(5))
            .unwrap();
        assert!(refusal(&form).contains("the disk was written to"));
        file.set_len(2048).unwrap();
        let text = refusal(&form);
        assert!(text.contains("has 2048 bytes, and had 1024"), "{text}");
        fs::remove_file(&image.0).unwrap();
        assert!(refusal(&form).contains("the disk is gone"));
    }

    #[test]
    fn a_qcow2_image_must_be_there_and_a_device_is_not_looked_at() {
        let image = Scratch::new("qcow2", b"QFI\xfb and more");
        let null = Image::new(PathBuf::from("/dev/null"));
        let form = FilesForm::of(&[image.image(), null]);
        assert_eq!(form.files.len(), 1);
        fs::write(&image.0, b"QFI\xfb and much more").unwrap();
        assert!(form.check().is_ok());
        fs::remove_file(&image.0).unwrap();
        assert!(refusal(&form).contains("the disk is gone"));
    }
}
