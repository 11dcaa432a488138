//! Answers of vmmkit to input it cannot use: the thing, its value, the reason, the next step.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod bad_words;
mod support;

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use support::{Folder, elf, has_kvm};

/// One bad input.
struct Case {
    /// Whether it is only found out with KVM in hand.
    needs_kvm: bool,
    /// The arguments; `DIR` is the folder of bad files.
    arguments: &'static [&'static str],
    /// The exit code.
    code: i32,
    /// How its first line begins: the thing, its value and the reason.
    says: &'static str,
    /// The next step, or how it begins.
    next: &'static str,
}

const USAGE: i32 = 2;
const HOST: i32 = 1;

/// Found out from the text alone.
const fn text(arguments: &'static [&'static str], says: &'static str, next: &'static str) -> Case {
    Case {
        needs_kvm: false,
        arguments,
        code: USAGE,
        says,
        next,
    }
}

/// Found out from the host before KVM is asked for anything.
const fn host(arguments: &'static [&'static str], says: &'static str, next: &'static str) -> Case {
    Case {
        needs_kvm: false,
        arguments,
        code: HOST,
        says,
        next,
    }
}

/// Found out when the machine is built.
const fn build(arguments: &'static [&'static str], says: &'static str, next: &'static str) -> Case {
    Case {
        needs_kvm: true,
        arguments,
        code: HOST,
        says,
        next,
    }
}

// Next steps that several cases share.
const RUN_HELP: &str = "see `vmmkit run --help`";
const KERNEL: &str = "give an x86-64 Linux kernel: an ELF vmlinux or a bzImage";
const SIZE: &str = "give a whole number with a unit K, M, G or T, such as --memory 256M";
const PATH: &str = "check the path and its permissions";
const CPUS: &str = "give a whole number from 1, such as --cpus 2, or an arrangement such as --cpus \
    8,sockets=2,cores=2,threads=2";
const AFFINITY: &str = "name CPUs that this process may use, for all vCPUs as in --affinity 0-1 or each \
    as in --affinity 0:0,1-2:1";
const CPU: &str = "give host, baseline, x86-64-v2, x86-64-v3 or the file of a profile, and features to \
    hide: --cpu host,-avx512f";
