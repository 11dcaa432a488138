//! The words of other programs: QEMU, Firecracker, Cloud Hypervisor, lkvm, virsh and docker.

/// Commands, and what serves here.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["start", "create", "launch", "up", "new"],
        "boot a guest with `vmmkit run`; `vmmkit resume NAME` lets one that is paused run on",
    ),
    (
        &["ps", "ls", "guests", "vms"],
        "the guests that run: `vmmkit list`",
    ),
    (
        &["info", "status", "top", "domstate", "dominfo", "show"],
        "what a guest has and does: `vmmkit stat NAME`",
    ),
    (
        &["rm", "remove", "delete", "undefine", "prune", "clean"],
        "nothing is left of a guest that has ended; `vmmkit stop NAME` ends one",
    ),
    (
        &["kill", "destroy", "terminate", "quit"],
        "end a guest at once: `vmmkit stop NAME --timeout 0`",
    ),
    (
        &["shutdown", "poweroff", "halt", "down", "end"],
        "ask a guest to power off: `vmmkit stop NAME`",
    ),
    (&["reboot", "restart"], "`vmmkit reset NAME`"),
    (&["suspend", "freeze"], "`vmmkit pause NAME`"),
    (&["unpause", "continue", "cont"], "`vmmkit resume NAME`"),
    (
        &["attach", "screen", "login"],
        "attach this terminal to a guest's console: `vmmkit console NAME`",
    ),
    (
        &["log", "dmesg", "journal"],
        "the last output of a guest's console: `vmmkit logs NAME`; run it with --serial file=PATH to keep all of \
         it; `vmmkit events NAME` tells what happens to it",
    ),
    (
        &["exec", "shell", "cp", "scp"],
        "no program of the guest's is spoken to: log in at its console (`vmmkit console NAME`), or by \
         `vmmkit ssh NAME`, with --vsock",
    ),
    (
        &["save", "checkpoint"],
        "`vmmkit snapshot NAME DIR` saves a guest, and `vmmkit restore DIR` continues it",
    ),
    (
        &["clone", "branch"],
        "`vmmkit fork GUEST --name NAME` starts a copy of a running guest",
    ),
    (
        &["pull", "images", "image", "build", "import"],
        "images are not downloaded or made: give the file of one with `vmmkit run --disk PATH`",
    ),
    (
        &["config", "define", "edit"],
        "write the options to a file: `vmmkit run --config FILE.toml`",
    ),
    (
        &["setmem", "mem"],
        "`vmmkit memory NAME SIZE`, or `vmmkit balloon NAME SIZE`",
    ),
    (
        &[
            "hotplug",
            "plug",
            "device-add",
            "attach-disk",
            "attach-device",
        ],
        "devices are given at the start: `vmmkit run --disk PATH --net tap=NAME`",
    ),
    (
        &["debug", "dump"],
        "the state of all parts: `vmmkit inspect NAME`",
    ),
    (&["check"], "what this host can do: `vmmkit doctor`"),
];

