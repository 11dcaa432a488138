//! Types of the messages on the socket. Their descriptions are those of the OpenAPI document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::whole;

/// State of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MachineState {
    /// It was made, and its guest has not run yet.
    Created,
    /// Its guest runs.
    Running,
    /// Its guest does not run until it is resumed.
    Paused,
    /// Its guest crashed, and is kept as it is.
    Crashed,
    /// It is made as after power-on, and its guest will boot again.
    Resetting,
    /// Its guest has ended.
    Ended,
}

impl MachineState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Crashed,
        Self::Resetting,
        Self::Ended,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Crashed => "crashed",
            Self::Resetting => "resetting",
            Self::Ended => "ended",
        }
    }
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct MachineInfo {
    /// The name of its instance.
    pub name: String,
    /// Its state.
    pub state: MachineState,
    /// The process that it is.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// Milliseconds since it was made.
    pub age_milliseconds: u64,
    /// Its vCPUs.
    pub vcpus: u32,
    /// Bytes of RAM.
    pub memory_bytes: u64,
    /// The path of its kernel.
    pub kernel: String,
    /// The absolute path of the UNIX socket by which the host reaches the guest's vsock ports, if it has any: a program
    /// that connects there and writes `CONNECT port` and a line feed is connected once `OK` is answered.
    #[serde(default)]
    pub vsock_socket: Option<String>,
}

/// How a machine is to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Seconds that the guest, which is asked to power off, may take before it is stopped; 0 does not
    /// ask it. If it is left out, the timeout that the machine was started with.
    #[serde(
        default,
        deserialize_with = "whole::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(test, schema(minimum = 0, maximum = 86400))]
    pub timeout_seconds: Option<u32>,
}

/// Where a machine is to be saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SnapshotRequest {
    /// The absolute path of a folder, which is made if it is not there; a snapshot that it has is replaced.
    #[cfg_attr(test, schema(max_length = 4095, pattern = r"^/[^\x00]*$"))]
    pub folder: String,
    /// Save only the memory that differs from the snapshot that the machine was restored from, or else from the last
    /// whole one of it; the other is needed to restore this one.
    #[serde(default)]
    pub diff: bool,
    /// Save most of the memory while the guest runs, so that it stands still for a short time only.
    #[serde(default)]
    pub live: bool,
    /// Stop the machine once it is saved, instead of letting the guest run on.
    #[serde(default)]
    pub stop: bool,
    /// No later snapshot with `diff` builds on this one: they build on the one that they would build on without it, and the
    /// guest's writes are not logged for its sake.
    #[serde(default)]
    pub apart: bool,
}

/// A snapshot that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SnapshotInfo {
    /// The machine now.
    pub machine: MachineInfo,
    /// Microseconds for which the guest stood still, from the request that it pause until it ran again or was stopped.
    pub pause_microseconds: u64,
}

/// Where a machine is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MigrationRequest {
    /// `unix:` and the absolute path of the socket at which the other process waits.
    #[cfg_attr(test, schema(max_length = 4095, pattern = r"^unix:/[^\x00]*$"))]
    pub to: String,
    /// Milliseconds for which the guest is to stand still: it is sent while it runs until the rest takes no longer. If it is
    /// left out, 50.
    #[serde(
        default,
        deserialize_with = "whole::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(test, schema(minimum = 1, maximum = 2000))]
    pub downtime_milliseconds: Option<u32>,
}

/// A machine that has gone to another process, and whose own process ends now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct MigrationInfo {
    /// The machine here, now.
    pub machine: MachineInfo,
    /// Microseconds from the request that the guest pause until the other process had all of it.
    pub pause_microseconds: u64,
    /// How often memory was sent while the guest ran.
    pub rounds: u64,
    /// Bytes of memory that were sent; pages of zeros are none.
    pub sent_bytes: u64,
    /// Whether the other process has said that the guest runs. Otherwise it may run there or nowhere: here it does not.
    pub acknowledged: bool,
}

/// How far a migration has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct MigrationProgress {
    /// Whether one is under way now; the rest is of that one or of the last one.
    pub under_way: bool,
    /// How often memory was sent.
    pub rounds: u64,
    /// Bytes of memory that were sent.
    pub sent_bytes: u64,
    /// Bytes of memory that were left when the last round ended.
    pub left_bytes: u64,
}

/// A paravirtual device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Device {
    /// Its name in the machine, such as `blk0`.
    pub name: String,
    /// Whether a driver of the guest has ever been ready for it.
    pub driven: bool,
    /// How often it could not go on without a reset by the driver.
    pub faults: u64,
    /// Why it cannot go on now.
    pub fault: Option<String>,
    /// Its counters by name, which depend on its kind.
    pub counters: BTreeMap<String, u64>,
    /// Its limits, if it can be limited.
    pub limits: Option<Limits>,
}

