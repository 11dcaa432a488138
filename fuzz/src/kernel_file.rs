//! Loading bytes as a kernel file into one RAM that is used again.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};

use vmmkit_boot_loader::{BootSource, EntryChoice, Platform, load as load_kernel, unified_cmdline};
use vmmkit_guest_memory::{GuestRam, RamConfig, RamSize};

thread_local! {
    static SCRATCH: RefCell<(File, GuestRam)> = RefCell::new(scratch());
}

/// Loads `data`; an error is as good as a kernel.
pub fn load(data: &[u8], entry: EntryChoice) {
    SCRATCH.with_borrow_mut(|(file, ram)| {
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(data).unwrap();
        let mut source = BootSource::new(file, "quiet");
        source.entry = entry;
        let platform = Platform::of(&[0]);
        if let Ok(loaded) = load_kernel(ram, source, &platform) {
            assert!(loaded.kernel.end.0 <= ram.size());
            assert!(loaded.entry.address() < loaded.kernel.end);
        }
    });
}

/// Reads the command line of what was loaded last as a unified kernel image.
#[allow(dead_code, reason = "each target has this module, and one calls it")]
pub fn read_unified_cmdline() {
    SCRATCH.with_borrow(|(file, _)| {
        if let Some(cmdline) = unified_cmdline(file) {
            assert!(!cmdline.contains(char::is_control));
        }
    });
}

fn scratch() -> (File, GuestRam) {
    let path = std::env::temp_dir().join(format!("vmmkit-fuzz-{}", std::process::id()));
    let mut options = File::options();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let size = RamSize::mebibytes(32);
    (
        file,
        GuestRam::new(&RamConfig {
            size,
            ..RamConfig::default()
        })
        .unwrap(),
    )
}
