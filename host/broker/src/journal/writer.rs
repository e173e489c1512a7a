//! Bringing what was appended to the disk, a group at a time.
//!
//! Whatever gathered while one group was being written is the next group: one write, one sync. So
//! an idle broker syncs at once, and a busy one shares each sync among all who wait, without any
//! timer. The next group is begun only when the one before is on the disk; that is why broken bytes
//! in the middle of a file are damage, and broken bytes at its end are not.
//!
//! A thread does this. To wake it, and to be woken by it, takes about as long as a quick disk takes
//! for a sync. So a round of work whose end finds nobody writing writes its group itself, as long as
//! the group is short and no group took long lately. A disk that stalls for the first time holds up
//! that one round, and what its thread would have done next. What gathers while a round writes is
//! the thread's.
//!
//! A write or sync that fails is the end: what the disk holds is then uncertain, and trying again
//! may report a success that is none. The journal says so to everyone who waits, and takes nothing
//! more. Only a new file that cannot be begun, for want of a file descriptor for example, is no
//! harm: it is removed, and the journal goes on in the file that it has.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, Condvar, MutexGuard, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use super::{
    Buffer, Inner,
    error::JournalError,
    folder::Folder,
    frame::{FILE_HEADER, GROUP_HEADER, GroupHeader, Kind, file_name},
    recovery::{self, Tail},
};

/// The buffer of a group may keep this much for the next one.
const KEPT_CAPACITY: usize = 1024 * 1024;

/// How much room is made at a time: as much again as the file has, within these bounds.
const LEAST_ROOM: u64 = 256 * 1024;
const MOST_ROOM: u64 = 8 * 1024 * 1024;

/// While every group is on the disk within this, a round of work may wait for its own.
const QUICK: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_micros(500)
};

/// A group that is longer than this, in bytes, does not keep a round of work waiting.
const SHORT: usize = 256 * 1024;

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Thread,
    Round,
}

/// Wakes the thread when a round panics while it writes: nobody else would tell of it.
struct WakeOnPanic<'a>(&'a Condvar);

impl Drop for WakeOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}

/// Where groups are written.
#[derive(Debug)]
pub(super) struct Writer {
    folder: Arc<dyn Folder>,
    tail: Tail,
    /// Memory for the buffer of the next group.
    spare: Vec<u8>,
    /// How long a group may take: as long as the slowest one lately.
    longest: Duration,
}

/// The life of the thread: it works until the journal is closed or fails.
pub(super) fn run(inner: &Inner) {
    while inner.has_work() {
        let written = inner.writer().turn(inner, By::Thread);
        if let Some(position) = written {
            inner.publish(position);
        }
    }
    if !inner.buffer().failed {
        inner.writer().give_room_back();
    }
}

