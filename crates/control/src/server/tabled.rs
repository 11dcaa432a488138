//! A table that an embedder brings: its requests are read whole, and answered one after the other.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::sync::Mutex;

use super::Limits;
use super::body::{self, AnswerBody};
use super::handler::{Handler, Responding};
use crate::{Answer, Asked, Fault, Table};

/// A table, and whose turn it is.
pub(super) struct Tabled {
    table: Arc<dyn Table>,
    limits: Limits,
    /// Held over a call: it is fair, so that the calls have the order of their requests.
    turn: Arc<Mutex<()>>,
}

impl Tabled {
    pub(super) fn new(table: Arc<dyn Table>, limits: Limits) -> Self {
        Self {
            table,
            limits,
            turn: Arc::default(),
        }
    }
}

impl Handler for Tabled {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn respond(&self, request: Request<Incoming>) -> Responding {
        let (table, limits, turn) = (self.table.clone(), self.limits, self.turn.clone());
        Box::pin(async move {
            let answer = match read(request, limits).await {
                Ok(asked) => called(&table, &turn, asked).await,
                Err(fault) => table.refuse(fault),
            };
            http(answer).map(|bytes| AnswerBody::Whole((!bytes.is_empty()).then_some(bytes)))
        })
    }

    fn refuse(&self, fault: Fault) -> Response<Bytes> {
        http(self.table.refuse(fault))
    }
}

/// The whole request.
async fn read(request: Request<Incoming>, limits: Limits) -> Result<Asked, Fault> {
    let (head, body) = request.into_parts();
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    Ok(Asked {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers.iter().map(header).collect(),
        body: body::collect(body, length, limits).await?,
    })
}

/// Calls the table, on a thread that may wait, when it is this request's turn.
async fn called(table: &Arc<dyn Table>, turn: &Arc<Mutex<()>>, asked: Asked) -> Answer {
    let turn = turn.clone().lock_owned().await;
    let callee = table.clone();
    let call = tokio::task::spawn_blocking(move || {
        let answer = callee.answer(&asked);
        drop(turn);
        answer
    });
    call.await.unwrap_or_else(|_| table.refuse(Fault::Failed))
}

/// The answer as it is sent; headers that cannot be are left out.
fn http(answer: Answer) -> Response<Bytes> {
    let mut sent = Response::new(Bytes::from(answer.body));
    *sent.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = answer.kind.map(|kind| (CONTENT_TYPE.as_str(), kind));
    let others = answer.headers.iter();
    let headers = others.map(|(name, value)| (*name, value.as_str()));
    for (name, value) in kind.into_iter().chain(headers) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            sent.headers_mut().insert(name, value);
        }
    }
    sent
}

#[cfg(test)]
mod tests;
