//! The inodes that the guest knows, by the node IDs that it has for them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Statx, openat};
use rustix::io::Errno;

use crate::attributes::{Key, Node, is_of_the_kernel};
use crate::directory::Directory;
use crate::opcode::ROOT;

/// How deep beneath an inode whose descriptor is open one is found again.
const DEPTH: usize = 512;

/// O_PATH gives no access to a file's contents and starts nothing; O_NOFOLLOW opens a symbolic link itself.
const NAME: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Debug)]
struct Inode {
    node: Node,
    /// The name that it was last found by.
    parent: u64,
    name: Box<[u8]>,
    /// How often the guest was told of it.
    lookups: u64,
    /// How often it is open: its descriptor stays, for it may have no name.
    opens: u32,
    descriptor: Option<Arc<OwnedFd>>,
    /// When its descriptor was last used.
    used: u64,
}

#[derive(Debug)]
pub(crate) struct Inodes {
    root: Arc<Directory>,
    by_id: HashMap<u64, Inode>,
    by_key: HashMap<Key, u64>,
    next: u64,
    clock: u64,
    open: usize,
    most: usize,
    most_open: usize,
}

impl Inodes {
    /// The directory alone; at most `most` inodes, and `most_open` descriptors beside those of files that are open.
    pub(crate) fn new(root: Arc<Directory>, most: usize, most_open: usize) -> Self {
        Self {
            root,
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            next: ROOT + 1,
            clock: 0,
            open: 0,
            most,
            most_open,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn node(&self, id: u64) -> Result<Node, Errno> {
        if id == ROOT {
            return Ok(self.root.node);
        }
        self.by_id
            .get(&id)
            .map(|inode| inode.node)
            .ok_or(Errno::STALE)
    }

    /// An O_PATH descriptor of the inode.
    pub(crate) fn descriptor(&mut self, id: u64) -> Result<Descriptor, Errno> {
        if id == ROOT {
            return Ok(Descriptor::Root(self.root.clone()));
        }
        let mut missing = Vec::new();
        let mut next = id;
        let mut from = loop {
            if next == ROOT {
                break Descriptor::Root(self.root.clone());
            }
            let inode = self.by_id.get_mut(&next).ok_or(Errno::STALE)?;
            if let Some(open) = &inode.descriptor {
                self.clock += 1;
                inode.used = self.clock;
                break Descriptor::Inode(open.clone());
            }
            if missing.len() == DEPTH {
                return Err(Errno::STALE);
            }
            missing.push(next);
            next = inode.parent;
        };
        while let Some(id) = missing.pop() {
            from = self.open_again(&from, id)?;
        }
        Ok(from)
    }

    /// Opens the descriptor of the inode `id` again, in `parent`.
    fn open_again(&mut self, parent: &Descriptor, id: u64) -> Result<Descriptor, Errno> {
        let inode = self.by_id.get(&id).ok_or(Errno::STALE)?;
        let gone = |errno| match errno {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => errno,
            _ => Errno::STALE,
        };
        let opened = openat(parent.fd(), &*inode.name, NAME, Mode::empty()).map_err(gone)?;
        if Node::of(&opened)?.0.key != inode.node.key {
            return Err(Errno::STALE);
        }
        let opened = Arc::new(opened);
        self.keep(id, opened.clone());
        Ok(Descriptor::Inode(opened))
    }

    /// Keeps the descriptor of `id` open.
    fn keep(&mut self, id: u64, descriptor: Arc<OwnedFd>) {
        if self.open >= self.most_open {
            self.close_some();
        }
        self.clock += 1;
        if let Some(inode) = self.by_id.get_mut(&id) {
            inode.used = self.clock;
            if inode.descriptor.replace(descriptor).is_none() {
                self.open += 1;
            }
        }
    }

    /// Closes the descriptors that were not used for longest: half of them, of those that may be closed.
    fn close_some(&mut self) {
        let may_close = |inode: &&mut Inode| inode.descriptor.is_some() && inode.opens == 0;
        let mut used: Vec<u64> = self
            .by_id
            .values_mut()
            .filter(may_close)
            .map(|inode| inode.used)
            .collect();
        let middle = used.len() / 2;
        if middle >= used.len() {
            return;
        }
        let limit = *used.select_nth_unstable(middle).1;
        for inode in self.by_id.values_mut().filter(may_close) {
            if inode.used <= limit {
                inode.descriptor = None;
                self.open -= 1;
            }
        }
    }

    /// The directory `id`, to find or change names in.
    pub(crate) fn directory(&mut self, id: u64) -> Result<Descriptor, Errno> {
        let node = self.node(id)?;
        if node.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        if node.is_hidden {
            return Err(Errno::NOENT);
        }
        self.descriptor(id)
    }

    /// The inode of `name` in the directory `parent`, which the guest is told of once more.
    pub(crate) fn look_up(&mut self, parent: u64, name: &[u8]) -> Result<(u64, Statx), Errno> {
        let directory = self.directory(parent)?;
        let opened = openat(directory.fd(), name, NAME, Mode::empty())?;
        let (mut node, found) = Node::of(&opened)?;
        if let Some(id) = self.by_key.get(&node.key).copied() {
            let known = self.by_id.get_mut(&id).ok_or(Errno::STALE)?;
            known.lookups = known.lookups.saturating_add(1);
            known.parent = parent;
            if *known.name != *name {
                known.name = name.into();
            }
            if known.descriptor.is_none() {
                self.keep(id, Arc::new(opened));
            }
            return Ok((id, found));
        }
        if self.by_id.len() >= self.most {
            return Err(Errno::NFILE);
        }
        if node.is_mounted_in(&self.node(parent)?) {
            node.is_hidden = is_of_the_kernel(&opened)?;
        }
        let id = self.next;
        self.next += 1;
        let inode = Inode {
            node,
            parent,
            name: name.into(),
            lookups: 1,
            opens: 0,
            descriptor: None,
            used: 0,
        };
        self.by_id.insert(id, inode);
        self.by_key.insert(node.key, id);
        self.keep(id, Arc::new(opened));
        Ok((id, found))
    }

    /// The name of an inode has become `name` in `parent`.
    pub(crate) fn renamed(&mut self, parent: u64, name: &[u8]) -> Result<(), Errno> {
        let directory = self.directory(parent)?;
        let opened = openat(directory.fd(), name, NAME, Mode::empty())?;
        let key = Node::of(&opened)?.0.key;
        let id = self.by_key.get(&key);
        if let Some(inode) = id.and_then(|id| self.by_id.get_mut(id)) {
            inode.parent = parent;
            inode.name = name.into();
        }
        Ok(())
    }

    /// The guest has forgotten the inode `lookups` times.
    pub(crate) fn forget(&mut self, id: u64, lookups: u64) {
        let Some(inode) = self.by_id.get_mut(&id) else {
            return;
        };
        inode.lookups = inode.lookups.saturating_sub(lookups);
        if inode.lookups > 0 {
            return;
        }
        if inode.descriptor.is_some() {
            self.open -= 1;
        }
        let key = inode.node.key;
        self.by_id.remove(&id);
        if self.by_key.get(&key) == Some(&id) {
            self.by_key.remove(&key);
        }
    }

    /// The inode is open once more.
    pub(crate) fn opened(&mut self, id: u64) {
        if let Some(inode) = self.by_id.get_mut(&id) {
            inode.opens = inode.opens.saturating_add(1);
        }
    }

    /// The inode is open once less.
    pub(crate) fn closed(&mut self, id: u64) {
        if let Some(inode) = self.by_id.get_mut(&id) {
            inode.opens = inode.opens.saturating_sub(1);
        }
    }
}

/// An O_PATH descriptor.
#[derive(Clone, Debug)]
pub(crate) enum Descriptor {
    Root(Arc<Directory>),
    Inode(Arc<OwnedFd>),
}

impl Descriptor {
    pub(crate) fn fd(&self) -> &OwnedFd {
        match self {
            Self::Root(directory) => &directory.root,
            Self::Inode(open) => open,
        }
    }
}
