//! A table of requests and their answers, which an embedder brings.

use std::time::Duration;

/// From requests to answers: another API than this crate's, on the same server. See [`Service::new`](crate::Service::new).
pub trait Table: Send + Sync + 'static {
    /// Answers a request. It may take its time; the next is answered after it.
    fn answer(&self, asked: &Asked) -> Answer;

    /// The answer to a client whose request is not heard.
    fn refuse(&self, fault: Fault) -> Answer;
}

/// A request, whole. All of it is what a client has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// The method, such as `PUT`.
    pub method: String,
    /// The path without the query, as it was sent: nothing is decoded.
    pub path: String,
    /// The query, without its question mark.
    pub query: Option<String>,
    /// The headers, their names in lower case; bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body, no larger than the server's limit.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status: 200 to 599. Others become 500.
    pub status: u16,
    /// The type of the body.
    pub kind: Option<&'static str>,
    /// Other headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A request that is not heard, or has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Its body is larger than the limit.
    TooLarge {
        /// The limit, in bytes.
        most: usize,
        /// The length that it says it has, in bytes.
        length: Option<u64>,
    },
    /// Its body took too long.
    TooSlow {
        /// The time that it had.
        patience: Duration,
    },
    /// Its body ends before its length, or breaks the protocol.
    Truncated,
    /// The server has no room for another connection.
    Crowded,
    /// The client is of another user, who is not root.
    Stranger {
        /// The user of the server.
        own: u32,
        /// That of the client, where it is known.
        user: Option<u32>,
    },
    /// The table has panicked.
    Failed,
}

impl Fault {
    /// The status of HTTP that says it.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::TooSlow { .. } => 408,
            Self::Truncated => 400,
            Self::Crowded => 503,
            Self::Stranger { user: Some(_), .. } => 403,
            Self::Stranger { user: None, .. } | Self::Failed => 500,
        }
    }
}

impl Asked {
    /// A request with this body, and without headers.
    pub fn new(method: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            body: body.into(),
            ..Self::default()
        }
    }

    /// The value of the first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// An answer without a body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// With `body`, which is of the type `kind`, such as `application/json`.
    #[must_use]
    pub fn with_body(mut self, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        self.kind = Some(kind);
        self.body = body.into();
        self
    }

    /// With another header. One that cannot be sent (a line feed in it) is left out.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
