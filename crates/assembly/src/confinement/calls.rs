//! The system calls that a machine's threads share, in sets: each by its purpose.

use vmmkit_sandbox::{Argument, Call, Sysno, calls};

/// A request of ioctl(2), in full.
const fn request(number: u32) -> Call {
    Call::any(Sysno::ioctl).with(Argument::equal(1, number))
}

/// The type of KVM's requests.
const KVMIO: u32 = 0xae00;

/// A request of KVM's (the KVM API documentation, section 4) by its number, whatever its direction and size are.
const fn kvm(number: u32) -> Call {
    Call::any(Sysno::ioctl).with(Argument::masked(1, 0xffff, KVMIO | number))
}

/// A command of fcntl(2).
const fn fcntl(command: u32) -> Call {
    Call::any(Sysno::fcntl).with(Argument::equal(1, command))
}

/// An option of prctl(2).
const fn prctl(option: u32) -> Call {
    Call::any(Sysno::prctl).with(Argument::equal(0, option))
}

/// Memory that cannot be executed: the third argument without PROT_EXEC (mmap(2)).
const fn not_executable(number: Sysno) -> Call {
    Call::any(number).with(Argument::masked(2, 4, 0))
}

/// A signal's action, but for SIGSYS: a refused call is to be told.
const SIGSYS: u32 = 31;

/// Every thread: its memory, its locks, its end, time, and what a panic and a signal's handler do.
pub(super) const COMMON: &[Call] = &[
    not_executable(Sysno::mmap),
    not_executable(Sysno::mprotect),
    // PR_SET_NAME, PR_GET_NAME, PR_SET_VMA.
    prctl(15),
    prctl(16),
    prctl(0x5356_4d41),
    // F_GETFD: Rust's library looks whether a descriptor that it closes is one, in builds for debugging.
    fcntl(1),
    Call::any(Sysno::rt_sigaction).with(Argument::not_equal(0, SIGSYS)),
];
pub(super) const COMMON_ANY: &[Call] = &calls([
    Sysno::brk,
    Sysno::clock_gettime,
    Sysno::clock_nanosleep,
    Sysno::close,
    Sysno::exit,
    Sysno::exit_group,
    Sysno::futex,
    Sysno::getcpu,
    Sysno::getpid,
    Sysno::getrandom,
    Sysno::gettid,
    Sysno::madvise,
    Sysno::mremap,
    Sysno::munmap,
    Sysno::read,
    Sysno::readv,
    // The kernel's own after a stop and SIGCONT, in the place of a call that waits until a time.
    Sysno::restart_syscall,
    Sysno::rt_sigprocmask,
    Sysno::rt_sigreturn,
    Sysno::sched_yield,
    Sysno::sigaltstack,
    Sysno::write,
    Sysno::writev,
]);

/// A terminal's settings and size (tty_ioctl(4)); a handler of a signal restores them.
pub(super) const TERMINAL: &[Call] = &[
    request(0x5401),
    request(0x5402),
    request(0x5403),
    request(0x5404),
    // TCGETS2, TCSETS2, TCSETSW2, TCSETSF2.
    request(0x802c_542a),
    request(0x402c_542b),
    request(0x402c_542c),
    request(0x402c_542d),
    // TCFLSH, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO.
    request(0x540b),
    request(0x540f),
    request(0x5413),
    request(0x541b),
    request(0x5421),
    // Whether this process has the terminal.
    Call::any(Sysno::getpgrp),
];

/// Waiting for descriptors, and descriptors that tell of something.
pub(super) const EVENTS: &[Call] = &calls([
    Sysno::epoll_create1,
    Sysno::epoll_ctl,
    Sysno::epoll_pwait,
    Sysno::epoll_pwait2,
    Sysno::epoll_wait,
    Sysno::eventfd2,
    Sysno::poll,
    Sysno::ppoll,
    Sysno::timerfd_create,
    Sysno::timerfd_settime,
]);

/// Descriptors: F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, and F_ADD_SEALS of a memory file. F_SETOWN and
/// F_SETSIG, which send signals, are not among them.
pub(super) const DESCRIPTORS: &[Call] = &[
    fcntl(1),
    fcntl(2),
    fcntl(3),
    fcntl(4),
    fcntl(1030),
    fcntl(1033),
];

