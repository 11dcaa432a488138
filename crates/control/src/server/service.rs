//! The user of a server: the machine's API, or a table that its embedder brings.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::handler::{Handler, Responding, Waiting, with_body};
use super::tabled::Tabled;
use super::{Api, Limits};
use crate::{Fault, Problem, Table};

/// The name of a server's thread, if its embedder has no other.
const THREAD: &str = "api";

/// The requests that a [`Server`](super::Server) answers: an [`Api`], or the [`Table`] of an embedder.
#[derive(Clone)]
pub struct Service {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) thread: Arc<str>,
}

impl Service {
    /// A service that answers by `table`, with `limits`. Its requests are answered one after the other, in the order
    /// in which they are complete.
    pub fn new(table: Arc<dyn Table>, limits: Limits) -> Self {
        Self::of(Tabled::new(table, limits))
    }

    /// With `name` as that of the server's threads, of at most 15 bytes.
    #[must_use]
    pub fn on_thread(mut self, name: &str) -> Self {
        self.thread = name.into();
        self
    }

    /// The answer to a client that sends `bytes` and no more: the server without a socket. A stream among the
    /// requests ends at once, as does typing on the console.
    ///
    /// # Errors
    /// The host's, when it has no descriptor or thread left.
    pub fn answer(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let runtime = super::runtime(false, "api", Arc::default())?;
        let answer = runtime.block_on(super::connection::answer(&self.handler, bytes));
        runtime.shutdown_background();
        Ok(answer)
    }

    fn of(handler: impl Handler) -> Self {
        Self {
            handler: Arc::new(handler),
            thread: THREAD.into(),
        }
    }
}

impl From<Api> for Service {
    fn from(api: Api) -> Self {
        Self::of(api)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("limits", &self.handler.limits())
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}

impl Handler for Api {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn respond(&self, request: Request<Incoming>) -> Responding {
        let api = self.clone();
        Box::pin(async move { Self::respond(&api, request).await })
    }

    fn refuse(&self, fault: Fault) -> Response<Bytes> {
        let problem = Problem::from(fault);
        with_body(problem.status(), "application/json", problem.json().into())
    }

    fn wait_for_the_last(&self) -> Waiting<'_> {
        Box::pin(self.streams.wait_for_the_last())
    }

    fn close(&self) {
        self.streams.close();
        self.consoles.close();
    }
}
