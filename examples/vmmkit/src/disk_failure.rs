//! Advice for a disk that cannot be had.

use std::path::Path;

use vmmkit_disk_image::ImageError;
use vmmkit_virtio_devices::{BlockError, ForeignFormat, Qcow2Error};

use crate::failure::Failure;

/// `what`, a disk whose image is at `path`, failed.
pub(crate) fn explain(what: &str, path: &Path, error: &BlockError) -> Failure {
    if is_our_own(error) {
        let what = format!("{what}: the same file is given twice");
        let next = "give each disk once, or readonly in all places";
        return Failure::because(what, Vec::new(), next);
    }
    Failure::device(what, error, next(path, error))
}

/// Whether this process has the disk already.
fn is_our_own(error: &BlockError) -> bool {
    let own = std::process::id();
    matches!(error, BlockError::Locked { holder: Some(holder), .. } if holder.pid == own)
}

fn next(image: &Path, error: &BlockError) -> String {
    let path = image.display();
    match error {
        BlockError::Foreign { format, .. } => foreign(image, *format),
        BlockError::Empty { .. } => format!("make a disk of it with `truncate -s 10G {path}`"),
        BlockError::ReadOnlyFormat { .. } => format!(
            "say {path},snapshot (what the guest writes is gone at its end) or {path},readonly, or convert it with \
             `qemu-img convert -O qcow2 {path} new.qcow2`"
        ),
        BlockError::Image { source, .. } => of_image(image, source),
        BlockError::Qcow2 { source, .. } => qcow2(image, source),
        BlockError::Size { block, .. } => {
            format!("make it so with `truncate --size=%{block} {path}`")
        }
        BlockError::NotADisk { .. } => "give the file of a disk, or a block device".to_owned(),
        BlockError::Open { .. } => key_before(image)
            .unwrap_or_else(|| "check the path, its permissions, and who uses it".to_owned()),
        BlockError::RawOnly { .. } => "change the file or the options as said".to_owned(),
        BlockError::Overlay { .. } => {
            "set TMPDIR to a directory that you can write to, on a file system such as ext4, XFS, btrfs or tmpfs"
                .to_owned()
        }
        BlockError::Serial { .. } => "give serial as up to 20 letters and digits".to_owned(),
        _ => "check the path, its permissions, and who uses it".to_owned(),
    }
}

/// Advice for a path that begins as a key of another program's, or a mistyped one of ours, would.
fn key_before(image: &Path) -> Option<String> {
    let text = image.to_str().filter(|_| !image.exists())?;
    let (key, path) = text.split_once('=')?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_key.then(|| format!("write path={path}, or {path} alone at the first place"))
}

fn foreign(path: &Path, format: ForeignFormat) -> String {
    let path = path.display();
    let or_raw = "or say format=raw if the guest is to have these bytes";
    match format {
        ForeignFormat::Qcow2 => format!("say format=qcow2, {or_raw}"),
        ForeignFormat::Image("luks") => "say format=raw if the guest encrypts the disk itself, or \
             decrypt it with `qemu-img convert`"
            .to_owned(),
        ForeignFormat::Image(name @ ("vdi" | "vmdk" | "vpc")) => {
            let format = if name == "vpc" { "vhd" } else { name };
            format!(
                "say format={format} and snapshot or readonly, convert it with `qemu-img convert -f {name} -O qcow2 \
                 {path} new.qcow2`, {or_raw}"
            )
        }
        ForeignFormat::Image(name) => {
            format!(
                "convert it with `qemu-img convert -f {name} -O qcow2 {path} new.qcow2`, {or_raw}"
            )
        }
        ForeignFormat::Compressed(name) => {
            format!("unpack it with {name}, or say {path},readonly; {or_raw}")
        }
        _ => format!("convert it to a raw or qcow2 image with the program that made it, {or_raw}"),
    }
}

