//! The privileges that a process has beyond those of its user, and its memory for others.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use thiserror::Error;

/// Why privileges were kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PrivilegeError {
    /// PR_SET_NO_NEW_PRIVS.
    #[error("the process cannot give up new privileges")]
    New(#[source] rustix::io::Errno),
    /// capset(2).
    #[error("the capabilities cannot be dropped")]
    Capabilities(#[source] rustix::io::Errno),
    /// PR_SET_DUMPABLE.
    #[error("the memory of the process cannot be closed")]
    Dumpable(#[source] rustix::io::Errno),
    /// RLIMIT_CORE.
    #[error("the limit of core files cannot be set")]
    Core(#[source] rustix::io::Errno),
}

/// The effects that depend on who the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrivilegesDropped {
    /// No program that the process could run would have capabilities either (the bounding set, capabilities(7)). An
    /// ordinary user may not change that set, and needs not: it has no program gain any.
    pub bounding_set: bool,
}

/// The memory of the process for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessMemory {
    /// There are no core files (RLIMIT_CORE), and other processes of the same user have no access (PR_SET_DUMPABLE: no
    /// ptrace(2), and /proc/PID is root's).
    Closed,
    /// Both stay as they are: for who debugs the process or its guest.
    AsBefore,
}

/// Takes from the calling thread, and from the threads that it starts from now on, every capability but those of `kept`,
/// and the means to gain any (capabilities(7), PR_SET_NO_NEW_PRIVS). `memory` is the whole process's.
///
/// # Errors
/// [`PrivilegeError`]; what stands before in this text has taken effect then.
pub fn drop_privileges(
    kept: CapabilitySet,
    memory: ProcessMemory,
) -> Result<PrivilegesDropped, PrivilegeError> {
    set_no_new_privs(true).map_err(PrivilegeError::New)?;
    // Not known to kernels before 4.3: the sets below are what counts.
    let _ = clear_ambient_capability_set();
    let bounding_set = drop_bounding_set();
    let had = capabilities(None).map_err(PrivilegeError::Capabilities)?;
    let sets = CapabilitySets {
        effective: had.effective & kept,
        permitted: had.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(PrivilegeError::Capabilities)?;
    if memory == ProcessMemory::Closed {
        let no_core = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, no_core).map_err(PrivilegeError::Core)?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(PrivilegeError::Dumpable)?;
    }
    Ok(PrivilegesDropped { bounding_set })
}

fn drop_bounding_set() -> bool {
    // The kernel refuses the first number that it does not know (EINVAL); 63 is the last that fits its sets.
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => return true,
            Err(_) => return false,
        }
    }
    true
}
