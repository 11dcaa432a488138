//! Opening: what is refused, in which words, and the lock.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::*;

fn refusal(config: &BlockConfig) -> String {
    let error = Block::open(config).unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn two_cannot_have_a_disk_that_one_writes() {
    for path in [TempPath::raw(4096), TempPath::qcow2(SIZE)] {
        let writer = Block::open(&path.config()).unwrap();
        let reads = BlockConfig {
            read_only: true,
            ..path.config()
        };
        let name = path.get().display();
        for config in [path.config(), reads.clone()] {
            let text = refusal(&config);
            assert!(text.starts_with(&format!("{name} is in use by ")), "{text}");
            assert!(text.ends_with(": stop that, or open the disk read-only in both"));
            let me = format!("process {} (", std::process::id());
            assert!(text.contains(&me), "{text}");
        }
        drop(writer);
        let readers = [Block::open(&reads).unwrap(), Block::open(&reads).unwrap()];
        assert!(matches!(
            Block::open(&path.config()),
            Err(BlockError::Locked { .. })
        ));
        drop(readers);
        Block::open(&path.config()).unwrap();
    }
}

#[test]
fn refusals_name_the_path_the_reason_and_what_helps() {
    let config = |path: &str| BlockConfig {
        path: Path::new(path).to_owned(),
        ..BlockConfig::default()
    };
    assert_eq!(
        refusal(&config("/no/such/disk")),
        "cannot open the disk /no/such/disk: No such file or directory (os error 2)"
    );
    for path in ["/dev/null", "/"] {
        let text = refusal(&config(path));
        assert_eq!(
            text,
            format!("{path} cannot be a disk: it is neither a file nor a block device")
        );
    }
    let odd = TempPath::raw(1000);
    let name = odd.get().display();
    assert_eq!(
        refusal(&odd.config()),
        format!(
            "the disk {name} has 1000 bytes, which is not a multiple of 512: \
             make it so with `truncate --size=%512 {name}`"
        )
    );
    let disk = TempPath::raw(512);
    let many = BlockConfig {
        queues: 65,
        ..disk.config()
    };
    assert_eq!(refusal(&many), "65 queues for a disk: 1 to 64 can be");
    let long = BlockConfig {
        serial: "123456789012345678901".to_owned(),
        ..disk.config()
    };
    assert!(refusal(&long).ends_with("has 21 bytes: up to 20 of ASCII can be"));
}

#[test]
fn the_format_is_never_guessed_from_what_a_guest_may_have_written() {
    let image = TempPath::qcow2(SIZE);
    let renamed = TempPath::new("img");
    std::fs::rename(image.get(), renamed.get()).unwrap();
    assert!(matches!(
        Block::open(&renamed.config()),
        Err(BlockError::LooksLikeQcow2 { .. })
    ));
    let with = |format| BlockConfig {
        format: Some(format),
        ..renamed.config()
    };
    let qcow2 = Block::open(&with(DiskFormat::Qcow2)).unwrap();
    assert_eq!(
        (qcow2.capacity(), qcow2.backend()),
        (SIZE, BlockBackend::Sync)
    );
    drop(qcow2);
    assert_ne!(
        Block::open(&with(DiskFormat::Raw)).unwrap().capacity(),
        SIZE
    );
    // And a raw disk is no image.
    let mut raw = File::create(renamed.get()).unwrap();
    raw.write_all(&[0; 4096]).unwrap();
    assert!(matches!(
        Block::open(&with(DiskFormat::Qcow2)),
        Err(BlockError::Qcow2 { .. })
    ));
    let uring = BlockConfig {
        backend: BlockBackend::Uring,
        ..image.config()
    };
    std::fs::rename(TempPath::qcow2(SIZE).get(), image.get()).unwrap();
    assert!(matches!(
        Block::open(&uring),
        Err(BlockError::RawOnly {
            option: "io_uring",
            ..
        })
    ));
}

#[test]
fn an_image_keeps_what_was_flushed() {
    let path = TempPath::qcow2(8 << 20);
    let block = Arc::new(Block::open(&path.config()).unwrap());
    let mut driver = Driver::start(block).unwrap();
    assert_eq!(write(&mut driver, 1000, &pattern(200_192, 8)), 0);
    assert_eq!(flush(&mut driver), 0);
    // As another process would find it, while this one has not closed it.
    let copy = TempPath::new("qcow2");
    std::fs::copy(path.get(), copy.get()).unwrap();
    let config = BlockConfig {
        read_only: true,
        ..copy.config()
    };
    let block = Arc::new(Block::open(&config).unwrap());
    let mut driver = Driver::start(block).unwrap();
    assert_eq!(read(&mut driver, 1000, 200_192), (pattern(200_192, 8), 0));
    assert_eq!(read(&mut driver, 0, 4096), (vec![0; 4096], 0));
    assert_eq!(write(&mut driver, 0, &[1; 512]), 1);
}

#[test]
fn an_image_that_does_not_count_its_clusters_can_only_be_read() {
    let path = TempPath::qcow2(SIZE);
    let file = File::options()
        .read(true)
        .write(true)
        .open(path.get())
        .unwrap();
    let mut table = [0; 8];
    file.read_exact_at(&mut table, 48).unwrap();
    file.write_all_at(&[0; 8], u64::from_be_bytes(table))
        .unwrap();
    assert!(refusal(&path.config()).ends_with(
        "as a qcow2 image: it counts what it uses at 0x0 as free: \
         repair it with `qemu-img check -r all`"
    ));
    let reads = BlockConfig {
        read_only: true,
        ..path.config()
    };
    assert_eq!(Block::open(&reads).unwrap().capacity(), SIZE);
}
