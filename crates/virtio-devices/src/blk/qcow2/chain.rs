//! An image and the files behind it, opened.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder};
#[cfg(feature = "images")]
use vmmkit_disk_image::{DiskImage, Format};
use vmmkit_host_io::ImageFile;

use super::error::Qcow2Error;
use super::header::{Backing, Header};
use super::refcounts::count_before_use;
use crate::blk::lock::lock;
use crate::blk::opened::check_kind;

/// The most images behind each other.
const DEPTH: usize = 32;

/// An image and the files behind it. imago is given these files and opens none by itself.
#[derive(Debug)]
pub(super) struct Layers {
    file: File,
    header: Arc<Header>,
    /// From the nearest to the last one; each is only read.
    behind: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    file: File,
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Raw,
    Image(Header),
    /// Of a format or a kind that is only read; it has nothing behind it.
    #[cfg(feature = "images")]
    Read(Arc<DiskImage<File>>),
}

impl Contents {
    fn backing(&self) -> Option<&Backing> {
        match self {
            Self::Image(header) => header.backing.as_ref(),
            _ => None,
        }
    }
}

impl Layers {
    /// An image that is open, and, if `backing` may be, the files that it names: each read-only, locked
    /// against writers, and of the format that is stated for it.
    pub(super) fn open(
        file: File,
        header: Header,
        path: &Path,
        backing: bool,
    ) -> Result<Self, Qcow2Error> {
        let mut behind: Vec<Layer> = Vec::new();
        let mut seen = vec![place(&file.metadata()?)];
        let mut named = (path.to_owned(), header.backing.as_ref());
        while let (overlay, Some(next)) = named {
            if !backing {
                let Backing { name, format } = next;
                let (name, format) = (name.clone(), format.clone());
                return Err(Qcow2Error::Backing { name, format });
            }
            if behind.len() == DEPTH {
                return Err(Qcow2Error::BackingDepth(DEPTH));
            }
            let layer = open_behind(&overlay, next, &seen)?;
            seen.push(place(&layer.file.metadata()?));
            let path = layer.path.clone();
            behind.push(layer);
            let backing = behind.last().and_then(|layer| layer.contents.backing());
            named = (path, backing);
        }
        Ok(Self {
            file,
            header: Arc::new(header),
            behind,
        })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The files behind the image, from the nearest to the last one.
    pub(super) fn paths_behind(&self) -> Vec<PathBuf> {
        self.behind.iter().map(|layer| layer.path.clone()).collect()
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// All of them as one disk.
    pub(super) fn access(&self, writable: bool) -> Result<FormatAccess<ImageFile>, Qcow2Error> {
        let mut below = None;
        for layer in self.behind.iter().rev() {
            let opened = layer.access(below.take());
            below = Some(opened.map_err(|source| Qcow2Error::BackingImage {
                path: layer.path.clone(),
                source: Box::new(source.into()),
            })?);
        }
        let (file, header) = (self.file.try_clone()?, self.header.clone());
        let counted = self.file.try_clone()?;
        let storage = ImageFile::new(file).before_write(move |offset, bytes| {
            #[cfg(test)]
            super::kill::before_write();
            count_before_use(&counted, &header, offset, bytes)
        });
        Ok(open_image(storage, below, writable)?)
    }
}

impl Layer {
    /// The layer with `below` behind it, which only an image has.
    fn access(
        &self,
        below: Option<FormatAccess<ImageFile>>,
    ) -> io::Result<FormatAccess<ImageFile>> {
        let storage = match &self.contents {
            Contents::Image(_) => {
                return open_image(ImageFile::new(self.file.try_clone()?), below, false);
            }
            Contents::Raw => ImageFile::new(self.file.try_clone()?),
            #[cfg(feature = "images")]
            Contents::Read(image) => {
                let size = image.size();
                let image = image.clone();
                ImageFile::read_only(size, move |bytes, offset| image.read(bytes, offset))
            }
        };
        Ok(FormatAccess::new(Raw::open_image(storage, false)?))
    }
}

fn open_image(
    storage: ImageFile,
    backing: Option<FormatAccess<ImageFile>>,
    writable: bool,
) -> io::Result<FormatAccess<ImageFile>> {
    let builder = Qcow2::<ImageFile>::builder(storage)
        .backing(backing)
        .data_file(None)
        .write(writable);
    let image = builder.open(DenyImplicitOpenGate::default())?;
    Ok(FormatAccess::new(image))
}

/// Opens what the image `overlay` names; not what is before it already, in `seen`.
fn open_behind(overlay: &Path, named: &Backing, seen: &[(u64, u64)]) -> Result<Layer, Qcow2Error> {
    let name = named.name.clone();
    let format = match named.format.as_deref() {
        Some("raw" | "file" | "host_device") => BackingFormat::Raw,
        Some("qcow2") => BackingFormat::Qcow2,
        #[cfg(feature = "images")]
        Some("vdi") => BackingFormat::Other(Format::Vdi),
        #[cfg(feature = "images")]
        Some("vpc") => BackingFormat::Other(Format::Vhd),
        #[cfg(feature = "images")]
        Some("vmdk") => BackingFormat::Other(Format::Vmdk),
        Some(format) => {
            let format = format.to_owned();
            return Err(Qcow2Error::BackingFormat { name, format });
        }
        // To look at the contents would have a guest choose: it writes those of a raw disk.
        None => return Err(Qcow2Error::BackingWithoutFormat { name }),
    };
    let path = path_of(overlay, &name).ok_or(Qcow2Error::BackingName { name })?;
    let failed = |source| Qcow2Error::BackingOpen {
        path: path.clone(),
        source: Box::new(source),
    };
    // To open a FIFO would wait for ever.
    check_kind(&path).map_err(failed)?;
    if seen.contains(&place(&std::fs::metadata(&path)?)) {
        return Err(Qcow2Error::BackingLoop(path));
    }
    let file = lock(&path, true).map_err(failed)?;
    let contents = format
        .read(&file)
        .map_err(|source| Qcow2Error::BackingImage {
            path: path.clone(),
            source: Box::new(source),
        })?;
    Ok(Layer {
        file,
        path,
        contents,
    })
}

/// The format that an image states for the file behind it.
enum BackingFormat {
    Raw,
    Qcow2,
    #[cfg(feature = "images")]
    Other(Format),
}

impl BackingFormat {
    fn read(self, file: &File) -> Result<Contents, Qcow2Error> {
        match self {
            Self::Raw => Ok(Contents::Raw),
            Self::Qcow2 => match Header::read(file) {
                #[cfg(feature = "images")]
                Err(error) if error.is_readable() => read_image(file, Format::Qcow2),
                header => Ok(Contents::Image(header?)),
            },
            #[cfg(feature = "images")]
            Self::Other(format) => read_image(file, format),
        }
    }
}

#[cfg(feature = "images")]
fn read_image(file: &File, format: Format) -> Result<Contents, Qcow2Error> {
    let image = DiskImage::open(file.try_clone()?, format)?;
    Ok(Contents::Read(Arc::new(image)))
}

/// The path that a name means: relative to the folder of the image that has it, with or without
/// `file:` before it. Other protocols (`nbd://`, `json:{}`) are none.
fn path_of(overlay: &Path, name: &str) -> Option<PathBuf> {
    let path = name.strip_prefix("file:").unwrap_or(name);
    let scheme = path.split('/').next().unwrap_or_default();
    if path.is_empty() || scheme.contains(':') {
        return None;
    }
    let folder = overlay.parent().unwrap_or(Path::new(""));
    Some(folder.join(path))
}

/// The same for two names of one file.
fn place(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_beside_the_image_or_nothing() {
        let path = |name| path_of(Path::new("/images/top.qcow2"), name);
        for (name, wanted) in [
            ("base.img", "/images/base.img"),
            ("../base.img", "/images/../base.img"),
            ("/other/base.img", "/other/base.img"),
            ("file:base.img", "/images/base.img"),
            ("file:///other/base.img", "/other/base.img"),
            ("./a:b", "/images/./a:b"),
        ] {
            assert_eq!(path(name), Some(PathBuf::from(wanted)), "{name}");
        }
        for name in [
            "",
            "json:{\"driver\":\"raw\"}",
            "nbd://host/x",
            "a:b",
            "file:",
        ] {
            assert_eq!(path(name), None, "{name}");
        }
    }
}
