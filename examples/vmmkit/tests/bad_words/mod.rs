//! What is typed out of habit, from other programs' command lines, and what is nearly right.

use super::support::Folder;
use super::{Case, text};

/// The files that the table speaks of.
pub(crate) fn files(folder: &Folder, kernel: &[u8]) {
    folder.file("vm.toml", "kernel = \"k\"\n");
    folder.file("my kernel", kernel);
    folder.file("initrd", "070701");
}

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    // Files without their option.
    text(&["run", "DIR/loop"],
        "DIR/loop: there is no place for this argument",
        "it is an ELF file: --kernel DIR/loop; see `vmmkit run --help`"),
    text(&["run", "DIR/my kernel"],
        "DIR/my kernel: there is no place for this argument",
        "it is an ELF file: --kernel 'DIR/my kernel'; see `vmmkit run --help`"),
    text(&["run", "DIR/qcow2"],
        "DIR/qcow2: there is no place for this argument",
        "it is a qcow2 disk image: --disk DIR/qcow2, with a --kernel or --firmware; "),
    text(&["run", "DIR/initrd"],
        "DIR/initrd: there is no place for this argument",
        "it is a cpio archive: --initrd DIR/initrd, with the --kernel that it belongs to; "),
    text(&["run", "DIR/vm.toml"],
        "DIR/vm.toml: there is no place for this argument",
        "it looks like a file of options: --config DIR/vm.toml; "),
    text(&["run", "DIR/text"],
        "DIR/text: there is no place for this argument",
        "name it by its option: --kernel DIR/text, --disk DIR/text or --initrd DIR/text; "),
    text(&["run", "DIR"],
        "DIR: there is no place for this argument",
        "it is a folder: the guest sees one by virtiofsd and --fs SOCKET,tag=NAME"),
    text(&["run", "debian"],
        "debian: there is no place for this argument",
        "give a kernel by --kernel PATH, a disk by --disk PATH; images are not downloaded; "),
    text(&["run", "--", "uname", "-r"],
        "uname: there is no place for this argument",
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
    text(&["events", "a", "b"], "b: there is no place for this argument", "the guest is named once, by -n NAME or without -n"),
    text(&["limit", "web", "blk0", "iops=1", "x"], "x: there is no place for this argument", "the guest is named once"),
    text(&["metrics", "--all", "--json"], "--json: metrics are written as Prometheus reads them", "leave it out; "),
];
