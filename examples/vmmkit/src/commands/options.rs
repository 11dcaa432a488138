//! What these commands take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List the guests that run
    List(ListOptions),
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
    Events(OneOptions),
    /// Show the state of every part of a guest's machine, or of one part
    Inspect(InspectOptions),
    /// Write metrics of guests as Prometheus reads them
    Metrics(Whom),
    /// Write the OpenAPI document of the control API
    Openapi,
}

/// The options of `list`.
#[derive(Args, Debug)]
pub(crate) struct ListOptions {
    /// Names only, a line each
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One or more guests.
#[derive(Args, Debug)]
pub(crate) struct Whom {
    /// The guests
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// A guest, likewise; may be given again
    #[arg(long, short, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// All guests
    #[arg(long, conflicts_with_all = ["names", "name", "api_socket"])]
    pub(crate) all: bool,
    /// The guest whose API listens there
    #[arg(value_parser = crate::os_text::path_parser(), long, value_name = "PATH", conflicts_with_all = ["names", "name"])]
    pub(crate) api_socket: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One guest, and what else the command takes.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// The guest, likewise
    #[arg(long, short, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The guest whose API listens there
    #[arg(value_parser = crate::os_text::path_parser(), long, value_name = "PATH", conflicts_with = "name")]
    pub(crate) api_socket: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// One guest, by -n or as it is.
#[derive(Args, Debug)]
pub(crate) struct OneOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest
    #[arg(value_name = "NAME")]
    pub(crate) words: Vec<String>,
}

/// The options of `inspect`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit inspect [OPTIONS] NAME [PART]")]
pub(crate) struct InspectOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest, and a part of its machine: blk0, vcpu0, or a part of that, serial/line_status
    #[arg(value_name = "NAME [PART]")]
    pub(crate) words: Vec<String>,
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
#[command(override_usage = "vmmkit balloon [OPTIONS] NAME [SIZE]")]
pub(crate) struct BalloonOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest, and how large its balloon should be, with a unit M or G
    #[arg(value_name = "NAME [SIZE]")]
    pub(crate) words: Vec<String>,
}

/// The options of `memory`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit memory [OPTIONS] NAME [SIZE]")]
pub(crate) struct MemoryOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest, and how much it should have in all, with a unit M or G
    #[arg(value_name = "NAME [SIZE]")]
    pub(crate) words: Vec<String>,
}

/// The options of `limit`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit limit [OPTIONS] NAME DEVICE [KEY=N|none[,...]]")]
pub(crate) struct LimitOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest; the device, as `vmmkit stat` shows it: blk0, net0; and the limits to change, of a disk
    /// bandwidth=BYTES,iops=N a second, of a network interface
    /// bandwidth=BYTES,packets=N[,receive|transmit]; none instead of a number is no limit
    #[arg(value_name = "NAME DEVICE [KEY=N|none[,...]]")]
    pub(crate) words: Vec<String>,
}

/// The options of `resize`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit resize [OPTIONS] NAME DEVICE [SIZE]")]
pub(crate) struct ResizeOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest; the disk, as `vmmkit stat` shows it: blk0; and how large it should be, with a unit M, G or T, no
    /// less than it is: its file is made so. Without a size the guest is told how large the file or
    /// block device is now
    #[arg(value_name = "NAME DEVICE [SIZE]")]
    pub(crate) words: Vec<String>,
}
