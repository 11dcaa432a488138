//! `--disk`.

use std::path::PathBuf;
use std::sync::Arc;

use vmmkit_virtio_devices::{
    Block, BlockBackend, BlockConfig, DiskFormat, Qcow2Disk, RateLimit, VhostUser,
};

use super::words::{self, Words};
use super::{Choice, Plan, disk_failure, failed, rate};
use crate::failure::Failure;
use crate::files::{Named, Role};
use crate::messages;

const KEYS: &str = "give PATH, and readonly, direct, serial=TEXT, queues=N, format=raw|qcow2, \
     backing=on, block-size=512|4096, backend=sync|uring, bandwidth=BYTES or iops=N; or \
     vhost-user=SOCKET";

/// A disk, as it was asked for.
#[derive(Debug)]
pub(super) struct DiskChoice {
    text: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Own(BlockConfig),
    VhostUser(PathBuf),
}

impl DiskChoice {
    pub(super) fn new(text: &str) -> Result<Self, Failure> {
        let mut words = Words::new("--disk", text);
        let kind = match words.value("vhost-user")? {
            Some(socket) => Kind::VhostUser(words::path(socket)),
            None => Kind::Own(config(&mut words)?),
        };
        words.end(KEYS)?;
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }
}

fn config(words: &mut Words<'_>) -> Result<BlockConfig, Failure> {
    let defaults = BlockConfig::default();
    let path = words
        .first()
        .ok_or_else(|| words.wrong("there is no path", KEYS))?;
    let format = |text: &str| match text {
        "raw" => Some(DiskFormat::Raw),
        "qcow2" => Some(DiskFormat::Qcow2),
        _ => None,
    };
    let block_size = |text: &str| match text {
        "512" => Some(512),
        "4096" | "4K" | "4k" => Some(4096),
        _ => None,
    };
    let backend = |text: &str| match text {
        "auto" => Some(BlockBackend::Auto),
        "sync" => Some(BlockBackend::Sync),
        "uring" => Some(BlockBackend::Uring),
        _ => None,
    };
    Ok(BlockConfig {
        path: words::path(path),
        read_only: words.flag("readonly")?,
        direct: words.flag("direct")?,
        block_size: words
            .parsed("block-size", "512 or 4096", block_size)?
            .unwrap_or(defaults.block_size),
        serial: words::plain(words.value("serial")?.unwrap_or_default()),
        queues: words
            .parsed("queues", "a number from 1 to 64", words::queues)?
            .unwrap_or(defaults.queues),
        format: words.parsed("format", "raw or qcow2", format)?,
        backing: words
            .parsed("backing", "on or off", words::switch)?
            .unwrap_or(false),
        backend: words
            .parsed("backend", "auto, sync or uring", backend)?
            .unwrap_or_default(),
        rate: RateLimit {
            bandwidth: rate(words, "bandwidth", "bytes a second, such as 64M")?,
            operations: rate(words, "iops", "requests a second, such as 1000")?,
        },
    })
}

impl Choice for DiskChoice {
    fn option(&self) -> (&'static str, Option<String>) {
        ("--disk", Some(self.text.clone()))
    }

    fn files(&self) -> Vec<Named> {
        let Kind::Own(config) = &self.kind else {
            return Vec::new();
        };
        let role = match config.read_only {
            true => Role::Input,
            false => Role::Disk,
        };
        let option = format!("--disk {}", self.text);
        let mut files = vec![Named::new(option, &config.path, role)];
        if config.backing {
            // What cannot be read is said when the disk is opened.
            let behind = Qcow2Disk::backing_files(&config.path).unwrap_or_default();
            files.extend(behind.iter().map(|path| {
                let option = format!("backing file {} of --disk {}", path.display(), self.text);
                Named::new(option, path, Role::Input)
            }));
        }
        files
    }

    fn takes(&self) -> Option<String> {
        match &self.kind {
            Kind::VhostUser(socket) => Some(format!("socket {}", socket.display())),
            Kind::Own(_) => None,
        }
    }

    fn needs_shared_ram(&self) -> bool {
        matches!(self.kind, Kind::VhostUser(_))
    }

    fn plug(&self, plan: Plan) -> Result<Plan, Failure> {
        match &self.kind {
            Kind::Own(config) => {
                let disk = Block::open(config)
                    .map_err(|error| disk_failure::explain(&self.text, config, &error))?;
                let text = self.text.clone();
                disk.on_error(move |error| messages::say(&format!("--disk {text}: {error}")));
                Ok(plan.with(Arc::new(disk)))
            }
            Kind::VhostUser(socket) => {
                let next = format!(
                    "start the back end first, such as `qemu-storage-daemon --blockdev \
                     driver=file,node-name=disk,filename=FILE --export \
                     type=vhost-user-blk,id=disk,node-name=disk,writable=on,addr.type=unix,addr.path={}`",
                    socket.display()
                );
                let disk = VhostUser::blk(socket)
                    .map_err(|error| failed("--disk", &self.text, &error, &next))?;
                Ok(plan.with(Arc::new(disk)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn own(text: &str) -> BlockConfig {
        match DiskChoice::new(text).unwrap().kind {
            Kind::Own(config) => config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_disk_is_a_path_and_what_follows() {
        let plain = own("a=b.img");
        assert_eq!(plain.path, Path::new("a=b.img"));
        assert!(!plain.read_only);
        let full =
            own("d.img,readonly,direct,serial=s1,queues=4,format=qcow2,backend=sync,iops=10");
        assert!(full.read_only && full.direct);
        assert_eq!((full.serial.as_str(), full.queues), ("s1", 4));
        assert_eq!(full.format, Some(DiskFormat::Qcow2));
        assert_eq!(full.backend, BlockBackend::Sync);
        assert_eq!(
            (full.block_size, own("d,block-size=4096").block_size),
            (512, 4096)
        );
        assert_eq!(full.rate.operations.unwrap().size.get(), 10);
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        for text in [
            "",
            "d,ro",
            "d,queues=x",
            "d,format=vmdk",
            "d,iops=0",
            "d,block-size=1024",
            "d,block-size=",
            "vhost-user=",
        ] {
            assert!(DiskChoice::new(text).is_err(), "{text}");
        }
    }
}
