//! The files that an image names.

use std::fs::File;
use std::io;

use imago::format::gate::ImplicitOpenGate;
use imago::storage::{Storage, StorageOpenOptions};
use imago::{FormatAccess, FormatDriverBuilder};

use super::header::check_plain;
use crate::blk::raw::check_kind;

/// The most images behind each other.
const DEPTH: u32 = 32;

/// Opens what an image names: files and block devices, and images behind each other up to a bound:
/// one may name itself.
pub(super) struct Chain {
    left: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { left: DEPTH }
    }
}

impl<S: Storage + 'static> ImplicitOpenGate<S> for Chain {
    fn open_format<F: FormatDriverBuilder<S>>(
        &mut self,
        builder: F,
    ) -> io::Result<FormatAccess<S>> {
        let Some(left) = self.left.checked_sub(1) else {
            let reason = format!("more than {DEPTH} backing files are behind each other");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        };
        Ok(FormatAccess::new(builder.open(Self { left })?))
    }

    fn open_storage(&mut self, options: StorageOpenOptions) -> io::Result<S> {
        if let Some(path) = options.get_filename() {
            // To open a FIFO would wait for ever.
            check_kind(path).map_err(io::Error::other)?;
            check_plain(&File::open(path)?)?;
        }
        S::open(options)
    }
}
