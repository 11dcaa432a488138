//! Disks of a booted Linux: what it writes is there, also after a kill; what it may not do, it
//! cannot.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vmmkit_control::{Client, DiskResize, DiskSize};
use vmmkit_tests::disk::{Scratch, check, repair};
use vmmkit_tests::guest::{BOOT_LIMIT, Guests};
use vmmkit_tests::process::{Finished, run_bounded, wait_until};

/// The root is the first disk, the script the second one.
const CMDLINE: &str = "console=ttyS0 reboot=k panic=-1 quiet root=/dev/vda rw init=/init \
     vmmkit.batch vmmkit.run=sh,/dev/vdb";
/// The beginning of every script.
const PRELUDE: &str = "busybox --install -s /bin 2>/dev/null; mkdir -p /mnt\n";

/// A guest whose root is a disk, without an initramfs; `script` finds its own disks from vdc on.
struct Guest {
    guests: Guests,
    scratch: Scratch,
}

impl Guest {
    fn find(name: &str) -> Option<Self> {
        let guests = Guests::find(name)?;
        let scratch = Scratch::new().unwrap();
        Some(Self { guests, scratch })
    }

    fn command(&self, script: &str, disks: &[String]) -> Command {
        self.command_by("mmio", script, disks)
    }

    fn command_by(&self, transport: &str, script: &str, disks: &[String]) -> Command {
        let root = self.scratch.path().join("root");
        fs::copy(self.guests.root_disk(), &root).unwrap();
        let script = self.scratch.script(&format!("{PRELUDE}{script}")).unwrap();
        let mut command = self
            .guests
            .command(&self.guests.lean_elf(), &["--cmdline", CMDLINE]);
        command.args(["--virtio", transport, "--disk"]).arg(root);
        command
            .arg("--disk")
            .arg(format!("{},readonly", script.display()));
        for disk in disks {
            command.arg("--disk").arg(disk);
        }
        command
    }

    /// Runs `script` to the end of the guest.
    fn run(&self, script: &str, disks: &[String]) -> Finished {
        self.run_by("mmio", script, disks)
    }

    fn run_by(&self, transport: &str, script: &str, disks: &[String]) -> Finished {
        let mut command = self.command_by(transport, script, disks);
        let run = self.guests.run(&mut command, b"").unwrap();
        assert_eq!(run.code(), Some(0), "{run:#?}");
        assert_eq!(check(&self.root()).unwrap().code(), Some(0), "{run:#?}");
        run
    }

