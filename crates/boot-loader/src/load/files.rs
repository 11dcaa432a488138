//! The files that go with a kernel: its initrd and its modules.

use std::fs::File;

use vmmkit_guest_memory::GuestRam;

use super::{EntryKind, Kernel, Placed};
use crate::initrd::{self, End, InitrdError, Room};
use crate::kind::{self, Kind};
use crate::multiboot::Module;
use crate::region::Region;
use crate::{BootSource, LoadError};

/// The files in RAM.
pub(super) struct Files {
    pub(super) initrd: Option<Placed>,
    pub(super) modules: Vec<Placed>,
    /// Both as a kernel that takes modules is told of them.
    pub(super) list: Vec<Module>,
}

/// Loads initrd and modules of `source`, whose kernel is in `image`.
pub(super) fn load(
    ram: &GuestRam,
    source: &BootSource<'_>,
    kernel: &Kernel,
    image: (&Region<'_>, &Kind),
) -> Result<Files, LoadError> {
    let is_multiboot = matches!(
        kernel.info.entry,
        EntryKind::Multiboot1 | EntryKind::Multiboot2
    );
    let takes_modules = is_multiboot || kernel.info.entry == EntryKind::Pvh;
    if !takes_modules && !source.modules.is_empty() {
        return Err(LoadError::ModulesNotTaken);
    }
    let parts = initrd_parts(source, image, takes_modules)?;
    let mut room = Room {
        floor: kernel.info.end.0.max(crate::memory_map::HIGH_MEMORY.0),
        address_max: kernel.initrd_max,
        end: if is_multiboot { End::Low } else { End::High },
    };
    let mut files = Files {
        initrd: None,
        modules: Vec::new(),
        list: Vec::new(),
    };
    if !parts.is_empty() {
        let placed = initrd::load(ram, &parts, room)?;
        files.initrd = Some(placed);
        room = room.without(placed);
        let text = if is_multiboot { "initrd" } else { "" };
        files.list.push(Module {
            placed,
            text: text.to_owned(),
        });
    }
    for (index, module) in source.modules.iter().enumerate() {
        let failed = |source| LoadError::Module { index, source };
        let file = whole(&module.file).map_err(failed)?;
        let placed = initrd::load(ram, &[file], room).map_err(failed)?;
        room = room.without(placed);
        let text = match is_multiboot {
            true => format!("{} {}", module.name, module.arguments),
            false => module.arguments.clone(),
        };
        let text = text.trim_end().replace('\0', " ");
        files.modules.push(placed);
        files.list.push(Module { placed, text });
    }
    Ok(files)
}

/// The pieces of the initrd: the one that was given, or those of a unified kernel image.
fn initrd_parts<'a>(
    source: &BootSource<'a>,
    (image, kind): (&Region<'a>, &Kind),
    takes_modules: bool,
) -> Result<Vec<Region<'a>>, InitrdError> {
    let Some(file) = source.initrd else {
        return Ok(match kind {
            Kind::Uki(uki) => uki.initrd.iter().map(|part| part.of(image)).collect(),
            _ => Vec::new(),
        });
    };
    let file = whole(file)?;
    if !takes_modules && !source.any_initrd {
        initrd::check(&file)?;
    }
    Ok(vec![file])
}

/// All of a regular file.
fn whole(file: &File) -> Result<Region<'_>, InitrdError> {
    let metadata = file.metadata().map_err(InitrdError::Inspect)?;
    match kind::irregular(&metadata.file_type()) {
        Some(kind) => Err(InitrdError::NotRegular { kind }),
        None => Ok(Region::new(file, 0, metadata.len())),
    }
}