/// The limits of a device. A disk has `requests`; a network interface has `receive` and `transmit`,
/// as the guest names them. What a request leaves out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of all requests of a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<FlowLimits>,
    /// Of packets to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive: Option<FlowLimits>,
    /// Of packets from the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transmit: Option<FlowLimits>,
}

/// The limits of one flow; null or nothing means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FlowLimits {
    /// Of bytes.
    #[serde(default)]
    pub bandwidth: Option<Bucket>,
    /// Of requests or packets.
    #[serde(default)]
    pub operations: Option<Bucket>,
}

/// A token bucket: a token is a byte or an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Tokens that come back in the time of `refill_milliseconds`, and the most that are saved up.
    #[serde(deserialize_with = "whole::number")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 1125899906842624_i64))]
    pub size: u64,
    /// Tokens that are there once, on top of `size`.
    #[serde(default, deserialize_with = "whole::number")]
    #[cfg_attr(test, schema(minimum = 0, maximum = 1125899906842624_i64))]
    pub burst: u64,
    /// The time in which an empty bucket becomes full.
    #[serde(default = "a_second", deserialize_with = "whole::number")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 86400000))]
    pub refill_milliseconds: u32,
}

impl Bucket {
    /// The largest `size` and `burst`: 2^50.
    pub const MAX: u64 = 1 << 50;
    /// The longest time of a refill: a day.
    pub const LONGEST: u32 = 86_400_000;
}

fn a_second() -> u32 {
    1000
}

/// How large a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DiskSize {
    /// Bytes, as the guest is told.
    pub size_bytes: u64,
}

/// How large a disk should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DiskResize {
    /// Bytes, whole sectors of the guest's; no less than it has. If it is left out, the guest is told of
    /// the size that the disk has on the host.
    #[serde(
        default,
        deserialize_with = "whole::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(
        test,
        schema(minimum = 512, maximum = 1125899906842624_i64, multiple_of = 512)
    )]
    pub size_bytes: Option<u64>,
}

impl DiskResize {
    /// Unit of `size_bytes`: a sector.
    pub const UNIT: u64 = 512;
    /// The largest `size_bytes`: 2^50.
    pub const MAX: u64 = 1 << 50;
}

/// A memory balloon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Balloon {
    /// Bytes that it should take from the guest.
    pub target_bytes: u64,
    /// Bytes that the guest says it takes.
    pub actual_bytes: u64,
    /// The guest's last memory statistics by name; empty if it never sent any.
    pub statistics: BTreeMap<String, u64>,
}

/// How large a balloon should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BalloonTarget {
    /// Bytes, whole mebibytes, less than the guest has RAM.
    #[serde(deserialize_with = "whole::number")]
    #[cfg_attr(
        test,
        schema(minimum = 0, maximum = 1125899906842624_i64, multiple_of = 1048576)
    )]
    pub target_bytes: u64,
}

impl BalloonTarget {
    /// Unit of `target_bytes`: 1 MiB.
    pub const UNIT: u64 = 1 << 20;
    /// The largest `target_bytes`: 2^50.
    pub const MAX: u64 = 1 << 50;
}

/// A guest's memory, of which some may be plugged and given back while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Memory {
    /// Bytes that it has from the start, and always.
    pub boot_bytes: u64,
    /// Bytes that it may have in all.
    pub maximum_bytes: u64,
    /// Bytes that it should have in all.
    pub target_bytes: u64,
    /// Bytes that it has in all: those from the start, and those that it has plugged.
    pub actual_bytes: u64,
    /// Memory is plugged in multiples of this.
    pub block_bytes: u64,
}

/// How much memory a guest should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MemoryTarget {
    /// Bytes in all: what it has from the start, and whole blocks besides.
    #[serde(deserialize_with = "whole::number")]
    #[cfg_attr(
        test,
        schema(minimum = 0, maximum = 1125899906842624_i64, multiple_of = 4096)
    )]
    pub target_bytes: u64,
}

impl MemoryTarget {
    /// Unit of `target_bytes`: a page.
    pub const UNIT: u64 = 4096;
    /// The largest `target_bytes`: 2^50.
    pub const MAX: u64 = 1 << 50;
}

/// The size of the terminal that shows a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConsoleSize {
    /// Characters in a line.
    #[serde(deserialize_with = "whole::number")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 65535))]
    pub columns: u16,
    /// Lines.
    #[serde(deserialize_with = "whole::number")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 65535))]
    pub rows: u16,
}

/// Something that happened to a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Event {
    /// What: `state` is the first of a stream and says how the machine is, `lost` says how many
    /// events a slow reader has missed; the others are what happened.
    pub kind: String,
    /// Milliseconds since the machine was made.
    pub age_milliseconds: u64,
    /// More of it, in words.
    pub detail: Option<String>,
    /// Of `ended` and `failed`: the exit code of the process, if it has one for that end.
    #[serde(default)]
    pub exit_code: Option<u8>,
}
