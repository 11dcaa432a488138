//! What these commands take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List the guests that run
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show guests with their devices and what these have done
    Stat(Whom),
    /// Let guests that were created with --paused boot
    Boot(Whom),
    /// Take guests off their vCPUs, until `vmmkit resume`
    Pause(Whom),
    /// Let guests run on
    Resume(Whom),
    /// Reset guests: they boot again
    Reset(Whom),
    /// Press the power button of guests, and do not wait for what comes of it
    PowerButton(Whom),
    /// Ask guests to power off, stop those that take too long (code 3), wait for their end, and say what it was
    Stop(StopOptions),
    /// Show or change how much memory a guest gives back
    Balloon(BalloonOptions),
    /// Show or change how much memory a guest has, if it was run with --memory SIZE,max=SIZE
    Memory(MemoryOptions),
    /// Show or change what a disk or network interface may do a second
    Limit(LimitOptions),
    /// Make a disk larger, or look at its size again, and tell the guest
    Resize(ResizeOptions),
    /// Show what happens to a guest, as it happens
    Events(One),
    /// Show the state of every part of a guest's machine
    Inspect(One),
    /// Write a guest's metrics as Prometheus reads them
    Metrics(One),
    /// Write the OpenAPI document of the control API
    Openapi,
}

/// One or more guests.
#[derive(Args, Debug)]
pub(crate) struct Whom {
    /// The guest; may be given again
    #[arg(long, short, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// All guests
    #[arg(long, conflicts_with_all = ["name", "api_socket"])]
    pub(crate) all: bool,
    /// The guest whose API listens there
    #[arg(value_parser = crate::os_text::path_parser(), long, value_name = "PATH", conflicts_with = "name")]
    pub(crate) api_socket: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One guest.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// The guest
    #[arg(long, short, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The guest whose API listens there
    #[arg(value_parser = crate::os_text::path_parser(), long, value_name = "PATH", conflicts_with = "name")]
    pub(crate) api_socket: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `stop`.
#[derive(Args, Debug)]
pub(crate) struct StopOptions {
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// How long a guest may take, 0 to stop it at once [default: what its --stop-timeout says]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) timeout: Option<String>,
}

/// The options of `balloon`.
#[derive(Args, Debug)]
pub(crate) struct BalloonOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// How large the balloon should be, with a unit M or G
    #[arg(value_name = "SIZE")]
    pub(crate) size: Option<String>,
}

/// The options of `memory`.
#[derive(Args, Debug)]
pub(crate) struct MemoryOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// How much it should have in all, with a unit M or G
    #[arg(value_name = "SIZE")]
    pub(crate) size: Option<String>,
}

/// The options of `limit`.
#[derive(Args, Debug)]
pub(crate) struct LimitOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The device, as `vmmkit stat` shows it: blk0, net0
    #[arg(value_name = "DEVICE")]
    pub(crate) device: String,
    /// The limits to change, of a disk bandwidth=BYTES,iops=N a second, of a network interface
    /// bandwidth=BYTES,packets=N[,receive|transmit]; none instead of a number is no limit
    #[arg(value_name = "KEY=N|none[,...]")]
    pub(crate) limits: Option<String>,
}

/// The options of `resize`.
#[derive(Args, Debug)]
pub(crate) struct ResizeOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The disk, as `vmmkit stat` shows it: blk0
    #[arg(value_name = "DEVICE")]
    pub(crate) device: String,
    /// How large it should be, with a unit M, G or T, no less than it is; its file is made so. Without it,
    /// the guest is told how large the file or block device is now
    #[arg(value_name = "SIZE")]
    pub(crate) size: Option<String>,
}
