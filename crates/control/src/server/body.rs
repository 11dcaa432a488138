//! Bodies: what is read of a request, and what an answer has.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Receiver;

use super::Limits;
use super::streams::Stream;
use crate::{Fault, Problem};

/// Bytes read of a body that is too large.
const MAX_FORGOTTEN: usize = 1 << 20;

/// The body of an answer.
pub(super) enum AnswerBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// Events, as they happen.
    Events(Stream),
    /// Pieces of bytes, as they come.
    Pieces(Receiver<Bytes>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Events(stream) => stream.poll_text(context).map(|text| text.map(Bytes::from)),
            Self::Pieces(pieces) => pieces.poll_recv(context),
        };
        data.map(|data| data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Events(_) | Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// Refuses a body where there must be none.
pub(super) fn nothing(request: &Request<Incoming>) -> Result<(), Problem> {
    match request.body().is_end_stream() {
        true => Ok(()),
        false => Err(Problem::bad_request(
            "unexpected_body",
            "this request has no body",
        )),
    }
}

/// The body as a `T`, or `None` where it is empty.
pub(super) async fn read<T: DeserializeOwned>(
    request: Request<Incoming>,
    limits: Limits,
) -> Result<Option<T>, Problem> {
    if request.body().is_end_stream() {
        return Ok(None);
    }
    is_json(&request)?;
    let bytes = collect(request.into_body(), None, limits).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    parse(&bytes).map(Some)
}

/// All of a body, which says that it has `length` bytes.
pub(super) async fn collect(
    body: Incoming,
    length: Option<u64>,
    limits: Limits,
) -> Result<Vec<u8>, Fault> {
    let patience = limits.patience;
    let read = read_all(body, length, limits.body_bytes);
    let read = tokio::time::timeout(patience, read).await;
    read.map_err(|_| Fault::TooSlow { patience })?
}

/// All of a body. One that is too large is read on for a while, and forgotten: to close a socket with
/// something to read in it would take the answer back (unix(7): ECONNRESET).
async fn read_all(mut body: Incoming, length: Option<u64>, most: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Fault::Truncated)?.into_data() else {
            continue;
        };
        count += data.len();
        match count {
            _ if count <= most => bytes.extend_from_slice(&data),
            _ if count <= MAX_FORGOTTEN => {}
            _ => break,
        }
    }
    match count <= most {
        true => Ok(bytes),
        false => Err(Fault::TooLarge { most, length }),
    }
}

fn is_json(request: &Request<Incoming>) -> Result<(), Problem> {
    let Some(kind) = request.headers().get(CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = kind.as_bytes().split(|byte| *byte == b';').next();
    match essence.map(<[u8]>::trim_ascii) {
        Some(kind) if kind.eq_ignore_ascii_case(b"application/json") => Ok(()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be of the type application/json",
        )),
    }
}

/// Parses `bytes`; the problem names the field that is to blame.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        let message = error.to_string();
        if !error.is_data() {
            return Problem::bad_request("invalid_json", message);
        }
        let field = named(&message).map_or(path.clone(), |name| under(&path, name));
        Problem {
            field: (field != ".").then_some(field),
            ..Problem::bad_request("invalid_field", message)
        }
    })?;
    json.end()
        .map_err(|error| Problem::bad_request("invalid_json", error.to_string()))?;
    // serde takes the elements of an array for the fields of a struct, in their order; no body has an array.
    if has_array(bytes) {
        let message = "an array is where an object must be";
        return Err(Problem::bad_request("invalid_field", message));
    }
    Ok(value)
}

/// Whether `json`, which is valid, has an array anywhere.
fn has_array(json: &[u8]) -> bool {
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in json {
        match (is_text, byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_text = !is_text,
            (false, b'[') => return true,
            _ => {}
        }
    }
    false
}

/// The field that serde's message names, since its path ends above that.
fn named(message: &str) -> Option<&str> {
    let rest = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))?;
    rest.split('`').next()
}

/// `name` in the object at `path`. For an unknown field the path ends with it already.
fn under(path: &str, name: &str) -> String {
    let steps: VecDeque<&str> = path.split('.').collect();
    match (path, steps.back()) {
        (".", _) => name.to_owned(),
        (_, Some(last)) if *last == name => path.to_owned(),
        _ => format!("{path}.{name}"),
    }
}
