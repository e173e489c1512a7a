//! The journal: every change that somebody was told of survives the end of the process.
//!
//! Changes happen in memory first. In the same critical section in which a queue changes, the
//! change is appended to a buffer that all queues share, which is brought to the disk group by group:
//! at the end of a round of work, or by a thread of its own ([`writer`]). Every appended byte has a *position*, and the journal
//! knows up to which position everything is on the disk. A connection remembers the end of the
//! journal after each round of work and lets nothing that it wrote in that round go to its client
//! before that position is durable. So whatever a client has seen, be it the answer to its own
//! request or the effect of another client's, is on the disk, and there is one rule for all of it.
//!
//! The folder holds `journal-<position>.log`, in which the changes stand ([`frame`] describes the
//! bytes, [`entry`] the changes), and after a while `checkpoint-<position>.log`, the state at that
//! position, which lets older files go ([`checkpoint`]). Reading it back is told in [`recovery`].
//!
//! The buffer is bounded. Connections stop reading while much of it waits for the disk, and beyond
//! that a thread that appends waits.

mod checkpoint;
mod entry;
mod error;
mod folder;
mod frame;
mod reader;
mod recovery;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

pub use self::error::JournalError;
#[cfg(test)]
pub(crate) use self::tests::{disk::Disk, seeds};
use self::{checkpoint::Checkpoint, frame::GROUP_HEADER, recovery::Tail, writer::Writer};
pub(crate) use self::{
    entry::{Entries, Entry, Fields, Forwarded, IdHash, Stored, Totals},
    folder::{DiskFolder, Folder},
    recovery::{Replay, Unreadable},
};

/// While more than this waits for the disk, connections read nothing more.
const CONGESTED: u64 = 16 * 1024 * 1024;

/// While more than this waits, whoever appends waits too.
const FULL: usize = 64 * 1024 * 1024;

/// The journal is compacted when it is larger than this, and than twice what it stands for.
const WORTH_COMPACTING: u64 = if cfg!(test) {
    2 * 1024
} else {
    64 * 1024 * 1024
};

/// A running journal. Dropping it brings what was appended to the disk.
#[derive(Debug)]
pub(crate) struct Journal {
    inner: Arc<Inner>,
    folder: Arc<dyn Folder>,
    writer: Option<JoinHandle<()>>,
    notice: Option<String>,
}

/// What the writer and those who append share.
#[derive(Debug)]
struct Inner {
    /// Locked before the buffer, by those who lock both.
    writer: Mutex<Writer>,
    buffer: Mutex<Buffer>,
    /// Whether a thread that does other work as well may wait for the disk: there are more of them.
    may_block: bool,
    /// For the writer: there is work.
    work: Condvar,
    /// For those who wait for the writer: it has done something.
    progress: Condvar,
    /// The position after everything appended.
    end: AtomicU64,
    durable: watch::Sender<Durable>,
    /// [`Durable::position`], to be read without a lock.
    durable_position: AtomicU64,
    has_failed: AtomicBool,
    failure: watch::Sender<Option<Arc<JournalError>>>,
    /// The position of the newest checkpoint.
    begin: AtomicU64,
    /// The end at which to think of compacting.
    compact_at: AtomicU64,
    compact: Notify,
}

/// How far the disk has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Durable {
    /// Everything before this position is on the disk.
    pub(crate) position: u64,
    /// Nothing more will come.
    pub(crate) has_failed: bool,
}

/// How the writing of a checkpoint goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// There is more.
    More,
    /// This was the last piece.
    Last,
    /// There is to be no checkpoint.
    GiveUp,
}

/// What was appended and is not being written yet.
#[derive(Debug)]
struct Buffer {
    /// Begins with room for the header of the group.
    bytes: Vec<u8>,
    /// The position of what follows that room.
    begin: u64,
    /// Somebody asked for a new file.
    rotate: bool,
    /// How many rounds of work will see to it that the writer works.
    rounds: usize,
    /// How many threads wait for the writer. Waking nobody costs a system call, too.
    waiting: usize,
    /// How often that was done.
    rotations: u64,
    /// The position at which the newest file begins.
    file: u64,
    /// Why it is not the one that was asked for.
    refused: Option<JournalError>,
    closed: bool,
    failed: bool,
}

