//! The file of an image when its process is killed: never worse than old, whenever it is.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::blk::tests::{SIZE, TempPath, pattern};

thread_local! {
    /// Called on this thread before each write to the file of an image.
    static OBSERVER: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

/// A write to the file of an image is about to take place.
pub(super) fn before_write() {
    // While it looks there is none, and none after it has failed.
    if let Some(observer) = OBSERVER.take() {
        observer();
        OBSERVER.set(Some(observer));
    }
}

/// A copy of one of the images that qemu-img made for the fuzz target, and what its disk has.
fn made(name: &str) -> (TempPath, Vec<u8>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/qcow2");
    let path = TempPath::new("qcow2");
    std::fs::copy(folder.join(name), path.get()).unwrap();
    let disk = Qcow2Disk::open(&path.config()).unwrap();
    let mut twin = vec![0; disk.image.size() as usize];
    disk.image.read(&mut twin, 0).unwrap();
    (path, twin)
}

/// The numbers of a generator that is the same each time.
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Does `steps` things to the image, and looks at its file before each write to it, and at the end.
/// The twin has what the disk must have.
fn kill_at_each_write(path: &TempPath, steps: u64, twin: &mut [u8]) {
    let disk = Qcow2Disk::open(&path.config()).unwrap();
    let states = Rc::new(RefCell::new(0_usize));
    let (seen, image) = (states.clone(), path.clone());
    OBSERVER.set(Some(Rc::new(move || {
        let number = *seen.borrow();
        *seen.borrow_mut() += 1;
        look(&image, number);
    })));
    let mut number = numbers(twin.len() as u64);
    for step in 0..steps {
        let length = (512 * (1 + number(200)) as usize).min(twin.len());
        let offset = number((twin.len() - length) as u64 / 512 + 1) as usize * 512;
        let place = &mut twin[offset..offset + length];
        let (at, bytes) = (offset as u64, length as u64);
        match number(8) {
            0 => disk.image.write_zeroes(at, bytes, number(2) == 0).unwrap(),
            1 => {
                disk.discard(at, bytes).unwrap();
                // What was discarded may be anything.
                disk.image.read(place, at).unwrap();
                continue;
            }
            2 if step % 3 == 0 => {
                disk.image.flush().unwrap();
                continue;
            }
            _ => {
                place.copy_from_slice(&pattern(length, step as u8));
                disk.image.write(place, at).unwrap();
                continue;
            }
        }
        place.fill(0);
    }
    OBSERVER.set(None);
    assert!(*states.borrow() > 20, "{} writes", states.borrow());
    let mut found = vec![0; twin.len()];
    disk.image.read(&mut found, 0).unwrap();
    assert!(found == twin, "it reads as its twin");
    // No flush, but what the end of the machine does: as another process would find it.
    disk.write_back().unwrap();
    let copy = TempPath::new("qcow2");
    std::fs::copy(path.get(), copy.get()).unwrap();
    let ended = Qcow2Disk::open(&copy.config()).unwrap();
    ended.image.read(&mut found, 0).unwrap();
    assert!(found == twin, "it reads as its twin after the end");
}

/// Looks at the file as it is: it counts all that it uses, so that it can be opened.
fn look(path: &TempPath, number: usize) {
    let file = File::open(path.get()).unwrap();
    let header = Header::read(&file).unwrap();
    let counted = check_counted(&file, &header);
    counted.unwrap_or_else(|error| panic!("before write {number}: {error}"));
}

#[test]
fn empty_images_are_sound_after_a_kill() {
    for (cluster_size, refcount_width) in [
        (512, 1),
        (512, 16),
        (4096, 64),
        (64 << 10, 16),
        (2 << 20, 8),
    ] {
        let path = TempPath::image(SIZE, cluster_size, refcount_width);
        kill_at_each_write(&path, 40, &mut vec![0; SIZE as usize]);
    }
}

#[test]
fn images_of_qemu_img_are_sound_after_a_kill() {
    for name in [
        "compressed",
        "snapshot",
        "version2",
        "preallocated",
        "bitmap",
    ] {
        let (path, mut twin) = made(&format!("{name}.qcow2"));
        kill_at_each_write(&path, 40, &mut twin);
    }
}

#[test]
fn what_was_freed_is_not_a_table_while_the_file_still_uses_it() {
    // With clusters of 512 bytes an L2 table maps 32 KiB.
    let path = TempPath::image(SIZE, 512, 16);
    let disk = Qcow2Disk::open(&path.config()).unwrap();
    disk.image.write(&pattern(8192, 1), 0).unwrap();
    disk.image.flush().unwrap();
    let (seen, image) = (Rc::new(RefCell::new(0)), path.clone());
    let count = seen.clone();
    OBSERVER.set(Some(Rc::new(move || {
        *count.borrow_mut() += 1;
        look(&image, *count.borrow());
    })));
    disk.image.discard(0, 8192).unwrap();
    disk.image.write(&pattern(8192, 2), 64 << 10).unwrap();
    OBSERVER.set(None);
    assert!(*seen.borrow() > 0);
    look(&path, 0);
}
