//! The parts of a sandbox that a host's kernel has.

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};

/// The parts of a sandbox that this host's kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// Files ([`FileRules`](crate::FileRules)): Landlock is there and enabled.
    pub files: bool,
    /// System calls ([`Filter`](crate::Filter)).
    pub system_calls: bool,
}

/// Asks this host's kernel. Nothing is closed by it.
pub fn support() -> Support {
    let files = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok();
    Support {
        files,
        // It fails with EINVAL where the kernel was built without.
        system_calls: rustix::thread::secure_computing_mode().is_ok(),
    }
}
