//! The API's sockets on the machine's event loop, until the first client comes.

use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use parking_lot::Mutex;
use vmmkit_control::{Api, Controlled, Server};
use vmmkit_host_io::Listener;

/// A server that may be started later.
pub type ServerSlot = Arc<Mutex<Option<Server>>>;

/// Waits for the first client, and starts the server then: a machine that nobody talks to has no
/// thread for it, and no runtime.
pub struct Door {
    places: Vec<Arc<Listener>>,
    machine: Arc<dyn Controlled>,
    server: ServerSlot,
    on_failure: Box<dyn Fn(&std::io::Error) + Send>,
    /// It has been said that the API cannot be served.
    has_complained: bool,
}

impl Door {
    /// A door to `machine` at `places`, whose server is put into `server`. `on_failure` is told, once, that it could
    /// not be started; it is tried again.
    pub fn new(
        places: Vec<Arc<Listener>>,
        machine: Arc<dyn Controlled>,
        server: ServerSlot,
        on_failure: impl Fn(&std::io::Error) + Send + 'static,
    ) -> Self {
        Self {
            places,
            machine,
            server,
            on_failure: Box::new(on_failure),
            has_complained: false,
        }
    }

    /// The host may have what it takes again in a second.
    fn complain(&mut self, error: &std::io::Error) {
        for place in &self.places {
            place.rest();
        }
        if !std::mem::replace(&mut self.has_complained, true) {
            (self.on_failure)(error);
        }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl MutEventSubscriber for Door {
    fn process(&mut self, _events: Events, ops: &mut EventOps<'_>) {
        if self.places.is_empty() {
            return;
        }
        // The client waits in the socket's queue meanwhile.
        match Server::start(Api::new(self.machine.clone()), self.places.clone()) {
            Ok(server) => {
                for place in self.places.drain(..) {
                    let _ = ops.remove(Events::empty(&*place));
                }
                *self.server.lock() = Some(server);
            }
            Err(error) => self.complain(&error),
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        for place in &self.places {
            // Refused only by a host out of memory: nobody is let in then.
            let _ = ops.add(Events::new(&**place, EventSet::IN));
        }
    }
}