impl Buffer {
    fn end(&self) -> u64 {
        self.begin + (self.bytes.len() - GROUP_HEADER) as u64
    }
}

impl Journal {
    /// Reads the journal in `folder`, or begins one, and starts the writer.
    pub(crate) fn open(
        folder: Arc<dyn Folder>,
        replay: &mut dyn Replay,
    ) -> Result<Self, JournalError> {
        let mut tail = recovery::recover(&*folder, replay)?;
        let notice = tail.notice.take();
        let inner = Arc::new(Inner::new(Arc::clone(&folder), tail));
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let shared = Arc::clone(&inner);
        let writer = thread.spawn(move || writer::run(&shared));
        let writer = writer.map_err(JournalError::io("start a thread for", folder.path()))?;
        Ok(Self {
            inner,
            folder,
            writer: Some(writer),
            notice,
        })
    }

    /// What of the end of the journal was cut off or begun anew at start, as a sentence for the
    /// operator.
    pub(crate) fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Appends what `write` adds to the end of the buffer it is given.
    ///
    /// Call it under the lock of what changed, so that changes stand in the order in which they
    /// happened. It waits when the disk is far behind. When the journal has failed, nothing is
    /// asked for, and the answer is no.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let inner = &*self.inner;
        let mut buffer = inner.buffer();
        if buffer.failed || buffer.bytes.len() >= FULL {
            let has_room = |buffer: &Buffer| buffer.bytes.len() < FULL;
            let Some(roomy) = self.wait_until(buffer, has_room) else {
                return false;
            };
            buffer = roomy;
        }
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        if buffer.bytes.len() == before {
            return true;
        }
        let end = buffer.end();
        inner.end.store(end, Ordering::Release);
        let is_news = before == GROUP_HEADER && buffer.rounds == 0;
        drop(buffer);
        if is_news {
            inner.work.notify_one();
        }
        if end >= inner.compact_at.load(Ordering::Relaxed) {
            inner.compact.notify_one();
        }
        true
    }

    /// Begins a round of work, which may append many times. When it ends, what it has appended is
    /// written or the thread is told of it; not before, so a round does not last and awaits nothing.
    pub(crate) fn round(&self) -> Round<'_> {
        self.inner.buffer().rounds += 1;
        Round(&self.inner)
    }

    /// The position after everything appended so far.
    pub(crate) fn end(&self) -> u64 {
        self.inner.end.load(Ordering::Acquire)
    }

    /// Up to where everything is on the disk.
    pub(crate) fn durable(&self) -> u64 {
        self.inner.durable_position.load(Ordering::Acquire)
    }

    /// Tells how far the disk comes.
    pub(crate) fn watch(&self) -> watch::Receiver<Durable> {
        self.inner.durable.subscribe()
    }

    /// Whether so much waits for the disk that nothing should be added.
    pub(crate) fn is_congested(&self) -> bool {
        self.end().saturating_sub(self.durable()) > CONGESTED
    }

    /// Returns when little waits for the disk, or the journal has failed.
    pub(crate) async fn room(&self) {
        if self.is_congested() {
            let mut durable = self.watch();
            let room = |durable: &Durable| durable.has_failed || !self.is_congested();
            // The sender lives as long as this does.
            let _ = durable.wait_for(room).await;
        }
    }

    /// Returns when everything appended before is on the disk, or the journal has failed.
    pub(crate) async fn written(&self) {
        let end = self.end();
        let is_written = |durable: &Durable| durable.has_failed || durable.position >= end;
        // The sender lives as long as this does.
        let _ = self.watch().wait_for(is_written).await;
    }

    /// Whether nothing will become durable any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.inner.has_failed.load(Ordering::Acquire)
    }

    /// Why the journal failed. Waits until it does, and is not woken before.
    pub(crate) async fn failure(&self) -> Arc<JournalError> {
        let mut failure = self.inner.failure.subscribe();
        loop {
            if let Some(error) = &*failure.borrow_and_update() {
                return Arc::clone(error);
            }
            if failure.changed().await.is_err() {
                // The sender lives as long as this does.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns when the journal has grown so much that compacting may be worth while, which
    /// [`Journal::is_worth_compacting`] then decides.
    pub(crate) async fn grown(&self) {
        self.inner.compact.notified().await;
    }

    /// Whether the journal is much larger than `live` bytes, for which it stands. When it is not,
    /// [`Journal::grown`] returns when it may be.
    pub(crate) fn is_worth_compacting(&self, live: u64) -> bool {
        let begin = self.inner.begin.load(Ordering::Acquire);
        let at = begin + live.saturating_mul(2).max(WORTH_COMPACTING);
        self.inner.compact_at.store(at, Ordering::Relaxed);
        self.end() >= at
    }

    /// Writes a checkpoint. `pieces` appends the next piece of the state to the buffer it is
    /// given. It blocks for as long as that takes.
    ///
    /// The pieces are taken after the journal has begun a new file, so a change that is not in that
    /// file or a later one is in the pieces.
    pub(crate) fn compact(
        &self,
        pieces: impl FnMut(&mut Vec<u8>) -> Piece,
    ) -> Result<(), JournalError> {
        let written = match self.rotate() {
            Ok(Some(position)) => self.compact_to(position, pieces),
            // Whoever waits for the failure is told of it.
            Ok(None) => return Ok(()),
            Err(error) => Err(error),
        };
        // Not at once again, even if this failed.
        let next = self.end().saturating_add(WORTH_COMPACTING);
        self.inner.compact_at.store(next, Ordering::Relaxed);
        written
    }

    /// Writes the checkpoint of `position`, or leaves nothing of it.
    fn compact_to(
        &self,
        position: u64,
        pieces: impl FnMut(&mut Vec<u8>) -> Piece,
    ) -> Result<(), JournalError> {
        let written = self.write_checkpoint(position, pieces);
        match &written {
            Ok(true) => self.inner.begin.store(position, Ordering::Release),
            Ok(false) | Err(_) => checkpoint::give_up(&*self.folder, position),
        }
        written.map(|_| ())
    }

    fn write_checkpoint(
        &self,
        position: u64,
        mut pieces: impl FnMut(&mut Vec<u8>) -> Piece,
    ) -> Result<bool, JournalError> {
        let mut checkpoint = Checkpoint::begin(&*self.folder, position)?;
        loop {
            match pieces(checkpoint.bytes()) {
                Piece::More => checkpoint.flush()?,
                // The state is that of a moment that the disk may not have come to. Changes that
                // took the place of lost ones would be mistaken for changes that are in it.
                Piece::Last if self.catch_up() => return checkpoint.finish().map(|()| true),
                Piece::Last | Piece::GiveUp => return Ok(false),
            }
        }
    }

    /// Begins a new file and says its position, unless the journal fails. The error is of a file that
    /// could not be begun, while the journal goes on in the one that it has.
    fn rotate(&self) -> Result<Option<u64>, JournalError> {
        let mut buffer = self.inner.buffer();
        let before = buffer.rotations;
        buffer.rotate = true;
        self.inner.work.notify_one();
        let is_done = |buffer: &Buffer| buffer.rotations != before;
        let Some(mut buffer) = self.wait_until(buffer, is_done) else {
            return Ok(None);
        };
        match buffer.refused.take() {
            None => Ok(Some(buffer.file)),
            Some(error) => Err(error),
        }
    }

    /// Waits until everything appended so far is on the disk. Says whether it is: it is not when
    /// the journal fails.
    pub(crate) fn catch_up(&self) -> bool {
        let end = self.end();
        let is_durable = |_: &Buffer| self.durable() >= end;
        self.wait_until(self.inner.buffer(), is_durable).is_some()
    }

    /// Waits for the writer; in vain when the journal fails.
    fn wait_until<'a>(
        &self,
        mut buffer: MutexGuard<'a, Buffer>,
        is_done: impl Fn(&Buffer) -> bool,
    ) -> Option<MutexGuard<'a, Buffer>> {
        loop {
            if buffer.failed {
                return None;
            }
            if is_done(&buffer) {
                return Some(buffer);
            }
            buffer.waiting += 1;
            // In a round of work it may not have been told.
            self.inner.work.notify_one();
            let woken = self.inner.progress.wait(buffer);
            buffer = woken.unwrap_or_else(PoisonError::into_inner);
            buffer.waiting -= 1;
        }
    }
}

