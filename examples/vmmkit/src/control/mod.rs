//! The running machine for others: by its name among the user's machines, and by its API.

mod door;
mod guest;
mod presence;

pub(crate) use door::Door;
pub(crate) use guest::Guest;
pub(crate) use presence::{Choice, Presence};
