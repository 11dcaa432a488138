//! Message-signalled interrupts: what a device may send, without knowing who delivers it.

use std::fmt;

use parking_lot::{Mutex, MutexGuard};

/// A message-signalled interrupt: what a device writes (Intel SDM vol. 3, 11.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsiMessage {
    /// The address written.
    pub address: u64,
    /// The data written.
    pub data: u32,
}

/// One message-signalled interrupt, handed to the device that owns it. Any thread may call it.
pub trait MsiVector: Send + Sync {
    /// From now on a signal is delivered as `message`; without one it is kept, and several are kept
    /// as one. A signal that was kept is delivered now. When a call without a message has returned,
    /// nothing is delivered any more.
    fn connect(&self, message: Option<MsiMessage>);

    /// Interrupts the guest, or is kept. It does not block.
    fn signal(&self);

    /// Whether a signal is kept.
    fn is_pending(&self) -> bool;

    /// Forgets a signal that is kept.
    fn clear(&self);
}

/// A vector that hands its messages to a function, for back ends whose interrupt controllers take
/// messages one by one, and for tests.
pub struct MessageVector {
    deliver: Box<dyn Fn(MsiMessage) + Send + Sync>,
    /// Held while a message is delivered, so that a vector which was disconnected stays silent.
    state: Mutex<VectorState>,
}

#[derive(Debug, Default)]
struct VectorState {
    message: Option<MsiMessage>,
    is_pending: bool,
}

impl MessageVector {
    /// A vector that is not connected. `deliver` must not call the vector.
    pub fn new(deliver: impl Fn(MsiMessage) + Send + Sync + 'static) -> Self {
        Self {
            deliver: Box::new(deliver),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, VectorState> {
        self.state.lock()
    }
}

impl MsiVector for MessageVector {
    fn connect(&self, message: Option<MsiMessage>) {
        let mut state = self.state();
        state.message = message;
        if let (Some(message), true) = (message, state.is_pending) {
            state.is_pending = false;
            (self.deliver)(message);
        }
    }

    fn signal(&self) {
        let mut state = self.state();
        match state.message {
            Some(message) => (self.deliver)(message),
            None => state.is_pending = true,
        }
    }

    fn is_pending(&self) -> bool {
        self.state().is_pending
    }

    fn clear(&self) {
        self.state().is_pending = false;
    }
}

impl fmt::Debug for MessageVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageVector")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_signalled_without_a_message_comes_once_with_it() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let vector = MessageVector::new(move |message| sink.lock().push(message.data));
        let message = |data| MsiMessage { address: 0, data };

        vector.signal();
        vector.signal();
        assert!(vector.is_pending());
        vector.connect(Some(message(1)));
        vector.signal();
        vector.connect(None);
        vector.signal();
        vector.clear();
        vector.connect(Some(message(2)));

        assert_eq!(*seen.lock(), [1, 1]);
        assert!(!vector.is_pending());
    }
}
