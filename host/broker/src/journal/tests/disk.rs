//! A folder in memory that fails as disks and machines do.
//!
//! What was not synced is there as long as the machine runs ([`Disk::kill`]: only the process
//! died) and is lost in every way when it does not ([`Disk::cut_power`]): of every unsynced write
//! any pieces may be on the disk, and of every unsynced name any.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::super::{
    folder::{File, Folder},
    frame::FILE_HEADER,
};

/// The disk, and every handle to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    /// The names as they are on the disk, and what was done to them since.
    durable_names: BTreeMap<String, usize>,
    unsynced: Vec<NameChange>,
    operations: u64,
    /// The operation that fails, and all after it.
    dies_at: Option<u64>,
    /// The sync that fails, once.
    fails_sync_at: Option<u64>,
    syncs: u64,
    /// No file can be created.
    refuses_files: bool,
    /// The next sync of the folder fails.
    fails_folder_sync: bool,
    room: Option<usize>,
    /// How long a write into a journal file takes.
    slowness: Duration,
    /// For how a write ends that the process dies in.
    dice: Option<StdRng>,
}

/// The content of a file.
#[derive(Debug, Clone, Default)]
struct Node {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug)]
struct Handle {
    disk: Disk,
    node: usize,
    is_journal: bool,
}

impl Disk {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many operations have changed something.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Makes the process die in the operation with this number.
    pub(crate) fn die_at(&self, operation: u64, seed: u64) {
        let mut state = self.state();
        state.dies_at = Some(operation);
        state.dice = Some(StdRng::seed_from_u64(seed));
    }

    /// Makes the `n`-th sync of a file from now fail.
    pub(crate) fn fail_sync(&self, n: u64) {
        let mut state = self.state();
        state.fails_sync_at = Some(state.syncs + n);
    }

    /// How many files were synced so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Refuses to create files, as a process does that has no file descriptor left.
    pub(crate) fn refuse_files(&self, yes: bool) {
        self.state().refuses_files = yes;
    }

    /// Makes the next sync of the folder fail.
    pub(crate) fn fail_folder_sync(&self) {
        self.state().fails_folder_sync = true;
    }

    /// Leaves room for so many bytes.
    pub(crate) fn leave_room(&self, bytes: usize) {
        self.state().room = Some(bytes);
    }

    /// Makes writes into journal files slow, so that others are quicker.
    pub(crate) fn slow_down(&self, slowness: Duration) {
        self.state().slowness = slowness;
    }

    /// The disk as the next process finds it after this one has died: nothing is lost.
    pub(crate) fn kill(&self) -> Self {
        let state = self.state();
        Self(Arc::new(Mutex::new(State {
            nodes: state.nodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            unsynced: state.unsynced.clone(),
            ..State::default()
        })))
    }

    /// The disk as it is found after the power was cut.
    pub(crate) fn cut_power(&self, seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let state = self.state();
        // Sometimes nearly everything is there, sometimes nearly nothing.
        let luck = *[0.0, 0.1, 0.5, 0.9, 1.0]
            .get(dice.random_range(0..5))
            .unwrap();
        let mut names = state.durable_names.clone();
        for change in &state.unsynced {
            if dice.random_bool(luck) {
                apply(&mut names, change);
            }
        }
        let lose = |node: &Node| {
            let mut content = node.durable.clone();
            for change in &node.unsynced {
                match change {
                    Change::Cut(size) if dice.random_bool(luck) => content.truncate(*size),
                    Change::Cut(_) => {}
                    Change::Write(at, bytes) => {
                        let mut from = 0;
                        while from < bytes.len() {
                            // A disk writes its first sector whole, and so the header in it.
                            let least = if at + from == 0 { FILE_HEADER } else { 1 };
                            let len = dice.random_range(least..=64).min(bytes.len() - from);
                            if dice.random_bool(luck) {
                                write(&mut content, at + from, &bytes[from..from + len]);
                            }
                            from += len;
                        }
                    }
                }
            }
            Node {
                now: content.clone(),
                durable: content,
                unsynced: Vec::new(),
            }
        };
        let nodes = state.nodes.iter().map(lose).collect();
        Self(Arc::new(Mutex::new(State {
            nodes,
            durable_names: names.clone(),
            names,
            ..State::default()
        })))
    }

