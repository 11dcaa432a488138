//! The host's side of a VMM's devices: events and timers, sockets that carry descriptors, consoles, the
//! terminal, signals, pseudo-terminals and networks, as safe calls.
//!
//! It knows no guest and no device: it gives descriptors to wait for, and verbs to call when they
//! are ready; [`Console`] brings what waits for them on an event loop. Start with [`OutputBuffer`],
//! the path of every byte that a guest prints.
//!
//! ```
//! use std::io::Read;
//! use std::time::Duration;
//! use vmmkit_host_io::OutputBuffer;
//!
//! let (mut reader, writer) = std::io::pipe()?;
//! let output = OutputBuffer::new(writer.into())?;
//! // On a vCPU's thread: no system call for each byte.
//! for byte in *b"Linux" {
//!     assert!(output.push(byte));
//! }
//! // On the event loop's thread, when one of `output.wake_fds()` is readable.
//! output.flush()?;
//! let mut text = [0; 5];
//! reader.read_exact(&mut text)?;
//! assert_eq!(&text, b"Linux");
//! # Ok::<(), std::io::Error>(())
//! ```

mod affinity;
mod broadcast;
mod console;
mod cpu_time;
mod deadline;
mod descriptors;
mod event;
mod event_loop;
mod fatal;
mod fd_socket;
mod file;
mod heap;
#[cfg(feature = "imago")]
mod image_file;
mod inherited;
mod input;
mod last_close;
mod left_over;
mod listener;
mod output;
mod pollable;
mod poller;
mod priority;
mod pty;
mod random;
mod refused_call;
mod signals;
mod sink;
mod stopwatch;
mod stream;
mod tap;
mod terminal;
mod thread;
mod thread_name;
mod timer;
mod uring;
mod wall_clock;
mod work_thread;

/// A [`Subscriber`] implements its trait.
pub use event_manager;

pub use affinity::{HostCpus, HostCpusError};
pub use broadcast::{Broadcast, Message, Next, Subscription};
pub use console::{
    Console, ConsoleOutput, ConsolePort, ConsoleSocket, ConsoleTap, LostOutput, TapLost, TapRead,
    TapReader, TapTaken, TapWriter,
};
pub use cpu_time::cpu_time;
pub use deadline::Deadline;
pub use descriptors::{descriptor_limit, leaves_descriptors, raise_descriptor_limit};
pub use event::EventFd;
pub use event_loop::{EventLoop, EventLoopError, EventLoopStop, Subscriber};
pub use fatal::restore_on_fatal_signals;
pub use fd_socket::{FdSocket, MAX_FDS};
pub use file::{
    FileError, FileId, FileKind, Holder, LockError, Output, OutputPlan, Sharing, folder_of,
    lock_file, lock_holder, memory_file, open_input, open_options, read_file, read_text,
    replace_file,
};
pub use heap::share_one_heap;
#[cfg(feature = "imago")]
pub use image_file::{ImageFile, read_with_zeroes};
pub use inherited::{close_inherited, inherited};
pub use input::{FdInput, InputRead, InputSource, read_ready};
pub use last_close::close_after_exit;
pub use left_over::LeftOver;
pub use listener::{Accept, Acceptor, ListenError, ListenStep, Listener, remove_own_socket};
pub use output::{Flush, OutputBuffer};
pub use pollable::Pollable;
pub use poller::{Interest, Poller, Ready};
pub use priority::{ThreadPriority, ThreadPriorityError};
pub use pty::{Pty, open_pty};
pub use random::random_bytes;
pub use refused_call::{RefusedCallWords, end_on_refused_call};
pub use signals::{
    Signal, SignalFd, block_terminal_access_signals, die_by, signal_job, start_with_clean_signals,
    stop_as_asked,
};
pub use sink::{Sink, Written};
pub use stopwatch::Stopwatch;
pub use stream::{FrameReader, MAX_FRAME, StreamError, StreamSocket};
pub use tap::{Tap, TapError, TapOffloads};
pub use terminal::{
    RawTerminal, WindowSize, is_foreground, is_raw, is_terminal, restore_all, ring_bell,
    window_size,
};
pub use thread::{ThreadPolicy, ThreadRole, ThreadSpec, ThreadStart, on_thread_start};
pub use thread_name::thread_name;
pub use timer::TimerFd;
pub use uring::{Completion, SharedMemory, Uring};
pub use wall_clock::wall_clock;
pub use work_thread::WorkThread;
