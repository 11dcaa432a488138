//! What is typed out of habit, from other programs' command lines, and what is nearly right.

use super::support::Folder;
use super::{Case, build, text};

/// The files that the table speaks of.
pub(crate) fn files(folder: &Folder, kernel: &[u8]) {
    folder.file("vm.toml", "kernel = \"k\"\n");
    folder.file("my kernel", kernel);
    folder.file("initrd", "070701");
    folder.file("disk", vec![0; 1 << 20]);
    folder.file("none.img", "");
    folder.file("vmdk", "KDMV");
    let mut iso = vec![0; 1 << 20];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    folder.file("iso", iso);
    folder.file("mem.toml", "kernel = \"k\"\nmem = \"1G\"\n");
    folder.file("acpi.toml", "noacpi = true\n");
    folder.file("twice.conf", "name = \"a\"\nname = \"b\"\n");
    folder.file(
        "table.toml",
        "kernel = \"loop\"\n[[disk]]\npath = \"none,0.img\"\nreadonly = true\n",
    );
    folder.file(
        "ro.toml",
        "kernel = \"loop\"\ndisk = {path = \"disk\", ro = true}\n",
    );
}

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    // Files without their option.
    text(&["run", "DIR/loop"],
        "DIR/loop: unexpected argument",
        "it is an ELF file: --kernel DIR/loop; see `vmmkit run --help`"),
    text(&["run", "DIR/my kernel"],
        "DIR/my kernel: unexpected argument",
        "it is an ELF file: --kernel 'DIR/my kernel'; see `vmmkit run --help`"),
    text(&["run", "DIR/qcow2"],
        "DIR/qcow2: unexpected argument",
        "it is a qcow2 disk image: --disk DIR/qcow2, with a --kernel or --firmware; "),
    text(&["run", "DIR/initrd"],
        "DIR/initrd: unexpected argument",
        "it is a cpio archive: --initrd DIR/initrd, with the --kernel that it belongs to; "),
    text(&["run", "DIR/vm.toml"],
        "DIR/vm.toml: unexpected argument",
        "it looks like a file of options: --config DIR/vm.toml; "),
    text(&["run", "DIR/text"],
        "DIR/text: unexpected argument",
        "name it by its option: --kernel DIR/text, --disk DIR/text or --initrd DIR/text; "),
    text(&["run", "DIR"],
        "DIR: unexpected argument",
        "it is a folder: the guest sees one by virtiofsd and --fs SOCKET,tag=NAME"),
    text(&["run", "debian"],
        "debian: unexpected argument",
        "give a kernel by --kernel PATH, a disk by --disk PATH; images are not downloaded; "),
    text(&["run", "--", "uname", "-r"],
        "uname: unexpected argument",
        "no command can be given to the guest: pipe it into its shell"),
    text(&["DIR/loop"],
        "DIR/loop: there is no such command",
        "boot it with `vmmkit run`; it is an ELF file: --kernel DIR/loop; "),
    // Options of QEMU, Firecracker, Cloud Hypervisor, lkvm and docker.
    text(&["run", "-m", "512M"], "-m: there is no such option", "did you mean --memory SIZE, such as --memory 512M?"),
    text(&["run", "--mem", "512M"], "--mem: there is no such option", "did you mean --memory SIZE, "),
    text(&["run", "-smp", "2"], "-smp: there is no such option", "did you mean --cpus N, such as --cpus 2?"),
    text(&["run", "--smp=2"], "--smp: there is no such option", "did you mean --cpus N, "),
    text(&["run", "-c", "2"], "-c: there is no such option", "did you mean --cpus N, "),
    text(&["run", "-kernel", "k"], "-kernel: there is no such option", "did you mean --kernel?"),
    text(&["run", "-k", "k"], "-k: there is no such option", "did you mean --kernel PATH?"),
    text(&["run", "-i", "k"], "-i: there is no such option", "did you mean --initrd PATH?"),
    text(&["run", "-initrd", "k"], "-initrd: there is no such option", "did you mean --initrd?"),
    text(&["run", "-append", "x"], "-append: there is no such option", "did you mean --cmdline 'WORDS'? It replaces the default line"),
    text(&["run", "--append", "x"], "--append: there is no such option", "did you mean --cmdline 'WORDS'?"),
    text(&["run", "--drive", "x"], "--drive: there is no such option", "did you mean --disk PATH?"),
    text(&["run", "-drive", "file=x"], "-drive: there is no such option", "did you mean --disk PATH?"),
    text(&["run", "-hda", "x"], "-hda: there is no such option", "did you mean --disk PATH?"),
    text(&["run", "--image", "x"], "--image: there is no such option", "did you mean --disk PATH?"),
    text(&["run", "--network", "x"], "--network: there is no such option", "did you mean --net tap=NAME, or --net passt=SOCKET?"),
    text(&["run", "--verbose"], "--verbose: there is no such option", "did you mean --log info?"),
    text(&["run", "-nographic"], "-nographic: there is no such option", "leave it out: there are no graphics"),
    text(&["run", "-enable-kvm"], "-enable-kvm: there is no such option", "leave it out: KVM is always used"),
    text(&["run", "-quiet"], "-quiet: there is no such option", "did you mean --quiet?"),
    text(&["run", "--snapshot"], "--snapshot: there is no such option", "make an overlay with `qemu-img create"),
    text(&["run", "--api-sock", "x"], "--api-sock: there is no such option", "did you mean --api-socket?"),
    text(&["run", "--kernels", "x"], "--kernels: there is no such option", "did you mean --kernel?"),
    text(&["-m", "1G"], "-m: there is no such option", "options of a guest come after run: `vmmkit run ...`"),
    text(&["--kernel", "k"], "--kernel: there is no such option", "options of a guest come after run: `vmmkit run ...`"),
    text(&["stop", "-f", "web"], "-f: there is no such option", "did you mean --timeout 0?"),
    text(&["list", "-a"], "-a: there is no such option", "leave it out: all guests that run are listed"),
    text(&["stop", "--tiemout", "1"], "--tiemout: there is no such option", "did you mean --timeout?"),
    text(&["stop", "--all", "web"], "--all: it cannot be given with NAME", "give one of them; see `vmmkit stop --help`"),
    // Commands of docker, virsh and lkvm.
    text(&["start"], "start: there is no such command", "boot a guest with `vmmkit run`; `vmmkit resume NAME` "),
    text(&["ps"], "ps: there is no such command", "the guests that run: `vmmkit list`"),
    text(&["ls"], "ls: there is no such command", "the guests that run: `vmmkit list`"),
    text(&["rm", "web"], "rm: there is no such command", "nothing is left of a guest that has ended; `vmmkit stop NAME` "),
    text(&["kill", "web"], "kill: there is no such command", "end a guest at once: `vmmkit stop NAME --timeout 0`"),
    text(&["console", "web"], "console: there is no such command", "a guest's console is the terminal of its `vmmkit run`"),
    text(&["logs", "web"], "logs: there is no such command", "run the guest with --serial file=PATH"),
    text(&["exec", "web", "ls"], "exec: there is no such command", "no program of the guest's is spoken to"),
    text(&["ssh", "web"], "ssh: there is no such command", "no program of the guest's is spoken to"),
    text(&["suspend", "web"], "suspend: there is no such command", "`vmmkit pause NAME`"),
    text(&["stats"], "stats: there is no such command", "did you mean stat?"),
    text(&["help", "rnu"], "rnu: there is no such command", "did you mean run?"),
    text(&["cpu"], "no command was given: there are dump and diff", "show a CPU with `vmmkit cpu dump`"),
    text(&["cpu", "dmup"], "dmup: there is no such command", "did you mean dump?"),
    // Guests and what goes with them.
    text(&["limit", "web"], "DEVICE: it is missing", "see `vmmkit limit --help`"),
    text(&["events", "a", "b"], "b: unexpected argument", "the guest is named once, by -n NAME or without -n"),
    text(&["limit", "web", "blk0", "iops=1", "x"], "x: unexpected argument", "the guest is named once"),
    text(&["metrics", "--all", "--json"], "--json: metrics are written as Prometheus reads them", "leave it out; "),
    // Keys of devices.
    text(&["run", "--kernel", "k", "--disk", "d.img,ro"],
        "--disk d.img,ro: there is no ro", "did you mean readonly? Else give PATH, and readonly, "),
    text(&["run", "--kernel", "k", "--disk", "d.img,queue=2"],
        "--disk d.img,queue=2: there is no queue", "did you mean queues?"),
    text(&["run", "--kernel", "k", "--disk", "d.img,queues=0"],
        "--disk d.img,queues=0: queues=0 is not a number from 1 to 64", "give queues as a number from 1 to 64"),
    text(&["run", "--kernel", "k", "--disk", "d.img,readonly=maybe"],
        "--disk d.img,readonly=maybe: readonly=maybe is neither on nor off", "write readonly, or leave it out"),
    text(&["run", "--kernel", "k", "--disk", "d.img,serial=a,serial=b"],
        "--disk d.img,serial=a,serial=b: serial is given twice", "give serial once"),
    text(&["run", "--kernel", "k", "--net", "tap=t0,macaddr=52:54:00:12:34:56"],
        "--net tap=t0,macaddr=52:54:00:12:34:56: there is no macaddr", "did you mean mac?"),
    text(&["run", "--kernel", "k", "--net", "ifname=t0"],
        "--net ifname=t0: nothing to attach it to", "give tap=NAME"),
    text(&["run", "--kernel", "k", "--net", "tap=t0,queues=0"],
        "--net tap=t0,queues=0: queues=0 is not a number from 1 to 64", "give queues as"),
    text(&["run", "--kernel", "k", "--net", "tap=t0", "--net", "tap=t0"],
        "--net tap=t0: interface t0 is given twice", "give --net once for each"),
    text(&["run", "--kernel", "k", "--net", "passt=s", "--fs", "s,tag=t"],
        "--fs s,tag=t: socket s is given twice", "give --fs once for each"),
    text(&["run", "--kernel", "k", "--memory", "1G,prealloc"],
        "--memory 1G,prealloc: there is no prealloc", "did you mean prefault?"),
    text(&["run", "--kernel", "k", "--memory", "4096"],
        "--memory 4096: 4096 bytes of memory are too few: did you mean 4096M?", "give a whole number with a unit"),
    text(&["run", "--kernel", "k", "--memory", "1G,max=8192"],
        "--memory 1G,max=8192: max=8192 is 8192 bytes: did you mean max=8192M?", "give a whole number"),
    build(&["run", "--kernel", "DIR/loop", "--disk", "file=DIR/nothing"],
        "--disk file=DIR/nothing: ", "check the path, its permissions, and who uses it"),
    build(&["run", "--kernel", "DIR/loop", "--disk", "DIR/none.img"],
        "--disk DIR/none.img: ", "make a disk of it with `truncate -s 10G DIR/none.img`"),
    build(&["run", "--kernel", "DIR/loop", "--disk", "DIR/vmdk"],
        "--disk DIR/vmdk: ", "convert it with `qemu-img convert -f vmdk -O qcow2 DIR/vmdk new.qcow2`, or say format=raw"),
    build(&["run", "--kernel", "DIR/loop", "--disk", "DIR/disk", "--disk", "DIR/disk"],
        "--disk DIR/disk: the same file is given twice", "give each disk once, or readonly in all places"),
    build(&["run", "--kernel", "DIR/iso"],
        "--kernel DIR/iso: ", "a CD boots by firmware: --firmware FILE --disk DIR/iso,readonly"),
    build(&["run", "--kernel", "DIR/loop", "--memory", "100T"],
        "--memory 100T: guest RAM of 100 TiB is more than this host can give: ", "ask for less with --memory"),
    // Configuration files.
    text(&["run", "--config", "DIR/mem.toml"],
        "--config DIR/mem.toml: line 2: there is no key mem", "did you mean memory?"),
    text(&["run", "--config", "DIR/acpi.toml"],
        "--config DIR/acpi.toml: line 1: there is no key noacpi",
        "did you mean no-acpi? The keys are the long options"),
    text(&["run", "--config", "DIR/twice.conf"],
        "--config DIR/twice.conf: line 2: name is given twice", "write it once"),
    text(&["run", "--config", "DIR/ro.toml"],
        "--disk path=DIR/disk,ro=true: there is no ro", "did you mean readonly?"),
    build(&["run", "--config", "DIR/table.toml"],
        "--disk path=DIR/none,,0.img,readonly=true: ", "check the path"),
    // Values.
    text(&["run", "--kernel", "k", "--balloon", "64M"],
        "64M: unexpected argument", "did you mean --balloon=64M?"),
    text(&["run", "--rng=/dev/urandom"], "--rng /dev/urandom: this option takes no value", "write --rng alone; "),
    text(&["run", "--disk"], "--disk: its value is missing", "give --disk PATH[,readonly][,KEY...]; "),
    text(&["stop", "-a"], "-a: there is no such option", "did you mean --all?"),
    text(&["cpu", "baseline"], "baseline: there is no such command", "`vmmkit cpu dump baseline` shows one CPU"),
    text(&["run", "--kernel", "k", "--net", "user"],
        "--net user: nothing to attach it to", "start passt --socket passt.sock, and give passt=passt.sock"),
    text(&["run", "--kernel", "k", "--net", "bridge=br0"],
        "--net bridge=br0: nothing to attach it to", "make a tap in the bridge"),
    build(&["run", "--kernel", "DIR/loop", "--fs", "DIR,tag=home"],
        "--fs DIR,tag=home: DIR is a folder, and not virtiofsd's socket", "start virtiofsd --socket-path=fs.sock --shared-dir=DIR"),
];
