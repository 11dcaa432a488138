//! Arguments of these commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// List running guests
    List(ListOptions),
    /// Show guests, their devices and the devices' activity
    Stat(Whom),
    /// Boot guests that were created with --paused
    Boot(Whom),
    /// Pause guests until `vmmkit resume`
    Pause(Whom),
    /// Resume paused guests
    Resume(Whom),
    /// Reset guests: they reboot at once
    Reset(Whom),
    /// Save a guest to a directory, for `vmmkit restore`
    Snapshot(SnapshotOptions),
    /// Move a guest to a `vmmkit receive`, here or on another host that has the same disks; its process here ends then
    ///
    /// Its memory is copied while it runs; then it is paused for the rest. If anything fails before the other side has all
    /// of it, it continues here. Exit code 6 if the other side has taken it and does not answer any more.
    Migrate(MigrateOptions),
    /// Press guests' power buttons, without waiting
    PowerButton(Whom),
    /// Ask guests to power off, stop those that take too long (exit code 3), and report how they ended
    Stop(StopOptions),
    /// Wait until guests end; the exit code is that of their process
    Wait(Whom),
    /// Show or change the size of a guest's balloon
    Balloon(BalloonOptions),
    /// Show or change a guest's total memory (needs --memory SIZE,max=SIZE)
    Memory(MemoryOptions),
    /// Show or change the rate limits of a disk or network interface
    Limit(LimitOptions),
    /// Grow a disk, or reread its size, and notify the guest
    Resize(ResizeOptions),
    /// Attach this terminal to a guest's console; Ctrl-a d leaves, and the guest runs on
    ///
    /// Shows the last screenful and all that follows, until the guest ends; the exit code is then that of its process.
    /// Any number of terminals may show a console; one at a time types, the first. The terminal that a guest was
    /// started from types always. If stdin is a pipe or a file, its bytes are typed.
    Console(ConsoleOptions),
    /// Connect stdin and stdout to a vsock port of a guest (needs --vsock)
    ///
    /// For `ssh -o ProxyCommand='vmmkit connect NAME 22'` and the like. The exit code is 1 where nobody in the guest
    /// listens on the port.
    Connect(ConnectOptions),
    /// Run ssh to a guest, by its vsock port 22: no network is needed
    ///
    /// systemd 256 and newer in a guest has its ssh server there by itself. Words after NAME are ssh's command; other
    /// options of ssh go into its configuration, whose Host is NAME.
    Ssh(SshOptions),
    /// Print the last 64 KiB that a guest printed on its console
    Logs(LogsOptions),
    /// Print a guest's events as they happen
    Events(OneOptions),
    /// Show the state of a guest's machine, or of one part of it
    Inspect(InspectOptions),
    /// Print guests' metrics as Prometheus text
    Metrics(Whom),
    /// Print the OpenAPI document of the control API
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
    /// Show the list again every two seconds
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) watch: bool,
}

