//! Why a value cannot be understood.

use thiserror::Error;
use vmmkit_guest_memory::RamSizeError;
use vmmkit_host_io::ThreadPriorityError;
use vmmkit_x86_cpu::CpuModelError;

use crate::{AffinityFault, CpusFault, MemoryFault};

/// Why a value cannot be understood: what is wrong with it, without the value itself.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// A word that is needed is missing.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// A key without the value that it needs.
    #[error("{key} has no value")]
    NoValue {
        /// The key.
        key: &'static str,
    },
    /// A flag whose value says neither yes nor no.
    #[error("{key}={value} is neither on nor off")]
    NotASwitch {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A value of another kind.
    #[error("{key}={value} is not {wanted}")]
    NotA {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// The values that it may have.
        wanted: &'static str,
    },
    /// A key is there twice.
    #[error("{key} is given twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// A key that there is not.
    #[error("there is no {key}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The one that was probably meant.
        meant: Option<&'static str>,
    },
    /// A word that is none of those that the whole value may be.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The path of a place that needs one is missing.
    #[error("the path is missing")]
    NoPath {
        /// The place: file or socket.
        place: &'static str,
    },
    /// The path of a place that needs one is empty.
    #[error("the path is empty")]
    EmptyPath {
        /// The place: file or socket.
        place: &'static str,
    },
    /// A network interface that is attached to nothing.
    #[error("nothing to attach it to")]
    Unattached,
    /// A network interface that is attached to several things.
    #[error("it is attached to one thing only")]
    AttachedTwice,
    /// A word that is not a size.
    #[error("{word} is not a size")]
    NotASize {
        /// The word.
        word: String,
    },
    /// Not a priority.
    #[error("{key}: {source}")]
    Priority {
        /// Of which threads.
        key: &'static str,
        /// The reason.
        source: ThreadPriorityError,
    },
    /// A MAC address that no interface has.
    #[error("the MAC address is zero, which no interface has")]
    ZeroMac,
    /// A MAC address of a group of interfaces.
    #[error("the MAC address is that of a group, as its first byte {first:02x} is odd")]
    GroupMac {
        /// The first byte.
        first: u8,
    },
    /// A priority of no threads.
    #[error("there is no vcpu= and no io= in it")]
    NoPriority,
    /// Not a CPU model.
    #[error(transparent)]
    CpuModel(#[from] CpuModelError),
    /// Not a size of memory.
    #[error("{}", size_reason(.0))]
    Size(#[from] RamSizeError),
    /// A number of bytes that was meant as another unit.
    #[error("{word} bytes of memory are too few: did you mean {meant}?")]
    NoUnit {
        /// The number.
        word: String,
        /// The same in mebibytes.
        meant: String,
    },
    /// Memory that cannot be so.
    #[error(transparent)]
    Memory(#[from] MemoryFault),
    /// vCPUs that cannot be so.
    #[error(transparent)]
    Cpus(#[from] CpusFault),
    /// vCPUs that cannot be kept on CPUs of the host so.
    #[error(transparent)]
    Affinity(#[from] AffinityFault),
}

/// A whole value that is none of the words that it may be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unknown {
    /// How a kernel is entered.
    #[error("unknown entry method")]
    Entry,
    /// An action on a reset or a crash.
    #[error("there is no such action")]
    Action,
    /// Where a console or a port is.
    #[error("there is no such place")]
    Place,
    /// Where interrupt controllers are.
    #[error("there is no such place for it")]
    Irqchip,
    /// On or off.
    #[error("this is neither on nor off")]
    Switch,
    /// How devices are attached.
    #[error("there is no such transport")]
    Transport,
    /// The format of queues.
    #[error("unknown queue format {0:?}")]
    QueueFormat(String),
}

/// A size in the words of a machine: without the advice that a library's user needs.
fn size_reason(error: &RamSizeError) -> String {
    match error {
        RamSizeError::Zero => "a guest needs memory".to_owned(),
        RamSizeError::Syntax(_) => "this is not a size".to_owned(),
        RamSizeError::Fraction(_) => "this is not a whole number".to_owned(),
        RamSizeError::Negative(_) => "this is negative".to_owned(),
        RamSizeError::TooLarge(_) => "this is larger than any memory".to_owned(),
        other => other.to_string(),
    }
}
