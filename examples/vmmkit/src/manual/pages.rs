//! The manual's text beside the options.

/// The part of a command's page that its options do not tell.
pub(super) struct Page {
    pub(super) command: &'static str,
    pub(super) examples: &'static [(&'static str, &'static str)],
    pub(super) status: &'static str,
    pub(super) related: &'static [&'static str],
}

/// Exit status of most commands.
pub(super) const STATUS: &str =
    "0 if all went well, 1 if a guest or the host refused, 2 for a usage error.";

pub(super) const MAIN: &[(&str, &str)] = &[
    ("Say what this host's KVM can do:", "vmmkit doctor"),
    (
        "Boot a kernel with its initial RAM disk; the serial console is this terminal:",
        "vmmkit run --kernel bzImage --initrd initramfs.cpio",
    ),
    (
        "List the guests that run, and end one:",
        "vmmkit list; vmmkit stop web",
    ),
];

const fn page(
    command: &'static str,
    examples: &'static [(&'static str, &'static str)],
    related: &'static [&'static str],
) -> Page {
    Page {
        command,
        examples,
        status: STATUS,
        related,
    }
}

pub(super) const ALL: &[Page] = &[
    page(
        "run",
        &[
            (
                "With a disk, two vCPUs and a gigabyte of memory:",
                "vmmkit run --kernel vmlinux --disk root.ext4 --cpus 2 --memory 1G --cmdline \
                     'console=ttyS0 root=/dev/vda rw'",
            ),
            (
                "A command in the guest, and its end:",
                "echo 'uname -a' | vmmkit run --kernel vmlinux --initrd initramfs.cpio",
            ),
            (
                "All options from a file, but for the name:",
                "vmmkit run --config web.toml --name web",
            ),
            (
                "A guest by its name, from options that were tried before:",
                "vmmkit run --disk web.qcow2 --dump-config > ~/.config/vmmkit/web.toml; vmmkit run web",
            ),
            (
                "What would run, without running it:",
                "vmmkit run --dry-run",
            ),
        ],
        &["list", "stop", "doctor", "cpu"],
    ),
    Page {
        command: "cpu",
        examples: &[
            (
                "Write this host's CPU as a profile:",
                "vmmkit cpu dump > my.toml",
            ),
            (
                "Compare it with the least that is offered:",
                "vmmkit cpu diff my.toml baseline",
            ),
        ],
        status: "0 if all went well (diff: if there is no difference), 1 if there is one or the host \
                     refused, 2 for a usage error.",
        related: &["run", "doctor"],
    },
    Page {
        command: "doctor",
        examples: &[(
            "In a script:",
            "vmmkit doctor --quiet && vmmkit run --kernel vmlinux",
        )],
        status: "0 if a Linux guest can be booted, 1 if not, 2 for a usage error.",
        related: &["run", "cpu"],
    },
    page(
        "list",
        &[
            ("All guests, as a table:", "vmmkit list"),
            ("Their names alone, for a script:", "vmmkit list -q"),
            ("Every two seconds:", "vmmkit list --watch"),
        ],
        &["stat", "stop"],
    ),
    page(
        "stat",
        &[("Two guests, for a program:", "vmmkit stat web db --json")],
        &["list", "metrics"],
    ),
    page(
        "boot",
        &[("One that was run with --paused:", "vmmkit boot web")],
        &["run", "resume"],
    ),
    page(
        "pause",
        &[("All guests:", "vmmkit pause --all")],
        &["resume"],
    ),
    page(
        "resume",
        &[("Two of them:", "vmmkit resume web db")],
        &["pause"],
    ),
    page("reset", &[("One guest:", "vmmkit reset web")], &["stop"]),
    page(
        "power-button",
        &[("One guest:", "vmmkit power-button web")],
        &["stop"],
    ),
    Page {
        command: "stop",
        examples: &[
            (
                "Give it half a minute to power off:",
                "vmmkit stop web --timeout 30",
            ),
            ("At once:", "vmmkit stop web --timeout 0"),
        ],
        status: "0 if the guests have ended by themselves or were to be stopped at once, 1 if one is still \
                     there, 2 for a usage error, 3 if a guest did not answer the power button and was stopped.",
        related: &["power-button", "list", "wait"],
    },
    Page {
        command: "wait",
        examples: &[
            ("Of one guest:", "vmmkit wait web; echo $?"),
            ("Until none runs:", "vmmkit wait --all"),
        ],
        status: "that of the process of the guest, as `vmmkit run` gives it; of several guests that of the first, as \
                     they were named, whose is not 0. 1 if a process ended without a word, 2 for a usage error.",
        related: &["stop", "events"],
    },
    page(
        "balloon",
        &[
            ("Take 64 MiB from a guest:", "vmmkit balloon web 64M"),
            ("Show what it gave:", "vmmkit balloon web"),
        ],
        &["memory"],
    ),
    page(
        "memory",
        &[(
            "To a guest of --memory 256M,max=1G:",
            "vmmkit memory web 768M",
        )],
        &["balloon"],
    ),
    page(
        "limit",
        &[
            ("A disk:", "vmmkit limit web blk0 bandwidth=64M,iops=500"),
            (
                "A network interface again without a limit, in one direction:",
                "vmmkit limit web net0 packets=none,receive",
            ),
        ],
        &["stat"],
    ),
    page(
        "snapshot",
        &[
            ("The guest runs on:", "vmmkit snapshot web /var/tmp/web"),
            (
                "The guest is to go on from there, and its disks do not change any more:",
                "vmmkit snapshot web /var/tmp/web --stop",
            ),
            (
                "Of a guest that was restored from /var/tmp/web, only the memory that differs from it:",
                "vmmkit snapshot web2 /var/tmp/web2 --diff",
            ),
            (
                "A pause of a few milliseconds, and then only the memory that was written since:",
                "vmmkit snapshot web /srv/web --live && sleep 60 && vmmkit snapshot web /srv/web-later --diff --live",
            ),
        ],
        &["restore", "fork", "inspect", "pause"],
    ),
    page(
        "restore",
        &[
            (
                "Under another name, with a disk of its own:",
                "vmmkit restore /var/tmp/web --name web2 --disk web2.img",
            ),
            (
                "A snapshot with --diff, whose base is in another place:",
                "vmmkit restore /var/tmp/web2 --base /srv/snapshots/web",
            ),
            (
                "What is in it, and which snapshots it builds on:",
                "vmmkit inspect /var/tmp/web/",
            ),
            (
                "Ten guests, web-1 to web-10, each with a socket of its own:",
                "vmmkit restore /var/tmp/web --count 10 --name web --vsock cid=3,socket=web{n}.sock",
            ),
        ],
        &["snapshot", "fork", "run"],
    ),
    page(
        "fork",
        &[
            (
                "A guest without a disk that it may write:",
                "vmmkit fork web --name web2",
            ),
            (
                "With a copy of its disk, which is made while the guest is paused:",
                "vmmkit pause web && cp web.img web2.img && vmmkit fork web --name web2 --disk web2.img; vmmkit resume web",
            ),
        ],
        &["snapshot", "restore", "pause"],
    ),
    page(
        "migrate",
        &[(
            "To another host that has the same disks at the same paths:",
            "vmmkit migrate web --to exec:'ssh host vmmkit receive -'",
        )],
        &["receive", "snapshot", "wait"],
    ),
    page(
        "receive",
        &[(
            "At a socket, in the background, under another name; then `vmmkit migrate web --to unix:web.socket`:",
            "vmmkit receive unix:web.socket --name web2 --detach",
        )],
        &["migrate", "restore", "run"],
    ),
    page(
        "resize",
        &[
            ("A disk and its file grow:", "vmmkit resize web blk0 20G"),
            (
                "Its file has grown; the guest is to hear of it:",
                "vmmkit resize web blk0",
            ),
        ],
        &["stat", "limit"],
    ),
    page(
        "console",
        &[
            (
                "A guest that was started with --detach:",
                "vmmkit console web",
            ),
            (
                "Another terminal types on it now; this one does from here on:",
                "vmmkit console web --take",
            ),
        ],
        &["logs", "run", "ssh"],
    ),
    page(
        "logs",
        &[
            ("Its last words:", "vmmkit logs web | tail"),
            ("And all that follows:", "vmmkit logs web -f"),
        ],
        &["console", "events", "wait"],
    ),
    page(
        "connect",
        &[(
            "A line to a program that listens on port 1234 in the guest:",
            "echo hello | vmmkit connect web 1234",
        )],
        &["ssh", "console"],
    ),
    page(
        "ssh",
        &[
            ("A shell, as root:", "vmmkit ssh root@web"),
            ("A command:", "vmmkit ssh root@web uname -a"),
        ],
        &["connect", "console"],
    ),
    page(
        "events",
        &[(
            "Until the guest ends, a line of JSON each:",
            "vmmkit events web --json",
        )],
        &["stat"],
    ),
    page(
        "inspect",
        &[
            ("All of it:", "vmmkit inspect web"),
            ("One part:", "vmmkit inspect web vcpu0"),
            (
                "A part of that, for a program:",
                "vmmkit inspect web blk0/queue0 --json",
            ),
        ],
        &["stat", "metrics"],
    ),
    page(
        "metrics",
        &[(
            "For node_exporter's textfile collector:",
            "vmmkit metrics --all > vmmkit.prom.new && mv vmmkit.prom.new vmmkit.prom",
        )],
        &["stat", "inspect"],
    ),
    page(
        "openapi",
        &[(
            "For a generator of clients:",
            "vmmkit openapi > openapi.json",
        )],
        &["stat"],
    ),
    page(
        "completions",
        &[(
            "For bash, in this session:",
            "source <(vmmkit completions bash)",
        )],
        &["man"],
    ),
    page(
        "man",
        &[
            ("Read one page:", "vmmkit man run | man -l -"),
            (
                "Install all of them:",
                "vmmkit man --out ~/.local/share/man/man1",
            ),
        ],
        &["completions"],
    ),
    page(
        "version",
        &[("The version:", "vmmkit version")],
        &["doctor"],
    ),
];