const SECONDS: &str = "give a whole number from 0 to 86400, such as --stop-timeout 5";
const INITRD: &str = "give the initrd that belongs to the kernel, and --memory for both";

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Commands and options.
    text(&[],
        "no command was given: there are run, list, stop, cpu, doctor and others",
        "boot a guest with `vmmkit run`; see `vmmkit --help`"),
    text(&["rnu"], "rnu: there is no such command", "did you mean run? See `vmmkit --help`"),
    text(&["run", "--kernle", "x"],
        "--kernle: there is no such option",
        "did you mean --kernel? See `vmmkit run --help`"),
    text(&["run", "-z"], "-z: there is no such option", RUN_HELP),
    text(&["run", "vmlinux"],
        "vmlinux: unexpected argument",
        "give a kernel by --kernel PATH, a disk by --disk PATH; images are not downloaded; "),
    text(&["run", "--kernel"], "--kernel: its value is missing", "give --kernel PATH; see `vmmkit run --help`"),
    text(&["run", "--kernel", "a", "--kernel", "b"], "--kernel: it was given twice", "give it once; see `vmmkit run --help`"),
    text(&["run", "--dry-run=yes"], "--dry-run yes: this option takes no value", "write --dry-run alone; see `vmmkit run --help`"),
    text(&["run", "--quiet", "--quiet"], "--quiet: it was given twice", "give it once; see `vmmkit run --help`"),
    text(&["doctor", "--kernel", "x"],
        "--kernel: there is no such option",
        "see `vmmkit doctor --help`"),
    text(&["completions"], "SHELL: it is missing", "write `vmmkit completions <SHELL>`; see `vmmkit completions --help`"),
    text(&["completions", "tcsh"],
        "SHELL tcsh: it must be one of bash, elvish, fish, powershell, zsh",
        "see `vmmkit completions --help`"),
    text(&["power-button"], "no guest was named", "give NAME or --all; `vmmkit list` shows the names"),
    text(&["limit", "-n", "web"], "DEVICE: it is missing", "name the device, such as `vmmkit limit web blk0 iops=1000`; see `vmmkit limit --help`"),
    text(&["run", "--kernel", "k", "--log", "loud,vm.log"],
        "--log loud,vm.log: there is no level \"loud\"",
        "give error, warn, info or debug, and for a file a comma and its path: debug,vm.log"),
    text(&["run", "--kernel", "k", "--log", "info,"],
        "--log info,: there is no path after the comma",
        "give error, warn, info or debug, and for a file a comma and its path: debug,vm.log"),
    // Numbers.
    text(&["run", "--kernel", "k", "--cpus", "0"],
        "--cpus 0: a machine needs at least 1 vCPU",
        CPUS),
    text(&["run", "--kernel", "k", "--cpus", "-1"],
        "--cpus -1: this is not a number of vCPUs",
        CPUS),
    text(&["run", "--kernel", "k", "--cpus", "two"],
        "--cpus two: this is not a number of vCPUs",
        CPUS),
    text(&["run", "--kernel", "k", "--cpus", "4294967296"],
        "--cpus 4294967296: no machine has that many vCPUs",
        CPUS),
    text(&["run", "--kernel", "k", "--cpus", "4,threads=3"],
        "--cpus 4,threads=3: 1 sockets of 1 dies of 1 cores of 3 threads are 3 vCPUs, not 4",
        CPUS),
    text(&["run", "--kernel", "k", "--affinity", "1023"],
        "--affinity 1023: CPU 1023 is not one of those that this process may use (",
        AFFINITY),
    text(&["run", "--kernel", "k", "--cpus", ""],
        "--cpus \"\": this is not a number of vCPUs",
        CPUS),
    text(&["run", "--kernel", "k", "--timeout", "0"],
        "--timeout 0: the guest would not run at all",
        "give a whole number from 1 to 86400, such as --timeout 5"),
    text(&["run", "--kernel", "k", "--stop-timeout", "soon"],
        "--stop-timeout soon: this is not a number of seconds",
        SECONDS),
    text(&["run", "--kernel", "k", "--stop-timeout", "-1"],
        "--stop-timeout -1: this is not a number of seconds",
        SECONDS),
    text(&["run", "--kernel", "k", "--stop-timeout", "99999999"],
        "--stop-timeout 99999999: this is longer than a day",
        SECONDS),
    // Memory.
    text(&["run", "--kernel", "k", "--memory", "0"], "--memory 0: a guest needs memory", SIZE),
    text(&["run", "--kernel", "k", "--memory", "100"],
        "--memory 100: 100 bytes of memory are too few: did you mean 100M?",
        SIZE),
    text(&["run", "--kernel", "k", "--memory", "12Q"], "--memory 12Q: this is not a size", SIZE),
    text(&["run", "--kernel", "k", "--memory", "-1G"], "--memory -1G: this is negative", SIZE),
    text(&["run", "--kernel", "k", "--memory", "1.5G"],
        "--memory 1.5G: this is not a whole number",
        SIZE),
    text(&["run", "--kernel", "k", "--memory", "1G,backend=disk"],
        "--memory 1G,backend=disk: there is no backend disk",
        "give backend=anon, memfd, hugetlb, hugetlb=1G or file=PATH"),
    text(&["run", "--kernel", "k", "--memory", "1G,thp=maybe"],
        "--memory 1G,thp=maybe: thp=maybe is not on or off",
        "give thp as on or off"),
    text(&["run", "--kernel", "k", "--memory", "1G,max=1G"],
        "--memory 1G,max=1G: max=1G is not more than the 1G from the start",
        "give a larger max, or leave it out"),
    text(&["run", "--kernel", "k", "--memory", "200M,max=1G"],
        "--memory 200M,max=1G: what max=1G adds to 200M is not a multiple of 128M",
        "give max=968M, for instance"),
    text(&["run", "--kernel", "k", "--memory", "1G,max=2G,backend=hugetlb"],
        "--memory 1G,max=2G,backend=hugetlb: memory is plugged from backend=anon or memfd only",
        "leave max out, or that backend"),
    text(&["run", "--kernel", "k", "--memory", "99999999999T"],
        "--memory 99999999999T: this is larger than any memory",
        SIZE),
    // Names of things.
    text(&["run", "--kernel", "k", "--serial", "tcp"],
        "--serial tcp: there is no such place",
        "give stdio, null, pty, file=PATH or socket=PATH"),
    text(&["run", "--kernel", "k", "--serial", "file"],
        "--serial file: the path is missing",
        "give file=PATH"),
    text(&["run", "--kernel", "k", "--serial", "file="],
        "--serial file=: the path is empty",
        "give file=PATH"),
    text(&["run", "--kernel", "k", "--serial", "socket="],
        "--serial socket=: the path is empty",
        "give socket=PATH"),
    text(&["run", "--kernel", "k", "--gdb", "1234"],
        "--gdb 1234: it is neither tcp:PORT nor unix:PATH",
        "give a port, such as tcp:1234, or a path, such as unix:guest.gdb"),
    text(&["run", "--kernel", "k", "--gdb", "tcp:65536"],
        "--gdb tcp:65536: this is neither a TCP port, a number from 0 to 65535, nor an address and a port",
        "give a port, such as tcp:1234, or a path, such as unix:guest.gdb"),
    text(&["run", "--kernel", "k", "--gdb", "unix:"],
        "--gdb unix:: the path of the socket is missing",
        "give a port, such as tcp:1234, or a path, such as unix:guest.gdb"),
    text(&["run", "--kernel", "k", "--entry", "bios"],
        "--entry bios: unknown entry method",
        "give auto, payload, setup, pvh or multiboot"),
    text(&["run", "--kernel", "k", "--cpu", "i486"],
        "--cpu i486: no CPU model \"i486\": there are host, baseline, x86-64-v2, x86-64-v3, and features after it as in host,-avx2,+aes",
        CPU),
    text(&["run", "--kernel", "k", "--cpu", "baseline,avx2"],
        "--cpu baseline,avx2: CPU feature \"avx2\" needs a sign: + to insist on it, - to take it away",
        CPU),
    host(&["run", "--kernel", "k", "--cpu", "DIR/none.toml"],
        "--cpu DIR/none.toml: No such file or directory",
        PATH),
    text(&["run", "--kernel", "k", "--cpu", "DIR/key.toml"],
        "--cpu DIR/key.toml: line 1: unknown field `cpus`, expected one of",
        "`vmmkit cpu dump` writes profiles: compare it with one"),
    text(&["cpu", "diff", "host", "DIR/twice.toml"],
        "DIR/twice.toml: line 3: leaf 0x1.0 is there twice",
        "`vmmkit cpu dump` writes profiles: compare it with one"),
    text(&["cpu", "dump", "hots"], "hots: no CPU model \"hots\": there are host, ", CPU),
    text(&["run", "--kernel", "k", "--name", ""],
        "--name \"\": this cannot be a machine's name",
        "use 1 to 64 letters, digits, -, _ and ., with no . at the start"),
    text(&["run", "--kernel", "k", "--name", "../x"],
        "--name \"../x\": this cannot be a machine's name",
        "use 1 to 64 letters, digits, -, _ and ., with no . at the start"),
    text(&["run", "--kernel", "k", "--on-reboot", "dance"],
        "--on-reboot dance: there is no such action",
        "give exit, fail or reboot"),
    text(&["run", "--kernel", "k", "--sandbox", "yes"],
        "--sandbox yes: there is no such action",
        "give on, log or off"),
    text(&["run", "--kernel", "k", "--on-crash", ""],
        "--on-crash \"\": there is no such action",
        "give exit, reboot or pause"),
    // Configuration files.
    host(&["run", "--config", "DIR/none.toml"],
        "--config DIR/none.toml: No such file or directory",
        "give the path of a file that is there, or write one"),
    text(&["run", "--config", "DIR/key.toml"],
        "--config DIR/key.toml: line 2: there is no key kernal",
        "did you mean kernel? The keys are the long options of `vmmkit run --help`, without the dashes"),
    text(&["run", "--config", "DIR/type.toml"],
        "--config DIR/type.toml: line 1: the text \"two\" is given, and a whole number is needed",
        "write key = value, with text in quotes and numbers without"),
    text(&["run", "--config", "DIR/syntax.toml"],
        "--config DIR/syntax.toml: line 1: string values must be quoted, expected literal string",
        "write key = value, with text in quotes and numbers without"),
    text(&["run", "--config", "DIR/cpus.toml"],
        "--cpus 0: a machine needs at least 1 vCPU",
        "give a whole number from 1, such as --cpus 2, or an arrangement such as --cpus \
        8,sockets=2,cores=2,threads=2 (on the command line or in DIR/cpus.toml)"),
    // The host.
    host(&["run", "--kernel", "DIR/text", "--kvm", "DIR/kvm"],
        "KVM: DIR/kvm does not exist",
        "load the module (`sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`); "),
    host(&["run", "--kernel", "DIR/text", "--kvm", "DIR/text"],
        "KVM: DIR/text: it is not a KVM device",
        "leave --kvm out: the KVM device is /dev/kvm"),
    host(&["doctor", "--kvm", "DIR/kvm"],
        "KVM: DIR/kvm does not exist",
        "load the module (`sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`); "),
    build(&["run", "--kernel", "DIR/loop", "--serial", "file=DIR/no/file"],
        "--serial file=DIR/no/file: No such file or directory",
        "check the path, its permissions and the space there"),
    build(&["run", "--kernel", "DIR/loop", "--cpus", "100000"],
        "--cpus 100000: this hypervisor gives a machine at most ",
        "ask for fewer with --cpus"),
    build(&["run", "--kernel", "DIR/loop", "--cpu", "DIR/more.toml"],
        "--cpu DIR/more.toml: the host has no avx512pf (CPUID leaf 0x7.0, EBX bit 26), CPUID leaf 0x7.0, EDX bit 0",
        "`vmmkit cpu dump` says what this host has; leave out what it lacks, as in --cpu host,-avx2"),
    build(&["cpu", "dump", "DIR/vendor.toml"],
        "DIR/vendor.toml: it is for VendorOfNone, and this host is ",
        "`vmmkit cpu dump` says what this host has"),
    build(&["run", "--kernel", "DIR/loop", "--cpus", "4,threads=2", "--no-acpi", "--cpu", "host,+ht,-ht"],
        "--cpu host,-ht: ht (CPUID leaf 0x1.0, EDX bit 28) follows from the machine, and cannot be chosen: leave it out",
        "`vmmkit cpu dump` says what this host has"),
    build(&["run", "--kernel", "DIR/loop", "--memory", "512T"],
        "--memory 512T: guest RAM of 512 TiB is more than this host can give: ",
        "ask for less with --memory, or free memory of the host"),
    build(&["run", "--kernel", "DIR/loop", "--memory", "256M,max=512T,backend=memfd"],
        "--memory 256M,max=512T,backend=memfd: guest RAM of 512 TiB is more than this host can give: ",
        "ask for less with --memory, or free memory of the host"),
    build(&["run", "--kernel", "DIR/loop", "--memory", "3M,backend=hugetlb"],
        "--memory 3M,backend=hugetlb=2M: guest RAM of 3145728 bytes is not a whole number of 2097152-byte huge pages",
        "ask for a multiple of 2M, or leave backend=hugetlb out"),
    build(&["run", "--kernel", "DIR/loop", "--memory", "64M,backend=file=DIR"],
        "--memory 64M,backend=file=DIR: cannot open the RAM file DIR of 64 MiB",
        "check the path, its permissions and the room on its file system"),
    // Kernels.
    build(&["run", "--kernel", "DIR/none"], "--kernel DIR/none: No such file or directory", PATH),
    build(&["run", "--kernel", "DIR"],
        "--kernel DIR: the kernel is a directory: a regular file is needed",
        KERNEL),
    build(&["run", "--kernel", "DIR/empty"],
        "--kernel DIR/empty: the kernel is an empty file (0 bytes)",
        KERNEL),
    build(&["run", "--kernel", "DIR/text"],
        "--kernel DIR/text: the kernel file of 2100 bytes starts with [74, 68, 69, 73, 20, 69, 73, 20]: neither an ELF (7f 45 4c 46) nor a bzImage (\"HdrS\" at 0x202)",
        KERNEL),
    build(&["run", "--kernel", "DIR/elf32"],
        "--kernel DIR/elf32: this ELF is for x86-64 (e_machine = 62): a 64-bit one for x86-64 (62) or a 32-bit one for x86 (3) is needed",
        KERNEL),
    build(&["run", "--kernel", "DIR/arm"],
        "--kernel DIR/arm: this ELF is for ARM aarch64 (e_machine = 183): a 64-bit one for x86-64 (62) or a 32-bit one for x86 (3) is needed",
        KERNEL),
    build(&["run", "--kernel", "DIR/short"],
        "--kernel DIR/short: the ELF file is truncated: 70 of at least 120 bytes (1 program headers at e_phoff = 0x40)",
        KERNEL),
    build(&["run", "--kernel", "DIR/loop", "--initrd", "DIR/none"],
        "--initrd DIR/none: No such file or directory",
        PATH),
    build(&["run", "--kernel", "DIR/loop", "--initrd", "DIR/big", "--memory", "16M"],
        "--initrd DIR/big: the initrd of 20971520 bytes does not fit: 15724544 bytes are free from the kernel's end at 0x101000 up to 0x1000000",
        INITRD),
    build(&["run", "--kernel", "DIR/loop", "--memory", "4K"],
        "--memory 4K: 4 KiB of guest RAM is too little: a kernel needs at least 2 MiB",
        "ask for more, such as --memory 256M"),
    build(&["run", "--kernel", "DIR/loop", "--initrd", "DIR"],
        "--initrd DIR: the initrd is a directory: a regular file is needed",
        INITRD),
    build(&["run", "--kernel", "DIR/loop", "--initrd", "DIR/empty"],
        "--initrd DIR/empty: the initrd is empty (0 bytes)",
        INITRD),
    build(&["run", "--kernel", "DIR/loop", "--initrd", "DIR/qcow2"],
        "--initrd DIR/qcow2: the initrd is a qcow2 disk image: Linux takes a cpio archive, compressed or not",
        "a disk is given by --disk; --initrd PATH,any takes it as it is"),
    build(&["run", "--dry-run", "--kernel", "DIR/loop", "--root", "DIR/empty"],
        "--root DIR/empty: cannot open the directory DIR/empty\n  caused by: Not a directory",
        "check the directory and its permissions"),
    build(&["run", "--kernel", "DIR/qcow2"],
        "--kernel DIR/qcow2: the kernel file is a qcow2 disk image: give it as a disk",
        "a disk is given by --disk DIR/qcow2, and a kernel beside it by --kernel"),
    build(&["run", "--firmware", "DIR/zeroes"],
        "--firmware DIR/zeroes: the firmware has no code in its last 16 bytes, where the processor starts",
        "give a flat image, such as bios.bin of Debian's seabios"),
    build(&["run", "--kernel", "DIR/high", "--memory", "16M"],
        "--memory 16M: program header 0: p_paddr = 0x4000000 with p_memsz = 0x2 is outside guest RAM, which ends at 0x1000000",
        "--memory 128M, or more for what runs in it"),
    build(&["run", "--kernel", "DIR/loop", "--module", "DIR/text a=b"],
        "--kernel DIR/loop: this kernel is entered by Linux's boot protocol, which knows an initrd and no modules",
        "leave --module out, or give one file as --initrd"),
    build(&["run", "--kernel", "DIR/loop", "--module", "DIR/none a=b"],
        "--module DIR/none: No such file or directory",
        PATH),
    build(&["run", "--kernel", "DIR/loop", "--entry", "multiboot"],
        "--kernel DIR/loop: this kernel has no Multiboot header in its first 32 KiB",
        "leave --entry out, or give --entry auto"),
    build(&["run", "--kernel", "DIR/loop", "--entry", "pvh"],
        "--kernel DIR/loop: no PVH entry: no PT_NOTE holds a note of owner Xen and type 18 (CONFIG_PVH)",
        "leave --entry out, or give --entry auto"),
    build(&["run", "--kernel", "DIR/loop", "--entry", "setup"],
        "--kernel DIR/loop: an ELF kernel has no setup code, which is a bzImage's",
        "leave --entry out, or give --entry auto"),
    build(&["run", "--kernel", "DIR/loop", "--cmdline", "two\nlines"],
        "--cmdline: byte 3 of the command line is a newline: remove it",
        "give a shorter one of printable text"),
];

