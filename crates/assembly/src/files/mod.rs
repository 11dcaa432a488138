//! The files that a specification names: what each is for, and how a start that fails leaves them as they were.

mod named;
mod outputs;
mod ram;
mod roles;
mod unfinished;

pub use named::{FileOwner, device_files, machine_files};
pub use outputs::{OutputError, Outputs};
pub use ram::RamFile;
pub use roles::{FileFault, NamedFile, Role, check_files};
pub use unfinished::Unfinished;
