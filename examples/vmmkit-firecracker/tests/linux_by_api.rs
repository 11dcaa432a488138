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

use support::{Folder, Process, load};
use vmmkit_tests::diskless::{CMDLINE, Diskless, Kernel, skip};
use vmmkit_tests::guest::BOOT_LIMIT;

/// Ends a process that says nothing more: its end is seen by who waits for its words.
fn watch(process: &Process) {
    let pid = rustix::process::Pid::from_child(&process.child);
    std::thread::spawn(move || {
        std::thread::sleep(2 * BOOT_LIMIT);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    });
}

/// Puts a kernel and a script.
fn put_source(process: &Process, guest: &Diskless, script: &str) {
    let (kernel, initrd) = (guest.kernel(), guest.initrd(script).unwrap());
    let (kernel, initrd) = (kernel.to_str().unwrap(), initrd.to_str().unwrap());
    let source = format!(
        r#"{{"kernel_image_path": "{kernel}", "initrd_path": "{initrd}", "boot_args": "{CMDLINE}"}}"#
    );
    process.does("PUT", "/boot-source", &source);
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
    put_source(&process, &guest, script);
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

/// As the Go SDK, Kata and sandboxes have it: configured, booted, used, paused, saved and ended; and in another process
/// loaded, resumed and used, twice.
#[test]
fn a_linux_goes_on_in_another_process_from_its_snapshot() {
    let script = "mount -t tmpfs none /tmp; echo up; \
                  while read word; do echo $word >>/tmp/words; cat /tmp/words | tr '\\n' ' '; \
                  echo $word | dd of=/dev/vda bs=512 seek=$(wc -l </tmp/words) conv=sync,fsync 2>/dev/null; \
                  head -c 8 /dev/hwrng | wc -c; echo \"got $word\"; [ $word = end ] && break; done\n";
    let guest = Diskless::find("Firecracker's snapshots, Linux", Kernel::Lean).unwrap();
    let Some(guest) = guest else { return };
    if vmmkit_hypervisor_kvm::kvm_kind() == vmmkit_hypervisor_kvm::KvmKind::Software {
        skip(
            "Firecracker's snapshots, Linux",
            "a software KVM has no saved states",
        );
        return;
    }
    let folder = Folder::new("linux-snapshot");
    let image = folder.file("image", vec![0; 1 << 20]);
    let serving = || {
        let _ = fs::remove_file(folder.path("v"));
        let process = Process::serving_again(&folder);
        watch(&process);
        process
    };
    let loads = |process: &Process| {
        let body = load(&folder, r#", "track_dirty_pages": true"#);
        process.does("PUT", "/snapshot/load", &body);
        process.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
    };
    let mut first = serving();
    first.does(
        "PUT",
        "/machine-config",
        r#"{"vcpu_count": 2, "mem_size_mib": 128, "track_dirty_pages": true}"#,
    );
    put_source(&first, &guest, script);
    first.does(
        "PUT",
        "/drives/data",
        &format!(r#"{{"drive_id": "data", "path_on_host": "{image}", "is_root_device": false}}"#),
    );
    let vsock = folder.path("v");
    first.does(
        "PUT",
        "/vsock",
        &format!(r#"{{"guest_cid": 3, "uds_path": "{vsock}"}}"#),
    );
    first.does("PUT", "/entropy", "{}");
    first.does("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#);
    first.says("up");
    first.saves(&folder, "Full", "mem");
    first.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
    first.types("one\r");
    first.says("got one");
    // What it holds of its memory since then is in the same file.
    first.saves(&folder, "Diff", "mem");
    drop(first);

    let mut second = serving();
    loads(&second);
    second.types("two\r");
    let said = second.says("got two");
    assert!(said.contains("one two 8"), "{said}");
    // Nobody listens on this port: the guest says so.
    let mut stream = UnixStream::connect(&vsock).unwrap();
    stream.set_read_timeout(Some(BOOT_LIMIT)).unwrap();
    stream.write_all(b"CONNECT 52\n").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    second.saves(&folder, "Diff", "mem");
    drop(second);

    let mut third = serving();
    loads(&third);
    third.types("end\r");
    let said = third.says("got end");
    assert!(said.contains("one two end 8"), "{said}");
    assert_eq!(third.ends_within(BOOT_LIMIT).code(), Some(0));
    let image = fs::read(image).unwrap();
    for (place, word) in [(1, "one"), (2, "two"), (3, "end")] {
        assert_eq!(&image[place * 512..place * 512 + 3], word.as_bytes());
    }
}

#[test]
fn a_linux_plugs_the_memory_that_it_is_asked_to_have() {
    let script = "echo up; until [ $(sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo) -gt 300000 ]; \
                  do usleep 100000; done; echo larger; head -c 32 /dev/hwrng | wc -c; read line; echo end\n";
    let guest = Diskless::find("Firecracker's memory hotplug, Linux", Kernel::Lean).unwrap();
    let Some(guest) = guest else { return };
    let folder = Folder::new("linux-hotplug");
    let mut process = Process::serving(&folder, &["--level", "Off"]);
    watch(&process);
    put_source(&process, &guest, script);
    process.does("PUT", "/hotplug/memory", r#"{"total_size_mib": 512}"#);
    // A request gets four bytes after another, and each comes after a time.
    process.does(
        "PUT",
        "/entropy",
        r#"{"rate_limiter": {"ops": {"size": 100, "refill_time": 100}}}"#,
    );
    process.does("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#);
    process.says("up");
    process.does("PATCH", "/hotplug/memory", r#"{"requested_size_mib": 256}"#);
    process.says("larger");
    process.says("32");
    process.waits("all of it", || {
        let status = process.ask("GET", "/hotplug/memory", "").1;
        let has_all = status.contains(r#""plugged_size_mib":256,"requested_size_mib":256"#);
        has_all.then_some(())
    });
    process.types("\r");
    process.says("end");
    assert_eq!(process.ends_within(BOOT_LIMIT).code(), Some(0));
}

#[test]
fn a_linux_writes_to_persistent_memory() {
    let script = "load virtio_mmio libnvdimm nd_btt nd_pmem nd_virtio virtio_pmem
        tries=0; until [ -b /dev/pmem0 ] || [ $tries -ge 300 ]; do usleep 100000; tries=$((tries + 1)); done
        echo \"size $(cat /sys/block/pmem0/size)\"; dd if=/dev/pmem0 bs=512 count=1 2>/dev/null
        echo written by the guest | dd of=/dev/pmem0 bs=512 seek=1 conv=sync,fsync 2>/dev/null; echo end\n";
    let guest = Diskless::find("Firecracker's pmem, Linux", Kernel::Cloud).unwrap();
    let Some(guest) = guest else { return };
    let folder = Folder::new("linux-pmem");
    let mut file = vec![0; 4 << 20];
    file[..13].copy_from_slice(b"from the host");
    let file = folder.file("pmem", file);
    let mut process = Process::serving(&folder, &["--level", "Off"]);
    watch(&process);
    process.does(
        "PUT",
        "/machine-config",
        r#"{"vcpu_count": 1, "mem_size_mib": 256}"#,
    );
    put_source(&process, &guest, script);
    process.does(
        "PUT",
        "/pmem/data",
        &format!(r#"{{"id": "data", "path_on_host": "{file}"}}"#),
    );
    process.does("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#);
    process.says("size 8192");
    process.says("from the host");
    process.says("end");
    assert_eq!(process.ends_within(BOOT_LIMIT).code(), Some(0));
    assert_eq!(&fs::read(file).unwrap()[512..532], b"written by the guest");
}
