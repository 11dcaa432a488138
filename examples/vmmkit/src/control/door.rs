//! The API's sockets on the machine's event loop, until the first client comes.

use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_control::{Api, Listening, Server};

use super::Guest;
use super::presence::ServerSlot;
use crate::messages;

/// Waits for the first client, and starts the server then: a machine that nobody talks to has no
/// thread for it, and no runtime.
pub(crate) struct Door {
    places: Vec<Listening>,
    guest: Arc<Guest>,
    server: ServerSlot,
}

impl Door {
    /// A door to `guest` at `places`.
    pub(crate) fn new(places: Vec<Listening>, guest: Arc<Guest>, server: ServerSlot) -> Self {
        Self {
            places,
            guest,
            server,
        }
    }
}

impl MutEventSubscriber for Door {
    fn process(&mut self, _events: Events, ops: &mut EventOps<'_>) {
        for place in &self.places {
            let _ = ops.remove(Events::empty(place.listener()));
        }
        let places = std::mem::take(&mut self.places);
        if places.is_empty() {
            return;
        }
        // The client waits in the socket's queue meanwhile.
        match Server::start(Api::new(self.guest.clone()), places) {
            Ok(server) => {
                let mut slot = self.server.lock();
                *slot = Some(server);
            }
            Err(error) => messages::say(&format!(
                "warning: the control API cannot be served: {error}\n  next: raise the limits of \
                 processes and open files (ulimit -u, ulimit -n)"
            )),
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        for place in &self.places {
            // Refused only by a host out of memory: nobody is let in then.
            let _ = ops.add(Events::new(place.listener(), EventSet::IN));
        }
    }
}