fn of_image(path: &Path, error: &ImageError) -> String {
    let path = path.display();
    match error {
        ImageError::Magic(_) => {
            "say format=raw if it is a raw disk, or check which file it is".to_owned()
        }
        ImageError::Child | ImageError::Descriptor => format!(
            "if you trust it, make one image of all with `qemu-img convert -O qcow2 {path} new.qcow2`"
        ),
        _ => {
            format!("if you trust it, convert it with `qemu-img convert -O qcow2 {path} new.qcow2`")
        }
    }
}

fn qcow2(file: &Path, error: &Qcow2Error) -> String {
    let path = file.display();
    // Images of these kinds are read, and not written.
    let overlay = "say snapshot or readonly";
    match error {
        Qcow2Error::NotAnImage => {
            "say format=raw if it is a raw disk, or check which file it is".to_owned()
        }
        Qcow2Error::Dirty | Qcow2Error::Corrupt | Qcow2Error::Damaged(_) => {
            format!("repair it with `qemu-img check -r all {path}`, and keep a copy")
        }
        Qcow2Error::ExtendedL2 => format!(
            "{overlay}, or convert it with `qemu-img convert -O qcow2 -o extended_l2=off {path} new.qcow2`"
        ),
        Qcow2Error::Compression(1) => {
            format!("{overlay}, or convert it with `qemu-img convert -O qcow2 {path} new.qcow2`")
        }
        Qcow2Error::ExternalData
        | Qcow2Error::Compression(_)
        | Qcow2Error::Encrypted(_)
        | Qcow2Error::Incompatible(_)
        | Qcow2Error::Version(_)
        | Qcow2Error::TooLarge { .. } => {
            format!("if you trust it, convert it with `qemu-img convert -O qcow2 {path} new.qcow2`")
        }
        Qcow2Error::Backing { format: None, name } | Qcow2Error::BackingWithoutFormat { name } => {
            format!(
                "if you trust it, state the format with `qemu-img rebase -u -b {name} -F raw|qcow2 \
             {path}` and give backing=on"
            )
        }
        Qcow2Error::Backing { name, .. } => format!(
            "give backing=on if the guest may read {name}, or make one image of both with \
             `qemu-img convert -O qcow2 {path} new.qcow2`"
        ),
        Qcow2Error::BackingFormat { .. }
        | Qcow2Error::BackingName { .. }
        | Qcow2Error::BackingDepth(_) => format!(
            "if you trust it, make one image of all with `qemu-img convert -O qcow2 {path} new.qcow2`"
        ),
        Qcow2Error::BackingLoop(_) => {
            format!("name another file with `qemu-img rebase -u -b BASE -F FORMAT {path}`")
        }
        Qcow2Error::BackingImage { path, source } => qcow2(path, source),
        Qcow2Error::Image(error) => of_image(file, error),
        _ => "check the path, its permissions, and who uses it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_not_read_comes_with_the_command_that_converts_it() {
        let next = |error| qcow2(Path::new("d.qcow2"), &error);
        let convert = "convert it with `qemu-img convert -O qcow2 d.qcow2 new.qcow2`";
        for error in [
            Qcow2Error::ExternalData,
            Qcow2Error::Compression(1),
            Qcow2Error::Compression(9),
            Qcow2Error::Incompatible(1 << 5),
        ] {
            let next = next(error);
            assert!(next.ends_with(convert), "{next}");
        }
        assert!(next(Qcow2Error::ExtendedL2).contains("-o extended_l2=off d.qcow2"));
        for error in [Qcow2Error::Dirty, Qcow2Error::Corrupt] {
            assert!(next(error).contains("qemu-img check -r all d.qcow2"));
        }
        let foreign = |format| foreign(Path::new("d"), format);
        assert!(foreign(ForeignFormat::Image("vmdk")).contains("convert -f vmdk -O qcow2 d "));
        assert!(foreign(ForeignFormat::Image("vpc")).starts_with("say format=vhd and snapshot"));
        assert!(foreign(ForeignFormat::Image("vhdx")).starts_with("convert it with `qemu-img"));
        assert!(foreign(ForeignFormat::Qcow2).contains("format=qcow2"));
        assert!(foreign(ForeignFormat::Compressed("xz")).contains("d,readonly"));
    }
}
