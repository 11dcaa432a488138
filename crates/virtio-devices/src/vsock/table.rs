//! All connections, by their ports, by number, and by when they must be closed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::connection::Connection;
use super::link::Key;

/// The most connections, of whatever kind.
pub(super) const MAX: usize = 1023;
/// Host ports that are given out are these; a guest's connection may name any.
const FIRST_PORT: u32 = 1 << 30;
const PORTS: u32 = 1 << 30;

/// Which connection: its place, and above that how often the place had another one before, so that
/// an event that comes late finds nothing. Below 2^62: a token for the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(pub(super) u64);

const GENERATIONS: u64 = 1 << 30;

impl Id {
    fn place(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    connection: Option<Connection>,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
    by_key: HashMap<Key, Id>,
    /// Host ports that were given out, and to whom.
    ports: HashMap<u32, Key>,
    next_port: u32,
    deadlines: BTreeSet<(Duration, Id)>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a connection; `None` where there are too many.
    pub(super) fn insert(&mut self, connection: Connection) -> Option<Id> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.slots.len() < MAX => {
                self.slots.push(Slot::default());
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = self.slots.get_mut(place)?;
        slot.connection = Some(connection);
        Some(Id(slot.generation << 32 | place as u64))
    }

    /// The connection `id`; `None` once it is closed.
    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.place())?;
        if slot.generation != id.0 >> 32 {
            return None;
        }
        slot.connection.as_mut()
    }

    /// Takes the connection `id` out.
    pub(super) fn remove(&mut self, id: Id) -> Option<Connection> {
        self.get_mut(id)?;
        self.set_deadline(id, None);
        self.unlink(id);
        let slot = self.slots.get_mut(id.place())?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.free.push(id.place());
        slot.connection.take()
    }

    /// The connection with these ports.
    pub(super) fn find(&self, key: Key) -> Option<Id> {
        self.by_key.get(&key).copied()
    }

    /// The connection `id` has these ports, which no other has.
    pub(super) fn link(&mut self, id: Id, key: Key) {
        self.by_key.insert(key, id);
    }

    /// The ports of the connection `id` are free again.
    pub(super) fn unlink(&mut self, id: Id) {
        let link = self.get_mut(id).and_then(Connection::link);
        let Some(key) = link.map(|link| link.key()) else {
            return;
        };
        self.by_key.remove(&key);
        // A connection of the guest may name a port that was given out to another.
        if self.ports.get(&key.host) == Some(&key) {
            self.ports.remove(&key.host);
        }
    }

    /// Ports for a connection of the host to the guest's port `guest`.
    pub(super) fn new_key(&mut self, guest: u32) -> Option<Key> {
        // One more than there are connections, of each kind of use.
        for _ in 0..=2 * MAX {
            let host = FIRST_PORT + self.next_port;
            self.next_port = (self.next_port + 1) % PORTS;
            let key = Key { guest, host };
            if self.by_key.contains_key(&key) {
                continue;
            }
            if let Entry::Vacant(port) = self.ports.entry(host) {
                port.insert(key);
                return Some(key);
            }
        }
        None
    }

    /// Closes the connection `id` at `deadline`, or never.
    pub(super) fn set_deadline(&mut self, id: Id, deadline: Option<Duration>) {
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut connection.deadline, deadline) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id));
        }
    }

    /// The first deadline.
    pub(super) fn first_deadline(&self) -> Option<(Duration, Id)> {
        self.deadlines.first().copied()
    }
}
