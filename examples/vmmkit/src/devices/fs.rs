//! `--fs`.

use std::path::PathBuf;
use std::sync::Arc;

use vmmkit_virtio_devices::VhostUser;

use super::words::{self, Words};
use super::{Choice, Plan, failed};
use crate::failure::Failure;

const KEYS: &str = "give SOCKET,tag=NAME, and queues=N, such as --fs fs.sock,tag=srv";

/// A folder of the host's by virtiofsd, as it was asked for.
#[derive(Debug)]
pub(super) struct FsChoice {
    text: String,
    socket: PathBuf,
    tag: String,
    queues: u16,
}

impl FsChoice {
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        let mut words = Words::new("--fs", text);
        let socket = match words.value("socket")? {
            Some(socket) => Some(socket),
            None => words.first(),
        };
        let socket = socket.ok_or_else(|| words.wrong("there is no socket", KEYS))?;
        let tag = words
            .value("tag")?
            .ok_or_else(|| words.wrong("there is no tag", KEYS))?;
        let queues = words.parsed("queues", "a number from 1 to 64", words::queues)?;
        words.end(KEYS)?;
        Ok(Self {
            text: text.to_owned(),
            socket: words::path(socket),
            tag: words::plain(tag),
            queues: queues.unwrap_or(1),
        })
    }
}

impl Choice for FsChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        ("--fs", Some(self.text.clone()))
    }

    fn takes(&self) -> Option<String> {
        Some(format!("socket {}", self.socket.display()))
    }

    fn needs_shared_ram(&self) -> bool {
        true
    }

    fn plug(&self, plan: Plan) -> Result<Plan, Failure> {
        if self.socket.is_dir() {
            let folder = self.socket.display();
            return Err(Failure::because(
                format!(
                    "--fs {}: {folder} is a folder, and not virtiofsd's socket",
                    self.text
                ),
                Vec::new(),
                format!(
                    "start virtiofsd --socket-path=fs.sock --shared-dir={folder}, and give --fs \
                     fs.sock,tag={}",
                    self.tag
                ),
            ));
        }
        let next = format!(
            "start virtiofsd first: `virtiofsd --socket-path={} --shared-dir=FOLDER`",
            self.socket.display()
        );
        let fs = VhostUser::fs_with_queues(&self.socket, &self.tag, self.queues)
            .map_err(|error| failed("--fs", &self.text, &error, &next))?;
        Ok(plan.with(Arc::new(fs)))
    }
}