/// Options of `run`, and what serves here.
const OF_RUN: &[(&[&str], &str)] = &[
    (
        &["-m", "--mem", "--ram", "--mem-size", "--mem-size-mib"],
        "did you mean --memory SIZE, such as --memory 512M?",
    ),
    (
        &[
            "-smp",
            "--smp",
            "-c",
            "--vcpus",
            "--vcpu",
            "--vcpu-count",
            "--ncpus",
        ],
        "did you mean --cpus N, such as --cpus 2?",
    ),
    (
        &[
            "-append",
            "--append",
            "--params",
            "--boot-args",
            "--kernel-args",
            "--kernel-opts",
            "-a",
        ],
        "did you mean --cmdline 'WORDS'? It replaces the default line, which --dry-run shows",
    ),
    (
        &[
            "-drive",
            "--drive",
            "-hda",
            "-hdb",
            "-hdc",
            "-hdd",
            "--hda",
            "-cdrom",
            "--cdrom",
            "--image",
            "--rootfs",
            "--root-drive",
            "--block",
            "-blockdev",
            "--blockdev",
            "--iso",
        ],
        "did you mean --disk PATH? With readonly and more after a comma",
    ),
    (
        &["-k", "--vmlinux", "--bzimage"],
        "did you mean --kernel PATH?",
    ),
    (
        &["-i", "--initramfs", "--ramdisk", "--init-rd"],
        "did you mean --initrd PATH?",
    ),
    (
        &["-bios", "--bios", "-pflash"],
        "did you mean --firmware PATH?",
    ),
    (
        &[
            "-netdev",
            "--netdev",
            "-nic",
            "--nic",
            "--network",
            "--tap",
            "--interface",
        ],
        "did you mean --net tap=NAME, or --net passt=SOCKET?",
    ),
    (
        &[
            "-nographic",
            "--nographic",
            "-display",
            "--display",
            "-vnc",
            "--vnc",
            "-vga",
            "--vga",
            "-curses",
            "--graphics",
        ],
        "leave it out: there are no graphics, and the guest's serial console is this terminal",
    ),
    (
        &[
            "-enable-kvm",
            "--enable-kvm",
            "-accel",
            "--accel",
            "-machine",
            "--machine",
            "-M",
            "--hvm",
        ],
        "leave it out: KVM is always used, and there is one kind of machine",
    ),
    (&["-s"], "did you mean --gdb tcp:1234?"),
    (&["-S"], "did you mean --paused?"),
    (
        &["-daemonize", "--daemonize", "-b", "--background"],
        "did you mean --detach? With --serial file=PATH or socket=PATH, to see its console",
    ),
    (
        &["-d"],
        "a disk is given by --disk PATH; a guest runs in the background with --detach, and --serial file=PATH",
    ),
    (
        &["-v", "--verbose", "--debug", "-D", "--trace", "--level"],
        "did you mean --log info? It also takes error, warn and debug",
    ),
    (
        &["-no-reboot", "--no-reboot"],
        "leave it out: --on-reboot exit is the default",
    ),
    (
        &["-monitor", "--monitor", "-qmp", "--qmp", "-mon"],
        "the other commands control the guest, and so does the API at --api-socket PATH",
    ),
    (
        &["-device", "--device", "-object", "-chardev"],
        "each kind of device has its option: --disk, --net, --fs, --vsock, --pmem, --console, --balloon and \
         --rng",
    ),
    (
        &[
            "-virtfs", "--virtfs", "-fsdev", "--volume", "--9p", "--mount", "--bind", "--rwdir",
            "--rodir",
        ],
        "did you mean --fs DIR,tag=NAME? With rw the guest may change the folder",
    ),
    (
        &["-snapshot", "--snapshot", "--ephemeral"],
        "did you mean --disk PATH,snapshot? What the guest writes is gone at its end",
    ),
    (
        &["-p", "--publish", "--port", "-redir"],
        "passt forwards ports: `passt --socket SOCKET -t 2222:22`, and --net passt=SOCKET",
    ),
    (
        &["--rm", "-it", "-t", "--tty", "--interactive"],
        "leave it out: the guest's console is this terminal, and nothing is left of it afterwards",
    ),
    (
        &["--id", "--hostname", "-n", "-name"],
        "did you mean --name NAME?",
    ),
    (
        &["--config-file", "-f", "--file"],
        "did you mean --config FILE.toml?",
    ),
    (
        &[
            "-usb", "--usb", "--vfio", "-vfio", "--gpu", "--sound", "-audio", "-soundhw",
        ],
        "leave it out: there is no USB, sound, graphics or device of the host's in the machine",
    ),
    (
        &["--rng-device", "--virtio-rng", "--random"],
        "did you mean --rng?",
    ),
    (
        &["--seed", "--user-data", "--cidata"],
        "did you mean --cloud-init user-data=FILE?",
    ),
    (
        &["--load-credential", "--set-credential"],
        "did you mean --credential NAME=TEXT, or NAME=@FILE?",
    ),
    (
        &["--command-line", "--cmd", "--kernel-cmdline"],
        "did you mean --cmdline 'WORDS'? It replaces the default line, which --dry-run shows",
    ),
    (
        &[
            "-rtc",
            "-nodefaults",
            "-no-user-config",
            "-no-hpet",
            "-L",
            "-boot",
            "--boot",
        ],
        "leave it out: there is nothing of it to choose",
    ),
    (
        &["-pidfile", "--pid-file", "--pidfile"],
        "`vmmkit list` and `vmmkit stat NAME` tell the process; the shell's is $!",
    ),
    (
        &["--uefi", "--ovmf", "--efi"],
        "give it by --firmware /usr/share/OVMF/OVMF_CODE_4M.fd,vars=FILE; FILE is a copy of OVMF_VARS_4M.fd",
    ),
    (
        &[
            "--console-log",
            "--output",
            "--serial-log",
            "--logfile",
            "--tee",
        ],
        "did you mean --serial file=PATH? It keeps what the guest writes",
    ),
    (
        &["-e", "--env"],
        "give the kernel words by --cmdline: those with = and without a dot are init's environment",
    ),
    (
        &[
            "-u",
            "--user",
            "-runas",
            "--chroot",
            "--jail",
            "--seccomp",
            "--no-seccomp",
        ],
        "start it as the user it is to be, by sudo -u, systemd-run or bwrap: it needs /dev/kvm and its files",
    ),
    (
        &["--numa", "-numa", "--watchdog", "-watchdog", "--tpm"],
        "leave it out: the machine has none",
    ),
    (&["-V"], "did you mean `vmmkit --version`?"),
];

