//! The answering of requests, as the server needs it.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::Limits;
use super::body::AnswerBody;
use crate::Fault;

pub(super) type Responding = Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>;
pub(super) type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// From requests to answers. The server looks after everything else of a connection.
pub(super) trait Handler: Send + Sync + 'static {
    fn limits(&self) -> Limits;

    /// Answers a request.
    fn respond(&self, request: Request<Incoming>) -> Responding;

    /// The answer to a client that is not heard.
    fn refuse(&self, fault: Fault) -> Response<Bytes>;

    /// Waits for the last of what streams have to say.
    fn wait_for_the_last(&self) -> Waiting<'_> {
        Box::pin(std::future::ready(()))
    }

    /// Ends the streams.
    fn close(&self) {}
}

/// An answer with a body of this kind.
pub(super) fn with_body<B>(status: StatusCode, kind: &'static str, body: B) -> Response<B> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