/// A standard stream that is taken away: the process goes on in the background.
pub(super) const STREAMS: &[Call] = &[Call::any(Sysno::dup2)];

/// The contents of files that are open, and what any path is.
pub(super) const FILES: &[Call] = &calls([
    Sysno::fallocate,
    Sysno::fdatasync,
    Sysno::flock,
    Sysno::fstat,
    Sysno::fstatfs,
    Sysno::fsync,
    Sysno::ftruncate,
    Sysno::lseek,
    Sysno::newfstatat,
    Sysno::pread64,
    Sysno::preadv,
    Sysno::preadv2,
    Sysno::pwrite64,
    Sysno::pwritev,
    Sysno::statx,
]);

/// Files by their paths, as far as the rules for files go.
pub(super) const PATHS: &[Call] = &calls([
    Sysno::access,
    Sysno::faccessat,
    Sysno::faccessat2,
    Sysno::fchmod,
    Sysno::getcwd,
    Sysno::getdents64,
    Sysno::linkat,
    Sysno::mkdir,
    Sysno::open,
    Sysno::openat,
    Sysno::readlink,
    Sysno::rename,
    Sysno::renameat2,
    Sysno::rmdir,
    Sysno::unlink,
]);

/// A shared folder's server, besides files by their paths: owners, new nodes, symbolic links.
pub(super) const FOLDERS: &[Call] = &calls([
    Sysno::fchmodat,
    Sysno::fchownat,
    Sysno::mkdirat,
    Sysno::mknodat,
    Sysno::readlinkat,
    Sysno::renameat,
    Sysno::statfs,
    Sysno::symlinkat,
    Sysno::unlinkat,
    Sysno::utimensat,
]);

/// The limits of this process, which a connection that is accepted must leave room for; none is set.
pub(super) const LIMITS: &[Call] = &[Call::any(Sysno::prlimit64)
    .with(Argument::equal(0, 0))
    .with(Argument::equal(2, 0))];

/// Sockets that are there.
pub(super) const SOCKETS: &[Call] = &calls([
    Sysno::accept4,
    Sysno::getsockname,
    Sysno::getsockopt,
    Sysno::recvfrom,
    Sysno::recvmsg,
    Sysno::sendmsg,
    Sysno::sendto,
    Sysno::setsockopt,
    Sysno::shutdown,
]);

/// A new connection to a socket with a path: AF_UNIX is 1.
pub(super) const CONNECTIONS: &[Call] = &[
    Call::any(Sysno::socket).with(Argument::equal(0, 1)),
    Call::any(Sysno::socketpair).with(Argument::equal(0, 1)),
    Call::any(Sysno::connect),
];

/// This process's identity, and the host's.
pub(super) const IDENTITY: &[Call] = &[
    Call::any(Sysno::getegid),
    Call::any(Sysno::geteuid),
    Call::any(Sysno::getgid),
    Call::any(Sysno::getuid),
    Call::any(Sysno::sysinfo),
    Call::any(Sysno::uname),
];

/// CLONE_VM and CLONE_THREAD.
const OF_A_THREAD: u32 = 0x0001_0100;
/// All namespaces of clone(2).
const OF_NAMESPACES: u32 = 0x7e02_0000;

/// Starting a thread: no process, no namespace. The C library asks for clone3 first, whose flags no filter sees;
/// [`NOT_THERE`] has it take clone.
pub(super) const THREADS: &[Call] = &[
    Call::any(Sysno::clone).with(Argument::masked(
        0,
        OF_A_THREAD | OF_NAMESPACES,
        OF_A_THREAD,
    )),
    // What the C library does first in it, before it takes on a filter of its own.
    Call::any(Sysno::rseq),
    Call::any(Sysno::set_robust_list),
    Call::any(Sysno::sched_getaffinity),
    // Its own filter: PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER without flags.
    prctl(38),
    Call::any(Sysno::seccomp)
        .with(Argument::equal(0, 1))
        .with(Argument::equal(1, 0)),
];

