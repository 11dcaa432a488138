//! The host's programs: their work, and its time limits.

use vmmkit_host_io::{Interest, Poller, Ready};

use super::VsockEngine;
use crate::vsock::connection::{Connection, Role};
use crate::vsock::greeting::{Greeting, Progress};
use crate::vsock::link::Link;
use crate::vsock::stats::count;
use crate::vsock::table::Id;

/// Programs that are accepted in one turn.
const ACCEPTS: usize = 16;

impl VsockEngine {
    /// Accepts programs that have connected.
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(socket) = self.host.accept() else {
                break;
            };
            if self.silent >= self.room.silent || !self.has_room(&socket) {
                // It is closed, which says so.
                self.count_refused();
                continue;
            }
            let connection = Connection::new(socket, Role::Greeting(Greeting::default()));
            let Some(id) = self.table.insert(connection) else {
                continue;
            };
            self.silent += 1;
            self.set_limit(id, self.times.greeting);
            self.attend(id);
        }
        self.count_connections();
    }

    /// The socket of the connection `id` is ready for something.
    pub(super) fn socket_ready(&mut self, id: Id, ready: Ready) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        match &mut connection.role {
            Role::Greeting(_) => return self.greet(id),
            Role::Draining => {
                let has_progressed = connection.flush();
                if connection.is_drained() {
                    return self.close(id);
                }
                if has_progressed {
                    self.set_limit(id, self.times.drain);
                }
                return;
            }
            Role::Linked(_) => {}
        }
        match connection.watched {
            // What is told is a hang-up, if it is not old.
            Some(Interest::None) => {
                if connection.is_hung_up() {
                    connection.hang_up();
                }
            }
            _ => {
                connection.is_readable |= ready.readable && connection.may_be_read();
                if ready.writable {
                    connection.flush();
                }
            }
        }
        self.attend(id);
    }

    /// Reads what a program says first.
    fn greet(&mut self, id: Id) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let progress = connection.greet();
        match progress {
            Progress::Unfinished => return,
            Progress::Refused => {
                count(&self.counters.refused);
                return self.close(id);
            }
            Progress::Connect(port) => {
                let Some(key) = self.table.new_key(port) else {
                    return self.close(id);
                };
                if let Some(connection) = self.table.get_mut(id) {
                    connection.role = Role::Linked(Link::request(key));
                    self.silent -= 1;
                }
                self.table.link(id, key);
            }
        }
        self.set_limit(id, self.times.request);
        self.attend(id);
    }

    /// Closes whatever is late.
    pub(super) fn expire(&mut self) {
        self.clock.wake();
        let now = self.clock.now();
        while let Some((deadline, id)) = self.table.first_deadline() {
            if deadline > now {
                break;
            }
            count(&self.counters.timed_out);
            self.break_off(id);
        }
    }

    /// Has the poller wait for what each connection needs that something has happened to; whether a
    /// connection had to be closed.
    pub(super) fn watch(&mut self, poller: &Poller) -> bool {
        let mut has_closed = false;
        let mut touched = std::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            let Some(connection) = self.table.get_mut(id) else {
                continue;
            };
            connection.is_touched = false;
            let (old, new) = (connection.watched, connection.interest());
            if old == new {
                continue;
            }
            connection.watched = new;
            let socket = connection.socket();
            let done = match (old, new) {
                (None, Some(interest)) => poller.add(socket, id.0, interest),
                (Some(_), Some(interest)) => poller.change(socket, id.0, interest),
                (_, None) => poller.remove(socket),
            };
            if done.is_err() {
                self.break_off(id);
                has_closed = true;
            }
        }
        self.touched = touched;
        has_closed
    }
}
