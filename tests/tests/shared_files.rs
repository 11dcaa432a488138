//! Files that the host and a booted Linux share: a folder, by this process or by virtiofsd, and a file as persistent
//! memory. The drivers are modules of Debian's kernel.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use vmmkit_tests::disk::check;
use vmmkit_tests::diskless::{Diskless, Kernel};
use vmmkit_tests::guest::BOOT_LIMIT;
use vmmkit_tests::process::{Finished, run_bounded};
use vmmkit_tests::virtiofsd::Virtiofsd;

fn find(name: &str) -> Option<Diskless> {
    Diskless::find(name, Kernel::Cloud).unwrap()
}

fn sum_of(path: &Path) -> String {
    let mut command = Command::new("sha256sum");
    let sum = run_bounded(command.arg(path), b"", BOOT_LIMIT).unwrap();
    sum.stdout.split(' ').next().unwrap().to_owned()
}

/// The word after `name` in what the guest said.
#[track_caller]
fn word<'a>(run: &'a Finished, name: &str) -> &'a str {
    let mut lines = run.stdout.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let word = rest.and_then(|words| words.split_whitespace().next());
    assert!(word.is_some(), "no {name} in {run:#?}");
    word.unwrap()
}

/// A file of `length` bytes that are not all the same.
fn pattern(path: &Path, length: u32) {
    let bytes: Vec<u8> = (0..length)
        .map(|n| (n.wrapping_mul(n) >> 9) as u8)
        .collect();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_folder_is_shared_both_ways() {
    let name = "virtiofsd";
    let Some(guest) = find(name) else {
        return;
    };
    let folder = guest.scratch.path().join("shared");
    fs::create_dir_all(folder.join("inner")).unwrap();
    pattern(&folder.join("from-host"), 3 << 20);
    fs::write(folder.join("inner/short"), "a line of the host\n").unwrap();
    let daemon = Virtiofsd::start(name, guest.scratch.path(), &folder).unwrap();
    let Some(daemon) = daemon else { return };
    let script = "load fuse virtiofs; mount -t virtiofs srv /mnt || exit
        echo \"list $(ls /mnt /mnt/inner | tr -s '\\n:' '+')\"; cat /mnt/inner/short
        echo \"sum $(sha256sum </mnt/from-host)\"
        dd if=/dev/urandom of=/mnt/from-guest bs=64k count=48 conv=fsync 2>/dev/null
        echo \"wrote $(sha256sum </mnt/from-guest)\"
        mkdir /mnt/new; echo 'a line of the guest' >/mnt/new/short; mv /mnt/new/short /mnt/new/name
        ln -s name /mnt/new/link; chmod 640 /mnt/new/name; rm /mnt/inner/short
        cat /mnt/none 2>/dev/null || echo missing; umount /mnt && echo unmounted\n";
    let option = format!("{},tag=srv", daemon.socket().display());
    let mut command = guest.command(script, &["--fs", &option]).unwrap();
    // Once only: the daemon ends with its guest.
    let run = run_bounded(&mut command, b"", BOOT_LIMIT).unwrap();
    let log = daemon.log();
    assert_eq!(run.code(), Some(0), "{run:#?}, {log}");
    assert_eq!(
        word(&run, "list"),
        "/mnt+from-host+inner+/mnt/inner+short+",
        "{run:#?}, {log}"
    );
    assert!(run.stdout.contains("a line of the host"), "{run:#?}");
    assert_eq!(word(&run, "sum"), sum_of(&folder.join("from-host")));
    assert_eq!(word(&run, "wrote"), sum_of(&folder.join("from-guest")));
    assert_eq!(
        fs::metadata(folder.join("from-guest")).unwrap().len(),
        3 << 20
    );
    let text = fs::read_to_string(folder.join("new/link")).unwrap();
    assert_eq!(text, "a line of the guest\n");
    assert!(!folder.join("inner/short").exists());
    assert!(run.stdout.contains("missing"), "{run:#?}");
    assert!(run.stdout.contains("unmounted"), "{run:#?}");
}

/// A script that mounts the folder `srv`, reads what the host has there, tries to leave it, and makes a small tree.
const SHARED: &str = "load fuse virtiofs; mount -t virtiofs srv /mnt || exit
    echo \"sum $(sha256sum </mnt/from-host)\"; cat /mnt/inner/short
    cat /mnt/out /mnt/../mnt/out /mnt/proc-link/version 2>/dev/null && echo escaped
    dd if=/dev/urandom of=/mnt/from-guest bs=64k count=48 conv=fsync 2>/dev/null || echo refused
    echo \"wrote $(sha256sum </mnt/from-guest)\"
    mkdir -p /mnt/new/many && (cd /mnt/new/many && for n in $(seq 300); do echo $n >file-$n; done)
    echo \"names $(ls /mnt/new/many | wc -l)\"
    mv /mnt/new/many /mnt/new/moved; rm /mnt/new/moved/file-1; ln -s moved/file-2 /mnt/new/link
    ln /mnt/new/link /mnt/new/hard; chmod 4750 /mnt/new/moved/file-3; cat /mnt/new/link
    echo \"bytes $(cat /mnt/new/moved/* | wc -c)\"; cat /mnt/none 2>/dev/null || echo missing
    rm /mnt/inner/short; umount /mnt && echo unmounted\n";

/// A guest that runs [`SHARED`] with a folder of this process, which `words` follow; the folder.
fn share(guest: &Diskless, words: &str) -> (Finished, PathBuf) {
    let folder = guest.scratch.path().join("shared");
    fs::create_dir_all(folder.join("inner")).unwrap();
    pattern(&folder.join("from-host"), 3 << 20);
    fs::write(folder.join("inner/short"), "a line of the host\n").unwrap();
    fs::write(guest.scratch.path().join("secret"), "escaped\n").unwrap();
    symlink("../secret", folder.join("out")).unwrap();
    symlink("/proc/self/root/proc", folder.join("proc-link")).unwrap();
    let option = format!("{},tag=srv{words}", folder.display());
    let mut command = guest.command(SHARED, &["--fs", &option]).unwrap();
    let run = guest.guests.run(&mut command, b"").unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert_eq!(word(&run, "sum"), sum_of(&folder.join("from-host")));
    assert!(run.stdout.contains("a line of the host"), "{run:#?}");
    assert!(run.stdout.contains("missing"), "{run:#?}");
    assert!(!run.stdout.contains("of the host\nescaped"), "{run:#?}");
    assert!(run.stdout.contains("unmounted"), "{run:#?}");
    (run, folder)
}

#[test]
fn a_folder_of_this_process_is_read_alone_without_rw() {
    let Some(guest) = Diskless::find("fs", Kernel::Lean).unwrap() else {
        return;
    };
    let (run, folder) = share(&guest, "");
    assert!(run.stdout.contains("refused"), "{run:#?}");
    assert!(!folder.join("from-guest").exists() && !folder.join("new").exists());
    let kept = fs::read_to_string(folder.join("inner/short")).unwrap();
    assert_eq!(kept, "a line of the host\n");
}

#[test]
fn a_folder_of_this_process_is_shared_both_ways_with_rw() {
    let Some(guest) = Diskless::find("fs rw", Kernel::Lean).unwrap() else {
        return;
    };
    let (run, folder) = share(&guest, ",rw");
    assert_eq!(word(&run, "wrote"), sum_of(&folder.join("from-guest")));
    assert_eq!(word(&run, "names"), "300", "{run:#?}");
    // The numbers 2 to 300, a line each.
    assert_eq!(word(&run, "bytes"), "1090", "{run:#?}");
    let moved = folder.join("new/moved");
    assert_eq!(fs::read_dir(&moved).unwrap().count(), 299);
    let linked = fs::read_to_string(folder.join("new/link")).unwrap();
    assert_eq!(linked, "2\n");
    let mode = fs::metadata(moved.join("file-3")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o750);
    assert!(!folder.join("inner/short").exists());
}

#[test]
fn what_is_written_to_persistent_memory_and_synced_is_in_the_hosts_file() {
    let Some(guest) = find("pmem") else {
        return;
    };
    let file = guest.scratch.ext4(64).unwrap();
    let script = "load libnvdimm nd_btt nd_pmem nd_virtio virtio_pmem
        tries=0; until [ -b /dev/pmem0 ] || [ $tries -ge 300 ]; do usleep 100000; tries=$((tries + 1)); done
        echo \"size $(cat /sys/block/pmem0/size)\"
        mount -t ext4 /dev/pmem0 /mnt || exit
        dd if=/dev/urandom of=/mnt/data bs=64k count=128 conv=fsync 2>/dev/null
        echo \"sum $(sha256sum </mnt/data)\"; sync; umount /mnt && echo unmounted\n";
    let option = file.display().to_string();
    let mut command = guest.command(script, &["--pmem", &option]).unwrap();
    let run = guest.guests.run(&mut command, b"").unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert_eq!(word(&run, "size"), "131072", "{run:#?}");
    assert!(run.stdout.contains("unmounted"), "{run:#?}");
    let checked = check(&file).unwrap();
    assert_eq!(checked.code(), Some(0), "{checked:#?}");
    let files = guest.scratch.extract(&file).unwrap();
    assert_eq!(fs::metadata(files.join("data")).unwrap().len(), 8 << 20);
    assert_eq!(word(&run, "sum"), sum_of(&files.join("data")));
}