/// A round of work that lasts as long as this does.
#[derive(Debug)]
pub(crate) struct Round<'a>(&'a Inner);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let mut buffer = self.0.buffer();
        buffer.rounds -= 1;
        let is_empty = buffer.is_empty();
        drop(buffer);
        if !is_empty {
            self.0.commit();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.inner.buffer().closed = true;
        self.inner.work.notify_one();
        if let Some(writer) = self.writer.take() {
            // It does not panic, and if it did there would be nothing left to do.
            drop(writer.join());
        }
    }
}

impl Inner {
    fn new(folder: Arc<dyn Folder>, tail: Tail) -> Self {
        let (position, begin) = (tail.position, tail.begin);
        let workers = Handle::try_current().map(|runtime| runtime.metrics().num_workers());
        let durable = Durable {
            position,
            has_failed: false,
        };
        Self {
            writer: Mutex::new(Writer::new(folder, tail)),
            may_block: workers.is_ok_and(|workers| workers > 1),
            buffer: Mutex::new(Buffer {
                bytes: vec![0; GROUP_HEADER],
                begin: position,
                rotate: false,
                rounds: 0,
                waiting: 0,
                rotations: 0,
                file: begin,
                refused: None,
                closed: false,
                failed: false,
            }),
            work: Condvar::new(),
            progress: Condvar::new(),
            end: AtomicU64::new(position),
            durable: watch::Sender::new(durable),
            durable_position: AtomicU64::new(position),
            has_failed: AtomicBool::new(false),
            failure: watch::Sender::new(None),
            begin: AtomicU64::new(begin),
            compact_at: AtomicU64::new(begin + WORTH_COMPACTING),
            compact: Notify::new(),
        }
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        // The buffer holds whole changes after every call, so a panic elsewhere does not spoil it.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything before `position` is on the disk. Two who have written may say so in either order.
    fn publish(&self, position: u64) {
        self.durable_position.fetch_max(position, Ordering::AcqRel);
        let is_news = self.durable.send_if_modified(|durable| {
            let is_news = durable.position < position;
            durable.position = durable.position.max(position);
            is_news
        });
        if !is_news {
            return;
        }
        // Under the lock, so that nobody who has just looked misses it.
        let is_awaited = self.buffer().waiting > 0;
        if is_awaited {
            self.progress.notify_all();
        }
    }

    /// Nothing more will come to the disk.
    fn fail(&self, error: JournalError) {
        self.failure.send_replace(Some(Arc::new(error)));
        let mut buffer = self.buffer();
        buffer.failed = true;
        buffer.bytes = vec![0; GROUP_HEADER];
        // No output of a later round may pass for durable either.
        self.end.store(u64::MAX, Ordering::Release);
        self.has_failed.store(true, Ordering::Release);
        drop(buffer);
        self.durable
            .send_modify(|durable| durable.has_failed = true);
        self.work.notify_one();
        self.progress.notify_all();
    }

    /// A file begins at this position, or the one that was asked for could not be begun.
    fn rotated(&self, begun: Result<u64, JournalError>) {
        let mut buffer = self.buffer();
        buffer.rotations += 1;
        match begun {
            Ok(position) => buffer.file = position,
            Err(error) => buffer.refused = Some(error),
        }
        drop(buffer);
        self.progress.notify_all();
    }
}
