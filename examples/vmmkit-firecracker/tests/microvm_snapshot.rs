//! Guests of a few instructions that go on in another process, as the Go SDK and sandboxes have them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::Value;
use support::{Folder, LIMIT, Process, load};
use vmmkit_guest_memory::{PageEvent, PageProvider};
use vmmkit_host_io::{Deadline, FdSocket};
use vmmkit_tests::diskless::skip;
use vmmkit_tests::micro::{echo_guest, has_kvm};

/// Whether guests can be saved here; says so if not.
fn saves_guests(test: &str) -> bool {
    let is_software = vmmkit_hypervisor_kvm::kvm_kind() == vmmkit_hypervisor_kvm::KvmKind::Software;
    if is_software {
        skip(test, "a software KVM has no saved states");
    }
    has_kvm(test) && !is_software
}

/// One whose echoing guest has said its first word.
fn booted(folder: &Folder, tracks: bool) -> Process {
    let kernel = folder.file("kernel", echo_guest());
    let drive = folder.file("drive", [0; 4096]);
    let mut process = Process::serving_again(folder);
    process.does(
        "PUT",
        "/machine-config",
        &format!(r#"{{"vcpu_count": 2, "mem_size_mib": 64, "track_dirty_pages": {tracks}}}"#),
    );
    process.does(
        "PUT",
        "/boot-source",
        &format!(r#"{{"kernel_image_path": "{kernel}"}}"#),
    );
    process.does(
        "PUT",
        "/drives/root",
        &format!(r#"{{"drive_id": "root", "path_on_host": "{drive}", "is_root_device": true}}"#),
    );
    let vsock = folder.path("v.sock");
    process.does(
        "PUT",
        "/vsock",
        &format!(r#"{{"guest_cid": 3, "uds_path": "{vsock}"}}"#),
    );
    process.does("PUT", "/entropy", "{}");
    process.does(
        "PUT",
        "/balloon",
        r#"{"amount_mib": 0, "deflate_on_oom": false, "stats_polling_interval_s": 1}"#,
    );
    process.does("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#);
    assert_eq!(process.says("R"), "R");
    process
}

/// The guest that was saved in `folder` says `word` in a process of its own, and ends.
fn goes_on(folder: &Folder, word: &str) {
    let mut process = Process::serving_again(folder);
    process.does(
        "PUT",
        "/snapshot/load",
        &load(folder, r#", "resume_vm": true"#),
    );
    process.types(word);
    assert_eq!(process.says(word), word);
    process.types("q");
    assert_eq!(process.ends().code(), Some(0));
}

fn state(process: &Process) -> String {
    process.ask("GET", "/", "").1
}

#[test]
fn a_guest_goes_on_in_a_new_process_and_in_one_after_it() {
    if !saves_guests("Firecracker's snapshots") {
        return;
    }
    let folder = Folder::new("snapshot");
    let mut first = booted(&folder, false);
    first.types("a");
    assert_eq!(first.says("a"), "a");
    let body = format!(
        r#"{{"snapshot_path": "{0}", "mem_file_path": "{0}.mem"}}"#,
        folder.path("early")
    );
    let (status, said) = first.ask("PUT", "/snapshot/create", &body);
    assert_eq!(status, 400);
    assert!(said.contains("unavailable while running"), "{said}");
    first.saves(&folder, "Full", "mem");
    // The memory as the guest has it: 64 MiB, of which little takes room; the kernel is at 1 MiB.
    let memory = fs::read(folder.path("mem")).unwrap();
    assert_eq!(memory.len(), 64 << 20);
    let kernel = fs::read(folder.path("kernel")).unwrap();
    assert_eq!(memory[1 << 20..(1 << 20) + 32], kernel[0x1000..0x1020]);
    // It may run on itself.
    first.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
    first.types("b");
    assert_eq!(first.says("b"), "b");
    first.types("q");
    assert_eq!(first.ends().code(), Some(0));

    // The kernel is not needed any more.
    fs::remove_file(folder.path("kernel")).unwrap();
    let mut second = Process::serving_again(&folder);
    second.does("PUT", "/snapshot/load", &load(&folder, ""));
    assert!(state(&second).contains(r#""state":"Paused""#));
    assert!(Path::new(&folder.path("v.sock")).exists());
    let threads = second.threads();
    assert!(threads.contains(&"fc_vcpu 1".to_owned()), "{threads:?}");
    second.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
    second.types("c");
    assert_eq!(second.says("c"), "c");
    let limiter =
        r#"{"drive_id": "root", "rate_limiter": {"ops": {"size": 5, "refill_time": 100}}}"#;
    second.does("PATCH", "/drives/root", limiter);
    // A second generation, over the files that the first one came from.
    second.saves(&folder, "Full", "mem");
    // It is killed, and its socket stays behind.
    drop(second);
    let other = folder.path("v2.sock");
    let more = format!(r#", "resume_vm": true, "vsock_override": {{"uds_path": "{other}"}}"#);
    let mut third = Process::serving_again(&folder);
    third.does("PUT", "/snapshot/load", &load(&folder, &more));
    assert!(Path::new(&other).exists());
    let config = third.ask("GET", "/vm/config", "").1;
    assert!(
        config.contains(r#""ops":{"refill_time":100,"size":5}"#),
        "{config}"
    );
    assert!(state(&third).contains(r#""state":"Running""#));
    third.types("d");
    assert_eq!(third.says("d"), "d");
    third.types("q");
    assert_eq!(third.ends().code(), Some(0));
}

#[test]
fn changes_go_over_the_memory_that_they_differ_from() {
    if !saves_guests("Firecracker's diff snapshots") {
        return;
    }
    for tracks in [false, true] {
        let folder = Folder::new(&format!("diff-{tracks}"));
        let mut first = booted(&folder, tracks);
        first.saves(&folder, "Full", "mem");
        let full = fs::read(folder.path("mem")).unwrap();
        first.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
        first.types("a");
        assert_eq!(first.says("a"), "a");
        // Into a file of their own, and into that of the whole.
        first.saves(&folder, "Diff", "diff");
        first.saves(&folder, "Diff", "mem");
        assert_eq!(fs::metadata(folder.path("diff")).unwrap().len(), 64 << 20);
        assert_eq!(fs::read(folder.path("mem")).unwrap().len(), full.len());
        drop(first);
        fs::remove_file(folder.path("v.sock")).unwrap();

        // Loaded, changed, and saved over the file that it is mapped from.
        let mut second = Process::serving_again(&folder);
        let more = r#", "resume_vm": true, "track_dirty_pages": true"#;
        second.does("PUT", "/snapshot/load", &load(&folder, more));
        second.types("b");
        assert_eq!(second.says("b"), "b");
        second.saves(&folder, "Diff", "mem");
        second.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
        second.types("q");
        assert_eq!(second.ends().code(), Some(0));

        goes_on(&folder, "c");
    }
}

/// Handles the faults of one machine with what `memory` has, as Firecracker's own examples do; how many pages it gave.
fn handle_faults(listener: &UnixListener, memory: &[u8]) -> usize {
    let (stream, _) = listener.accept().unwrap();
    let socket = FdSocket::from(stream);
    let (mut first, mut fds) = ([0], Vec::new());
    let deadline = Deadline::after(LIMIT);
    socket.receive(&mut first, &mut fds, &deadline).unwrap();
    let mut stream = socket.into_stream();
    stream.set_nonblocking(false).unwrap();
    let mut text = first.to_vec();
    while text.last() != Some(&b']') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.extend(byte);
    }
    let ranges: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let [range] = &ranges[..] else {
        panic!("{ranges:?}");
    };
    let number = |name: &str| range[name].as_u64().unwrap();
    assert_eq!((number("size"), number("offset")), (64 << 20, 0));
    assert_eq!((number("page_size"), number("page_size_kib")), (4096, 4096));
    let base = number("base_host_virt_addr");
    let provider = PageProvider::new(fds.pop().unwrap());
    let (mut removed, mut wanted, mut given) = (Vec::new(), Vec::new(), 0);
    stream.set_nonblocking(true).unwrap();
    loop {
        match provider.next_event() {
            Ok(Some(PageEvent::Removed { start, end })) => removed.push(start..end),
            Ok(Some(PageEvent::Wanted(address))) => wanted.push(address - address % 4096),
            _ => match stream.read(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                // The machine has ended.
                _ => return given,
            },
        }
        wanted.retain(|address| {
            let offset = usize::try_from(address - base).unwrap();
            let done = match removed.iter().any(|range| range.contains(address)) {
                true => provider.zero(*address, 4096),
                false => provider.copy(*address, &memory[offset..offset + 4096]),
            };
            // Two vCPUs may want the same page; the machine may be gone.
            given += usize::from(done.is_ok());
            // While pages are given back, none is provided.
            done.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
    }
}

#[test]
fn memory_comes_from_a_process_that_handles_faults() {
    let test = "Firecracker's memory by Uffd";
    if !saves_guests(test) {
        return;
    }
    if !Path::new("/dev/userfaultfd").exists() {
        skip(test, "there is no /dev/userfaultfd");
        return;
    }
    let folder = Folder::new("uffd");
    let first = booted(&folder, false);
    first.saves(&folder, "Full", "mem");
    drop(first);
    fs::remove_file(folder.path("v.sock")).unwrap();
    let memory = fs::read(folder.path("mem")).unwrap();
    fs::remove_file(folder.path("mem")).unwrap();
    let socket = folder.path("uffd.sock");
    let (state, body) = (folder.path("state"), |more: &str| {
        format!(
            r#"{{"snapshot_path": "{}", "mem_backend": {{"backend_type": "Uffd", "backend_path": "{socket}"}}{more}}}"#,
            folder.path("state")
        )
    });
    // Nobody listens.
    let mut lonely = Process::serving_again(&folder);
    let (status, said) = lonely.ask("PUT", "/snapshot/load", &body(""));
    assert_eq!(status, 400);
    assert!(said.contains("Memory by Uffd: "), "{said}");
    assert_eq!(lonely.ends().code(), Some(1));

    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        let handler = scope.spawn(|| handle_faults(&listener, &memory));
        let mut second = Process::serving_again(&folder);
        let more = r#", "resume_vm": true, "track_dirty_pages": true"#;
        second.does("PUT", "/snapshot/load", &body(more));
        second.types("a");
        assert_eq!(second.says("a"), "a");
        // What the guest has changed, over the memory that its handler has.
        fs::write(folder.path("mem"), &memory).unwrap();
        second.saves(&folder, "Diff", "mem");
        second.does("PATCH", "/vm", r#"{"state": "Resumed"}"#);
        second.types("q");
        assert_eq!(second.ends().code(), Some(0));
        // Far from all of it.
        let given = handler.join().unwrap();
        assert!((1..2048).contains(&given), "{given}");
    });
    assert!(Path::new(&state).exists());
    goes_on(&folder, "b");
}

#[test]
fn a_load_that_fails_is_answered_and_ends_the_process() {
    let folder = Folder::new("load-fails");
    let mut process = Process::serving_again(&folder);
    let (status, said) = process.ask("PUT", "/snapshot/load", &load(&folder, ""));
    assert_eq!(status, 400);
    assert!(
        said.contains("Load snapshot error: Failed to restore from snapshot: cannot open"),
        "{said}"
    );
    assert_eq!(process.ends().code(), Some(1));
    if !saves_guests("Firecracker's failed load") {
        return;
    }
    // Memory of another machine, or none.
    let first = booted(&folder, false);
    first.saves(&folder, "Full", "mem");
    drop(first);
    fs::remove_file(folder.path("v.sock")).unwrap();
    fs::write(folder.path("mem"), [0; 4096]).unwrap();
    let mut process = Process::serving_again(&folder);
    let (status, said) = process.ask("PUT", "/snapshot/load", &load(&folder, ""));
    assert_eq!(status, 400);
    assert!(said.contains("4096 bytes, for guest RAM of"), "{said}");
    assert_eq!(process.ends().code(), Some(1));
}
