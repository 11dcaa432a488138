//! Which CPUs of the host a thread may run on.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use thiserror::Error;

/// The first number that is not a CPU's: what the kernel's call takes here.
const END: u32 = CpuSet::MAX_CPU as u32;

/// A set of the host's CPUs, written as numbers and ranges: `0`, `2-3`, `0+2-3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCpus(BTreeSet<u32>);

/// Why a text is not a set of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HostCpusError {
    /// Not a number, and not a range of them.
    #[error("{0:?} is neither a CPU number nor a range of CPUs")]
    Syntax(String),
    /// A range that ends before it starts.
    #[error("{0}-{1} ends before it starts")]
    Backwards(u32, u32),
    /// No host has a CPU of that number.
    #[error("no host has a CPU {0}")]
    TooHigh(u32),
}

impl HostCpus {
    /// Those that the calling thread may run on.
    ///
    /// # Errors
    /// The host's, of sched_getaffinity(2): it has more than 1024 CPUs.
    pub fn allowed() -> io::Result<Self> {
        let set = sched_getaffinity(None)?;
        let numbers = (0..END).filter(|&cpu| set.is_set(cpu as usize));
        Ok(Self(numbers.collect()))
    }

    /// Keeps the calling thread on these CPUs from now on.
    ///
    /// # Errors
    /// The host's, of sched_setaffinity(2): EINVAL where the thread may run on none of them.
    pub fn confine_this_thread(&self) -> io::Result<()> {
        let mut set = CpuSet::new();
        for &cpu in &self.0 {
            set.set(cpu as usize);
        }
        Ok(sched_setaffinity(None, &set)?)
    }

    /// The first of these that is not in `others`.
    pub fn first_outside(&self, others: &Self) -> Option<u32> {
        self.0.difference(&others.0).next().copied()
    }
}

impl FromStr for HostCpus {
    type Err = HostCpusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut cpus = BTreeSet::new();
        for part in text.split('+') {
            let number = |text: &str| match text.parse::<u32>() {
                Ok(number) if number < END => Ok(number),
                Ok(number) => Err(HostCpusError::TooHigh(number)),
                Err(_) => Err(HostCpusError::Syntax(part.to_owned())),
            };
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return Err(HostCpusError::Backwards(first, last));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for HostCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut sign = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if_eq(&(last + 1)) {
                last = next;
            }
            write!(f, "{sign}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            sign = "+";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_read_back_in_order() {
        let cpus: HostCpus = "7+0-2+1+3".parse().unwrap();

        assert_eq!(cpus.to_string(), "0-3+7");
        assert_eq!(cpus.first_outside(&"0-5".parse().unwrap()), Some(7));
        assert_eq!(cpus.first_outside(&"0-7".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_set_of_cpus_is_refused() {
        let error = |text: &str| text.parse::<HostCpus>().unwrap_err();

        for text in ["", "+", "0+", "a", "1-", "-1", "1-2-3"] {
            assert!(matches!(error(text), HostCpusError::Syntax(_)), "{text}");
        }
        assert_eq!(error("3-1"), HostCpusError::Backwards(3, 1));
        assert_eq!(error("0-1024"), HostCpusError::TooHigh(1024));
    }

    #[test]
    fn a_confined_thread_runs_where_it_was_told() {
        let one = HostCpus(HostCpus::allowed().unwrap().0.into_iter().take(1).collect());
        let inside = one.clone();
        let thread = std::thread::spawn(move || {
            inside.confine_this_thread().unwrap();
            HostCpus::allowed().unwrap()
        });
        assert_eq!(thread.join().unwrap(), one);

        let none: HostCpus = "1023".parse().unwrap();
        let error = none.confine_this_thread().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
