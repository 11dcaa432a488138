//! The one place where threads are started, each with a name and a role.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use crate::{ThreadPriority, thread_name};

/// The purpose of a thread, which decides how the host schedules it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ThreadRole {
    /// It runs a vCPU.
    Vcpu,
    /// It serves the guest's devices: their queues, or events of the host for them.
    Device,
    /// It serves clients of the machine: an API, a debugger.
    Server,
    /// It does one piece of work beside others: loading, probing, writing reports.
    Helper,
}

/// A thread to be started. It is the one way to start a thread that lives as long as the machine does.
///
/// ```
/// use vmmkit_host_io::{ThreadRole, ThreadSpec};
///
/// let answer = ThreadSpec::new(ThreadRole::Helper, "answer").spawn(|| 42)?;
/// assert_eq!(answer.join().ok(), Some(42));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing runs before it is spawned"]
pub struct ThreadSpec {
    role: ThreadRole,
    name: String,
    stack_bytes: Option<usize>,
    priority: Option<ThreadPriority>,
}

impl ThreadSpec {
    /// A thread that the host shows by the first 15 bytes of `name`.
    pub fn new(role: ThreadRole, name: impl Into<String>) -> Self {
        Self {
            role,
            name: name.into(),
            stack_bytes: None,
            priority: None,
        }
    }

    /// The purpose that it was made for.
    pub fn role(&self) -> ThreadRole {
        self.role
    }

    /// With a stack of this size, in bytes; 2 MiB of addresses otherwise.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Starts it with `work`.
    ///
    /// # Errors
    /// The host's, when it has no thread or memory left: EAGAIN (pthread_create(3)).
    pub fn spawn<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let begin = self.beginning();
        self.builder().spawn(move || {
            begin();
            work()
        })
    }

    /// The same, for a thread that ends before `scope` does.
    ///
    /// # Errors
    /// As of [`spawn`](Self::spawn).
    pub fn spawn_scoped<'scope, T: Send + 'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> io::Result<ScopedJoinHandle<'scope, T>> {
        let begin = self.beginning();
        self.builder().spawn_scoped(scope, move || {
            begin();
            work()
        })
    }

    /// Sets the new thread up, when it begins. The calling thread starts it.
    fn beginning(&self) -> impl FnOnce() + Send + use<> {
        let priority = self.priority;
        let start = ThreadStart::of(self.role, &self.name);
        move || {
            if let Some(priority) = priority {
                // Whoever chose it checked that it can be applied: see `ThreadPriority::try_out`.
                let _ = priority.take_on();
            }
            start.begin();
        }
    }

    fn builder(self) -> Builder {
        let builder = Builder::new().name(self.name);
        match self.stack_bytes {
            Some(bytes) => builder.stack_size(bytes),
            None => builder,
        }
    }
}

/// The embedder's. It is the process's, as what it is for is: a filter of system calls that left out the threads of one
/// machine would confine nobody.
static ON_START: OnceLock<Box<OnThreadStart>> = OnceLock::new();

type OnThreadStart = dyn Fn(ThreadRole, &str) -> Beginning + Send + Sync;
type Beginning = Box<dyn Fn() + Send + Sync>;

/// Has every thread of a [`ThreadSpec`] do something first, from now on: for an embedder that confines the threads of its
/// process, or counts them. `prepare` is called by the thread that starts the new one, with that one's role and name; the
/// function that it returns is called by the new thread, before it does anything else. So `prepare` knows what the new
/// thread inherits. Threads that are there already do not, and a second call has no effect.
pub fn on_thread_start<F: Fn() + Send + Sync + 'static>(
    prepare: impl Fn(ThreadRole, &str) -> F + Send + Sync + 'static,
) {
    let _ = ON_START.set(Box::new(move |role, name| Box::new(prepare(role, name))));
}

/// The first thing that new threads do. [`ThreadSpec`] sees to it; this is for threads that another runtime starts.
pub struct ThreadStart(Option<Beginning>);

impl ThreadStart {
    /// For threads of `role`, called `name`, that the calling thread starts.
    pub fn of(role: ThreadRole, name: &str) -> Self {
        Self(ON_START.get().map(|prepare| prepare(role, name)))
    }

    /// The calling thread is one of them, and begins.
    pub fn begin(&self) {
        if let Some(begin) = &self.0 {
            begin();
        }
    }
}

impl fmt::Debug for ThreadStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadStart").finish_non_exhaustive()
    }
}

/// How the threads of one machine are named and scheduled. Machines that share a process have one each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadPolicy {
    /// The prefix of their names: see [`thread_name`].
    pub name_prefix: String,
    /// The name of the thread of vCPU *n*, of which *n* is the end: `vcpu` where there is none here.
    pub vcpu_name: Option<String>,
    /// How the host schedules those of [`ThreadRole::Device`]; as the thread that starts them otherwise.
    pub device_priority: Option<ThreadPriority>,
}

impl ThreadPolicy {
    /// A thread of the machine, called `name` behind the machine's prefix.
    pub fn spec(&self, role: ThreadRole, name: &str) -> ThreadSpec {
        let own = self.vcpu_name.as_ref().filter(|_| role == ThreadRole::Vcpu);
        let own = own.zip(name.strip_prefix("vcpu"));
        let own = own.map(|(own, number)| format!("{own}{number}"));
        let name = own.as_deref().unwrap_or(name);
        let spec = ThreadSpec::new(role, thread_name(&self.name_prefix, name));
        let priority = self.device_priority.filter(|_| role == ThreadRole::Device);
        ThreadSpec { priority, ..spec }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_vcpus_thread_has_the_name_that_its_embedder_chooses() {
        let policy = ThreadPolicy {
            vcpu_name: Some("fc_vcpu ".to_owned()),
            ..ThreadPolicy::default()
        };
        let name = |role, name| policy.spec(role, name).name;
        assert_eq!(name(ThreadRole::Vcpu, "vcpu12"), "fc_vcpu 12");
        assert_eq!(name(ThreadRole::Device, "vcpu12"), "vcpu12");
        assert_eq!(name(ThreadRole::Device, "vmm"), "vmm");
    }

    #[test]
    fn a_thread_has_its_name() {
        let name = || thread::current().name().map(str::to_owned);
        let spec = ThreadSpec::new(ThreadRole::Device, "virtio-blk0").stack_size(128 << 10);
        let named = spec.clone().spawn(name).unwrap();
        assert_eq!(named.join().unwrap().as_deref(), Some("virtio-blk0"));
        let scoped = thread::scope(|scope| spec.spawn_scoped(scope, name).unwrap().join().unwrap());
        assert_eq!(scoped.as_deref(), Some("virtio-blk0"));
    }

    #[test]
    fn a_thread_that_begins_is_told_of() {
        let (sender, begun) = std::sync::mpsc::channel();
        on_thread_start(move |role, name| {
            let (sender, name) = (sender.clone(), name.to_owned());
            let starts = thread::current().id();
            // Other tests have threads too.
            move || {
                let _ = sender.send((role, name.clone(), starts, thread::current().id()));
            }
        });
        let spec = ThreadSpec::new(ThreadRole::Vcpu, "told-of");
        let begins = spec.spawn(|| thread::current().id());
        let begins = begins.unwrap().join().unwrap();
        let told = (
            ThreadRole::Vcpu,
            "told-of".to_owned(),
            thread::current().id(),
            begins,
        );
        assert!(begun.try_iter().any(|it| it == told));
    }
}
