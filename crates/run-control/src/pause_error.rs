//! Why a machine is not paused.

use thiserror::Error;

/// Why a machine is not paused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseError {
    /// The run has ended.
    #[error("the run has ended")]
    Ended,
    /// A vCPU did not leave the guest in time, most likely because it waits for a device.
    #[error("{waiting} of {vcpus} vCPUs did not stop in time{}", busy(.devices))]
    Vcpus {
        /// How many did not.
        waiting: usize,
        /// How many there are.
        vcpus: usize,
        /// The devices that do what their driver asked for, where that is known.
        devices: Vec<String>,
    },
    /// A device did not come to rest in time: it waits for the host or for another process.
    #[error("{device} did not come to rest in time: it waits for the host or its back end")]
    Device {
        /// Its name in the machine.
        device: String,
    },
}

fn busy(devices: &[String]) -> String {
    match devices {
        [] => String::new(),
        devices => format!(": waiting for {}", devices.join(", ")),
    }
}
