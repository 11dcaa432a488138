//! How a thread is scheduled among the others of the host.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::str::FromStr;

use thiserror::Error;

use crate::{ThreadRole, ThreadSpec};

/// How the host schedules a thread (sched(7)), written as `fifo:1`, `rr:1` or `nice:-5`.
///
/// Threads that one with a real-time policy or a negative nice value starts do not inherit it
/// (SCHED_RESET_ON_FORK); a positive nice value they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadPriority {
    /// SCHED_FIFO with this priority, 1 to 99: it runs before every ordinary thread, until it waits.
    Fifo(u8),
    /// SCHED_RR with this priority, 1 to 99: the same in turns with others of its priority.
    RoundRobin(u8),
    /// SCHED_OTHER with this nice value, -20 to 19: a larger one gets less of a busy CPU.
    Nice(i8),
}

/// Why a text is not a priority.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ThreadPriorityError {
    /// Neither of the three.
    #[error("{0:?} is not fifo:N, rr:N or nice:N")]
    Syntax(String),
    /// A number that the host has no priority for.
    #[error("{policy}:{number} is not from {least} to {most}")]
    Range {
        /// fifo, rr or nice.
        policy: &'static str,
        /// The number.
        number: i64,
        /// The smallest one.
        least: i8,
        /// The largest one.
        most: i8,
    },
}

impl ThreadPriority {
    /// Schedules the calling thread so from now on.
    ///
    /// # Errors
    /// The host's, of sched_setscheduler(2) and setpriority(2): EPERM or EACCES where neither
    /// CAP_SYS_NICE nor RLIMIT_RTPRIO or RLIMIT_NICE allows it.
    pub fn take_on(self) -> io::Result<()> {
        match self {
            Self::Fifo(priority) => set_policy(libc::SCHED_FIFO, priority),
            Self::RoundRobin(priority) => set_policy(libc::SCHED_RR, priority),
            Self::Nice(nice) => {
                set_policy(libc::SCHED_OTHER, 0)?;
                // The kernel's setpriority is of threads: 0 is the calling one.
                Ok(rustix::process::setpriority_process(None, nice.into())?)
            }
        }
    }

    /// Finds out whether a thread of this process may be scheduled so, by one that ends then.
    ///
    /// # Errors
    /// As [`take_on`](Self::take_on).
    pub fn try_out(self) -> io::Result<()> {
        let thread =
            ThreadSpec::new(ThreadRole::Helper, "priority").spawn(move || self.take_on())?;
        // Nothing panics in it.
        thread.join().unwrap_or(Ok(()))
    }
}

fn set_policy(policy: i32, priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: priority.into(),
    };
    // SAFETY: 0 is the calling thread, and `parameters` is readable for the length of the call.
    match unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &parameters) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

impl FromStr for ThreadPriority {
    type Err = ThreadPriorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || ThreadPriorityError::Syntax(text.to_owned());
        let (policy, number) = text.split_once(':').ok_or_else(syntax)?;
        let number: i64 = number.parse().map_err(|_| syntax())?;
        let within = |policy, range: RangeInclusive<i8>| {
            let inside = i8::try_from(number)
                .ok()
                .filter(|small| range.contains(small));
            inside.ok_or(ThreadPriorityError::Range {
                policy,
                number,
                least: *range.start(),
                most: *range.end(),
            })
        };
        match policy {
            "fifo" => within("fifo", 1..=99).map(|number| Self::Fifo(number.unsigned_abs())),
            "rr" => within("rr", 1..=99).map(|number| Self::RoundRobin(number.unsigned_abs())),
            "nice" => within("nice", -20..=19).map(Self::Nice),
            _ => Err(syntax()),
        }
    }
}

impl fmt::Display for ThreadPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fifo(priority) => write!(f, "fifo:{priority}"),
            Self::RoundRobin(priority) => write!(f, "rr:{priority}"),
            Self::Nice(nice) => write!(f, "nice:{nice}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_read_back() {
        for text in [
            "fifo:1", "fifo:99", "rr:50", "nice:-20", "nice:0", "nice:19",
        ] {
            assert_eq!(text.parse::<ThreadPriority>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_priority_is_refused() {
        let error = |text: &str| text.parse::<ThreadPriority>().unwrap_err();
        for text in ["", "fifo", "fifo:", "fifo:x", "nice:1.5", "idle:1", "5"] {
            assert!(
                matches!(error(text), ThreadPriorityError::Syntax(_)),
                "{text}"
            );
        }
        for text in [
            "fifo:0", "fifo:100", "rr:-1", "nice:20", "nice:-21", "nice:999",
        ] {
            assert!(
                matches!(error(text), ThreadPriorityError::Range { .. }),
                "{text}"
            );
        }
    }

    #[test]
    fn a_thread_alone_takes_it_on() {
        // Everybody may be nicer.
        let own = rustix::process::getpriority_process(None).unwrap();
        let thread = std::thread::spawn(|| {
            ThreadPriority::Nice(19).take_on().unwrap();
            rustix::process::getpriority_process(None).unwrap()
        });
        assert_eq!(thread.join().unwrap(), 19);
        assert_eq!(rustix::process::getpriority_process(None).unwrap(), own);
        ThreadPriority::Nice(19).try_out().unwrap();
    }
}
