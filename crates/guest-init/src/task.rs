//! The command to run, and what it runs in.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// The place of the task in the initial RAM disk.
pub(crate) const FILE: &str = "task.json";

/// A command, and what it runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Task {
    /// The tag of the directory that is the root (virtio 1.2, 5.11.4).
    pub tag: String,
    /// The root is the directory itself. Otherwise what is written stays in the guest's memory, over the directory.
    pub writable: bool,
    /// The command and its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment, and no other variables.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory that it starts in; the root, where that is not there.
    pub directory: OsString,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// It runs at a terminal, the first virtio console.
    pub terminal: bool,
    /// The guest's name.
    pub host_name: String,
}

impl Task {
    /// `arguments`, in the directory `tag`, as root with an empty environment.
    pub fn new(tag: impl Into<String>, arguments: Vec<OsString>) -> Self {
        Self {
            tag: tag.into(),
            writable: false,
            arguments,
            environment: Vec::new(),
            directory: "/".into(),
            uid: 0,
            gid: 0,
            terminal: false,
            host_name: "guest".to_owned(),
        }
    }
}
