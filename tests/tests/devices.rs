//! The random numbers, consoles and balloon of a booted Linux.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use vmmkit_tests::diskless::{Diskless, Kernel};
use vmmkit_tests::guest::{BOOT_LIMIT, Guests};
use vmmkit_tests::terminal::Terminal;

/// Long enough for any answer of a booted guest in the lab.
const LIMIT: Duration = Duration::from_secs(60);
const KERNELS: [Kernel; 2] = [Kernel::Lean, Kernel::Cloud];

fn find(name: &str, kernel: Kernel) -> Option<Diskless> {
    Diskless::find(&format!("{name}, {kernel:?}"), kernel).unwrap()
}

/// A guest on a terminal, which is its serial port.
fn start(guest: &Diskless, script: &str, arguments: &[&str]) -> Terminal {
    Terminal::start(&guest.command(script, arguments).unwrap()).unwrap()
}

#[track_caller]
fn ends_well(terminal: &mut Terminal) {
    let status = terminal.ends(BOOT_LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn the_guest_gets_random_numbers() {
    for kernel in KERNELS {
        let Some(guest) = find("rng", kernel) else {
            continue;
        };
        let script = "load virtio-rng
            cat /sys/class/misc/hw_random/rng_current
            for name in one two; do echo \"$name $(head -c 4096 /dev/hwrng | od -An -v -tx1 | tr -d ' \\n')\"; done\n";
        let mut command = guest.command(script, &["--rng"]).unwrap();
        let run = guest.guests.run(&mut command, b"").unwrap();
        assert_eq!(run.code(), Some(0), "{run:#?}");
        assert!(run.stdout.contains("virtio_rng.0"), "{run:#?}");
        let read = |name| {
            let line = run.stdout.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        let (one, two) = (read("one "), read("two "));
        assert_eq!((one.len(), two.len()), (8192, 8192), "{run:#?}");
        assert_ne!(one, two);
    }
}

#[test]
fn linux_takes_packed_queues_where_they_are_offered() {
    for (kernel, transport) in [(Kernel::Lean, "mmio"), (Kernel::Lean, "pci")] {
        let Some(guest) = find("packed queues", kernel) else {
            continue;
        };
        // Bit 34 of the features that the driver took: RING_PACKED.
        let script = "load virtio-rng; load virtio_console
            for device in /sys/bus/virtio/devices/*; do echo \"packed $(cut -c 35 $device/features)\"; done
            echo \"bytes $(head -c 40000 /dev/hwrng | wc -c)\"
            exec 3>/dev/hvc0; stty -F /dev/hvc0 raw; seq 3000 >&3\n";
        let path = guest.scratch.path().join("console");
        let console = format!("file={}", path.display());
        let virtio = format!("{transport},packed");
        let arguments = ["--virtio", &virtio, "--rng", "--console", &console];
        let mut command = guest.command(script, &arguments).unwrap();
        let run = guest.guests.run(&mut command, b"").unwrap();
        assert_eq!(run.code(), Some(0), "{run:#?}");
        assert_eq!(run.stdout.matches("packed 1").count(), 2, "{run:#?}");
        assert!(run.stdout.contains("bytes 40000"), "{run:#?}");
        let lines = (1..=3000).map(|number| format!("{number}\n"));
        let expected: String = lines.collect();
        assert!(fs::read_to_string(&path).unwrap() == expected, "{run:#?}");
    }
}

#[test]
fn what_the_guest_writes_to_its_console_is_in_the_file() {
    for kernel in KERNELS {
        let Some(guest) = find("console file", kernel) else {
            continue;
        };
        let path = guest.scratch.path().join("console");
        let console = format!("file={}", path.display());
        let script = "load virtio_console; exec 3>/dev/hvc0; stty -F /dev/hvc0 raw
            seq 3000 >&3; echo done >&3\n";
        let mut command = guest.command(script, &["--console", &console]).unwrap();
        let run = guest.guests.run(&mut command, b"").unwrap();
        assert_eq!(run.code(), Some(0), "{run:#?}");
        let lines = (1..=3000).map(|number| format!("{number}\n"));
        let expected = lines.collect::<String>() + "done\n";
        assert!(fs::read_to_string(&path).unwrap() == expected, "{run:#?}");
    }
}

#[test]
fn a_program_of_the_host_talks_to_the_console_by_a_socket() {
    for kernel in KERNELS {
        let Some(guest) = find("console socket", kernel) else {
            continue;
        };
        let path = guest.scratch.path().join("console");
        let console = format!("socket={}", path.display());
        let script = "load virtio_console; exec 3<>/dev/hvc0; stty -F /dev/hvc0 raw -echo; echo up
            read word <&3; echo \"the guest got $word\" >&3
            head -c 20000 <&3 | sha256sum >&3; read end\n";
        let mut terminal = start(&guest, script, &["--console", &console]);
        terminal.sees("up\r\n", BOOT_LIMIT).unwrap();
        let mut host = UnixStream::connect(&path).unwrap();
        host.set_read_timeout(Some(BOOT_LIMIT)).unwrap();
        host.write_all(b"a-word\n").unwrap();
        let answer = b"the guest got a-word\n";
        assert_eq!(read(&mut host, answer.len()), answer);
        let bytes: Vec<u8> = (0..20_000_u32).map(|n| ((n * n) >> 7) as u8).collect();
        host.write_all(&bytes).unwrap();
        let file = guest.scratch.path().join("bytes");
        fs::write(&file, &bytes).unwrap();
        let sum = Command::new("sha256sum").arg(&file).output().unwrap();
        assert_eq!(read(&mut host, 64), sum.stdout.get(..64).unwrap());
        terminal.types("\r");
        ends_well(&mut terminal);
    }
}

fn read(stream: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_shell_on_the_console_answers_and_knows_the_size_of_the_window() {
    let Some(guests) = Guests::find("hvc0") else {
        return;
    };
    let cmdline = "console=hvc0 reboot=k panic=-1 quiet";
    let arguments = ["--console", "stdio", "--cmdline", cmdline, "--initrd"];
    let mut command = guests.command(&guests.lean_elf(), &arguments);
    let mut terminal = Terminal::start(command.arg(guests.initramfs())).unwrap();
    terminal.sees("/ # ", BOOT_LIMIT).unwrap();
    assert!(terminal.is_raw());
    terminal.types("echo $((6 * 7)) is the answer; tty\r");
    terminal.sees("\n42 is the answer", LIMIT).unwrap();
    terminal.sees("/dev/hvc0", LIMIT).unwrap();
    let until =
        |size| format!("until stty size 2>/dev/null | grep '{size}'; do usleep 200000; done\r");
    terminal.types(until("24 80"));
    terminal.sees("\n24 80", LIMIT).unwrap();
    terminal.resizes(43, 132).unwrap();
    terminal.types(until("43 132"));
    terminal.sees("\n43 132", LIMIT).unwrap();
    terminal.types("echo ready; sleep 1000\r");
    terminal.sees("\nready", LIMIT).unwrap();
    terminal.types("\x03");
    terminal.sees("^C", LIMIT).unwrap();
    terminal.types("\x01x");
    ends_well(&mut terminal);
    assert!(terminal.is_as_before());
}

/// Waits until the program has less than `mebibytes`.
#[track_caller]
fn falls_below(terminal: &Terminal, mebibytes: u64) {
    let deadline = Instant::now() + BOOT_LIMIT;
    while terminal.resident().unwrap() >= mebibytes {
        let now = terminal.resident().unwrap();
        assert!(Instant::now() < deadline, "{now} MiB, not {mebibytes}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_inflated_balloon_gives_memory_back_and_the_guest_has_less() {
    let Some(guest) = find("balloon", Kernel::Cloud) else {
        return;
    };
    // The driver comes when the memory has been used. It takes pages off MemTotal where it may not
    // give them back by itself.
    let script = "total() { sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo; }
        mount -t tmpfs -o size=100% tmp /mnt; before=$(total)
        dd if=/dev/zero of=/mnt/a bs=1M count=170 2>/dev/null; rm /mnt/a; echo used; read line
        load virtio_balloon
        until [ $(total) -le $((before - 65536)) ]; do usleep 100000; done
        echo \"inflated by $((before - $(total)))\"
        dd if=/dev/zero of=/mnt/a bs=1M count=110 2>/dev/null; echo \"wrote $(stat -c %s /mnt/a)\"; read line\n";
    let arguments = ["--memory", "256M", "--balloon=64M,keep-on-oom"];
    let mut terminal = start(&guest, script, &arguments);
    terminal.sees("used", BOOT_LIMIT).unwrap();
    let used = terminal.resident().unwrap();
    terminal.types("\r");
    terminal.sees("inflated by 65536", BOOT_LIMIT).unwrap();
    terminal.sees("wrote 115343360", BOOT_LIMIT).unwrap();
    let full = terminal.resident().unwrap();
    println!("{used} MiB, then {full}");
    // Free page reporting does not explain this: the guest has some 20 MiB of free memory.
    assert!(used > 220 && full < 200, "{used} MiB, then {full}");
    terminal.types("\r");
    ends_well(&mut terminal);
}

#[test]
fn pages_that_the_guest_reports_free_go_back_to_the_host() {
    for kernel in KERNELS {
        let Some(guest) = find("free page reporting", kernel) else {
            continue;
        };
        let script = "load virtio_balloon; mount -t tmpfs -o size=100% tmp /mnt
            dd if=/dev/zero of=/mnt/a bs=1M count=100 2>/dev/null; echo full; read line
            rm /mnt/a; echo empty; read line
            seq 100000 >/mnt/a; seq 100000 | cmp - /mnt/a && echo \"all is there\"\n";
        let mut terminal = start(&guest, script, &["--memory", "256M", "--balloon"]);
        terminal.sees("full", BOOT_LIMIT).unwrap();
        let full = terminal.resident().unwrap();
        assert!(full > 100, "{full} MiB");
        terminal.types("\r");
        terminal.sees("empty", BOOT_LIMIT).unwrap();
        // The kernel keeps what it has freed in small pieces, and reports it later or never.
        falls_below(&terminal, full - 60);
        println!("{full} MiB, then {}", terminal.resident().unwrap());
        terminal.types("\r");
        terminal.sees("all is there", BOOT_LIMIT).unwrap();
        ends_well(&mut terminal);
    }
}
