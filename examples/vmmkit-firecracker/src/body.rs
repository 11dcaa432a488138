//! The bodies of requests, which are the sections of the configuration file too: Firecracker's names and defaults.
//! All of them are a client's.

use serde::{Deserialize, Serialize};

/// `PUT /actions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// The action.
    pub action_type: ActionType,
}

/// A kind of action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionType {
    /// Write the metrics.
    FlushMetrics,
    /// Boot.
    InstanceStart,
    /// Press these keys.
    SendCtrlAltDel,
}

/// `PATCH /vm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// The wanted state.
    pub state: VmState,
}

/// A state that a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmState {
    /// Its vCPUs stand still.
    Paused,
    /// They run.
    Resumed,
}

/// `PUT /boot-source`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSource {
    /// The kernel.
    pub kernel_image_path: String,
    /// The initial RAM disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<String>,
    /// The kernel's command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
}

/// `PUT /machine-config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// 1 to 32.
    pub vcpu_count: u32,
    /// Memory, in MiB.
    pub mem_size_mib: u32,
    /// Two vCPUs are the threads of a core.
    #[serde(default)]
    pub smt: bool,
    /// A CPU of Firecracker's making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<String>,
    /// Log the pages that are written.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// The pages of its memory.
    #[serde(default)]
    pub huge_pages: HugePages,
}

/// `PATCH /machine-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MachineConfigUpdate {
    /// As in [`MachineConfig`], and so are the others.
    pub vcpu_count: Option<u32>,
    /// Memory, in MiB.
    pub mem_size_mib: Option<u32>,
    /// Threads.
    pub smt: Option<bool>,
    /// A CPU.
    pub cpu_template: Option<String>,
    /// Log.
    pub track_dirty_pages: Option<bool>,
    /// Pages.
    pub huge_pages: Option<HugePages>,
}

/// The size of the host's pages behind memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HugePages {
    /// The usual one.
    #[default]
    None,
    /// Huge pages where the host can give them.
    Transparent,
    /// 2 MiB, of the host's reserve.
    #[serde(rename = "2M")]
    Of2Mib,
}

/// `PUT /drives/{drive_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// Its name.
    pub drive_id: String,
    /// The guest boots from it.
    pub is_root_device: bool,
    /// The partition to boot from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partuuid: Option<String>,
    /// The meaning of a flush.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_type: Option<CacheType>,
    /// The guest only reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_read_only: Option<bool>,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<String>,
    /// Its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
    /// The engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_engine: Option<IoEngine>,
    /// The socket of a vhost-user back end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
}

/// `PATCH /drives/{drive_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveUpdate {
    /// Its name.
    pub drive_id: String,
    /// Another image.
    #[serde(default)]
    pub path_on_host: Option<String>,
    /// Other limits.
    #[serde(default)]
    pub rate_limiter: Option<RateLimiter>,
}

/// The meaning of a flush of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheType {
    /// The guest need not be offered one.
    Unsafe,
    /// It reaches the host's disk.
    Writeback,
}

/// The engine of a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoEngine {
    /// System calls.
    Sync,
    /// io_uring.
    Async,
}

/// Limits of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimiter {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// Operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

/// One limit. A size or time of 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBucket {
    /// Tokens.
    pub size: u64,
    /// Tokens on top of it, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
    /// Milliseconds in which they come back.
    pub refill_time: u64,
}

/// `PUT /network-interfaces/{iface_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// Its name.
    pub iface_id: String,
    /// The tap.
    pub host_dev_name: String,
    /// The guest's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_mac: Option<String>,
    /// The guest's MTU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Limits to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits from the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// `PATCH /network-interfaces/{iface_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterfaceUpdate {
    /// Its name.
    pub iface_id: String,
    /// Limits to the guest.
    #[serde(default)]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits from the guest.
    #[serde(default)]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// `PUT /vsock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// Deprecated.
    #[serde(default, skip_serializing)]
    pub vsock_id: Option<String>,
    /// The guest's address: at least 3.
    pub guest_cid: u32,
    /// The socket of the host.
    pub uds_path: String,
}

/// `PUT /entropy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entropy {
    /// Its limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// `PUT /serial`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serial {
    /// The file that it is written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_out_path: Option<String>,
    /// Its limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<TokenBucket>,
}

/// `PUT /balloon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balloon {
    /// Its size, in MiB.
    pub amount_mib: u32,
    /// The guest may take pages back.
    pub deflate_on_oom: bool,
    /// Seconds between statistics; 0 for none.
    #[serde(default)]
    pub stats_polling_interval_s: u16,
    /// The guest says which pages are free where it is asked to.
    #[serde(default)]
    pub free_page_hinting: bool,
    /// The guest says which pages are free.
    #[serde(default)]
    pub free_page_reporting: bool,
}

/// `PATCH /balloon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonUpdate {
    /// Its size, in MiB.
    pub amount_mib: u32,
}

/// `PATCH /balloon/statistics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonStatisticsUpdate {
    /// Seconds between statistics.
    pub stats_polling_interval_s: u16,
}

/// `PUT /logger`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logger {
    /// A file or FIFO.
    pub log_path: Option<String>,
    /// The least of what is written.
    pub level: Option<Level>,
    /// Lines have their level.
    pub show_level: Option<bool>,
    /// Lines have the place in the source.
    pub show_log_origin: Option<bool>,
    /// Lines of this part alone.
    pub module: Option<String>,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing is written.
    #[serde(alias = "OFF", alias = "off")]
    Off,
    /// It has failed.
    #[serde(alias = "ERROR", alias = "error")]
    Error,
    /// It may.
    #[serde(
        alias = "WARNING",
        alias = "warning",
        alias = "Warn",
        alias = "WARN",
        alias = "warn"
    )]
    Warning,
    /// It is so.
    #[default]
    #[serde(alias = "INFO", alias = "info")]
    Info,
    /// For who looks for a fault.
    #[serde(alias = "DEBUG", alias = "debug")]
    Debug,
    /// All.
    #[serde(alias = "TRACE", alias = "trace")]
    Trace,
}

/// `PUT /metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// A file or FIFO.
    pub metrics_path: String,
}