/// One or more guests.
#[derive(Args, Debug)]
pub(crate) struct Whom {
    /// The guests
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// A guest; may be repeated
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

/// One guest.
#[derive(Args, Debug)]
pub(crate) struct Guest {
    /// The guest
    #[arg(long, short, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The guest whose API listens there
    #[arg(value_parser = crate::os_text::path_parser(), long, value_name = "PATH", conflicts_with = "name")]
    pub(crate) api_socket: Option<PathBuf>,
}

/// One guest, and what else the command takes.
#[derive(Args, Debug)]
pub(crate) struct One {
    #[command(flatten)]
    pub(crate) guest: Guest,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `console`.
#[derive(Args, Debug)]
pub(crate) struct ConsoleOptions {
    #[command(flatten)]
    pub(crate) one: Guest,
    /// The guest
    #[arg(value_name = "NAME")]
    pub(crate) words: Vec<String>,
    /// Type in the place of the terminal that does now
    #[arg(long)]
    pub(crate) take: bool,
    /// Key before vmmkit's own keys, ctrl-KEY or none [default: ctrl-a]
    #[arg(long, value_name = "KEY")]
    pub(crate) escape: Option<String>,
}

/// The options of `connect`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit connect [OPTIONS] NAME PORT")]
pub(crate) struct ConnectOptions {
    #[command(flatten)]
    pub(crate) one: Guest,
    /// The guest, and the vsock port in it
    #[arg(value_name = "NAME PORT")]
    pub(crate) words: Vec<String>,
}

/// The options of `ssh`.
#[derive(Args, Debug)]
pub(crate) struct SshOptions {
    /// The guest, and the user in it [default: ssh's]
    #[arg(value_name = "[USER@]NAME")]
    pub(crate) destination: String,
    /// A command for the guest, instead of a shell
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) words: Vec<String>,
}

/// The options of `logs`.
#[derive(Args, Debug)]
pub(crate) struct LogsOptions {
    #[command(flatten)]
    pub(crate) one: Guest,
    /// The guest
    #[arg(value_name = "NAME")]
    pub(crate) words: Vec<String>,
    /// Go on with all that follows, until the guest ends
    #[arg(long, short)]
    pub(crate) follow: bool,
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
    /// Time limit for the power-off, 0 to stop at once [default: the guest's --stop-timeout]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) timeout: Option<String>,
}

/// The options of `balloon`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit balloon [OPTIONS] NAME [SIZE]")]
pub(crate) struct BalloonOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest, and the new size of its balloon, with a unit M or G
    #[arg(value_name = "NAME [SIZE]")]
    pub(crate) words: Vec<String>,
}

/// The options of `memory`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit memory [OPTIONS] NAME [SIZE]")]
pub(crate) struct MemoryOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest, and its new total memory, with a unit M or G
    #[arg(value_name = "NAME [SIZE]")]
    pub(crate) words: Vec<String>,
}

/// The options of `limit`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit limit [OPTIONS] NAME DEVICE [KEY=N|none[,...]]")]
pub(crate) struct LimitOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest; the device as shown by `vmmkit stat`, such as blk0; and the limits to change, per second: of a
    /// disk bandwidth=BYTES,iops=N, of a network interface bandwidth=BYTES,packets=N[,receive|transmit]; none
    /// removes a limit
    #[arg(value_name = "NAME DEVICE [KEY=N|none[,...]]")]
    pub(crate) words: Vec<String>,
}

/// The options of `snapshot`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit snapshot [OPTIONS] NAME DIR")]
pub(crate) struct SnapshotOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest; and the directory, which is made if it is not there. A snapshot that is in it is replaced
    #[arg(value_name = "NAME DIR")]
    pub(crate) words: Vec<String>,
    /// Save only the memory that differs from the snapshot that the guest was restored from, or else from the last
    /// whole one; that one is needed to restore this one
    #[arg(long)]
    pub(crate) diff: bool,
    /// Save most of the memory while the guest runs, so that it is paused for a short time only
    #[arg(long)]
    pub(crate) live: bool,
    /// Stop the guest once it is saved: it is to go on from there
    #[arg(long)]
    pub(crate) stop: bool,
}

/// The options of `migrate`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit migrate [OPTIONS] --to unix:PATH|exec:COMMAND NAME")]
pub(crate) struct MigrateOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest
    #[arg(value_name = "NAME")]
    pub(crate) words: Vec<String>,
    /// Where it goes: the socket of `vmmkit receive unix:PATH`, or a shell command that carries its stdin and stdout to a
    /// `vmmkit receive -`
    #[arg(long, value_name = "unix:PATH|exec:COMMAND")]
    pub(crate) to: String,
    /// Time for which the guest may be paused, in milliseconds: memory is copied until the rest takes no longer
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) downtime: u32,
}

/// The options of `resize`.
#[derive(Args, Debug)]
#[command(override_usage = "vmmkit resize [OPTIONS] NAME DEVICE [SIZE]")]
pub(crate) struct ResizeOptions {
    #[command(flatten)]
    pub(crate) one: One,
    /// The guest; the disk as shown by `vmmkit stat`, such as blk0; and its new size, with a unit M, G or T, which
    /// must not be smaller: the file is grown. Without a size, the guest is notified of the file's or block
    /// device's present size
    #[arg(value_name = "NAME DEVICE [SIZE]")]
    pub(crate) words: Vec<String>,
}
