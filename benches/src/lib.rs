//! Benches of vmmkit's hot paths, and the yardsticks beside them. This is not a library for others:
//! `benches/` holds the criterion benches, `src/bin/` the programs that `tools/bench` runs whole.
//! Start with [`micro_guest`], the guests that both vmmkit and the bare KVM loop run.

pub mod micro_guest;
