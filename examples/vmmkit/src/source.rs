//! Where a guest that does not begin here comes from: a snapshot, or another process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use vmmkit_assembly::Outputs;
use vmmkit_hypervisor_kvm::Kvm;
use vmmkit_snapshot::stream::{Offer, PageStore};
use vmmkit_snapshot::{Lineage, Reader};
use vmmkit_vmm::{Machine, MachineBuilder, Ready, RestoreError, SavedRam};

use crate::failure::Failure;
use crate::files;
use crate::hand_over::{HandOver, broken};
use crate::log::LogFile;
use crate::settings::Settings;
use crate::snapshot::{self, Snapshot};
use crate::wire::Wire;

/// The stream by its name in messages.
pub(crate) const NAME: &str = "receive";

/// The failure where what arrives is not of this program.
pub(crate) fn foreign(error: &dyn std::error::Error) -> Failure {
    Failure::host(NAME, error, "move it with a vmmkit of the same version")
}

/// RAM that arrives.
struct Memory(File);

impl PageStore for Memory {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.0, how, offset, length)?)
    }
}

/// A guest of which all has arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    ram: File,
    state: Vec<u8>,
    hand_over: Arc<HandOver>,
}

impl Arrived {
    /// Takes the guest of `offer`, which is to be that of `settings`.
    pub(crate) fn take(offer: Offer<Wire>, settings: &Settings) -> Result<Self, Failure> {
        let (has, sent) = (settings.machine.ram.size.bytes(), offer.ram_bytes());
        if has != sent {
            let failure = Failure::because(
                format!("receive: the guest has {sent} bytes of memory, and its options say {has}"),
                Vec::new(),
                "give no --memory, or the guest's own",
            );
            offer.refuse(&failure.text());
            return Err(failure);
        }
        let made = memfd_create("guest-ram", MemfdFlags::CLOEXEC).and_then(|ram| {
            rustix::fs::ftruncate(&ram, sent)?;
            Ok(File::from(ram))
        });
        let mut ram = match made {
            Ok(ram) => Memory(ram),
            Err(error) => {
                let failure = Failure::host(NAME, &error, "free memory of this host");
                offer.refuse(&failure.text());
                return Err(failure);
            }
        };
        let received = offer.accept().and_then(|it| it.receive(&mut ram));
        let mut received = received.map_err(|error| broken(&error))?;
        Ok(Self {
            ram: ram.0,
            state: received.take_state(),
            hand_over: Arc::new(HandOver::new(received)),
        })
    }
}

/// A guest that does not begin here.
#[derive(Debug)]
pub(crate) enum Source {
    /// It was saved.
    Folder(Snapshot),
    /// It was sent.
    Stream(Arrived),
}

impl Source {
    /// The machine of `builder` as it was.
    pub(crate) fn restore(
        &self,
        builder: MachineBuilder,
        kvm: &Kvm,
        settings: &Settings,
    ) -> Result<Machine<Ready>, Failure> {
        let arrived = match self {
            Self::Folder(snapshot) => return snapshot.restore(builder, kvm, settings),
            Self::Stream(arrived) => arrived,
        };
        let reader = Reader::new(&arrived.state).map_err(|error| foreign(&error))?;
        let ram = arrived.ram.try_clone();
        let ram = ram.map_err(|error| Failure::host(NAME, &error, "free descriptors"))?;
        let restored: Result<_, RestoreError> = builder.restore(kvm, reader, SavedRam::own(ram));
        restored.map_err(|error| snapshot::unrestored(error, NAME, settings))
    }

    /// Its RAM, which the machine differs from more and more.
    pub(crate) fn lineage(&self) -> Result<Option<Lineage>, Failure> {
        match self {
            Self::Folder(snapshot) => snapshot.lineage().map(Some),
            Self::Stream(_) => Ok(None),
        }
    }

    /// The process that still has it.
    pub(crate) fn hand_over(&self) -> Option<Arc<HandOver>> {
        match self {
            Self::Folder(_) => None,
            Self::Stream(arrived) => Some(arrived.hand_over.clone()),
        }
    }
}

/// A file that is opened, and is not changed before the machine starts.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The guest that goes on, where there is one.
    pub(crate) source: Option<Source>,
    /// The log, which may wait.
    pub(crate) log: Option<LogFile>,
    /// Files for output.
    pub(crate) outputs: Arc<Outputs>,
}

impl Opening {
    /// All else has been found to work: the first that is changed of the user's files.
    pub(crate) fn commit(&self) -> Result<(), Failure> {
        if let Some(log) = &self.log {
            log.open(&self.outputs)?;
        }
        self.outputs.keep().map_err(|error| {
            Failure::host(
                &error.path.display().to_string(),
                &error.source,
                files::NEXT,
            )
        })
    }
}
