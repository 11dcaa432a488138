//! A web server for guests.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::network::serve;

/// The most bytes of a body that are taken.
const MAX: usize = 64 << 20;

/// A client's request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// Beginning with a slash.
    pub path: String,
    /// The body it sends.
    pub body: Vec<u8>,
}

/// Listens on `address`, and answers each request with what `answer` has for it, or with 404. A
/// connection is the client's to close: one that is closed with something unread is reset, and its
/// last answer is lost.
///
/// # Errors
/// The host's.
pub fn serve_http(
    address: &str,
    answer: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> io::Result<()> {
    serve(address, move |stream| {
        // A client that goes in the middle is seen by what it lacks.
        let _ = converse(stream, &answer);
    })
}

fn converse(stream: &TcpStream, answer: impl Fn(&Request) -> Option<Vec<u8>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let (status, body) = match answer(&request) {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", Vec::new()),
        };
        let mut writer = stream;
        let length = body.len();
        write!(
            writer,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n"
        )?;
        writer.write_all(&body)?;
    }
    Ok(())
}

/// The next request; `None` where the client has closed the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(MAX).min(MAX);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_one_after_the_other() {
        let mut bytes: &[u8] =
            b"GET /a HTTP/1.1\r\nHost: b\r\n\r\nPOST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc";
        let first = read_request(&mut bytes).unwrap().unwrap();
        assert_eq!((&*first.method, &*first.path), ("GET", "/a"));
        let second = read_request(&mut bytes).unwrap().unwrap();
        assert_eq!((&*second.method, &*second.body), ("POST", &b"abc"[..]));
        assert_eq!(read_request(&mut bytes).unwrap(), None);
    }
}
