//! Why this user may not open a device, by its mode and the user's groups.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The way for this user to open a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// To join the group, which may read and write it.
    Join {
        /// The group's name, or its number where it has none.
        group: String,
    },
    /// A new session: the user has joined the group since this one began.
    NewSession {
        /// The group's name.
        group: String,
    },
    /// To be given a right: no group that a user should join has any.
    Grant {
        /// The permission bits of the device.
        mode: u32,
        /// The group's name, or its number where it has none.
        group: String,
    },
    /// Something else than the mode forbids it.
    Beyond,
}

/// Read and write, as the lowest three bits of a mode have them.
const BOTH: u32 = 0o6;

/// A device, and who asks.
struct Question<'a> {
    mode: u32,
    owner: u32,
    group: u32,
    user: u32,
    groups: &'a [u32],
    /// /etc/passwd and /etc/group (passwd(5), group(5)); empty where they cannot be read.
    users_file: &'a str,
    groups_file: &'a str,
}

impl Access {
    /// The way for this process to open the device at `path`.
    pub(crate) fn to(path: &Path) -> Self {
        let Ok(device) = fs::metadata(path) else {
            return Self::Beyond;
        };
        let mut groups: Vec<u32> = rustix::process::getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        groups.push(rustix::process::getegid().as_raw());
        Self::of(&Question {
            mode: device.mode(),
            owner: device.uid(),
            group: device.gid(),
            user: rustix::process::geteuid().as_raw(),
            groups: &groups,
            users_file: &fs::read_to_string("/etc/passwd").unwrap_or_default(),
            groups_file: &fs::read_to_string("/etc/group").unwrap_or_default(),
        })
    }

    fn of(question: &Question<'_>) -> Self {
        let allows = |shift: u32| question.mode >> shift & BOTH == BOTH;
        // The first class that fits counts, also where a later one has more rights (path_resolution(7)).
        let is_allowed = if question.user == question.owner {
            allows(6)
        } else if question.groups.contains(&question.group) {
            allows(3)
        } else {
            allows(0)
        };
        if is_allowed {
            return Self::Beyond;
        }
        let line = question
            .groups_file
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.get(2).is_some_and(|id| is(id, question.group)));
        let name = line.as_ref().and_then(|fields| fields.first());
        let group = name.map_or_else(|| question.group.to_string(), |name| (*name).to_owned());
        if question.group == 0 || !allows(3) || question.groups.contains(&question.group) {
            let mode = question.mode & 0o777;
            return Self::Grant { mode, group };
        }
        let user = question
            .users_file
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.get(2).is_some_and(|id| is(id, question.user)))
            .and_then(|fields| fields.first().copied());
        let members = line.as_ref().and_then(|fields| fields.get(3));
        let is_member = members
            .zip(user)
            .is_some_and(|(members, user)| members.split(',').any(|member| member == user));
        if is_member {
            Self::NewSession { group }
        } else {
            Self::Join { group }
        }
    }
}

fn is(text: &str, id: u32) -> bool {
    text.parse() == Ok(id)
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join { group } => write!(
                f,
                "join the group that owns it (`sudo usermod -aG {group} $USER`), then log in again, or \
                 start a shell by `sg {group}`"
            ),
            Self::NewSession { group } => write!(
                f,
                "the user has joined the group {group} since this session began; log in again, or \
                 start a shell by `sg {group}`"
            ),
            Self::Grant { mode, group } => write!(
                f,
                "its mode {mode:04o} gives members of the group {group} no use of it; allow this user \
                 by `sudo setfacl -m u:$USER:rw` on it, or give it to a group of its own by a udev rule \
                 (KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0660\")"
            ),
            Self::Beyond => f.write_str(
                "its mode is not the reason; look at the access list (`getfacl`), the container's rules \
                 for devices, or the security module",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n\
                         eve:x:1001:1001::/:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nkvm:x:104:eve,bob\nada:x:1000:\n";

    fn access(mode: u32, group: u32, user: u32, groups: &[u32]) -> Access {
        Access::of(&Question {
            mode: 0o020_000 | mode,
            owner: 0,
            group,
            user,
            groups,
            users_file: USERS,
            groups_file: GROUPS,
        })
    }

    #[test]
    fn a_group_that_may_use_it_is_to_be_joined() {
        let join = |group: &str| Access::Join {
            group: group.to_owned(),
        };
        assert_eq!(access(0o660, 104, 1000, &[1000]), join("kvm"));
        assert_eq!(access(0o660, 999, 1000, &[1000]), join("999"));
        let text = join("kvm").to_string();
        assert!(text.contains("usermod -aG kvm $USER") && text.contains("sg kvm"));
    }

    #[test]
    fn a_member_needs_a_new_session() {
        let group = "kvm".to_owned();
        let expected = Access::NewSession { group };
        assert_eq!(access(0o660, 104, 1001, &[1001]), expected);
        assert!(!expected.to_string().contains("usermod"));
    }

    #[test]
    fn the_group_of_the_administrator_is_not_to_be_joined() {
        for (mode, group, groups) in [
            (0o600, 0, &[1000][..]),
            (0o660, 0, &[1000]),
            (0o600, 104, &[1000]),
            (0o600, 104, &[1000, 104]),
        ] {
            let access = access(mode, group, 1000, groups);
            assert!(matches!(access, Access::Grant { .. }), "{access:?}");
            let text = access.to_string();
            assert!(
                text.contains("setfacl") && !text.contains("usermod"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_the_mode_allows_something_else_forbids() {
        assert_eq!(access(0o666, 104, 1000, &[1000]), Access::Beyond);
        assert_eq!(access(0o660, 104, 1000, &[104]), Access::Beyond);
        assert_eq!(access(0o600, 104, 0, &[0]), Access::Beyond);
    }
}
