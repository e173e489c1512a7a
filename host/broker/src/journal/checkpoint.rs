//! Writing down what all changes so far came to, so that their files can go.
//!
//! It happens beside the work of the broker. The journal goes on in a new file, whose position names
//! the checkpoint; then the state is written piece by piece into a file of its own, which gets its
//! name when it is complete and on the disk. Only then are older files removed. A crash at any
//! step leaves either the old files, all of them, or the checkpoint and what came since.

use std::path::PathBuf;

use rand::RngCore;

use super::{
    error::JournalError,
    folder::{File, Folder},
    frame::{FILE_HEADER, FileHeader, GROUP_HEADER, GroupHeader, Kind, file_name, parse_name},
    recovery::UNFINISHED,
};

/// A group is written when it is this large.
const GROUP: usize = 1024 * 1024;

/// How much is written between two syncs. One sync of everything would hold up the journal's own.
const BETWEEN_SYNCS: u64 = 16 * 1024 * 1024;

/// A checkpoint that is being written.
#[derive(Debug)]
pub(super) struct Checkpoint<'a> {
    folder: &'a dyn Folder,
    file: Box<dyn File>,
    header: FileHeader,
    path: PathBuf,
    offset: u64,
    position: u64,
    synced: u64,
    group: Vec<u8>,
}

impl<'a> Checkpoint<'a> {
    /// Begins the checkpoint of `position`, at which a journal file begins.
    pub(super) fn begin(folder: &'a dyn Folder, position: u64) -> Result<Self, JournalError> {
        let name = unfinished(position);
        let path = folder.path().join(&name);
        let header = FileHeader {
            kind: Kind::Checkpoint,
            position,
            salt: rand::rng().next_u64(),
        };
        let created = folder.create(&name).and_then(|mut file| {
            file.write_at(0, &header.encode())?;
            Ok(file)
        });
        Ok(Self {
            folder,
            file: created.map_err(JournalError::io("create", &path))?,
            header,
            path,
            offset: FILE_HEADER as u64,
            position: 0,
            synced: 0,
            group: vec![0; GROUP_HEADER],
        })
    }

    /// Where the next piece is to be appended.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.group
    }

    /// Writes the group when it is large enough.
    pub(super) fn flush(&mut self) -> Result<(), JournalError> {
        if self.group.len() < GROUP {
            return Ok(());
        }
        self.write()?;
        if self.offset - self.synced >= BETWEEN_SYNCS {
            self.sync()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), JournalError> {
        let (header, payload) = self.group.split_at_mut(GROUP_HEADER);
        let group = GroupHeader::of(payload, self.position);
        header.copy_from_slice(&group.encode(self.header.salt));
        let written = self.file.write_at(self.offset, &self.group);
        written.map_err(JournalError::io("write", &self.path))?;
        self.offset += group.whole();
        self.position = group.end();
        self.group.truncate(GROUP_HEADER);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.synced = self.offset;
        let synced = self.file.sync();
        synced.map_err(JournalError::io("sync", &self.path))
    }

    /// Completes the checkpoint and removes what it stands for.
    pub(super) fn finish(mut self) -> Result<(), JournalError> {
        if self.group.len() > GROUP_HEADER {
            self.write()?;
        }
        // An empty group says that nothing is missing.
        self.write()?;
        self.sync()?;
        let position = self.header.position;
        let named = self
            .folder
            .rename(
                &unfinished(position),
                &file_name(Kind::Checkpoint, position),
            )
            .and_then(|()| self.folder.sync());
        named.map_err(JournalError::io("rename", &self.path))?;
        remove_before(self.folder, position)
    }
}

/// Removes the leftovers of a checkpoint that was given up.
pub(super) fn give_up(folder: &dyn Folder, position: u64) {
    if let Err(error) = folder.remove(&unfinished(position)) {
        tracing::debug!(error = %error, "could not remove an unfinished checkpoint");
    }
}

fn unfinished(position: u64) -> String {
    file_name(Kind::Checkpoint, position).replace(".log", UNFINISHED)
}

/// Removes the files that the checkpoint of `position` has made superfluous.
fn remove_before(folder: &dyn Folder, position: u64) -> Result<(), JournalError> {
    let path = folder.path();
    for name in folder.names().map_err(JournalError::io("read", path))? {
        if parse_name(&name).is_some_and(|(_, of)| of < position) {
            let removed = folder.remove(&name);
            removed.map_err(JournalError::io("remove", &path.join(&name)))?;
        }
    }
    folder.sync().map_err(JournalError::io("sync", path))
}
