//! Linux that reboots, panics and faults: in the same process, or to the exit code that says so; and that goes on from
//! a snapshot in another process.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::Signal;
use vmmkit_tests::diskless::{Diskless, Kernel, skip};
use vmmkit_tests::guest::{BOOT_LIMIT, wait_for};
use vmmkit_tests::network::{in_namespace, ip};
use vmmkit_tests::process::{Finished, run_bounded};
use vmmkit_tests::scripted::Scripted;
use vmmkit_tests::stream::drain;
use vmmkit_tests::terminal::Terminal;
use vmmkit_tests::virtiofsd::Virtiofsd;

/// Boots again until the third disk holds `2`; each boot says what it found there, and whether it had
/// all its CPUs.
const COUNTING: &str = "n=$(head -c 1 /dev/vdc)
echo \"boot $n on $(nproc)\"
[ \"$n\" != 2 ] || exit
{ echo $((n + 1)); head -c 510 /dev/zero; } | dd of=/dev/vdc bs=512 count=1 conv=fsync 2>/dev/null
reboot -f
";

/// A disk that counts boots, at the first one.
fn count() -> Vec<u8> {
    let mut sector = b"0".to_vec();
    sector.resize(512, 0);
    sector
}

/// Three boots of a guest with `arguments`, whose kernel resets as `parameter` says.
fn counted(name: &str, parameter: &str, arguments: &[&str]) -> Option<Finished> {
    let guest = Scripted::find(name).unwrap()?;
    let disk = guest.folder().join("count");
    fs::write(&disk, count()).unwrap();
    let mut command: Command = guest.command(COUNTING, parameter).unwrap();
    command.args(arguments).arg("--disk").arg(&disk);
    let run = guest.run(&mut command).unwrap();
    assert!(fs::read(&disk).unwrap().starts_with(b"2"), "{run:#?}");
    Some(run)
}

#[track_caller]
fn assert_three_boots(run: &Finished, cpus: u32) {
    assert_eq!(run.code(), Some(0), "{run:#?}");
    for boot in 0..3 {
        let line = format!("boot {boot} on {cpus}");
        assert_eq!(run.stdout.matches(&line).count(), 1, "{line}: {run:#?}");
    }
}

#[test]
fn linux_reboots_twice_by_the_keyboard_controller_and_powers_off() {
    let run = counted("reboot", "reboot=k", &["--on-reboot", "reboot"]);
    run.iter().for_each(|run| assert_three_boots(run, 1));
}

#[test]
fn two_cpus_and_pci_devices_start_anew_by_the_acpi_reset_register() {
    let arguments = ["--on-reboot", "reboot", "--cpus", "2", "--virtio", "pci"];
    let run = counted("reboot with 2 CPUs", "reboot=a", &arguments);
    run.iter().for_each(|run| assert_three_boots(run, 2));
}

#[test]
fn a_triple_fault_of_a_kernel_that_restarts_is_a_reset() {
    let run = counted("triple fault", "reboot=t", &["--on-reboot", "reboot"]);
    let Some(run) = run else { return };
    assert_three_boots(&run, 1);
    assert!(!run.stderr.contains("triple fault"), "{run:#?}");
}

/// Debian's kernel, whose pvpanic driver is a module, panics.
const PANIC: &str = "load pvpanic pvpanic-mmio; echo \"boot of $(nproc)\"
echo c >/proc/sysrq-trigger\n";

#[test]
fn a_panic_that_pvpanic_tells_of_ends_in_exit_code_4() {
    let Some(guest) = Diskless::find("exit code 4", Kernel::Cloud).unwrap() else {
        return;
    };
    let mut command = guest.command(PANIC, &["--memory", "512M"]).unwrap();
    let run = guest.guests.run(&mut command, b"").unwrap();
    assert_eq!(run.code(), Some(4), "{run:#?}");
    assert!(run.stdout.contains("Kernel panic"), "{run:#?}");
    assert!(
        run.stderr.contains("the guest's kernel panicked"),
        "{run:#?}"
    );
}

/// The same guest, kept as it is: it can be looked at until `end` ends it. How its process ended.
fn kept(name: &str, end: impl Fn(&Terminal, &dyn Fn(&[&str]) -> Finished)) -> Option<ExitStatus> {
    let guest = Diskless::find(name, Kernel::Cloud).unwrap()?;
    let runtime = format!("XDG_RUNTIME_DIR={}", guest.scratch.path().display());
    let arguments = ["--memory", "512M", "--on-crash", "pause", "--name", "kept"];
    let machine = guest.command(PANIC, &arguments).unwrap();
    let mut command = Command::new("env");
    command.arg(&runtime).arg(machine.get_program());
    let mut terminal = Terminal::start(command.args(machine.get_args())).unwrap();
    terminal.sees("it is kept as it is", BOOT_LIMIT).unwrap();
    let says = |words: &[&str]| {
        let mut command = Command::new("env");
        command.arg(&runtime).arg(&guest.guests.vmmkit).args(words);
        let run = run_bounded(command.args(["-n", "kept"]), b"", BOOT_LIMIT).unwrap();
        assert_eq!(run.code(), Some(0), "{words:?}: {run:#?}");
        run
    };
    let stat = says(&["stat", "--json"]).stdout;
    assert!(stat.contains("\"crashed\""), "{stat}");
    let tree = says(&["inspect"]).stdout;
    assert!(tree.contains("vcpu0:") && tree.contains("rip"), "{tree}");
    end(&terminal, &says);
    terminal.ends(BOOT_LIMIT).unwrap()
}

#[test]
fn a_crashed_guest_that_is_kept_is_looked_at_and_ends_by_a_signal() {
    let status = kept("crash, kept, SIGTERM", |terminal, _| {
        terminal.signals(Signal::TERM);
    });
    let Some(status) = status else { return };
    assert_eq!(status.signal(), Some(15), "{status}");
}

#[test]
fn who_stops_a_crashed_guest_that_is_kept_learns_of_the_panic() {
    let status = kept("crash, kept, stop", |_, says| {
        says(&["stop", "--timeout", "0"]);
    });
    let Some(status) = status else { return };
    assert_eq!(status.code(), Some(4), "{status}");
}

/// Uses one device after the other, and says which did what it should; twice.
const EVERY_DEVICE: &str = "n=$(head -c 1 /dev/vdc)
ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up
until grep -q 1 /sys/class/net/eth0/carrier; do usleep 10000; done
ping -c 1 -w 60 10.9.0.1 >/dev/null && echo \"net of boot $n\"
vsock connect 1024 100000 | grep -q equal && echo \"vsock of boot $n\"
[ $(head -c 4096 /dev/hwrng | wc -c) = 4096 ] && echo \"rng of boot $n\"
echo \"console of boot $n\" >/dev/hvc0
total() { sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo; }
until [ $(total) -lt 190000 ]; do usleep 100000; done; echo \"balloon of boot $n\"
{ echo $((n + 1)); head -c 510 /dev/zero; } | dd of=/dev/vdc bs=512 count=1 conv=fsync 2>/dev/null
[ $(head -c 1 /dev/vdc) != $n ] && echo \"blk of boot $n\"
[ $n = 0 ] && reboot -f
";

/// A guest with a device of each kind that the lean kernel has a driver for, before and after a
/// reset.
fn every_device(test: &str, arguments: &[&str]) {
    let Some(guest) = Scripted::find(test).unwrap() else {
        return;
    };
    if !in_namespace(test).unwrap() {
        return;
    }
    ip("tuntap add dev tap0 mode tap").unwrap();
    ip("addr add 10.9.0.1/24 dev tap0").unwrap();
    ip("link set tap0 up").unwrap();
    let (disk, console) = (guest.folder().join("count"), guest.folder().join("console"));
    fs::write(&disk, count()).unwrap();
    echo_on(&guest.folder().join("v.sock_1024"));
    let mut command = guest.command(EVERY_DEVICE, "reboot=k").unwrap();
    command.args(["--on-reboot", "reboot", "--memory", "256M", "--rng"]);
    command.args(["--balloon=64M,keep-on-oom", "--net", "tap=tap0"]);
    command.arg("--console");
    command.arg(format!("file={}", console.display()));
    command.arg("--vsock");
    command.arg(format!("cid=3,socket={}/v.sock", guest.folder().display()));
    command.args(arguments).arg("--disk").arg(&disk);
    let run = guest.run(&mut command).unwrap();
    let written = fs::read_to_string(console).unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    for boot in 0..2 {
        for device in ["net", "vsock", "rng", "balloon", "blk"] {
            let line = format!("{device} of boot {boot}");
            assert_eq!(run.stdout.matches(&line).count(), 1, "{line}: {run:#?}");
        }
        let line = format!("console of boot {boot}");
        assert_eq!(written.matches(&line).count(), 1, "{written}: {run:#?}");
    }
    assert!(!run.stderr.contains("0: "), "a device has failed: {run:#?}");
}

/// Echoes whatever comes by any connection.
fn echo_on(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut back = &stream;
                drain(&stream, |now| {
                    std::io::Write::write_all(&mut back, now).unwrap()
                });
            });
        }
    });
}

