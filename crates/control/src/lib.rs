//! The control API of a VMM: HTTP/1.1 and JSON over a UNIX socket, and the folder in which one
//! user's machines are found by name.
//!
//! It knows no machine and no hypervisor: whoever has a machine implements [`Controlled`], and
//! everything here is tested without one. It is not a daemon and not a remote interface: each
//! machine serves its own socket, to its own user. Start with [`Server`]; [`RuntimeFolder`] gives a
//! machine its name and its socket, and [`Client`] is the other end. A VMM with an API of its own brings a
//! [`Table`], and has the same server for it: see [`Service`].
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use vmmkit_control::{Api, Client, MachineInfo, MachineState, Server};
//! use vmmkit_control::fake::FakeMachine;
//! use vmmkit_host_io::Listener;
//!
//! # let folder = std::env::temp_dir().join(format!("vmmkit-control-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let socket = folder.join("api.sock");
//! let listener = Arc::new(Listener::bind(&socket)?);
//! let server = Server::start(Api::new(Arc::new(FakeMachine::new())), vec![listener])?;
//!
//! let client = Client::new(&socket);
//! let machine: MachineInfo = client.post("/v1/machine/pause", None)?;
//! assert_eq!(machine.state, MachineState::Paused);
//! server.stop(Duration::from_secs(1));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod client;
mod controlled;
pub mod fake;
mod instances;
mod model;
mod openapi;
mod problem;
mod routes;
mod server;
mod table;
mod whole;

pub use client::{Client, ClientError, ConsoleInput, ConsoleOutput, EventLines};
pub use controlled::{Cause, Controlled, EventSource, Migrated, Refusal, Saving};
pub use instances::{Entry, Instance, InstanceError, RuntimeFolder, is_name};
pub use model::{
    Balloon, BalloonTarget, Bucket, ConsoleSize, Device, DiskResize, DiskSize, Event, FlowLimits,
    Limits, MachineInfo, MachineState, Memory, MemoryTarget, MigrationInfo, MigrationProgress,
    MigrationRequest, SnapshotInfo, SnapshotRequest, StopRequest,
};
pub use openapi::document;
pub use problem::Problem;
pub use server::{Api, Limited, Server, Service};
pub use table::{Answer, Asked, Fault, Table};
