//! The memory of a booted Linux that grows and shrinks (virtio-mem).
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::path::Path;

use vmmkit_control::{Client, Device, Memory, MemoryTarget};
use vmmkit_tests::diskless::{Diskless, Kernel};
use vmmkit_tests::guest::{BOOT_LIMIT, wait_for};
use vmmkit_tests::terminal::Terminal;

const MEBIBYTE: u64 = 1 << 20;

/// A guest with a script, and a client of it.
fn start(name: &str, script: &str, arguments: &[&str]) -> Option<(Diskless, Terminal, Client)> {
    let guest = Diskless::find(name, Kernel::Lean).unwrap()?;
    let socket = guest.scratch.path().join("api.sock");
    let options = ["--no-instance", "--api-socket", socket.to_str().unwrap()];
    let script = format!(
        "total() {{ sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo; }}
        until_total() {{ until [ $(total) $1 $2 ]; do usleep 100000; done; }}\n{script}"
    );
    let command = guest.command(&script, &[&options, arguments].concat());
    let terminal = Terminal::start(&command.unwrap()).unwrap();
    let client = Client::new(Path::new(&socket)).patient_for(BOOT_LIMIT);
    Some((guest, terminal, client))
}

fn asks(client: &Client, mebibytes: u64) {
    let target_bytes = mebibytes * MEBIBYTE;
    let told: Memory = client
        .put("/v1/memory", &MemoryTarget { target_bytes })
        .unwrap();
    assert_eq!(told.target_bytes, target_bytes);
}

/// MiB that the guest has.
fn has(client: &Client) -> u64 {
    client.get::<Memory>("/v1/memory").unwrap().actual_bytes / MEBIBYTE
}

fn ends_well(terminal: &mut Terminal) {
    let status = terminal.ends(BOOT_LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn memory_comes_is_used_and_goes_back_to_the_host() {
    let script = "echo online_movable >/sys/devices/system/memory/auto_online_blocks
        before=$(total); echo up; read line
        until_total -ge $((before + 524288)); echo \"grown by $(($(total) - before))\"
        mount -t tmpfs -o size=100% tmp /mnt
        dd if=/dev/zero of=/mnt/a bs=1M count=500 2>/dev/null; seq 200000 >/mnt/b
        echo \"wrote $(stat -c %s /mnt/a)\"; read line
        rm /mnt/a; seq 200000 | cmp - /mnt/b && echo 'all is there'; read line
        until_total -le $before; seq 200000 | cmp - /mnt/b && echo 'all is still there'; read line\n";
    let arguments = ["--memory", "256M,max=1G"];
    let Some((_guest, mut terminal, client)) = start("memory", script, &arguments) else {
        return;
    };
    terminal.sees("up", BOOT_LIMIT).unwrap();
    assert_eq!(has(&client), 256);
    asks(&client, 768);
    terminal.types("\r");
    terminal.sees("grown by 524288", BOOT_LIMIT).unwrap();
    wait_for("it has 768 MiB", || has(&client) == 768);
    terminal.sees("wrote 524288000", BOOT_LIMIT).unwrap();
    let full = terminal.resident().unwrap();
    assert!(full > 500, "{full} MiB");
    terminal.types("\r");
    terminal.sees("all is there", BOOT_LIMIT).unwrap();
    asks(&client, 256);
    wait_for("it has 256 MiB", || has(&client) == 256);
    let empty = terminal.resident().unwrap();
    println!("{full} MiB, then {empty}");
    // All of the area is gone; what is left is at most RAM and the program.
    assert!(empty < 320, "{full} MiB, then {empty}");
    terminal.types("\r");
    terminal.sees("all is still there", BOOT_LIMIT).unwrap();
    let device: Device = client.get("/v1/devices/mem0").unwrap();
    assert!(device.driven && device.fault.is_none(), "{device:?}");
    assert_eq!(device.counters["errors"], 0, "{device:?}");
    terminal.types("\r");
    ends_well(&mut terminal);
}

/// A guest that grew and is reset boots with its RAM alone, and grows again.
fn grows_again(name: &str, arguments: &[&str]) {
    let script = "echo up; until_total -ge 480000; echo grown; read line; reboot -f\n";
    let options = ["--memory", "256M,max=1G", "--on-reboot", "reboot"];
    let options = [&options, arguments].concat();
    let Some((_guest, mut terminal, client)) = start(name, script, &options) else {
        return;
    };
    terminal.sees("up", BOOT_LIMIT).unwrap();
    asks(&client, 512);
    let plugs = || {
        let device: Device = client.get("/v1/devices/mem0").unwrap();
        device.counters.get("plugs").copied()
    };
    terminal.sees("grown", BOOT_LIMIT).unwrap();
    assert_eq!(has(&client), 512);
    let first = plugs();
    terminal.types("\r");
    terminal.sees("grown", BOOT_LIMIT).unwrap();
    assert_eq!(has(&client), 512);
    assert!(plugs() > first, "{first:?} and then {:?}", plugs());
    terminal.types("\x01x");
    ends_well(&mut terminal);
}

#[test]
fn a_guest_that_grew_grows_again_after_a_reset() {
    grows_again("memory, reset", &[]);
}

#[test]
fn a_guest_that_grew_by_pci_grows_again_after_a_reset() {
    grows_again("memory, reset, PCI", &["--virtio", "pci", "--cpus", "2"]);
}

#[test]
fn memory_that_another_process_could_see_grows_too_beside_persistent_memory() {
    let script = "echo up; until_total -ge 480000; mount -t tmpfs -o size=100% tmp /mnt
        dd if=/dev/zero of=/mnt/a bs=1M count=300 2>/dev/null; echo \"wrote $(stat -c %s /mnt/a)\"\n";
    let Some(guest) = Diskless::find("memory, memfd", Kernel::Lean).unwrap() else {
        return;
    };
    let file = guest.scratch.path().join("pmem");
    fs::File::create(&file)
        .unwrap()
        .set_len(4 * MEBIBYTE)
        .unwrap();
    let arguments = [
        "--memory",
        "256M,max=512M,backend=memfd",
        "--pmem",
        file.to_str().unwrap(),
    ];
    let Some((_guest, mut terminal, client)) = start("memory, memfd", script, &arguments) else {
        return;
    };
    terminal.sees("up", BOOT_LIMIT).unwrap();
    asks(&client, 512);
    terminal.sees("wrote 314572800", BOOT_LIMIT).unwrap();
    ends_well(&mut terminal);
}
