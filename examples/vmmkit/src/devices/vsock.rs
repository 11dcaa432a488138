//! `--vsock`.

use std::path::PathBuf;
use std::sync::Arc;

use vmmkit_virtio_devices::{Console, Port, Vsock, VsockConfig, VsockError};

use super::words::{self, Words};
use super::{Choice, Plan, failed};
use crate::failure::Failure;
use crate::files::{Named, Role};

const KEYS: &str = "give cid=N,socket=PATH, such as --vsock cid=3,socket=v.sock";

/// Sockets between guest and host, as they were asked for.
#[derive(Debug)]
pub(super) struct VsockChoice {
    text: String,
    cid: u64,
    socket: PathBuf,
}

impl VsockChoice {
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        let mut words = Words::new("--vsock", text);
        let cid = words.parsed("cid", "a number from 3 to 4294967294", |text| {
            text.parse()
                .ok()
                .filter(|cid| (3..0xffff_ffff).contains(cid))
        })?;
        let socket = words.value("socket")?;
        let (Some(cid), Some(socket)) = (cid, socket) else {
            let missing = if cid.is_none() { "cid" } else { "socket" };
            return Err(words.wrong(&format!("there is no {missing}"), KEYS));
        };
        words.end(KEYS)?;
        Ok(Self {
            text: text.to_owned(),
            cid,
            socket: words::path(socket),
        })
    }
}

impl Choice for VsockChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        ("--vsock", Some(self.text.clone()))
    }

    fn files(&self) -> Vec<Named> {
        let option = format!("--vsock {}", self.text);
        vec![Named::new(option, &self.socket, Role::Socket)]
    }

    fn plug(&self, plan: Plan) -> Result<Plan, Failure> {
        let config = VsockConfig {
            cid: self.cid,
            socket: self.socket.clone(),
        };
        let next = "give another path, or end the program that listens there";
        let wrong = |error: VsockError| failed("--vsock", &self.text, &error, next);
        if plan.outputs().is_dry() {
            config.check().map_err(wrong)?;
            // Takes as much of the machine, and nothing of the host.
            let stand_in = Console::new(vec![Port::null()]);
            let stand_in = stand_in.map_err(|error| failed("--vsock", &self.text, &error, next))?;
            return Ok(plan.with(Arc::new(stand_in)));
        }
        let vsock = Vsock::new(config).map_err(wrong)?;
        Ok(plan.with(Arc::new(vsock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_are_needed() {
        assert!(VsockChoice::new("socket=v.sock,cid=3").is_ok());
        for text in [
            "",
            "cid=3",
            "socket=v",
            "cid=2,socket=v",
            "cid=3,socket=v,x",
        ] {
            assert!(VsockChoice::new(text).is_err(), "{text}");
        }
    }
}