/// Options of other commands, and what serves there.
const OF_OTHERS: &[(&str, &[&str], &str)] = &[
    ("stat", &["-a"], "did you mean --all?"),
    ("stop", &["-a"], "did you mean --all?"),
    ("pause", &["-a"], "did you mean --all?"),
    ("resume", &["-a"], "did you mean --all?"),
    ("metrics", &["-a"], "did you mean --all?"),
    (
        "stop",
        &["-f", "--force", "--now", "-9"],
        "did you mean --timeout 0?",
    ),
    (
        "stop",
        &["-t", "--time", "--grace"],
        "did you mean --timeout SECONDS?",
    ),
    (
        "list",
        &["-a", "--all"],
        "leave it out: all guests that run are listed",
    ),
    (
        "list",
        &["-n", "--name"],
        "`vmmkit stat NAME` shows one guest",
    ),
    (
        "list",
        &["-w", "--watch"],
        "run it again and again: `watch vmmkit list`",
    ),
    (
        "stat",
        &["-w", "--watch"],
        "run it again and again: `watch vmmkit stat NAME`",
    ),
    (
        "events",
        &["-f", "--follow"],
        "leave it out: events are shown as they happen",
    ),
    ("metrics", &["--format"], "did you mean --json?"),
];

/// The command here that serves instead of one of another program.
pub(super) fn command(word: &str) -> Option<&'static str> {
    let mut all = COMMANDS.iter();
    all.find_map(|(words, advice)| words.contains(&word).then_some(*advice))
}

/// The option here that serves instead of one of another program.
pub(super) fn option(command: &str, word: &str) -> Option<&'static str> {
    let mut others = OF_OTHERS.iter();
    let other = others.find_map(|(of, words, advice)| {
        (*of == command && words.contains(&word)).then_some(*advice)
    });
    let mut of_run = OF_RUN.iter().filter(|_| command == "run");
    other.or_else(|| of_run.find_map(|(words, advice)| words.contains(&word).then_some(*advice)))
}

/// The options of other programs' `run`, in all spellings.
#[cfg(test)]
pub(super) fn options_of_run() -> impl Iterator<Item = &'static str> {
    OF_RUN.iter().flat_map(|(words, _)| words.iter().copied())
}

#[cfg(test)]
pub(super) fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().flat_map(|(words, _)| words.iter().copied())
}
