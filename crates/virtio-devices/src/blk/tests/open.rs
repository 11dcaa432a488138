//! Opening: what is refused, in which words, and the lock.

use std::io::Write;
use std::os::unix::fs::FileExt;

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
        format!("the disk {name} has 1000 bytes, which is not a multiple of 512")
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
        Err(BlockError::Foreign {
            format: ForeignFormat::Qcow2,
            ..
        })
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
    // And a raw disk is not an image.
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
    assert!(
        refusal(&path.config())
            .ends_with("as a qcow2 image: it counts what it uses at 0x0 as free")
    );
    let reads = BlockConfig {
        read_only: true,
        ..path.config()
    };
    assert_eq!(Block::open(&reads).unwrap().capacity(), SIZE);
}

#[test]
fn a_file_of_another_format_is_refused_unless_it_is_said_to_be_raw() {
    let path = TempPath::raw(64 << 10);
    let file = File::options().write(true).open(path.get()).unwrap();
    let open = |format, read_only| {
        Block::open(&BlockConfig {
            format,
            read_only,
            ..path.config()
        })
    };
    for (offset, magic, name) in [
        (0, &b"QFI\xfb\0\0\0\x01"[..], "qcow"),
        (0, b"QFI\xfb\0\0\0\x03", "qcow2"),
        (0, b"KDMV\x01", "vmdk"),
        (0, b"COWD\x01", "vmdk"),
        (0, b"# Disk DescriptorFile\nversion=1\n", "vmdk"),
        (64, b"\x7f\x10\xda\xbe", "vdi"),
        (0, b"vhdxfile", "vhdx"),
        (0, b"conectix", "vpc"),
        ((64 << 10) - 512, b"conectix", "vpc"),
        ((64 << 10) - 511, b"conectix", "vpc"),
        ((64 << 10) - 512, b"koly", "dmg"),
        (0, b"QED\0", "qed"),
        (0, b"WithoutFreeSpace", "parallels"),
        (0, b"WithouFreSpacExt", "parallels"),
        (0, b"LUKS\xba\xbe", "luks"),
        (0, b"\x1f\x8b\x08", "gzip"),
        (0, b"BZh91AY&SY", "bzip2"),
        (0, b"\xfd7zXZ\0", "xz"),
        (0, b"\x28\xb5\x2f\xfd", "zstd"),
        (32768, b"\x01CD001\x01", "ISO 9660"),
    ] {
        file.write_all_at(magic, offset).unwrap();
        match open(None, false) {
            Err(BlockError::Foreign { format, .. }) => assert_eq!(format.name(), name),
            other => panic!("{name}: {other:?}"),
        }
        let is_harmless = matches!(name, "gzip" | "bzip2" | "xz" | "zstd" | "ISO 9660");
        assert_eq!(open(None, true).is_ok(), is_harmless, "{name}");
        open(Some(DiskFormat::Raw), false).unwrap();
        file.write_all_at(&[0; 64], offset.min((64 << 10) - 64))
            .unwrap();
        file.write_all_at(&vec![0; 512], (64 << 10) - 512).unwrap();
    }
    open(None, false).unwrap();
    let empty = TempPath::raw(0);
    assert!(matches!(
        Block::open(&empty.config()),
        Err(BlockError::Empty { .. })
    ));
}

#[test]
fn features_that_are_not_supported_are_refused_by_name() {
    let path = TempPath::qcow2(SIZE);
    let file = File::options().write(true).open(path.get()).unwrap();
    for (bit, words) in [
        (0, "refcounts may be wrong"),
        (1, "marked as corrupt"),
        (2, "external data file"),
        (3, "compressed by"),
        (4, "extended L2"),
        (5, "not known: 0x20"),
        (63, "not known"),
    ] {
        file.write_all_at(&(1_u64 << bit).to_be_bytes(), 72)
            .unwrap();
        for read_only in [true, false] {
            let config = BlockConfig {
                read_only,
                ..path.config()
            };
            // Images with extended L2 entries can be read.
            if (bit, read_only) != (4, true) {
                let text = refusal(&config);
                assert!(text.contains(words), "{bit}: {text}");
            }
        }
    }
    file.write_all_at(&[0; 8], 72).unwrap();
    Block::open(&path.config()).unwrap();
    file.write_all_at(b"no magic", 0).unwrap();
    assert!(refusal(&path.config()).ends_with("this is not a qcow2 image"));
}

