//! Whatever somebody who has taken over a thread would try next is refused, in every role.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, its helpers too; a skipped test says so"
)]

use std::fs;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use vmmkit_assembly::{Confinement, ThreadKind};
use vmmkit_sandbox::{FileRules, Refusal, Sysno, support};

/// An error that no system call has: a call that gives it was refused, and not made.
const REFUSED: u16 = 4000;
/// Names the role that a child is to enter.
const CHILD: &str = "ESCAPE_TEST";

/// System calls that no role makes, whatever their arguments.
const NEVER: &[Sysno] = &[
    // Programs and processes.
    Sysno::execve,
    Sysno::execveat,
    Sysno::fork,
    Sysno::vfork,
    Sysno::ptrace,
    Sysno::process_vm_readv,
    Sysno::process_vm_writev,
    Sysno::process_madvise,
    Sysno::kcmp,
    Sysno::pidfd_open,
    Sysno::pidfd_getfd,
    Sysno::pidfd_send_signal,
    Sysno::setsid,
    Sysno::setpgid,
    // Namespaces and file systems.
    Sysno::unshare,
    Sysno::setns,
    Sysno::mount,
    Sysno::umount2,
    Sysno::pivot_root,
    Sysno::chroot,
    Sysno::open_tree,
    Sysno::move_mount,
    Sysno::fsopen,
    Sysno::fsconfig,
    Sysno::fsmount,
    Sysno::mount_setattr,
    Sysno::openat2,
    Sysno::open_by_handle_at,
    Sysno::name_to_handle_at,
    Sysno::mknod,
    Sysno::symlink,
    Sysno::chown,
    Sysno::fchown,
    Sysno::setxattr,
    Sysno::swapon,
    Sysno::quotactl,
    Sysno::fanotify_init,
    // The kernel.
    Sysno::bpf,
    Sysno::perf_event_open,
    Sysno::userfaultfd,
    Sysno::init_module,
    Sysno::finit_module,
    Sysno::delete_module,
    Sysno::kexec_load,
    Sysno::kexec_file_load,
    Sysno::reboot,
    Sysno::syslog,
    Sysno::iopl,
    Sysno::ioperm,
    Sysno::modify_ldt,
    Sysno::add_key,
    Sysno::keyctl,
    Sysno::request_key,
    Sysno::acct,
    Sysno::settimeofday,
    Sysno::clock_settime,
    Sysno::personality,
    // Identities, memory, doors for others.
    Sysno::setuid,
    Sysno::setresuid,
    Sysno::setgroups,
    Sysno::capset,
    Sysno::pkey_mprotect,
    Sysno::memfd_secret,
    Sysno::shmat,
    Sysno::bind,
    Sysno::listen,
];

const READ_WRITE_EXECUTE: i64 = 7;
const PRIVATE_ANONYMOUS: i64 = 0x22;
const CLONE_VM_THREAD: i64 = 0x1_0100;
const CLONE_NEWUSER: i64 = 0x1000_0000;

