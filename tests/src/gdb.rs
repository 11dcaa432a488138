//! A small client of GDB's remote protocol (GDB manual, appendix E).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Long enough for an emulated machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a GDB server.
#[derive(Debug)]
pub struct GdbClient(UnixStream);

impl GdbClient {
    /// Connects to the socket at `path`, which may not be there yet.
    ///
    /// # Errors
    /// The host's, when nobody listens there in time.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let late = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    return Ok(Self(stream));
                }
                Err(error) if Instant::now() > late => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Sends a packet and answers with what comes back.
    ///
    /// # Errors
    /// The host's, when nothing comes in time or the server hangs up.
    pub fn ask(&mut self, packet: &str) -> io::Result<String> {
        self.send(packet)?;
        self.answer()
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// The host's.
    pub fn send(&mut self, packet: &str) -> io::Result<()> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.0, "${packet}#{sum:02x}")
    }

    /// Sends bytes as they are: 3 is the interrupt.
    ///
    /// # Errors
    /// The host's.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next packet, run lengths written out.
    ///
    /// # Errors
    /// As of [`ask`](Self::ask).
    pub fn answer(&mut self) -> io::Result<String> {
        while self.byte()? != b'$' {}
        let mut text = String::new();
        loop {
            match self.byte()? {
                b'#' => break,
                b'*' => {
                    let count = self.byte()?.saturating_sub(29);
                    let last = text.chars().last().unwrap_or_default();
                    text.extend(std::iter::repeat_n(last, count.into()));
                }
                byte => text.push(byte.into()),
            }
        }
        self.byte()?;
        self.byte()?;
        // A server that said its last word takes none.
        let _ = self.0.write_all(b"+");
        Ok(text)
    }

    /// The 8 bytes at `address`; `None` where the server has none.
    ///
    /// # Errors
    /// As of [`ask`](Self::ask).
    pub fn read(&mut self, address: u64) -> io::Result<Option<u64>> {
        let text = self.ask(&format!("m{address:x},8"))?;
        Ok(number(&text))
    }

    /// General register `index` in GDB's order: 0 is RAX, 16 RIP.
    ///
    /// # Errors
    /// As of [`ask`](Self::ask).
    pub fn register(&mut self, index: usize) -> io::Result<Option<u64>> {
        let text = self.ask("g")?;
        Ok(text.get(index * 16..index * 16 + 16).and_then(number))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        let [byte] = byte;
        Ok(byte)
    }
}

/// 8 bytes as hexadecimal digits, lowest first.
fn number(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(u64::swap_bytes))?
}
