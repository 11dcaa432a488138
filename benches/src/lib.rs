//! Benches of vmmkit's hot paths, and the yardsticks beside them. This is not a library for others:
//! `benches/` holds the benches, `src/bin/` the programs that `tools/bench` runs whole. Start with
//! [`micro_guest`], the guests that both vmmkit and the bare KVM loop run, or with [`driver`], which
//! drives a paravirtual device without a guest.

pub mod driver;
pub mod micro_guest;
pub mod side_by_side;
