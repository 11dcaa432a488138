//! `vmmkit`: boots a Linux guest as one ordinary process.
//!
//! A thin binary over the vmmkit crates: text in (`cli`, `config_file`, `options`, `settings`), a machine out
//! (`run`), and an exit code that means something (`exit_code`).
#![forbid(unsafe_code)]

use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;

use crate::cli::{Action, Parsed};
use crate::failure::Failure;

mod boot_files;
mod build_failure;
mod cli;
mod clones;
mod commands;
mod config_file;
mod consumption;
mod control;
mod cpu;
mod deadline;
mod detach;
mod device_failure;
mod diagnosis;
mod disk_failure;
mod doctor;
mod dump;
mod ending;
mod exit_code;
mod failure;
mod files;
mod firmware_search;
mod follow;
mod gdb;
mod generate;
mod hand_over;
mod host;
mod inherited;
mod kernel_search;
mod last_resort;
mod load_advice;
mod log;
mod manual;
mod messages;
mod news;
mod options;
mod os_text;
mod outcome;
mod own_guest;
mod passt;
mod private;
mod progress;
mod receiving;
mod remote;
mod reports;
mod root;
mod run;
mod sandbox;
mod sandbox_choice;
mod saved_files;
mod saving;
mod settings;
mod snapshot;
mod source;
mod startup;
mod usage;
mod wire;

fn main() -> ExitCode {
    reports::note_start();
    vmmkit_host_io::share_one_heap();
    vmmkit_host_io::start_with_clean_signals();
    panic::set_hook(Box::new(on_panic));
    match panic::catch_unwind(act) {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => failure.report(),
        // The hook has said what there is to say.
        Err(_) => exit_code::HOST_ERROR.into(),
    }
}

fn act() -> Result<ExitCode, Failure> {
    match cli::parse()? {
        Parsed::Text(text) => generate::write(text.as_bytes()),
        Parsed::Action(Action::Run(options)) => run::run(options.0),
        Parsed::Action(Action::Restore {
            folder,
            count: None,
            options,
        }) => run::run(snapshot::restoring(&folder, options.0)),
        Parsed::Action(Action::Restore {
            folder,
            count: Some(count),
            options,
        }) => clones::restore(&folder, &count, options.0),
        Parsed::Action(Action::Receive { from, options }) => {
            receiving::receive(from.as_deref(), options.0)
        }
        Parsed::Action(Action::Fork { guest, options }) => clones::fork(&guest, options.0),
        Parsed::Action(Action::Cpu { action }) => cpu::act(action),
        Parsed::Action(Action::Doctor(options)) => doctor::doctor(&options),
        Parsed::Action(Action::Control(command)) => commands::run(command),
        Parsed::Action(Action::Completions { shell }) => generate::completions(shell),
        Parsed::Action(Action::Man { out: Some(out), .. }) => {
            manual::write(&out).map(|()| exit_code::SUCCESS.into())
        }
        Parsed::Action(Action::Man { command, .. }) => {
            generate::write(&manual::page(command.as_deref())?)
        }
        Parsed::Action(Action::Version) => {
            generate::write(cli::command().render_version().as_bytes())
        }
    }
}

/// Gives the terminal back first, so that the message can be read.
fn on_panic(panic: &PanicHookInfo<'_>) {
    vmmkit_host_io::restore_all();
    let thread = std::thread::current();
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    messages::say(&format!(
        "error: internal error in thread {} at {place}: {message}\n  \
         next: this is a bug in vmmkit; please report it with the command line",
        thread.name().unwrap_or("without a name")
    ));
}