/// The files that the table speaks of.
fn bad_files(name: &str) -> Folder {
    let folder = Folder::new(name);
    let good = elf(&[0xeb, 0xfe]);
    folder.file(
        "qcow2",
        "QFI\u{fb}".chars().map(|c| c as u8).collect::<Vec<u8>>(),
    );
    folder.file("zeroes", vec![0; 64 << 10]);
    let mut high = good.clone();
    high[64 + 24..64 + 32].copy_from_slice(&0x400_0000_u64.to_le_bytes());
    folder.file("high", high);
    folder.file("key.toml", "cpus = 2\nkernal = \"x\"\n");
    folder.file("type.toml", "stop-timeout = \"two\"\n");
    folder.file("syntax.toml", "cpus =\n");
    folder.file("cpus.toml", "kernel = \"k\"\ncpus = 0\n");
    folder.file("twice.toml", "[[cpuid]]\nleaf = 1\n[[cpuid]]\nleaf = 1\n");
    folder.file("vendor.toml", "vendor = \"VendorOfNone\"\n");
    folder.file(
        "more.toml",
        "others = \"host\"\n[[cpuid]]\nleaf = 7\nsubleaf = 0\nebx = 0x04000000\nedx = 1\n",
    );
    folder.file("empty", "");
    folder.file("text", "this is not a kernel\n".repeat(100));
    folder.file("short", &good[..70]);
    folder.file("big", vec![0; 20 << 20]);
    // e_ident[EI_CLASS] = ELFCLASS32; e_machine = EM_AARCH64.
    folder.file("elf32", with(&good, 4, 1));
    folder.file("arm", with(&good, 18, 183));
    bad_words::files(&folder, &good);
    folder.file("loop", good);
    folder
}

