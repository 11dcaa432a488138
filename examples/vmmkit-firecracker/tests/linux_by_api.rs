//! A Linux that clients of Firecracker configure, boot, change and end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use support::{Folder, Process};
use vmmkit_tests::diskless::{CMDLINE, Diskless, Kernel};
use vmmkit_tests::guest::BOOT_LIMIT;

/// Ends a process that says nothing more: its end is seen by who waits for its words.
fn watch(process: &Process) {
    let pid = rustix::process::Pid::from_child(&process.child);
    std::thread::spawn(move || {
        std::thread::sleep(2 * BOOT_LIMIT);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    });
}

#[test]
fn a_linux_uses_its_disk_and_is_paused_limited_and_ended() {
    let script = "echo up $(nproc); dd if=/dev/vda bs=512 count=1 2>/dev/null; \
                  echo written by the guest | dd of=/dev/vda bs=512 seek=1 conv=sync,fsync 2>/dev/null; \
                  echo done; read line; echo got $line; dd if=/dev/vda bs=512 skip=3000 count=1 2>/dev/null; \
                  echo; cat /sys/block/vda/size; echo end\n";
    let guest = Diskless::find("Firecracker's API, Linux", Kernel::Lean).unwrap();
    let Some(guest) = guest else { return };
    let folder = Folder::new("linux");
    let initrd = guest.initrd(script).unwrap();
    let mut image = vec![0; 1 << 20];
    image[..13].copy_from_slice(b"from the host");
    let image = folder.file("image", image);
    let mut process = Process::serving(&folder, &["--level", "Off"]);
    watch(&process);
    // As the Go SDK does, which asks for the machine first.
    assert_eq!(process.ask("GET", "/machine-config", "").0, 200);
    process.does(
        "PUT",
        "/machine-config",
        r#"{"vcpu_count": 2, "mem_size_mib": 256, "smt": true}"#,
    );
    let (kernel, initrd) = (guest.kernel(), initrd);
    let (kernel, initrd) = (kernel.to_str().unwrap(), initrd.to_str().unwrap());
    let source = format!(
        r#"{{"kernel_image_path": "{kernel}", "initrd_path": "{initrd}", "boot_args": "{CMDLINE}"}}"#
    );
    process.does("PUT", "/boot-source", &source);
    process.does(
        "PUT",
        "/drives/data",
        &format!(r#"{{"drive_id": "data", "path_on_host": "{image}", "is_root_device": false}}"#),
    );
    process.does(
        "PUT",
        "/vsock",
        &format!(r#"{{"guest_cid": 3, "uds_path": "{}"}}"#, folder.path("v")),
    );
    process.does("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#);
    process.says("up 2");
    process.says("from the host");
    process.says("done");
    process.does("PATCH", "/vm", r#"{"state": "Paused"}"#);
    process.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
    process.does(
        "PATCH",
        "/drives/data",
        r#"{"drive_id": "data", "rate_limiter": {"ops": {"size": 1000, "refill_time": 100}}}"#,
    );
    // Nobody listens on this port: the connection ends.
    let mut stream = UnixStream::connect(folder.path("v")).unwrap();
    stream.set_read_timeout(Some(BOOT_LIMIT)).unwrap();
    stream.write_all(b"CONNECT 52\n").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    // Another image, which is larger, takes the place of the first.
    let mut other = vec![0; 2 << 20];
    other[3000 * 512..3000 * 512 + 14].copy_from_slice(b"from the other");
    let other = folder.file("other", other);
    process.does(
        "PATCH",
        "/drives/data",
        &format!(r#"{{"drive_id": "data", "path_on_host": "{other}"}}"#),
    );
    let gone = r#"{"drive_id": "data", "path_on_host": "/gone"}"#;
    assert_eq!(process.ask("PATCH", "/drives/data", gone).0, 400);
    process.types("word\r");
    process.says("got word");
    process.says("from the other");
    process.says("4096");
    process.says("end");
    // It reboots, which ends the process.
    assert_eq!(process.ends_within(BOOT_LIMIT).code(), Some(0));
    let image = fs::read(image).unwrap();
    assert_eq!(&image[512..532], b"written by the guest");
}
