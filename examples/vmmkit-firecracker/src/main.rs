//! The process: its API, its one machine, and the exit code that the machine's end means.
#![forbid(unsafe_code)]

mod drive;
mod faults;
mod machine;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use vmmkit_control::{Limited, Server, Service};
use vmmkit_firecracker::arguments::{Arguments, EXIT_ARGUMENTS, HELP, Wish, parse};
use vmmkit_firecracker::body::Logger;
use vmmkit_firecracker::config_file::ConfigFile;
use vmmkit_firecracker::log::Log;
use vmmkit_firecracker::metrics::{INTERVAL, Metrics};
use vmmkit_firecracker::resources::Resources;
use vmmkit_firecracker::snapshot::Origin;
use vmmkit_firecracker::{API_VERSION, Firecracker, Guest, Launcher, chain, log};
use vmmkit_host_io::{Listener, ThreadRole, ThreadSpec};
use vmmkit_vmm::{Outcome, RunError};

/// The exit code where something fails.
const EXIT_GENERIC: u8 = 1;
/// That of a configuration file that cannot be.
const EXIT_CONFIGURATION: u8 = 152;
/// How long the last answers may take.
const GRACE: Duration = Duration::from_millis(100);
/// How long a client may be silent between two requests.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match parse(&words) {
        Ok(Wish::Run(arguments)) => run(*arguments).into(),
        Ok(Wish::Version) => say(&format!(
            "Firecracker v{API_VERSION}\n\nvmmkit-firecracker {}\n",
            env!("CARGO_PKG_VERSION")
        )),
        Ok(Wish::Help) => say(HELP),
        Err(reason) => {
            let _ = writeln!(
                io::stderr(),
                "Arguments parsing error: {reason}\n\nFor more information try --help."
            );
            EXIT_ARGUMENTS.into()
        }
    }
}

fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => EXIT_GENERIC.into(),
    }
}

/// A failure, and its exit code.
struct Failure(u8, String);

fn run(arguments: Arguments) -> u8 {
    let log = Arc::new(Log::new(&arguments.id));
    let ended = serve(arguments, &log);
    let code = match ended {
        Ok(code) => code,
        Err(Failure(code, reason)) => {
            log!(log, Error, "{reason}");
            // A log in a file is not where its user looks first.
            let _ = writeln!(io::stderr(), "Error: {reason}");
            code
        }
    };
    match code {
        0 => log!(log, Info, "Firecracker exiting successfully. exit_code=0"),
        code => log!(
            log,
            Error,
            "Firecracker exiting with error. exit_code={code}"
        ),
    }
    code
}

/// The orders to the main thread, which starts the machine and ends the process.
enum Order {
    /// Start the machine of this configuration, or of a snapshot, and answer.
    Launch(
        Box<Resources>,
        Option<Arc<Origin>>,
        Sender<Result<Arc<dyn Guest>, String>>,
    ),
    /// End for this reason, of which a client is told.
    GiveUp(String),
    /// The configuration file has been gone through.
    Booted(Result<(), String>),
    /// The machine has ended.
    Ended(Result<Outcome, RunError>),
}

fn serve(arguments: Arguments, log: &Arc<Log>) -> Result<u8, Failure> {
    let generic = |reason| Failure(EXIT_GENERIC, reason);
    let metrics = Arc::new(Metrics::default());
    prepare(&arguments, log, &metrics).map_err(generic)?;
    log!(log, Info, "Running Firecracker v{API_VERSION}");
    for option in &arguments.ignored {
        log!(log, Warning, "--{option} changes nothing in this VMM.");
    }
    let file = arguments
        .config_file
        .as_deref()
        .map(ConfigFile::read)
        .transpose();
    let file = file.map_err(|reason| Failure(EXIT_CONFIGURATION, reason))?;
    let listener = arguments
        .api_sock
        .as_deref()
        .map(listen)
        .transpose()
        .map_err(generic)?;
    let (orders, waiting) = channel();
    let resources = Resources {
        pci: arguments.enable_pci,
        ..Resources::default()
    };
    let launcher = Arc::new(OnMain(orders.clone()));
    let id = &arguments.id;
    let table = Firecracker::new(id, resources, launcher, log.clone(), metrics.clone());
    let mut process = Process {
        table: Arc::new(table),
        log: log.clone(),
        orders,
        waiting,
        pending: listener,
        server: None,
        limits: Limited {
            body_bytes: arguments.max_payload,
            patience: PATIENCE,
            ..Limited::default()
        },
    };
    metrics.started(started(arguments.times[0]), arguments.times[2]);
    process.flush();
    match file {
        Some(file) => process.boot(file)?,
        None => process.open()?,
    }
    let code = process.run()?;
    process.flush();
    if let Some(server) = process.server.take() {
        server.stop(GRACE);
    }
    Ok(code)
}

/// The log and the metrics of the command line.
fn prepare(arguments: &Arguments, log: &Log, metrics: &Metrics) -> Result<(), String> {
    log.configure(&Logger {
        log_path: arguments.log_path.clone(),
        level: arguments.level,
        show_level: Some(arguments.show_level),
        show_log_origin: Some(arguments.show_log_origin),
        module: arguments.module.clone(),
    })?;
    let path = arguments.metrics_path.as_deref();
    path.map_or(Ok(()), |path| metrics.open(path))
}

