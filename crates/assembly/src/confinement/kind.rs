//! The threads of a machine, and the system calls of each.

use vmmkit_host_io::ThreadRole;
use vmmkit_sandbox::{Call, Filter, FilterBuilder, FilterError, Refusal};

use super::calls::{
    BLOCK_DEVICE, COMMON, COMMON_ANY, CONNECTIONS, DESCRIPTORS, EVENTS, FILES, FOLDERS, IDENTITY,
    KVM, KVM_NEW_VM, LIMITS, MEMORY, NOT_THERE, PATHS, RINGS, RUN, SCHEDULING, SOCKETS, STREAMS,
    TAP, TERMINAL, THREADS, kicks, stops,
};

/// ENOSYS (errno(3)).
const NO_SUCH_CALL: u16 = 38;

/// All that start threads and speak with others: files that are open, sockets, limits.
const SHARED: &[&[Call]] = &[
    EVENTS,
    DESCRIPTORS,
    FILES,
    SOCKETS,
    CONNECTIONS,
    THREADS,
    SCHEDULING,
    IDENTITY,
    STREAMS,
    LIMITS,
];

/// Every device's, whatever its host side is: a file, a socket, a tap.
const DEVICE: &[&[Call]] = &[EVENTS, DESCRIPTORS, FILES, SOCKETS, MEMORY];

/// A kind of thread, by the system calls that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ThreadKind {
    /// A vCPU.
    Vcpu,
    /// The one that starts and resets devices, and makes the new VM of a reset, for the vCPUs.
    Setup,
    /// The event loop.
    Events,
    /// A disk.
    Block,
    /// A network.
    Net,
    /// Sockets of the guest's.
    Vsock,
    /// Devices that share a thread, and others without a role of their own.
    Device,
    /// Memory that is plugged, or a file's.
    Memory,
    /// A shared folder, of this process or of another one.
    FileSystem,
    /// A device of another process.
    Forward,
    /// The control API.
    Api,
    /// A debugger.
    Debugger,
    /// Reports, and other work beside the machine.
    Helper,
    /// The thread that has started the machine.
    Main,
}

impl ThreadKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Vcpu,
        Self::Setup,
        Self::Events,
        Self::Block,
        Self::Net,
        Self::Vsock,
        Self::Device,
        Self::Memory,
        Self::FileSystem,
        Self::Forward,
        Self::Api,
        Self::Debugger,
        Self::Helper,
        Self::Main,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vcpu => "vcpu",
            Self::Setup => "setup",
            Self::Events => "event loop",
            Self::Block => "disk",
            Self::Net => "network",
            Self::Vsock => "vsock",
            Self::Device => "other device",
            Self::Memory => "memory",
            Self::FileSystem => "shared folder",
            Self::Forward => "vhost-user",
            Self::Api => "api",
            Self::Debugger => "gdb",
            Self::Helper => "helper",
            Self::Main => "main",
        }
    }

    /// The role of a thread that begins, by its name without what tells machines apart.
    pub fn of(role: ThreadRole, name: &str) -> Self {
        let name = name.rsplit(':').next().unwrap_or(name);
        let kinds = [
            ("virtio-blk", Self::Block),
            ("virtio-net", Self::Net),
            ("virtio-vsock", Self::Vsock),
            ("virtio-pmem", Self::Memory),
            ("virtio-mem", Self::Memory),
            ("vhost", Self::Forward),
            ("virtio-fs", Self::FileSystem),
        ];
        match role {
            ThreadRole::Vcpu => Self::Vcpu,
            ThreadRole::Device if name == "vmm" => Self::Events,
            ThreadRole::Device => kinds
                .iter()
                .find(|(prefix, _)| name.starts_with(prefix))
                .map_or(Self::Device, |(_, role)| *role),
            ThreadRole::Server if name == "gdb" => Self::Debugger,
            ThreadRole::Server => Self::Api,
            _ if name == "setup" => Self::Setup,
            // A device of another process that comes to rest.
            _ if name.ends_with("-rest") => Self::Forward,
            _ => Self::Helper,
        }
    }

    /// The roles whose threads it starts: a filter binds them too.
    fn starts(self) -> &'static [Self] {
        match self {
            // At DRIVER_OK, and at a reset.
            Self::Setup => &[
                Self::Block,
                Self::Net,
                Self::Vsock,
                Self::Device,
                Self::Memory,
                Self::FileSystem,
                Self::Forward,
            ],
            // The first client has the API started.
            Self::Events => &[Self::Api],
            _ => &[],
        }
    }

    fn is_device(self) -> bool {
        matches!(
            self,
            Self::Block
                | Self::Net
                | Self::Vsock
                | Self::Device
                | Self::Memory
                | Self::FileSystem
                | Self::Forward
        )
    }

    fn is_shared(self) -> bool {
        matches!(
            self,
            Self::Setup | Self::Events | Self::Api | Self::Debugger | Self::Helper | Self::Main
        )
    }

    /// The sets of system calls of this kind alone.
    fn own(self) -> &'static [&'static [Call]] {
        match self {
            // Devices' registers are accessed here: their events, and messages to devices of other processes. Its CPUs and
            // its priority are its own to take on.
            Self::Vcpu => &[EVENTS, DESCRIPTORS, FILES, SOCKETS, SCHEDULING, MEMORY, TAP],
            // Devices are started, and a VM and its vCPUs made.
            Self::Setup => &[KVM_NEW_VM, MEMORY, RINGS, TAP],
            Self::Events => &[TAP],
            Self::Block => &[RINGS, BLOCK_DEVICE],
            Self::Net => &[TAP, CONNECTIONS],
            Self::Vsock => &[CONNECTIONS, LIMITS],
            Self::Device | Self::Forward => &[CONNECTIONS, THREADS],
            // Files beneath the folder, as far as the rules for files go.
            Self::FileSystem => &[PATHS, FOLDERS, CONNECTIONS, THREADS, IDENTITY, LIMITS],
            // Touching much memory takes threads, and a look at how many CPUs there are.
            Self::Memory => &[PATHS, THREADS, SCHEDULING, IDENTITY],
            // Requests of clients, and the files of a snapshot.
            Self::Api => &[PATHS, MEMORY, BLOCK_DEVICE, TAP],
            Self::Debugger => &[PATHS, MEMORY],
            // Files at the end of a run, and what waits for it.
            Self::Helper | Self::Main => &[PATHS, RINGS, TAP],
        }
    }

    /// The filter of its system calls, which answers all others with `refusal`. It is for this process: signals go to
    /// no other.
    ///
    /// # Errors
    /// [`FilterError`]; a test holds each to be none.
    pub fn filter(self, refusal: Refusal) -> Result<Filter, FilterError> {
        let process = std::process::id();
        let (kicks, stops) = (kicks(process), stops(process));
        let mut filter = Filter::builder(refusal);
        if self == Self::Vcpu {
            filter = filter.allow_first(RUN);
        }
        let mut sets: Vec<&[Call]> = vec![KVM, COMMON, COMMON_ANY, TERMINAL, &kicks];
        for kind in self.starts().iter().chain([&self]) {
            sets.extend(kind.own());
            if kind.is_device() {
                sets.extend(DEVICE);
            }
            if kind.is_shared() {
                sets.extend(SHARED);
                sets.push(&stops);
            }
        }
        if sets.contains(&THREADS) {
            filter = filter.refuse(NOT_THERE, Refusal::Error(NO_SUCH_CALL));
        }
        let all = sets.into_iter().fold(filter, FilterBuilder::allow);
        all.build()
    }
}