impl Inner {
    /// Waits for something to do. Says no when there will be nothing more.
    fn has_work(&self) -> bool {
        let mut buffer = self.buffer();
        loop {
            if buffer.failed {
                return false;
            }
            if !buffer.is_empty() || buffer.rotate || self.writer.is_poisoned() {
                return true;
            }
            if buffer.closed {
                return false;
            }
            let woken = self.work.wait(buffer);
            buffer = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Brings what has gathered to the disk, or sees to it that the thread does.
    pub(super) fn commit(&self) {
        let _woken = WakeOnPanic(&self.work);
        let written = match self.writer.try_lock() {
            Ok(mut writer) if self.may_block && writer.longest <= QUICK => {
                writer.turn(self, By::Round)
            }
            Ok(_) | Err(TryLockError::Poisoned(_)) => None,
            // Whoever is writing looks again afterwards.
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some(position) = written {
            self.publish(position);
        }
        if written.is_none() || !self.buffer().is_empty() {
            self.work.notify_one();
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poisoned| {
            // A panic broke a write off: what the disk holds is as uncertain as after an error.
            let writer = poisoned.into_inner();
            let panicked = io::Error::other("a thread of the broker panicked while it wrote");
            self.fail(JournalError::io("write", &writer.tail.path)(panicked));
            writer
        })
    }

    /// Takes what has gathered, unless it is longer than `most` or the journal has failed, and the
    /// wish for a new file, if that `may_rotate`. `spare` is for what comes next.
    fn take(&self, spare: &mut Vec<u8>, most: usize, may_rotate: bool) -> Option<(Vec<u8>, bool)> {
        let mut buffer = self.buffer();
        if buffer.failed || buffer.bytes.len() > most {
            return None;
        }
        let rotate = may_rotate && std::mem::take(&mut buffer.rotate);
        let bytes = buffer.take(std::mem::take(spare));
        let is_awaited = buffer.waiting > 0;
        drop(buffer);
        if is_awaited {
            self.progress.notify_all();
        }
        Some((bytes, rotate))
    }
}

impl Writer {
    pub(super) fn new(folder: Arc<dyn Folder>, tail: Tail) -> Self {
        Self {
            folder,
            tail,
            spare: Vec::new(),
            longest: QUICK * 2,
        }
    }

    /// Writes what has gathered, then begins a new file if somebody asked for it. Returns up to where
    /// everything is on the disk, to be published when the writer is free again: whoever is woken
    /// may write next. A round leaves to the thread what is long, or needs room made for it.
    fn turn(&mut self, inner: &Inner, by: By) -> Option<u64> {
        let room =
            usize::try_from(self.tail.size.saturating_sub(self.tail.offset)).unwrap_or(usize::MAX);
        let most = match by {
            By::Thread => usize::MAX,
            By::Round => SHORT.min(room),
        };
        let taken = inner.take(&mut self.spare, most, by == By::Thread);
        let (mut bytes, rotate) = taken?;
        let written = self.write(&mut bytes);
        let done = written.and_then(|()| if rotate { self.rotate(inner) } else { Ok(()) });
        if let Err(error) = done {
            inner.fail(error);
        }
        bytes.clear();
        bytes.shrink_to(KEPT_CAPACITY);
        self.spare = bytes;
        Some(self.tail.position)
    }

    /// Writes and syncs a group whose first bytes are free for its header.
    fn write(&mut self, bytes: &mut [u8]) -> Result<(), JournalError> {
        let tail = &mut self.tail;
        let (header, payload) = bytes.split_at_mut(GROUP_HEADER);
        if payload.is_empty() {
            return Ok(());
        }
        let group = GroupHeader::of(payload, tail.position);
        header.copy_from_slice(&group.encode(tail.salt));
        make_room(tail, group.whole());
        let begun = Instant::now();
        let written = tail.file.write_at(tail.offset, bytes);
        written.map_err(JournalError::io("write", &tail.path))?;
        let synced = tail.file.sync();
        synced.map_err(JournalError::io("sync", &tail.path))?;
        self.longest = begun.elapsed().max(self.longest * 7 / 8);
        tail.offset += group.whole();
        tail.position = group.end();
        Ok(())
    }

    /// Leaves a file that ends with its last group. That it does is not relied on.
    fn give_room_back(&mut self) {
        let tail = &mut self.tail;
        match tail.file.cut(tail.offset) {
            Ok(()) => tail.size = tail.offset,
            Err(error) => {
                tracing::debug!(error = %error, "could not cut off the room of the journal");
            }
        }
    }

    /// Goes on in a new file, unless this one is as good as new.
    fn rotate(&mut self, inner: &Inner) -> Result<(), JournalError> {
        inner.publish(self.tail.position);
        if self.tail.offset == FILE_HEADER as u64 {
            inner.rotated(Ok(self.tail.position));
            return Ok(());
        }
        self.give_room_back();
        match recovery::prepare(&*self.folder, self.tail.position, self.tail.begin) {
            Ok(tail) => {
                self.sync_folder()?;
                self.tail = tail;
                inner.rotated(Ok(self.tail.position));
            }
            Err(error) => {
                self.remove_next()?;
                inner.rotated(Err(error));
            }
        }
        Ok(())
    }

    /// Removes what there is of a next file. Were it found beside groups that this file is given
    /// later, it would pass for one that begins too early.
    fn remove_next(&self) -> Result<(), JournalError> {
        let name = file_name(Kind::Journal, self.tail.position);
        match self.folder.remove(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let path = self.folder.path().join(name);
                return Err(JournalError::io("remove", &path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), JournalError> {
        let synced = self.folder.sync();
        synced.map_err(JournalError::io("sync", self.folder.path()))
    }
}

/// Fills the file with zeros for the next groups when this one does not fit. To sync a group that
/// takes the place of zeros takes about half as long as to sync one that makes the file longer,
/// since the file system has nothing to note of its own.
fn make_room(tail: &mut Tail, len: u64) {
    let end = tail.offset + len;
    if end <= tail.size {
        return;
    }
    let room = tail.offset.clamp(LEAST_ROOM, MOST_ROOM);
    let zeros = vec![0; usize::try_from(room).unwrap_or_default()];
    tail.size = match tail.file.write_at(end, &zeros) {
        Ok(()) => end + room,
        // The group itself may still fit.
        Err(_) => end,
    };
}

impl Buffer {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() <= GROUP_HEADER
    }

    /// Takes what has gathered; what comes next gathers in `spare`.
    fn take(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        self.begin = self.end();
        spare.resize(GROUP_HEADER, 0);
        std::mem::replace(&mut self.bytes, spare)
    }
}
