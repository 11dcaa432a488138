//! Streams of events: one thread waits for the machine, and gives each event to every stream.

use std::fmt::Write;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use vmmkit_host_io::{ThreadRole, ThreadSpec};

use crate::{Controlled, Event, EventSource, Problem};

/// Events that wait for a client; one that does not read them loses those that come then.
const WAITING: usize = 64;
/// How often a stream without events says that it is there; so a client that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a server that ends waits for the last event of its machine.
const LAST_EVENT: Duration = Duration::from_millis(100);

/// The streams of one API. Its lock is not held over a call into the machine.
pub(super) struct Streams {
    state: Mutex<State>,
    /// Whether there will be no more events.
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    open: Vec<Outlet>,
    /// The thread that waits for events has been started.
    is_fed: bool,
}

/// The server's end of a stream.
struct Outlet {
    sender: Sender<Event>,
    lost: u64,
}

/// The client's end of a stream, as text (HTML, 9.2.6: event streams).
pub(super) struct Stream {
    events: Receiver<Event>,
    heartbeat: Interval,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            closed: watch::Sender::new(false),
        }
    }

    /// Opens a stream, at most `most` at the same time.
    pub(super) fn open(
        self: &Arc<Self>,
        machine: &Arc<dyn Controlled>,
        most: usize,
    ) -> Result<Stream, Problem> {
        let (sender, events) = mpsc::channel(WAITING);
        let mut state = self.lock();
        state.open.retain(|outlet| !outlet.sender.is_closed());
        if state.open.len() >= most {
            return Err(Problem::busy("there are too many streams of events"));
        }
        if !state.is_fed {
            self.feed(machine)
                .map_err(|error| Problem::internal(&format!("no thread for events: {error}")))?;
            state.is_fed = true;
        }
        drop(state);
        self.add(sender.clone());
        let info = machine.machine();
        // The channel is new, and has room.
        let _ = sender.try_send(Event {
            kind: "state".to_owned(),
            age_milliseconds: info.age_milliseconds,
            detail: Some(info.state.name().to_owned()),
            exit_code: None,
        });
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Ok(Stream { events, heartbeat })
    }

    pub(super) fn add(&self, sender: Sender<Event>) {
        let mut state = self.lock();
        if !*self.closed.borrow() {
            state.open.push(Outlet { sender, lost: 0 });
        }
    }

    /// Ends every stream after the events that it has.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        self.closed.send_replace(true);
        state.open.clear();
    }

    /// Waits for the end of the events, for a while: that of the machine is the last of them.
    pub(super) async fn wait_for_the_last(&self) {
        if self.lock().is_fed {
            let mut closed = self.closed.subscribe();
            let last = closed.wait_for(|closed| *closed);
            let _ = tokio::time::timeout(LAST_EVENT, last).await;
        }
    }

    fn feed(self: &Arc<Self>, machine: &Arc<dyn Controlled>) -> std::io::Result<()> {
        let mut source: Box<dyn EventSource> = machine.events();
        let streams = self.clone();
        let thread = ThreadSpec::new(ThreadRole::Server, "api-events");
        thread.spawn(move || {
            while let Some(event) = source.next() {
                streams.give(&event);
            }
            streams.close();
        })?;
        Ok(())
    }

    pub(super) fn give(&self, event: &Event) {
        self.lock().open.retain_mut(|outlet| outlet.give(event));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Outlet {
    /// Whether the client is still there.
    fn give(&mut self, event: &Event) -> bool {
        if self.lost > 0 {
            let lost = Event {
                kind: "lost".to_owned(),
                detail: Some(self.lost.to_string()),
                exit_code: None,
                ..event.clone()
            };
            match self.sender.try_send(lost) {
                Ok(()) => self.lost = 0,
                Err(TrySendError::Full(_)) => {
                    self.lost += 1;
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        match self.sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost += 1;
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

impl Stream {
    /// The next piece of the stream; `None` at its end.
    pub(super) fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        if let Poll::Ready(event) = self.events.poll_recv(context) {
            return Poll::Ready(event.map(|event| text(&event)));
        }
        self.heartbeat
            .poll_tick(context)
            .map(|_| Some(":\n\n".to_owned()))
    }
}

fn text(event: &Event) -> String {
    // JSON has no line feed, and a kind is one word.
    let data = serde_json::to_string(event).unwrap_or_default();
    let mut text = String::new();
    let _ = write!(text, "event: {}\ndata: {data}\n\n", event.kind);
    text
}
