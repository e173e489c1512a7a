//! The thread that brings what was appended to the disk, a group at a time.
//!
//! Whatever gathered while one group was being written is the next group: one write, one sync. So
//! an idle broker syncs at once, and a busy one shares each sync among all who wait, without any
//! timer. The next group is begun only when the one before is on the disk; that is why broken bytes
//! in the middle of a file are damage, and broken bytes at its end are not.
//!
//! A write or sync that fails is the end: what the disk holds is then uncertain, and trying again
//! may report a success that is none. The journal says so to everyone who waits, and takes nothing
//! more. Only a new file that cannot be begun, for want of a file descriptor for example, is no
//! harm: it is removed, and the journal goes on in the file that it has.

use std::{
    io::ErrorKind,
    sync::{Arc, PoisonError},
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

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) inner: Arc<Inner>,
    pub(super) folder: Arc<dyn Folder>,
    pub(super) tail: Tail,
}

/// What there is to do next.
enum Work {
    /// Write this group, then begin a new file if somebody asked for it.
    Group {
        bytes: Vec<u8>,
        rotate: bool,
    },
    Stop,
}

impl Writer {
    /// Works until the journal is closed or fails.
    pub(super) fn run(mut self) {
        let mut spare = Vec::new();
        loop {
            let (mut bytes, rotate) = match self.wait(std::mem::take(&mut spare)) {
                Work::Group { bytes, rotate } => (bytes, rotate),
                Work::Stop => return self.give_room_back(),
            };
            let done = self.write(&mut bytes).and_then(|()| {
                self.inner.publish(self.tail.position);
                if rotate { self.rotate() } else { Ok(()) }
            });
            if let Err(error) = done {
                self.inner.fail(error);
                return;
            }
            bytes.clear();
            bytes.shrink_to(KEPT_CAPACITY);
            spare = bytes;
        }
    }

    /// Waits for something to do and takes all of it. `spare` is for what comes meanwhile.
    fn wait(&self, spare: Vec<u8>) -> Work {
        let mut buffer = self.inner.buffer();
        while buffer.is_empty() && !buffer.rotate {
            if buffer.closed {
                return Work::Stop;
            }
            let woken = self.inner.work.wait(buffer);
            buffer = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let rotate = std::mem::take(&mut buffer.rotate);
        let bytes = buffer.take(spare);
        let is_awaited = buffer.waiting > 0;
        drop(buffer);
        if is_awaited {
            self.inner.progress.notify_all();
        }
        Work::Group { bytes, rotate }
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
        let written = tail.file.write_at(tail.offset, bytes);
        written.map_err(JournalError::io("write", &tail.path))?;
        let synced = tail.file.sync();
        synced.map_err(JournalError::io("sync", &tail.path))?;
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
    fn rotate(&mut self) -> Result<(), JournalError> {
        if self.tail.offset == FILE_HEADER as u64 {
            self.inner.rotated(Ok(self.tail.position));
            return Ok(());
        }
        self.give_room_back();
        match recovery::prepare(&*self.folder, self.tail.position, self.tail.begin) {
            Ok(tail) => {
                self.sync_folder()?;
                self.tail = tail;
                self.inner.rotated(Ok(self.tail.position));
            }
            Err(error) => {
                self.remove_next()?;
                self.inner.rotated(Err(error));
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
    fn is_empty(&self) -> bool {
        self.bytes.len() <= GROUP_HEADER
    }

    /// Takes what has gathered; what comes next gathers in `spare`.
    fn take(&mut self, mut spare: Vec<u8>) -> Vec<u8> {
        self.begin = self.end();
        spare.resize(GROUP_HEADER, 0);
        std::mem::replace(&mut self.bytes, spare)
    }
}