    /// The content of a file.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.nodes[state.names[name]].now.clone()
    }

    /// Puts a file there, synced.
    pub(crate) fn put(&self, name: &str, content: Vec<u8>) {
        let mut state = self.state();
        let node = state.nodes.len();
        state.nodes.push(Node {
            now: content.clone(),
            durable: content,
            unsynced: Vec::new(),
        });
        state.names.insert(name.to_owned(), node);
        state.durable_names.insert(name.to_owned(), node);
    }

    fn handle(&self, node: usize, name: &str) -> Box<dyn File> {
        Box::new(Handle {
            disk: self.clone(),
            node,
            is_journal: name.starts_with("journal-"),
        })
    }

    /// The names of the files, in order.
    pub(crate) fn list(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl State {
    /// Counts an operation. When the process dies in it, it fails; a write may have been begun.
    fn begin(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.dies_at.is_some_and(|at| self.operations > at) {
            return Err(io::Error::other("the process has died"));
        }
        Ok(())
    }

    fn rename(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.unsynced.push(change);
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Create(name, node) => drop(names.insert(name.clone(), *node)),
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        NameChange::Remove(name) => drop(names.remove(name)),
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Folder for Disk {
    fn path(&self) -> &Path {
        Path::new("/disk")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.list())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.begin()?;
        if state.refuses_files {
            return Err(io::Error::other("too many open files"));
        }
        let node = state.nodes.len();
        state.nodes.push(Node::default());
        state.rename(NameChange::Create(name.to_owned(), node));
        drop(state);
        Ok(self.handle(node, name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let state = self.state();
        let node = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        Ok(self.handle(node, name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        state.rename(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        state.rename(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.begin()?;
        if std::mem::take(&mut state.fails_folder_sync) {
            return Err(io::Error::other("the disk has lost something"));
        }
        state.durable_names = state.names.clone();
        state.unsynced.clear();
        Ok(())
    }
}

impl File for Handle {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().nodes[self.node].now.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.disk.state();
        let from = state.nodes[self.node].now.get(offset..offset + into.len());
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        if self.is_journal {
            let slowness = self.disk.state().slowness;
            std::thread::sleep(slowness);
        }
        let mut state = self.disk.state();
        let died = state.begin();
        let mut bytes = bytes;
        if died.is_err() {
            let Some(mut dice) = state.dice.take() else {
                return died;
            };
            bytes = &bytes[..dice.random_range(0..=bytes.len())];
        }
        if let Some(room) = &mut state.room {
            let Some(left) = room.checked_sub(bytes.len()) else {
                // A part is written. The room is there again when the file is removed.
                let fits = &bytes[..*room];
                write(&mut state.nodes[self.node].now, at, fits);
                return Err(io::ErrorKind::StorageFull.into());
            };
            *room = left;
        }
        let node = &mut state.nodes[self.node];
        write(&mut node.now, at, bytes);
        node.unsynced.push(Change::Write(at, bytes.to_owned()));
        died
    }

    fn cut(&mut self, size: u64) -> io::Result<()> {
        let size = usize::try_from(size).unwrap();
        let mut state = self.disk.state();
        state.begin()?;
        let node = &mut state.nodes[self.node];
        node.now.truncate(size);
        node.unsynced.push(Change::Cut(size));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin()?;
        state.syncs += 1;
        let failed = state.fails_sync_at == Some(state.syncs);
        let node = &mut state.nodes[self.node];
        // After a failure the system takes what it has in memory for written, and never tries
        // again.
        let unsynced = std::mem::take(&mut node.unsynced);
        if failed {
            return Err(io::Error::other("the disk has lost something"));
        }
        for change in unsynced {
            match change {
                Change::Write(at, bytes) => write(&mut node.durable, at, &bytes),
                Change::Cut(size) => node.durable.truncate(size),
            }
        }
        Ok(())
    }
}