/// Calls that some roles make, but not with these arguments.
const NOT_SO: &[(&str, Sysno, [i64; 4])] = &[
    (
        "memory for code",
        Sysno::mmap,
        [0, 4096, READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS],
    ),
    ("memory made code", Sysno::mprotect, [0, 0, 5, 0]),
    ("AF_INET", Sysno::socket, [2, 1, 0, 0]),
    ("AF_NETLINK", Sysno::socket, [16, 3, 0, 0]),
    ("AF_PACKET", Sysno::socket, [17, 3, 0, 0]),
    ("AF_ALG", Sysno::socket, [38, 5, 0, 0]),
    ("AF_VSOCK", Sysno::socket, [40, 1, 0, 0]),
    ("a new process", Sysno::clone, [17, 0, 0, 0]),
    (
        "a thread with a user namespace",
        Sysno::clone,
        [CLONE_VM_THREAD | CLONE_NEWUSER, 0, 0, 0],
    ),
    ("a signal to process 1", Sysno::kill, [1, 0, 0, 0]),
    ("a signal to its thread", Sysno::tgkill, [1, 1, 0, 0]),
    ("the action of SIGSYS", Sysno::rt_sigaction, [31, 0, 0, 8]),
    ("TIOCSTI", Sysno::ioctl, [0, 0x5412, 0, 0]),
    ("TUNSETIFF", Sysno::ioctl, [0, 0x4004_54ca, 0, 0]),
    ("F_SETOWN", Sysno::fcntl, [0, 8, 1, 0]),
    ("TUNSETNOCSUM", Sysno::ioctl, [0, 0x4004_54c8, 0, 0]),
    ("TIOCLINUX", Sysno::ioctl, [0, 0x541c, 0, 0]),
    ("PR_SET_DUMPABLE", Sysno::prctl, [4, 1, 0, 0]),
    ("limits of process 1", Sysno::prlimit64, [1, 7, 0, 0]),
    ("a limit that is set", Sysno::prlimit64, [0, 7, 1, 0]),
];

/// System calls that only some roles make, and those roles.
const ONLY: &[(Sysno, &[ThreadKind])] = &[
    (
        Sysno::openat,
        &[
            ThreadKind::Events,
            ThreadKind::Setup,
            ThreadKind::Memory,
            ThreadKind::FileSystem,
            ThreadKind::Api,
            ThreadKind::Debugger,
            ThreadKind::Helper,
            ThreadKind::Main,
        ],
    ),
    (Sysno::mknodat, &[ThreadKind::Setup, ThreadKind::FileSystem]),
    (
        Sysno::symlinkat,
        &[ThreadKind::Setup, ThreadKind::FileSystem],
    ),
    (
        Sysno::io_uring_setup,
        &[
            ThreadKind::Setup,
            ThreadKind::Block,
            ThreadKind::Helper,
            ThreadKind::Main,
        ],
    ),
];

/// The most system calls and instructions of each role's filter: docs/security.md has the calls. A start pays for
/// each instruction, some 2 us of the lab's clock.
const MAX_OF_ROLE: &[(ThreadKind, usize, usize)] = &[
    (ThreadKind::Vcpu, 72, 148),
    (ThreadKind::Setup, 117, 226),
    (ThreadKind::Events, 104, 221),
    (ThreadKind::Block, 69, 140),
    (ThreadKind::Net, 69, 148),
    (ThreadKind::Vsock, 70, 148),
    (ThreadKind::Device, 75, 156),
    (ThreadKind::Memory, 98, 189),
    (ThreadKind::FileSystem, 107, 195),
    (ThreadKind::Forward, 75, 156),
    (ThreadKind::Api, 104, 221),
    (ThreadKind::Debugger, 104, 210),
    (ThreadKind::Helper, 106, 217),
    (ThreadKind::Main, 106, 217),
];

/// KVM_CREATE_VM, and the roles that make it.
const CREATE_VM: [i64; 4] = [-1, 0xae01, 0, 0];
const MAKE_VMS: &[ThreadKind] = &[ThreadKind::Setup];

/// Whether the filter of the calling thread refuses a call, which is made otherwise.
fn is_refused(call: Sysno, [a, b, c, d]: [i64; 4]) -> bool {
    // SAFETY: a refused call is not made. One that is made fails this test, in a process of its own; with these arguments,
    // zeroes or those of `NOT_SO`, none writes to this process's memory or takes it away.
    let answer = unsafe { libc::syscall(call as i64, a, b, c, d, 0_i64, 0_i64) };
    let error = io::Error::last_os_error().raw_os_error();
    answer == -1 && error == Some(REFUSED.into())
}