#[test]
fn a_start_without_a_write_leaves_an_image_as_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/qcow2");
    let path = TempPath::new("qcow2");
    std::fs::copy(folder.join("bitmap.qcow2"), path.get()).unwrap();
    let before = std::fs::read(path.get()).unwrap();
    let block = Arc::new(Block::open(&path.config()).unwrap());
    let mut driver = Driver::start(block).unwrap();
    assert_eq!(read(&mut driver, 0, 4096).1, 0);
    assert_eq!(flush(&mut driver), 0);
    let discard = [&header(request::DISCARD, 0)[..], &range(0, 64, 0)];
    assert_eq!(ask(&mut driver, &discard), 0);
    assert!(std::fs::read(path.get()).unwrap() == before);
    // Autoclear features: what a writer does not keep, it clears.
    assert_eq!(before[95], 1);
    assert_eq!(write(&mut driver, 0, &[1; 512]), 0);
    drop(driver);
    assert_eq!(std::fs::read(path.get()).unwrap()[95], 0);
}

#[test]
fn what_an_image_names_is_opened_on_request_alone() {
    let named = |name: &str, format: &str| {
        let path = TempPath::new("qcow2");
        let options = StorageCreateOptions::new().filename(path.get());
        let storage = imago::Storage::create_open(options).unwrap();
        Qcow2::<Storage>::create_builder(storage)
            .size(SIZE)
            .backing(name.to_owned(), format.to_owned())
            .create()
            .unwrap();
        path
    };
    let with = |path: &TempPath| BlockConfig {
        backing: true,
        ..path.config()
    };
    let base = TempPath::raw(SIZE);
    let base_name = base.get().display().to_string();
    let over = named(&base_name, "raw");
    let text = refusal(&over.config());
    assert!(
        text.contains(&format!("names a backing file, {base_name} (format raw)")),
        "{text}"
    );
    let block = Block::open(&with(&over)).unwrap();
    // It is locked against writers.
    assert!(matches!(
        Block::open(&base.config()),
        Err(BlockError::Locked { .. })
    ));
    drop(block);
    let by_protocol = named(&format!("file:{base_name}"), "raw");
    Block::open(&with(&by_protocol)).unwrap();
    for (name, format, words) in [
        ("json:{\"file\":1}", "raw", "a path, or file: before one"),
        ("nbd://host/x", "raw", "a path, or file: before one"),
        (&base_name, "vhdx", "has the format vhdx"),
        ("/dev/null", "raw", "neither a file nor a block device"),
        ("/no/such/file", "raw", "No such file"),
        (&base_name, "qcow2", "this is not a qcow2 image"),
    ] {
        let text = refusal(&with(&named(name, format)));
        assert!(text.contains(words), "{name}: {text}");
    }
    let itself = TempPath::new("qcow2");
    let own = itself.get().file_name().unwrap().to_str().unwrap();
    std::fs::rename(named(own, "qcow2").get(), itself.get()).unwrap();
    let text = refusal(&with(&itself));
    assert_eq!(text.matches("backing file").count(), 1, "{text}");
    assert!(text.ends_with("is behind itself"), "{text}");
}

#[test]
fn tables_behind_the_end_of_the_file_are_refused_at_once() {
    let path = TempPath::qcow2(SIZE);
    let file = File::options()
        .read(true)
        .write(true)
        .open(path.get())
        .unwrap();
    for (place, value) in [
        (40, 1_u64 << 40),
        (48, 1 << 40),
        (40, 0x8000_0000_0000_0000),
    ] {
        let mut old = [0; 8];
        file.read_exact_at(&mut old, place).unwrap();
        file.write_all_at(&value.to_be_bytes(), place).unwrap();
        for read_only in [true, false] {
            let config = BlockConfig {
                read_only,
                ..path.config()
            };
            assert!(refusal(&config).contains("behind the end of the file"));
        }
        file.write_all_at(&old, place).unwrap();
    }
    // An L1 table that has more entries than the file has clusters.
    file.write_all_at(&(4_u32 << 20).to_be_bytes(), 36).unwrap();
    assert!(refusal(&path.config()).contains("behind the end of the file"));
}