    fn root(&self) -> std::path::PathBuf {
        self.scratch.path().join("root")
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn sum_of(path: &Path) -> String {
    let mut command = Command::new("sha256sum");
    let sum = run_bounded(command.arg(path), b"", BOOT_LIMIT).unwrap();
    sum.stdout.split(' ').next().unwrap().to_owned()
}

#[test]
fn what_is_written_and_synced_is_on_the_hosts_disk() {
    written_and_synced("mmio", 24);
}

#[test]
fn a_disk_by_pci_holds_what_is_written_too() {
    written_and_synced("pci", 16);
}

#[test]
fn without_acpi_the_command_line_tells_of_disks() {
    let Some(guest) = Guest::find("no ACPI") else {
        return;
    };
    // Without ACPI the guest resets at its end.
    let mut command = guest.command("cat /sys/block/vdb/size; echo found\n", &[]);
    let run = guest.guests.run(command.arg("--no-acpi"), b"").unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(run.stdout.contains("found"), "{run:#?}");
}

/// Writes so many mebibytes and the sum of them; both sides must see the same.
fn written_and_synced(transport: &str, mebibytes: u64) {
    let Some(guest) = Guest::find(&format!("{mebibytes} MiB by {transport}")) else {
        return;
    };
    let disk = guest.scratch.ext4(96).unwrap();
    let script = format!(
        "mount -t ext4 /dev/vdc /mnt && dd if=/dev/urandom of=/tmp/r bs=1M count=1 2>/dev/null
        for i in $(seq {mebibytes}); do echo $i; cat /tmp/r; done |
            dd of=/mnt/data bs=1M conv=fsync 2>/dev/null || exit
        echo \"sum $(sha256sum </mnt/data)\"; umount /mnt; cat /sys/block/vdc/size\n"
    );
    let run = guest.run_by(transport, &script, &[shown(&disk)]);
    let sum = run.stdout.split("sum ").nth(1).unwrap();
    let sum = sum.split_whitespace().next().unwrap();
    assert!(run.stdout.contains("196608"), "{run:#?}");
    assert_eq!(check(&disk).unwrap().code(), Some(0));
    let files = guest.scratch.extract(&disk).unwrap();
    assert!(fs::metadata(files.join("data")).unwrap().len() > mebibytes << 20);
    assert_eq!(sum, sum_of(&files.join("data")));
}

#[test]
fn nothing_that_was_synced_is_lost_when_the_vmm_is_killed() {
    let Some(guest) = Guest::find("SIGKILL") else {
        return;
    };
    let script =
        "mount -t ext4 /dev/vdc /mnt && dd if=/dev/urandom of=/tmp/r bs=64k count=1 2>/dev/null
        i=0; while [ $i -lt 500 ]; do i=$((i + 1))
        { echo file $i; cat /tmp/r; } | dd of=/mnt/$i bs=64k conv=fsync 2>/dev/null || exit
        echo \"synced $i\"; done\n";
    for acks in [3, 25] {
        let disk = guest.scratch.ext4(64).unwrap();
        let started = Instant::now();
        let mut child = guest
            .command(script, &[shown(&disk)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut synced = 0;
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("synced ") {
                synced = number.trim().parse().unwrap();
            }
            if synced >= acks || started.elapsed() > BOOT_LIMIT {
                break;
            }
        }
        // At some moment within the next file.
        std::thread::sleep(Duration::from_micros(
            started.elapsed().as_nanos() as u64 % 20_000,
        ));
        child.kill().unwrap();
        wait_until(&mut child, Instant::now() + BOOT_LIMIT).unwrap();
        assert!(synced >= acks, "{synced} of {acks}");

        let repaired = repair(&disk).unwrap();
        assert!(repaired.code() <= Some(1), "{repaired:#?}");
        assert_eq!(check(&disk).unwrap().code(), Some(0));
        let files = guest.scratch.extract(&disk).unwrap();
        for number in 1..=synced {
            let file = fs::read(files.join(number.to_string()));
            let file =
                file.unwrap_or_else(|error| panic!("{number} of {synced}: {error}; {repaired:#?}"));
            let head = format!("file {number}\n");
            assert!(file.starts_with(head.as_bytes()), "{number}");
            assert_eq!(file.len(), head.len() + (64 << 10), "{number}");
        }
        fs::remove_dir_all(files).unwrap();
    }
}

#[test]
fn discarded_blocks_go_back_to_the_host() {
    let Some(guest) = Guest::find("discard") else {
        return;
    };
    let disk = guest.scratch.ext4(64).unwrap();
    let blocks = |disk: &Path| fs::metadata(disk).unwrap().blocks() / 2048;
    let before = blocks(&disk);
    guest.run(
        "mount -t ext4 /dev/vdc /mnt; fstrim -v /mnt; umount /mnt\n",
        &[shown(&disk)],
    );
    let after = blocks(&disk);
    assert!(before > 50 && after < 30, "{before} MiB, then {after}");
    assert_eq!(check(&disk).unwrap().code(), Some(0));
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let Some(guest) = Guest::find("read-only") else {
        return;
    };
    let disk = guest.scratch.ext4(8).unwrap();
    let before = sum_of(&disk);
    let script = "echo \"ro $(cat /sys/block/vdc/ro)\"
        dd if=/dev/zero of=/dev/vdc bs=4k count=1 conv=fsync 2>/dev/null || echo refused\n";
    let run = guest.run(script, &[format!("{},readonly", disk.display())]);
    assert!(run.stdout.contains("ro 1"), "{run:#?}");
    assert!(run.stdout.contains("refused"), "{run:#?}");
    assert_eq!(sum_of(&disk), before);
}

#[test]
fn a_full_disk_of_the_host_is_an_error_of_the_guests_write() {
    let Some(guest) = Guest::find("full disk") else {
        return;
    };
    let small = guest.scratch.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "small"])
        .arg(&small)
        .status()
        .unwrap();
    assert!(mount.success());
    let disk = small.join("disk");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let script = "dd if=/dev/zero of=/dev/vdc bs=64k count=512 conv=fsync 2>&1 || echo failed
        dd if=/dev/vdc of=/dev/null bs=64k count=16 2>/dev/null && echo reads\n";
    let run = guest
        .guests
        .run(&mut guest.command(script, &[shown(&disk)]), b"");
    let run = run.unwrap();
    Command::new("umount").arg(&small).status().unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(run.stdout.contains("failed"), "{run:#?}");
    assert!(run.stdout.contains("reads"), "{run:#?}");
    assert_eq!(run.stderr.matches("No space left").count(), 1, "{run:#?}");
}

/// vmmkit as `command` has it, whose files may have so many bytes.
fn limited(command: &Command, bytes: u64) -> Command {
    let mut limited = Command::new("bash");
    let script = format!("ulimit -f {} && exec \"$@\"", bytes >> 10);
    limited.args(["-c", &script, "bash"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn a_limit_of_file_sizes_is_an_error_of_the_guests_write() {
    let Some(guest) = Guest::find("file size limit") else {
        return;
    };
    let disk = guest.scratch.path().join("disk");
    let limit = fs::metadata(guest.guests.root_disk()).unwrap().len();
    fs::File::create(&disk).unwrap().set_len(2 * limit).unwrap();
    let script = format!(
        "dd if=/dev/zero of=/dev/vdc bs=64k seek={} count=64 conv=fsync 2>&1 || echo failed
        dd if=/dev/zero of=/dev/vdc bs=64k count=16 conv=fsync 2>&1 && echo writes\n",
        (limit >> 16) - 1
    );
    let command = guest.command(&script, &[shown(&disk)]);
    let run = guest.guests.run(&mut limited(&command, limit), b"");
    let run = run.unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(run.stdout.contains("failed"), "{run:#?}");
    assert!(run.stdout.contains("writes"), "{run:#?}");
    assert_eq!(run.stderr.matches("File too large").count(), 1, "{run:#?}");
}

#[test]
fn a_disk_grows_under_a_running_guest() {
    let Some(guest) = Guest::find("resize") else {
        return;
    };
    let disk = guest.scratch.path().join("disk");
    fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let socket = guest.scratch.path().join("api.sock");
    let script = "size() { cat /sys/block/vdc/size; }
        echo \"before: $(size)\"; until [ $(size) = 8192 ]; do usleep 100000; done
        dd if=/dev/zero of=/dev/vdc bs=64k seek=63 count=1 conv=fsync 2>&1 && echo \"after: $(size)\"\n";
    let mut command = guest.command(script, &[shown(&disk)]);
    command.arg("--api-socket").arg(&socket);
    let mut running = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let client = Client::new(&socket).patient_for(BOOT_LIMIT);
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut seen = |text: &str| {
        let mut lines = lines.by_ref().map_while(Result::ok);
        lines.any(|line| line.contains(text))
    };
    let before = seen("before: 2048");
    let told = client.put::<DiskSize>(
        "/v1/devices/blk2/size",
        &DiskResize {
            size_bytes: Some(4 << 20),
        },
    );
    let after = told.is_ok() && seen("after: 8192");
    if !after {
        running.kill().unwrap();
    }
    let status = wait_until(&mut running, Instant::now() + BOOT_LIMIT).unwrap();
    assert!(before && after, "{told:?}");
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert_eq!(fs::metadata(&disk).unwrap().len(), 4 << 20);
}

#[test]
fn a_disk_that_another_machine_writes_is_refused() {
    let Some(guest) = Guest::find("lock") else {
        return;
    };
    let disk = shown(&guest.scratch.ext4(8).unwrap());
    let mut first = guest
        .command("echo up; sleep 1000\n", std::slice::from_ref(&disk))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let up = lines.map_while(Result::ok).any(|line| line.contains("up"));
    let mut second = guest
        .guests
        .command(&guest.guests.lean_elf(), &["--disk", &disk]);
    let second = run_bounded(&mut second, b"", BOOT_LIMIT).unwrap();
    first.kill().unwrap();
    wait_until(&mut first, Instant::now() + BOOT_LIMIT).unwrap();
    assert!(up);
    assert_eq!(second.code(), Some(1), "{second:#?}");
    assert!(second.stderr.contains(&disk), "{second:#?}");
    assert!(second.stderr.contains("next:"), "{second:#?}");
}

#[test]
fn what_is_written_to_a_snapshot_of_a_disk_is_gone() {
    let Some(guest) = Guest::find("snapshot of a disk") else {
        return;
    };
    let disk = guest.scratch.ext4(32).unwrap();
    let before = sum_of(&disk);
    let script = "mount -t ext4 /dev/vdc /mnt && echo mine >/mnt/file && sync && umount /mnt
        mount -t ext4 /dev/vdc /mnt && cat /mnt/file\n";
    let disks = [format!("{},snapshot", disk.display())];
    let run = guest.run(script, &disks);
    assert!(run.stdout.contains("mine"), "{run:#?}");
    assert_eq!(sum_of(&disk), before);
}

#[test]
fn an_image_of_another_hypervisor_is_written_over() {
    let Some(guest) = Guest::find("VMDK") else {
        return;
    };
    let disk = guest.scratch.path().join("disk.vmdk");
    let contents = b"grains of a sparse extent";
    fs::write(&disk, vmdk::of(contents)).unwrap();
    let before = sum_of(&disk);
    let script =
        "head -c 25 /dev/vdc; echo; dd if=/dev/vdc bs=512 skip=127 count=1 2>/dev/null | tail -c 4
        echo; echo over | dd of=/dev/vdc conv=fsync,notrunc 2>/dev/null; head -c 9 /dev/vdc\n";
    let run = guest.run(script, &[format!("{},snapshot", disk.display())]);
    for text in ["grains of a sparse extent\r", "last\r", "over\r\ns of"] {
        assert!(run.stdout.contains(text), "no {text:?} in {run:#?}");
    }
    assert_eq!(sum_of(&disk), before);
}

/// A VMDK as it is written down, for a host without qemu-img.
mod vmdk {
    const SECTOR: usize = 512;

    /// A disk of one grain, 64 KiB, that begins with `contents` and ends in `last`.
    pub(super) fn of(contents: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 131 * SECTOR];
        let mut put = |at: usize, bytes: &[u8]| {
            for (place, byte) in file.iter_mut().skip(at).zip(bytes) {
                *place = *byte;
            }
        };
        put(0, b"KDMV");
        put(4, &1_u32.to_le_bytes());
        put(12, &128_u64.to_le_bytes());
        put(20, &128_u64.to_le_bytes());
        put(44, &128_u32.to_le_bytes());
        // The directory in sector 1, its table in sector 2, the grain from sector 3 on.
        put(56, &1_u64.to_le_bytes());
        put(SECTOR, &2_u32.to_le_bytes());
        put(2 * SECTOR, &3_u32.to_le_bytes());
        put(3 * SECTOR, contents);
        put(131 * SECTOR - 4, b"last");
        file
    }
}