/// How a thread is scheduled (sched(7)), and on which CPUs.
pub(super) const SCHEDULING: &[Call] = &calls([
    Sysno::sched_getaffinity,
    Sysno::sched_getparam,
    Sysno::sched_getscheduler,
    Sysno::sched_setaffinity,
    Sysno::sched_setscheduler,
    Sysno::setpriority,
]);

/// Calls that fail with ENOSYS, as on a kernel without them.
pub(super) const NOT_THERE: &[Call] = &[Call::any(Sysno::clone3)];

/// io_uring(7): a ring, which host-io restricts to a file and its operations.
pub(super) const RINGS: &[Call] = &calls([
    Sysno::io_uring_enter,
    Sysno::io_uring_register,
    Sysno::io_uring_setup,
]);

/// Memory files.
pub(super) const MEMORY: &[Call] = &[Call::any(Sysno::memfd_create)];

/// The requests of a vCPU, of a device of KVM's and of a VM, but for those that make a VM: all that any thread makes,
/// whichever host it runs on. The first, for numbers from 0x80, are a vCPU's: KVM_RUN counts.
pub(super) const KVM: &[Call] = &[
    Call::any(Sysno::ioctl).with(Argument::masked(1, 0xff80, KVMIO | 0x80)),
    // KVM_GET_MSR_INDEX_LIST, which a vCPU's saved state begins with, KVM_CHECK_EXTENSION.
    kvm(0x02),
    kvm(0x03),
    // KVM_GET_DIRTY_LOG, KVM_SET_USER_MEMORY_REGION and its second version.
    kvm(0x42),
    kvm(0x46),
    kvm(0x49),
    // KVM_IRQ_LINE, KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, KVM_GET_PIT, KVM_SET_PIT, KVM_IRQ_LINE_STATUS.
    kvm(0x61),
    kvm(0x62),
    kvm(0x63),
    kvm(0x65),
    kvm(0x66),
    kvm(0x67),
    // KVM_SET_GSI_ROUTING, KVM_REINJECT_CONTROL, KVM_IRQFD, KVM_IOEVENTFD, KVM_SET_CLOCK, KVM_GET_CLOCK.
    kvm(0x6a),
    kvm(0x71),
    kvm(0x76),
    kvm(0x79),
    kvm(0x7b),
    kvm(0x7c),
];

/// KVM_RUN: a guest's exit is told by its return, so it is what a vCPU's thread calls most.
pub(super) const RUN: Call = request(KVMIO | 0x80);

/// All of KVM's requests: a machine that is reset has a new VM.
pub(super) const KVM_NEW_VM: &[Call] =
    &[Call::any(Sysno::ioctl).with(Argument::masked(1, 0xff00, KVMIO))];

/// A tap: TUNGETIFF, TUNSETOFFLOAD, TUNGETVNETHDRSZ, TUNSETVNETHDRSZ, TUNSETQUEUE. TUNSETIFF, which takes an interface, is
/// not among them.
pub(super) const TAP: &[Call] = &[
    request(0x8004_54d2),
    request(0x4004_54d0),
    request(0x8004_54d7),
    request(0x4004_54d8),
    request(0x4004_54d9),
];

/// A disk that is a device: BLKGETSIZE64, BLKSSZGET, BLKPBSZGET, BLKDISCARD, BLKZEROOUT, BLKFLSBUF.
pub(super) const BLOCK_DEVICE: &[Call] = &[
    request(0x8008_1272),
    request(0x1268),
    request(0x127b),
    request(0x1277),
    request(0x127f),
    request(0x1261),
];

/// Signals to this process, whose number is `process`: the kick of a vCPU, and the end after a panic.
pub(super) const fn kicks(process: u32) -> [Call; 1] {
    [Call::any(Sysno::tgkill).with(Argument::equal(0, process))]
}

/// The stop of a job: of this process, and of its process group, which is its job.
pub(super) const fn stops(process: u32) -> [Call; 2] {
    [
        Call::any(Sysno::kill).with(Argument::equal(0, process)),
        Call::any(Sysno::kill).with(Argument::equal(0, 0)),
    ]
}
