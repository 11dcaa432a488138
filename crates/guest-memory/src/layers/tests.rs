use super::*;
use crate::{Backing, ChangesError, RamConfig, RamSize, ThpAdvice};

const MEBIBYTE: u64 = 1 << 20;

fn file() -> File {
    let memfd = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    File::from(memfd)
}

fn config(mebibytes: u32) -> RamConfig {
    RamConfig {
        size: RamSize::mebibytes(mebibytes),
        ..RamConfig::default()
    }
}

/// A machine's RAM in a file.
fn full(ram: &GuestRam) -> RamImage {
    let image = file();
    ram.write_image(&image).unwrap();
    image.into()
}

/// `image`, and what has changed since in `ram`, which was mapped from it.
fn changed(image: &RamImage, ram: &GuestRam) -> RamImage {
    let pages = ram.changed_pages().unwrap();
    let changes = file();
    ram.write_changes(&changes, &pages).unwrap();
    let pages = PageRuns::from_bytes(&pages.to_bytes(), ram.size()).unwrap();
    image.clone().changed(changes, pages)
}

fn runs(ram: &GuestRam) -> Vec<(u64, u64)> {
    let pages = ram.changed_pages().unwrap();
    let runs = pages.as_slice().iter();
    runs.map(|run| (run.first, run.pages)).collect()
}

/// Whether they hold the same in the first 16 MiB of the low region, and at both ends of the MMIO hole.
fn same(one: &GuestRam, other: &GuestRam) {
    let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    let low = (0..16).map(|mebibyte| mebibyte * MEBIBYTE);
    for at in low.chain([(3 << 30) - MEBIBYTE, 4 << 30]) {
        let address = GuestAddress(at);
        if one.contains(address, MEBIBYTE) {
            one.read_bytes(address, &mut ours).unwrap();
            other.read_bytes(address, &mut theirs).unwrap();
            assert!(ours == theirs, "{address:?}");
        }
    }
}

#[test]
fn only_what_was_written_has_changed() {
    let first = GuestRam::new(&config(16)).unwrap();
    first.fill(GuestAddress(MEBIBYTE), 1 << 20, 7).unwrap();
    let image = full(&first);
    let ram = GuestRam::from_image(&config(16), &image).unwrap();
    // Reading maps pages, and those around them.
    same(&first, &ram);
    assert_eq!(runs(&ram), []);
    ram.write(GuestAddress(0x5008), 1_u8).unwrap();
    ram.write(GuestAddress(MEBIBYTE - 1), 0x0202_u16).unwrap();
    ram.fill(GuestAddress(8 * MEBIBYTE), 1 << 20, 3).unwrap();
    assert_eq!(runs(&ram), [(5, 1), (255, 2), (2048, 256)]);
}

#[test]
fn pages_that_were_given_back_have_changed_to_zero() {
    let first = GuestRam::new(&config(16)).unwrap();
    first.fill(GuestAddress(0), 16 << 20, 7).unwrap();
    let image = full(&first);
    let ram = GuestRam::from_image(&config(16), &image).unwrap();
    ram.discard(GuestAddress(MEBIBYTE), 2 * MEBIBYTE).unwrap();
    ram.fill(GuestAddress(8 * MEBIBYTE), 4 << 20, 0).unwrap();
    ram.write(GuestAddress(2 * MEBIBYTE), 1_u8).unwrap();
    assert_eq!(runs(&ram), [(256, 512), (2048, 1024)]);
    let next = changed(&image, &ram);
    assert_eq!(next.changes[0].0.metadata().unwrap().len(), 16 << 20);
    same(&ram, &GuestRam::from_image(&config(16), &next).unwrap());
}

#[test]
fn a_chain_of_changes_is_the_same_however_it_is_loaded() {
    // Over 3 and 4 GiB: a hole of the addresses is none of the image.
    let large = config(3200);
    let high = GuestAddress(4 << 30);
    let first = file();
    first.set_len(3200 * MEBIBYTE).unwrap();
    first.write_all_at(&[1; 16], (3 << 30) - 8).unwrap();
    let mut image = RamImage::from(first);
    let mut ram = GuestRam::from_image(&large, &image).unwrap();
    for generation in 1..=3_u64 {
        ram.write(high, generation).unwrap();
        // The run ends in the other region.
        ram.fill(
            GuestAddress((3 << 30) - (1 << 17)),
            1 << 17,
            generation as u8,
        )
        .unwrap();
        ram.fill(high, 1 << 17, generation as u8).unwrap();
        for page in 0..8 {
            let address = GuestAddress(page * 0x2000 + generation * 0x10_0000);
            ram.write(address, generation).unwrap();
        }
        image = changed(&image, &ram);
        let again = GuestRam::from_image(&large, &image).unwrap();
        same(&ram, &again);
        // Short runs were copied, and count as changed; what is mapped does not.
        assert!(again.changed_pages().unwrap().pages() <= 8 * generation);
        ram = again;
    }
    assert_eq!(image.changes.len(), 3);
    let copied = GuestRam::from_image(
        &RamConfig {
            thp: ThpAdvice::Always,
            ..large
        },
        &image,
    );
    same(&ram, &copied.unwrap());
}

#[test]
fn many_runs_are_mapped_only_as_far_as_a_process_has_mappings() {
    let size = 512_u64 * MEBIBYTE;
    let mut pages = PageRuns::default();
    for first in (0..size / PAGE_SIZE - 20).step_by(20) {
        pages.add(first, 17);
    }
    assert!(pages.as_slice().len() > MAX_MAPPED);
    let (full, changes) = (file(), file());
    full.set_len(size).unwrap();
    changes.set_len(size).unwrap();
    changes.write_all_at(&[9; 8], 20 * PAGE_SIZE).unwrap();
    let image = RamImage::from(full).changed(changes, pages);
    assert_eq!(image.least_mapped(), 32);
    let ram = GuestRam::from_image(&config(512), &image).unwrap();
    assert_eq!(ram.read::<u8>(GuestAddress(20 * PAGE_SIZE)), Ok(9));
}

#[test]
fn changes_of_another_ram_are_refused() {
    let first = GuestRam::new(&config(16)).unwrap();
    let image = full(&first);
    let mut pages = PageRuns::default();
    pages.add(4095, 2);
    let changes = || {
        let changes = file();
        changes.set_len(16 << 20).unwrap();
        changes
    };
    let refused = |image: &RamImage| {
        let error = GuestRam::from_image(&config(16), image).unwrap_err();
        error.to_string()
    };
    let outside = image.clone().changed(changes(), pages);
    let text = refused(&outside);
    assert_eq!(
        text,
        "changes up to page 4097, for guest RAM of 16777216 bytes"
    );
    let short = changes();
    short.set_len((16 << 20) - 1).unwrap();
    let short = image.changed(short, PageRuns::default());
    assert!(refused(&short).contains("16777215 bytes"));
}

#[test]
fn ram_that_is_no_private_mapping_of_an_image_does_not_know_its_changes() {
    let ram = GuestRam::new(&config(16)).unwrap();
    assert!(matches!(ram.changed_pages(), Err(ChangesError::NotMapped)));
    let memfd = RamConfig {
        backing: Backing::Memfd,
        ..config(16)
    };
    let copied = GuestRam::from_image(&memfd, &full(&ram)).unwrap();
    assert!(matches!(
        copied.changed_pages(),
        Err(ChangesError::NotMapped)
    ));
}