/// Enters `role`, and ends with 0 where everything was refused.
fn try_everything(role: ThreadKind) -> ! {
    let filter = role.filter(Refusal::Error(REFUSED)).unwrap();
    filter.apply().unwrap();
    let never = NEVER.iter().filter(|call| !is_refused(**call, [0; 4]));
    let mut made: Vec<&str> = never.map(Sysno::name).collect();
    let not_so = NOT_SO
        .iter()
        .filter(|(_, call, arguments)| !is_refused(*call, *arguments));
    made.extend(not_so.map(|(name, ..)| *name));
    let others = ONLY
        .iter()
        .filter(|(call, roles)| !roles.contains(&role) && !is_refused(*call, [0; 4]));
    made.extend(others.map(|(call, _)| call.name()));
    if is_refused(Sysno::ioctl, CREATE_VM) == MAKE_VMS.contains(&role) {
        made.push("KVM_CREATE_VM");
    }
    let (calls, instructions) = (filter.numbers(), filter.instructions());
    let most = MAX_OF_ROLE.iter().find(|(it, ..)| *it == role);
    if most.is_none_or(|(_, most, length)| calls > *most || instructions > *length) {
        made.push("more calls, or a longer filter, than it may have");
    }
    let name = role.name();
    eprintln!("{name}: {calls} calls, {instructions} instructions; made: {made:?}");
    std::process::exit(made.len().try_into().unwrap());
}

#[test]
fn nobody_gets_out_of_a_role() {
    if let Ok(name) = std::env::var(CHILD) {
        let role = ThreadKind::ALL.into_iter().find(|role| role.name() == name);
        try_everything(role.unwrap());
    }
    if !support().system_calls {
        eprintln!("SKIPPED: this host's kernel has no filter of system calls");
        return;
    }
    for role in ThreadKind::ALL {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["nobody_gets_out_of_a_role", "--exact", "--nocapture"]);
        let output = child.env(CHILD, role.name()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        eprint!("{said}");
        assert!(output.status.success(), "{role:?}: {said}");
    }
}

/// The lines of the calling thread's status that a confined one has, and no other.
fn is_confined() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let has = |line: &str| status.lines().any(|it| it == line);
    let has_filter = has("Seccomp:\t2") || !support().system_calls;
    has_filter && has("NoNewPrivs:\t1") && has("CapEff:\t0000000000000000")
}

/// Starts threads while the one that starts them confines itself, and ends with 0 where all are confined.
fn start_threads() -> ! {
    let mut files = FileRules::new();
    files.read("/proc");
    let confinement = Arc::new(Confinement::new(Refusal::Kill, files));
    let start = || {
        let (threads, child) = (confinement.clone(), confinement.child(ThreadKind::Helper));
        let (go, gone) = channel::<()>();
        let thread = thread::spawn(move || {
            // It is told to begin when the one that started it has changed.
            let _ = gone.recv();
            threads.begin_child(child).unwrap();
            let child = threads.child(ThreadKind::Helper);
            let own = thread::spawn(move || {
                threads.begin_child(child).unwrap();
                is_confined()
            });
            is_confined() && own.join().unwrap()
        });
        move || {
            drop(go);
            thread.join().unwrap()
        }
    };
    let early: Vec<_> = (0..20).map(|_| start()).collect();
    confinement.begin().unwrap();
    let late: Vec<_> = (0..20).map(|_| start()).collect();
    let early = early.into_iter().map(|end| end());
    let confined = early.chain(late.into_iter().map(|end| end()));
    let open = confined.filter(|is_confined| !is_confined).count();
    confinement.enter(ThreadKind::Main).unwrap();
    let is_confined = is_confined();
    eprintln!("{open} of 40 threads are not confined");
    std::process::exit(i32::from(open > 0 || !is_confined));
}

#[test]
fn a_thread_that_was_started_before_the_others_were_confined_confines_itself() {
    let name = "a_thread_that_was_started_before_the_others_were_confined_confines_itself";
    if std::env::var(CHILD).is_ok() {
        start_threads();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([name, "--exact", "--nocapture"]).env(CHILD, "");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
