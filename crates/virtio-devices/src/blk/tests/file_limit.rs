//! A host that limits the size of files (RLIMIT_FSIZE, setrlimit(2)): EFBIG, as the program that uses
//! these devices ignores SIGXFSZ.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

const LIMIT: u64 = 512 << 10;
const INNER: &str = "blk::tests::file_limit::in_a_process_of_its_own";

/// The limit is the process's, and so is what SIGXFSZ does.
#[test]
fn what_does_not_fit_a_limit_fails_and_the_disk_goes_on() {
    let script = format!("trap '' XFSZ; exec \"$0\" --exact {INNER} --ignored --nocapture");
    let run = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}\n{error}");
    assert!(said.contains("1 passed"), "{said}\n{error}");
}

fn limit_files(bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        ..getrlimit(Resource::Fsize)
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

#[test]
#[ignore = "it changes the limits of its process; the test above runs it"]
fn in_a_process_of_its_own() {
    for kind in BackEnd::ALL {
        limit_files(getrlimit(Resource::Fsize).maximum);
        let Some((block, Some(path))) = kind.block(1) else {
            continue;
        };
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        block.on_error(move |text| log.lock().push(text.to_owned()));
        let mut driver = Driver::start(block.clone()).unwrap();
        limit_files(Some(LIMIT));
        // All of the disk, beginning with its start, so that an image reaches the limit too.
        let mut kept = Vec::new();
        for sector in (0..SIZE / 512).step_by(64) {
            let bytes = pattern(32 << 10, sector as u8);
            match write(&mut driver, sector, &bytes) {
                0 => kept.push((sector, bytes)),
                status => assert_eq!(status, 1, "{kind:?}"),
            }
        }
        assert!((4..=16).contains(&kept.len()), "{kind:?}: {}", kept.len());
        let errors = block.stats().host_errors;
        assert!(errors >= 16, "{kind:?}: {errors}");
        let told = told.lock().clone();
        assert_eq!(told.len(), 1, "{kind:?}");
        assert!(told[0].contains("File too large"), "{kind:?}: {told:?}");
        // What fits can be read, and written again.
        for (sector, bytes) in &mut kept {
            assert!(read(&mut driver, *sector, bytes.len()) == (bytes.clone(), 0));
            bytes.fill(0x5a);
            assert_eq!(write(&mut driver, *sector, bytes), 0, "{kind:?}");
        }
        limit_files(getrlimit(Resource::Fsize).maximum);
        let last = pattern(512, 1);
        assert_eq!(write(&mut driver, SIZE / 512 - 1, &last), 0, "{kind:?}");
        assert_eq!(flush(&mut driver), 0, "{kind:?}");
        kept.push((SIZE / 512 - 1, last));
        drop((driver, block));
        // An image is checked when it is opened.
        let config = BlockConfig {
            format: Some(match kind {
                BackEnd::Qcow2 => DiskFormat::Qcow2,
                _ => DiskFormat::Raw,
            }),
            ..path.config()
        };
        let mut driver = Driver::start(Arc::new(Block::open(&config).unwrap())).unwrap();
        for (sector, bytes) in &kept {
            let found = read(&mut driver, *sector, bytes.len());
            assert!(found == (bytes.clone(), 0), "{kind:?} {sector}");
        }
    }
}
