//! An argument that has no place: what it may have been meant as.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;

use vmmkit_boot_loader::FileKind;
use vmmkit_host_io::open_input;

use crate::os_text;

/// The text to type instead of `word` alone, if there is such a file.
pub(crate) fn advice(word: &str) -> Option<String> {
    let path = os_text::path(word);
    let there = fs::metadata(&path).ok()?;
    let shown = os_text::quoted(word);
    if there.is_dir() {
        let advice = "it is a folder: the guest sees one by --fs PATH,tag=NAME, and boots from \
                      --disk PATH or --initrd PATH";
        return Some(advice.to_owned());
    }
    if there.file_type().is_block_device() {
        return Some(format!("it is a block device: --disk {shown}"));
    }
    if !there.is_file() {
        return None;
    }
    if word.ends_with(".toml") {
        return Some(format!("it looks like a file of options: --config {shown}"));
    }
    let mut start = Vec::new();
    let file = open_input(&path).ok()?;
    let probe = u64::try_from(FileKind::PROBE).ok()?;
    file.take(probe).read_to_end(&mut start).ok()?;
    Some(match FileKind::of(&start) {
        Some(kind) => format!("it is {kind}: {}", option(kind, &shown)),
        None => {
            format!("name it by its option: --kernel {shown}, --disk {shown} or --initrd {shown}")
        }
    })
}

/// The option that a file of this kind is for.
fn option(kind: FileKind, path: &str) -> String {
    match kind {
        FileKind::Elf | FileKind::BzImage | FileKind::Pe => format!("--kernel {path}"),
        FileKind::Cpio | FileKind::Compressed(_) => {
            format!("--initrd {path}, with the --kernel that it belongs to")
        }
        FileKind::Iso => format!("--firmware FILE --disk {path}"),
        FileKind::Disk(_) | FileKind::RawDisk | FileKind::FileSystem(_) => {
            format!("--disk {path}, with a --kernel or --firmware")
        }
        FileKind::Rom => format!("--firmware {path}"),
        other => other.advice().to_owned(),
    }
}