#[test]
fn every_device_works_after_a_reset() {
    every_device("every_device_works_after_a_reset", &[]);
}

#[test]
fn every_pci_device_works_after_a_reset_with_the_split_irqchip() {
    let arguments = ["--virtio", "pci", "--irqchip", "split"];
    let test = "every_pci_device_works_after_a_reset_with_the_split_irqchip";
    every_device(test, &arguments);
}

#[test]
fn every_pci_device_works_after_a_reset_without_the_legacy_timer() {
    let arguments = ["--virtio", "pci", "--legacy-timer", "off"];
    let test = "every_pci_device_works_after_a_reset_without_the_legacy_timer";
    every_device(test, &arguments);
}

/// The same for what is shared with the host; the folder is still mounted when the guest reboots.
const SHARED: &str = "load virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk
load fuse virtiofs libnvdimm nd_btt nd_pmem nd_virtio virtio_pmem
n=$(head -c 1 /dev/vda); mount -t virtiofs srv /mnt && cat /mnt/from-host
echo \"the guest, boot $n\" >/mnt/boot-$n && echo \"fs of boot $n\"
tries=0; until [ -b /dev/pmem0 ] || [ $tries -ge 300 ]; do usleep 100000; tries=$((tries + 1)); done
{ echo \"boot $n\"; head -c 505 /dev/zero; } | dd of=/dev/pmem0 bs=512 seek=$n conv=fsync 2>/dev/null
[ \"$(dd if=/dev/pmem0 bs=512 skip=$n count=1 2>/dev/null | head -n 1)\" = \"boot $n\" ] && echo \"pmem of boot $n\"
{ echo $((n + 1)); head -c 510 /dev/zero; } | dd of=/dev/vda bs=512 count=1 conv=fsync 2>/dev/null
[ $n = 0 ] && reboot -f
";

/// Such a guest, by the transport that the arguments name.
fn shared(name: &str, arguments: &[&str]) {
    let Some(guest) = Diskless::find(name, Kernel::Cloud).unwrap() else {
        return;
    };
    let scratch = guest.scratch.path();
    let (disk, memory, folder) = (
        scratch.join("count"),
        scratch.join("pmem"),
        scratch.join("shared"),
    );
    fs::write(&disk, count()).unwrap();
    fs::write(&memory, vec![0; 4 << 20]).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("from-host"), "a line of the host\n").unwrap();
    let daemon = Virtiofsd::start(name, scratch, &folder).unwrap();
    let Some(daemon) = daemon else { return };
    let mut command = guest.command(SHARED, &["--on-reboot", "reboot"]).unwrap();
    command.args(arguments).arg("--disk").arg(&disk);
    command.arg("--pmem").arg(&memory).arg("--fs");
    command.arg(format!("{},tag=srv", daemon.socket().display()));
    // Once only: the daemon ends with its guest.
    let run = run_bounded(&mut command, b"", BOOT_LIMIT).unwrap();
    let log = daemon.log();
    assert_eq!(run.code(), Some(0), "{run:#?}, {log}");
    let from_host = run.stdout.matches("a line of the host").count();
    assert_eq!(from_host, 2, "{run:#?}, {log}");
    let memory = fs::read(memory).unwrap();
    for boot in 0..2 {
        let written = fs::read_to_string(folder.join(format!("boot-{boot}"))).unwrap();
        assert_eq!(written, format!("the guest, boot {boot}\n"));
        let sector = memory.chunks(512).nth(boot).unwrap();
        assert!(sector.starts_with(format!("boot {boot}\n").as_bytes()));
        for device in ["fs", "pmem"] {
            let line = format!("{device} of boot {boot}");
            assert!(run.stdout.contains(&line), "{line}: {run:#?}, {log}");
        }
    }
}

#[test]
fn a_shared_folder_and_persistent_memory_are_there_after_a_reset() {
    shared("shared after a reset", &[]);
}

#[test]
fn a_shared_folder_and_persistent_memory_by_pci_are_there_after_a_reset() {
    shared("shared after a reset, PCI", &["--virtio", "pci"]);
}

/// Counts once a second, for ever.
const COUNTS: &str = "n=0; while :; do n=$((n + 1)); echo \"count $n\"; sleep 1; done\n";

/// A guest that counts, killed when it is dropped.
struct Counting {
    child: Child,
    output: PathBuf,
}

impl Counting {
    /// Starts `command` as the guest `name`, which others find in `folder`.
    fn start(command: &mut Command, folder: &Path, name: &str) -> Self {
        let output = folder.join(format!("{name}.out"));
        let file = File::create(&output).unwrap();
        command
            .args(["--name", name])
            .env("XDG_RUNTIME_DIR", folder);
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap());
        let child = command.stderr(file).spawn().unwrap();
        Self { child, output }
    }

    /// The numbers so far, each of which follows on the one before.
    fn numbers(&self) -> Vec<u32> {
        let text = fs::read_to_string(&self.output).unwrap();
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let numbers = lines.filter_map(|line| line.trim_end().strip_prefix("count ")?.parse().ok());
        let numbers: Vec<u32> = numbers.collect();
        let follows = numbers
            .windows(2)
            .all(|two| matches!(two, [a, b] if a + 1 == *b));
        assert!(follows, "{text}");
        numbers
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// The random numbers of the whole lines so far.
    fn drawn(&self) -> BTreeMap<u32, String> {
        let text = self.text();
        let lines = text.split_inclusive('\n');
        let lines =
            lines.filter_map(|line| line.strip_suffix('\n')?.trim_end().strip_prefix("drawn "));
        let drawn = lines.map(|line| line.split_once(' ').unwrap());
        drawn
            .map(|(number, drawn)| (number.parse().unwrap(), drawn.to_owned()))
            .collect()
    }

    fn counts(&mut self, least: usize) {
        wait_for("the guest counts on", || {
            let end = self.child.try_wait().unwrap();
            assert_eq!(end, None, "{}", fs::read_to_string(&self.output).unwrap());
            self.numbers().len() >= least
        });
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn linux_counts_on_in_two_clones_and_in_the_third_generation() {
    let Some(guest) = Scripted::find("a Linux that is saved and restored").unwrap() else {
        return;
    };
    let folder = guest.folder();
    let mut command = guest.command(COUNTS, "").unwrap();
    let vmmkit = command.get_program().to_owned();
    let says = |words: &[&str]| {
        let mut command = Command::new(&vmmkit);
        let run = command
            .args(words)
            .current_dir(folder)
            .env("XDG_RUNTIME_DIR", folder)
            .output();
        let run = run.unwrap();
        assert!(run.status.success(), "{words:?}: {run:?}");
    };
    let restore = |snapshot: &str, name: &str| {
        let mut command = Command::new(&vmmkit);
        command.current_dir(folder).args(["restore", snapshot]);
        Counting::start(&mut command, folder, name)
    };
    command.args(["--cpus", "2", "--memory", "128M", "--rng", "--balloon"]);
    let mut first = Counting::start(&mut command, folder, "first");
    first.counts(3);
    says(&["snapshot", "first", "one"]);
    let last = first.numbers().last().copied().unwrap();
    // SIGKILL.
    drop(first);

    let mut clones = ["a", "b"].map(|name| restore("one", name));
    clones.iter_mut().for_each(|clone| clone.counts(2));
    let [a, b] = clones
        .each_ref()
        .map(|clone| clone.numbers().first().copied().unwrap());
    assert_eq!(a, b, "both go on from where the first one was saved");
    assert!((4..=last + 1).contains(&a), "{a} after {last}");

    says(&["snapshot", "a", "two", "--stop"]);
    let [mut a, _b] = clones;
    a.child.wait().unwrap();
    let last = a.numbers().last().copied().unwrap();
    let mut third = restore("two", "third");
    third.counts(2);
    assert_eq!(third.numbers().first(), Some(&(last + 1)));

    // What has changed since, and since then.
    for (snapshot, name) in [("three", "third"), ("four", "fourth")] {
        says(&["snapshot", name, snapshot, "--diff", "--stop"]);
        third.child.wait().unwrap();
        let last = third.numbers().last().copied().unwrap();
        let next = match snapshot {
            "three" => "fourth",
            _ => "fifth",
        };
        third = restore(snapshot, next);
        third.counts(2);
        assert_eq!(third.numbers().first(), Some(&(last + 1)));
    }
    let bytes = |snapshot: &str| -> u64 {
        let files = fs::read_dir(folder.join(snapshot)).unwrap();
        let blocks = files.map(|file| file.unwrap().metadata().unwrap().blocks());
        blocks.sum::<u64>() * 512
    };
    println!(
        "bytes of each snapshot: {:?}",
        ["one", "two", "three", "four"].map(bytes)
    );
    assert!(bytes("three") < bytes("two") / 2);
}

/// Kibibytes of memory that the process `pid` shares with no other.
fn private_memory(pid: u64) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with("Private_"));
    let kibibytes = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    lines.map(|line| kibibytes(line).unwrap()).sum()
}

#[test]
fn linux_counts_on_while_it_is_forked_and_saved() {
    let Some(guest) = Scripted::find("a Linux that is forked while it runs").unwrap() else {
        return;
    };
    let folder = guest.folder();
    let mut command = guest.command(COUNTS, "").unwrap();
    let vmmkit = command.get_program().to_owned();
    let says = |words: &[&str]| {
        let mut command = Command::new(&vmmkit);
        let run = command
            .args(words)
            .current_dir(folder)
            .env("XDG_RUNTIME_DIR", folder)
            .output();
        let run = run.unwrap();
        assert!(run.status.success(), "{words:?}: {run:?}");
        print!("{words:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    command.args(["--cpus", "2", "--memory", "128M", "--rng"]);
    let mut first = Counting::start(&mut command, folder, "first");
    first.counts(3);
    let last = first.numbers().last().copied().unwrap();
    let words = [
        "fork",
        "first",
        "--name",
        "copy",
        "--serial",
        "file=copy.out",
    ];
    assert_eq!(says(&words), "copy\n");
    // Both go on from the same number.
    let text = || fs::read_to_string(folder.join("copy.out")).unwrap_or_default();
    wait_for("the copy counts on", || {
        text().matches("count ").count() >= 3
    });
    let text = text();
    let number = text.lines().find_map(|line| line.strip_prefix("count "));
    let number: u32 = number.unwrap().trim().parse().unwrap();
    first.counts(number as usize + 1);
    assert!(
        (last + 1..=last + 60).contains(&number),
        "{number} after {last}"
    );
    says(&["stop", "copy", "--timeout", "0"]);

    says(&["snapshot", "first", "whole", "--live", "--json"]);
    first.counts(first.numbers().len() + 1);
    let before = first.numbers().last().copied().unwrap();
    println!(
        "{}",
        says(&["snapshot", "first", "later", "--diff", "--live", "--json"])
    );
    first.counts(first.numbers().len() + 1);
    drop(first);
    let mut restored = Command::new(&vmmkit);
    restored.current_dir(folder).args(["restore", "later"]);
    let mut third = Counting::start(&mut restored, folder, "third");
    third.counts(3);
    let number = third.numbers().first().copied().unwrap();
    assert!(
        (before + 1..=before + 60).contains(&number),
        "{number} after {before}"
    );
    drop(third);

    let words = [
        "restore", "later", "--count", "10", "--name", "idle", "--quiet",
    ];
    let names = says(&words);
    assert_eq!(names.lines().count(), 10);
    let list: serde_json::Value = serde_json::from_str(&says(&["list", "--json"])).unwrap();
    let mut memory: Vec<u64> = Vec::new();
    for guest in list.as_array().unwrap() {
        memory.push(private_memory(guest["pid"].as_u64().unwrap()));
    }
    for name in names.lines() {
        says(&["stop", name, "--timeout", "0"]);
    }
    println!("KiB of private memory of clones: {memory:?}");
    assert!(
        memory.len() == 10 && memory.iter().all(|it| *it <= 6 << 10),
        "{memory:?}"
    );
}

/// Names the drivers of ACPI devices, then counts, and draws a random number each time.
const DRAWS: &str = "ls /sys/bus/acpi/drivers; n=0; while :; do n=$((n + 1)); echo \"count $n\"; \
                     echo \"drawn $n $(head -c 16 /dev/urandom | md5sum)\"; sleep 1; done\n";

#[test]
fn linux_draws_other_random_numbers_in_each_clone() {
    let name = "a Linux whose clones draw random numbers";
    let Some(guest) = Scripted::find(name).unwrap() else {
        return;
    };
    let folder = guest.folder();
    // Without an entropy source of virtio: the VM generation ID alone tells the guest that it is a clone.
    let mut command = guest.command(DRAWS, "").unwrap();
    let vmmkit = command.get_program().to_owned();
    command.args(["--memory", "128M"]);
    let mut first = Counting::start(&mut command, folder, "first");
    first.counts(2);
    if !first.text().contains("vmgenid") {
        skip(name, "this kernel has no driver of the VM generation ID");
        return;
    }
    let mut saving = Command::new(&vmmkit);
    let saving = saving.args(["snapshot", "first", "one"]);
    let saving = saving.current_dir(folder).env("XDG_RUNTIME_DIR", folder);
    assert!(saving.status().unwrap().success());
    drop(first);
    let mut clones = ["a", "b"].map(|name| {
        let mut command = Command::new(&vmmkit);
        command.current_dir(folder).args(["restore", "one"]);
        Counting::start(&mut command, folder, name)
    });
    clones.iter_mut().for_each(|clone| clone.counts(5));
    let [a, b] = clones.each_ref().map(Counting::drawn);
    // The first one may have been drawn before the interrupt of the new ID was taken.
    let both = a
        .iter()
        .skip(1)
        .filter_map(|(number, one)| Some((number, one, b.get(number)?)));
    let both: Vec<_> = both.collect();
    assert!(both.len() >= 3, "{a:?} {b:?}");
    for (number, one, other) in both {
        assert_ne!(one, other, "number {number}");
    }
}
