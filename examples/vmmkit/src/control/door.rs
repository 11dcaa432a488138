//! The API's sockets on the machine's event loop, until the first client comes.

use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmmkit_control::{Api, Server};
use vmmkit_host_io::Listener;

use super::Guest;
use super::presence::ServerSlot;
use crate::messages;

/// Waits for the first client, and starts the server then: a machine that nobody talks to has no
/// thread for it, and no runtime.
pub(crate) struct Door {
    places: Vec<Arc<Listener>>,
    guest: Arc<Guest>,
    server: ServerSlot,
    /// It has been said that the API cannot be served.
    has_complained: bool,
}

impl Door {
    /// A door to `guest` at `places`.
    pub(crate) fn new(places: Vec<Arc<Listener>>, guest: Arc<Guest>, server: ServerSlot) -> Self {
        Self {
            places,
            guest,
            server,
            has_complained: false,
        }
    }

    /// The host may have what it takes again in a second.
    fn complain(&mut self, error: &std::io::Error) {
        for place in &self.places {
            place.rest();
        }
        if !std::mem::replace(&mut self.has_complained, true) {
            messages::say(&format!(
                "warning: the control API cannot be served now: {error}\n  next: raise the limits of \
                 processes and open files (ulimit -u, ulimit -n)"
            ));
        }
    }
}

impl MutEventSubscriber for Door {
    fn process(&mut self, _events: Events, ops: &mut EventOps<'_>) {
        if self.places.is_empty() {
            return;
        }
        // The client waits in the socket's queue meanwhile.
        match Server::start(Api::new(self.guest.clone()), self.places.clone()) {
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