/// The socket of the API. One that is there already may be another process's.
fn listen(path: &Path) -> Result<Arc<Listener>, String> {
    let shown = path.display();
    if path.symlink_metadata().is_ok() {
        return Err(format!(
            "Failed to open the API socket at: {shown}. Check that it is not already used."
        ));
    }
    let listener = Listener::bind(path);
    let listener = listener.map_err(|error| format!("The API socket cannot be made: {error}"))?;
    Ok(Arc::new(listener))
}

/// Microseconds since `start` by the monotonic clock; 0 where that is not known.
fn started(start: u64) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = now
        .tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(now.tv_nsec / 1000);
    let now = u64::try_from(now).unwrap_or_default();
    if start > 0 {
        now.saturating_sub(start)
    } else {
        0
    }
}

struct Process {
    table: Arc<Firecracker>,
    log: Arc<Log>,
    orders: Sender<Order>,
    waiting: Receiver<Order>,
    /// The socket, until it is served.
    pending: Option<Arc<Listener>>,
    server: Option<Server>,
    limits: Limited,
}

impl Process {
    /// Serves the API, if there is one.
    fn open(&mut self) -> Result<(), Failure> {
        let Some(listener) = self.pending.take() else {
            return Ok(());
        };
        let path = listener.path().to_owned();
        log!(
            self.log,
            Info,
            "Listening on API socket ({}).",
            path.display()
        );
        // Its thread may have answered before this one runs again.
        log!(self.log, Info, "API server started.");
        let service = Service::new(self.table.clone(), self.limits).on_thread("fc_api");
        let server = Server::start(service, vec![listener]);
        let failed = |error| Failure(EXIT_GENERIC, format!("The API cannot be served: {error}"));
        self.server = Some(server.map_err(failed)?);
        Ok(())
    }

    /// Has the machine of `file` made, which this thread starts.
    fn boot(&self, file: ConfigFile) -> Result<(), Failure> {
        let (table, orders) = (self.table.clone(), self.orders.clone());
        let boot = ThreadSpec::new(ThreadRole::Helper, "fc_boot").spawn(move || {
            // The main thread waits for it.
            let _ = orders.send(Order::Booted(table.boot(file)));
        });
        let failed = |error| Failure(EXIT_GENERIC, format!("There is no thread: {error}"));
        boot.map(drop).map_err(failed)
    }

    /// Does what it is ordered to until the machine has ended; the exit code.
    fn run(&mut self) -> Result<u8, Failure> {
        loop {
            match self.waiting.recv_timeout(INTERVAL) {
                Ok(Order::Launch(resources, origin, reply)) => {
                    // Whoever asked is a request, which may be gone.
                    let _ = reply.send(self.launch(&resources, origin.as_deref()));
                }
                Ok(Order::GiveUp(reason)) => {
                    log!(self.log, Error, "{reason}");
                    return Ok(EXIT_GENERIC);
                }
                Ok(Order::Booted(Ok(()))) => {
                    log!(
                        self.log,
                        Info,
                        "Successfully started microvm that was configured from one single json"
                    );
                    self.flush();
                    self.open()?;
                }
                Ok(Order::Booted(Err(reason))) => return Err(Failure(EXIT_CONFIGURATION, reason)),
                Ok(Order::Ended(Ok(outcome))) => {
                    log!(self.log, Info, "Vmm is stopping: {outcome:?}.");
                    return Ok(0);
                }
                Ok(Order::Ended(Err(error))) => {
                    return Err(Failure(EXIT_GENERIC, chain(&error)));
                }
                Err(RecvTimeoutError::Timeout) => self.flush(),
                // This thread has a sender itself.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    }

    /// Writes the metrics, if there is a file for them.
    fn flush(&self) {
        let _ = self.table.flush_metrics();
    }

    fn launch(
        &self,
        resources: &Resources,
        origin: Option<&Origin>,
    ) -> Result<Arc<dyn Guest>, String> {
        let built = machine::build(resources, origin, &self.log)?;
        if origin.is_some_and(|origin| !origin.runs) {
            built.machine.handle().pause();
        }
        let machine = built.machine.start().map_err(|error| chain(&error))?;
        let orders = self.orders.clone();
        let wait = ThreadSpec::new(ThreadRole::Helper, "fc_wait").spawn(move || {
            let _ = orders.send(Order::Ended(machine.wait()));
        });
        wait.map_err(|error| format!("There is no thread: {error}"))?;
        Ok(built.guest)
    }
}

/// Has the main thread start the machine.
struct OnMain(Sender<Order>);

impl Launcher for OnMain {
    fn launch(
        &self,
        resources: &Resources,
        origin: Option<&Arc<Origin>>,
    ) -> Result<Arc<dyn Guest>, String> {
        let (reply, answer) = channel();
        let order = Order::Launch(Box::new(resources.clone()), origin.cloned(), reply);
        let ends = |_| "This process ends.".to_owned();
        self.0
            .send(order)
            .map_err(|_| "This process ends.".to_owned())?;
        answer.recv().map_err(ends)?
    }
    fn give_up(&self, reason: &str) {
        // Without a main thread the process has ended.
        let _ = self.0.send(Order::GiveUp(reason.to_owned()));
    }
}