fn with(file: &[u8], offset: usize, byte: u8) -> Vec<u8> {
    let mut changed = file.to_vec();
    changed[offset] = byte;
    changed
}

#[test]
fn every_bad_input_gets_its_message() {
    let folder = bad_files("bad-input");
    let kvm = has_kvm("bad inputs that are found out with KVM in hand");
    let cases = CASES.iter().chain(bad_words::CASES);
    let cases = cases.filter(|case| kvm || !case.needs_kvm);
    let complaints: Vec<String> = cases.filter_map(|case| complaint(case, &folder)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The fault of the answer to one case.
fn complaint(case: &Case, folder: &Folder) -> Option<String> {
    let place = folder.path().to_str().unwrap();
    let pty = vmmkit_host_io::open_pty().unwrap();
    let before = rustix::termios::tcgetattr(&pty.slave).unwrap();
    let child = Command::new(support::vmmkit())
        .args(
            case.arguments
                .iter()
                .map(|argument| argument.replace("DIR", place)),
        )
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = rustix::process::Pid::from_child(&child);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    let after = rustix::termios::tcgetattr(&pty.slave).unwrap();

    let mut wrong = Vec::new();
    if status.code() != Some(case.code) {
        wrong.push(format!("{status} instead of {}", case.code));
    }
    let says = format!("vmmkit: error: {}", case.says.replace("DIR", place));
    if !stderr.starts_with(&says) {
        wrong.push(format!("it does not begin with {says:?}"));
    }
    let next = format!("\n  next: {}", case.next.replace("DIR", place));
    if !stderr.contains(&next) {
        wrong.push(format!("it has no {next:?}"));
    }
    if ["panicked", "internal error", "RUST_BACKTRACE"]
        .iter()
        .any(|text| stderr.contains(text))
    {
        wrong.push("it panicked".to_owned());
    }
    if !stdout.is_empty() {
        wrong.push("stdout is not the guest's alone".to_owned());
    }
    if format!("{before:?}") != format!("{after:?}") {
        wrong.push("the terminal has other settings".to_owned());
    }
    if rustix::process::test_kill_process_group(group).is_ok() {
        wrong.push("a process is left".to_owned());
    }
    (!wrong.is_empty()).then(|| format!("{:?}: {}\n{stderr}", case.arguments, wrong.join("; ")))
}

#[test]
fn the_table_is_long_enough() {
    assert!(CASES.len() >= 40);
}

/// `run --dry-run` with `arguments`, and so many `count`s of what `each` makes: the exit code and stderr.
fn dry_run(
    folder: &Folder,
    arguments: &[&str],
    count: u32,
    each: [&str; 2],
) -> (Option<i32>, String) {
    let place = folder.path().to_str().unwrap();
    let [option, value] = each;
    let repeated =
        (0..count).flat_map(|number| [option.to_owned(), value.replace('N', &number.to_string())]);
    let output = Command::new(support::vmmkit())
        .args(["run", "--dry-run", "--no-instance"])
        .args(
            arguments
                .iter()
                .map(|argument| argument.replace("DIR", place)),
        )
        .args(repeated.map(|argument| argument.replace("DIR", place)))
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn more_devices_than_there_is_room_for_are_told_without_an_option_of_that_name() {
    if !has_kvm("a machine with too many devices") {
        return;
    }
    let folder = bad_files("too-many");
    for (virtio, room, next) in [
        (
            "mmio",
            16,
            "leave some of them out, or give --virtio pci, which has more room",
        ),
        ("pci", 31, "leave some of them out"),
    ] {
        let arguments = ["--kernel", "DIR/loop", "--virtio", virtio];
        let (code, said) = dry_run(
            &folder,
            &arguments,
            room + 1,
            ["--disk", "DIR/disk,readonly"],
        );
        assert_eq!(code, Some(HOST), "{said}");
        let more = room + 1;
        let expected = format!(
            "vmmkit: error: --disk, --net and other devices: there is room for {room} virtio devices, \
             not for {more}\n  next: {next}\n"
        );
        assert_eq!(said, expected);
    }
}

#[test]
fn firmware_and_as_many_persistent_memories_as_there_is_room_for_are_one_machine() {
    if !has_kvm("a machine with much persistent memory") {
        return;
    }
    let folder = bad_files("many-pmem");
    let mut firmware = vec![0; 64 << 10];
    firmware[0xfff0..0xfff2].copy_from_slice(&[0xeb, 0xfe]);
    folder.file("rom", firmware);
    for number in 0..31 {
        let file = std::fs::File::create(folder.path().join(format!("pmem{number}"))).unwrap();
        file.set_len(2 << 20).unwrap();
    }
    let arguments = [
        "--firmware",
        "DIR/rom",
        "--memory",
        "64M",
        "--virtio",
        "pci",
    ];
    let (code, said) = dry_run(&folder, &arguments, 31, ["--pmem", "DIR/pmemN"]);
    assert_eq!(code, Some(0), "{said}");
}
