//! Firecracker's front end on the vmmkit crates: its command line, configuration file and API.
//!
//! [`Firecracker`] is the table of its API, for [`vmmkit_control::Service`]; it makes a
//! [`MachineSpec`](vmmkit_machine_spec::MachineSpec) of what clients ask for, and has a [`Launcher`] start it. The program is
//! a machine and a process around it. What this VMM does not have is refused by the name of its field.
#![forbid(unsafe_code)]

use std::error::Error;

pub mod api;
pub mod arguments;
pub mod body;
mod check;
pub mod clock;
pub mod config_file;
pub mod guest;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod resources;
pub mod sink;
pub mod snapshot;
pub mod spec;

pub use api::Firecracker;
pub use guest::{Guest, Launcher};

/// An error and its causes, as one sentence.
pub fn chain(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some say their cause themselves.
        if !sentence.ends_with(&next) {
            sentence = format!("{sentence}: {next}");
        }
        cause = error.source();
    }
    sentence
}

/// The version of Firecracker whose API this is.
pub const API_VERSION: &str = "1.14.0";
/// The name of the program that clients see.
pub const APP_NAME: &str = "Firecracker";
