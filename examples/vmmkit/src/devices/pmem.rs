//! `--pmem`.

use std::path::PathBuf;
use std::sync::Arc;

use vmmkit_virtio_devices::{Pmem, PmemConfig};
use vmmkit_vmm::MemoryPlace;

use super::words::{self, Words};
use super::{Choice, Plan, failed};
use crate::failure::Failure;
use crate::files::{Named, Role};

const KEYS: &str =
    "give PATH, and discard for writes that are lost, such as --pmem root.img,discard";

/// Persistent memory, as it was asked for.
#[derive(Debug)]
pub(super) struct PmemChoice {
    text: String,
    path: PathBuf,
    discard: bool,
}

impl PmemChoice {
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        let mut words = Words::new("--pmem", text);
        let path = words
            .first()
            .ok_or_else(|| words.wrong("there is no path", KEYS))?;
        let discard = words.flag("discard")?;
        words.end(KEYS)?;
        Ok(Self {
            text: text.to_owned(),
            path: words::path(path),
            discard,
        })
    }
}

impl Choice for PmemChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        ("--pmem", Some(self.text.clone()))
    }

    fn files(&self) -> Vec<Named> {
        let role = match self.discard {
            true => Role::Input,
            false => Role::Disk,
        };
        vec![Named::new(
            format!("--pmem {}", self.text),
            &self.path,
            role,
        )]
    }

    fn plug(&self, plan: Plan) -> Result<Plan, Failure> {
        let MemoryPlace {
            guest_address,
            slot,
        } = plan.next_memory();
        let config = PmemConfig {
            path: self.path.clone(),
            discard_writes: self.discard,
            guest_address,
            slot,
        };
        let next = "check the path and its permissions; the size must be a multiple of 2M";
        let pmem =
            Pmem::open(&config).map_err(|error| failed("--pmem", &self.text, &error, next))?;
        Ok(plan.with(Arc::new(pmem)))
    }
}
