//! Interrupt lines: what a device may raise, without knowing who delivers it.

use std::fmt;
use std::sync::Arc;

/// A global system interrupt: the input pin of the platform's interrupt controller
/// (ACPI 6.5, section 5.2.14). GSIs 0 to 15 are the ISA lines on a PC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gsi(pub u32);

impl fmt::Display for Gsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GSI {}", self.0)
    }
}

/// Delivers line levels to an interrupt controller. Back ends implement it; a failure of the
/// host is theirs to count and report, as a device has no use for it.
pub trait LineDriver: Send + Sync {
    /// Sets the level of the line `gsi`. Setting the level it already has does nothing.
    fn set_level(&self, gsi: Gsi, high: bool);
}

/// One interrupt line, handed to the device that owns it.
///
/// Any thread may call it; the last level set wins. A device that is not wired to anything holds
/// [`IrqLine::unconnected`].
#[derive(Clone)]
pub struct IrqLine {
    driver: Arc<dyn LineDriver>,
    gsi: Gsi,
}

impl IrqLine {
    /// The line `gsi` as driven by `driver`.
    pub fn new(driver: Arc<dyn LineDriver>, gsi: Gsi) -> Self {
        Self { driver, gsi }
    }

    /// A line that leads nowhere.
    pub fn unconnected() -> Self {
        struct Nowhere;
        impl LineDriver for Nowhere {
            fn set_level(&self, _gsi: Gsi, _high: bool) {}
        }
        Self::new(Arc::new(Nowhere), Gsi(u32::MAX))
    }

    /// The pin this line leads to.
    pub fn gsi(&self) -> Gsi {
        self.gsi
    }

    /// Sets the level of the line.
    pub fn set_level(&self, high: bool) {
        self.driver.set_level(self.gsi, high);
    }

    /// Raises and lowers the line: one edge.
    pub fn pulse(&self) {
        self.set_level(true);
        self.set_level(false);
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IrqLine").field(&self.gsi).finish()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(Gsi, bool)>>);

    impl LineDriver for Recorder {
        fn set_level(&self, gsi: Gsi, high: bool) {
            self.0.lock().push((gsi, high));
        }
    }

    #[test]
    fn a_pulse_is_high_then_low_on_the_line_it_was_made_for() {
        let recorder = Arc::new(Recorder::default());
        IrqLine::new(recorder.clone(), Gsi(4)).pulse();
        assert_eq!(*recorder.0.lock(), [(Gsi(4), true), (Gsi(4), false)]);
    }

    #[test]
    fn an_unconnected_line_may_be_set() {
        IrqLine::unconnected().set_level(true);
    }
}
