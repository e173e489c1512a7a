//! Reading a file of the journal group by group.

use std::path::{Path, PathBuf};

use super::{
    error::JournalError,
    folder::{File, Folder},
    frame::{FILE_HEADER, FileHeader, GROUP_HEADER, GROUP_MAGIC, GroupHeader, Kind, file_name},
};

/// How much is looked through at a time when something is searched for or checked.
const WINDOW: usize = 256 * 1024;

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    file: Box<dyn File>,
    path: PathBuf,
    header: FileHeader,
    size: u64,
    /// Where the next group begins in the file, and its position.
    offset: u64,
    position: u64,
}

/// What comes next in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A group.
    Group(GroupHeader),
    /// Nothing, or room that was not used.
    End,
    /// Bytes that are no group.
    Broken(&'static str),
}

impl Reader {
    /// Opens a file. One that is too short to have a header is `None`.
    pub(super) fn open(
        folder: &dyn Folder,
        kind: Kind,
        position: u64,
    ) -> Result<Option<Self>, JournalError> {
        let name = file_name(kind, position);
        let path = folder.path().join(&name);
        let file = folder
            .open(&name)
            .map_err(JournalError::io("open", &path))?;
        let size = file.size().map_err(JournalError::io("read", &path))?;
        if size < FILE_HEADER as u64 {
            return Ok(None);
        }
        let mut bytes = [0; FILE_HEADER];
        let read = file.read_at(0, &mut bytes);
        read.map_err(JournalError::io("read", &path))?;
        let is_first = kind == Kind::Journal;
        Ok(Some(Self {
            header: FileHeader::decode(&bytes, &path, kind, position)?,
            file,
            path,
            size,
            offset: FILE_HEADER as u64,
            position: if is_first { position } else { 0 },
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn salt(&self) -> u64 {
        self.header.salt
    }

    /// Where in the file the next group begins, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The position of the next group.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes come from here to the end of the file.
    pub(super) fn left(&self) -> u64 {
        self.size.saturating_sub(self.offset)
    }

    pub(super) fn into_file(self) -> Box<dyn File> {
        self.file
    }

    /// Reads the next group into `payload`.
    pub(super) fn next(&mut self, payload: &mut Vec<u8>) -> Result<Next, JournalError> {
        let left = self.left();
        if left == 0 {
            return Ok(Next::End);
        }
        let header = if left < GROUP_HEADER as u64 {
            None
        } else {
            self.header_at(self.offset)?
        };
        let Some(group) = header else {
            let is_torn = self.is_torn()?;
            let torn = Next::Broken("no group begins here");
            return Ok(if is_torn { torn } else { Next::End });
        };
        if group.position != self.position {
            return Ok(Next::Broken("the group belongs to another place"));
        }
        if group.whole() > left {
            return Ok(Next::Broken("a group is cut off"));
        }
        // What is there is at least as long, so a broken length makes no large buffer.
        payload.resize(usize::try_from(group.len).unwrap_or(usize::MAX), 0);
        self.fill(self.offset + GROUP_HEADER as u64, payload)?;
        if crc32fast::hash(payload) != group.crc {
            return Ok(Next::Broken("the checksum of a group does not fit"));
        }
        self.offset += group.whole();
        self.position = group.end();
        Ok(Next::Group(group))
    }

    /// Whether a whole group that was written later stands anywhere behind the broken bytes that
    /// begin here.
    pub(super) fn goes_on(&self) -> Result<bool, JournalError> {
        let mut window = vec![0; WINDOW];
        let mut at = self.offset + 1;
        while at + (GROUP_HEADER as u64) <= self.size {
            let len = usize::try_from(self.size - at).map_or(WINDOW, |left| left.min(WINDOW));
            self.fill(at, &mut window[..len])?;
            if is_zero(&window[..len]) {
                at += (len - (GROUP_MAGIC.len() - 1)) as u64;
                continue;
            }
            let begins = window[..len].windows(GROUP_MAGIC.len());
            for (index, _) in begins.enumerate().filter(|(_, w)| *w == GROUP_MAGIC) {
                if self.is_later_group(at + index as u64)? {
                    return Ok(true);
                }
            }
            // A magic may lie across two windows.
            at += (len - (GROUP_MAGIC.len() - 1)) as u64;
        }
        Ok(false)
    }

    /// Whether anything but room stands behind the last group.
    pub(super) fn is_torn(&self) -> Result<bool, JournalError> {
        let mut window = vec![0; WINDOW];
        let mut at = self.offset;
        while at < self.size {
            let len = usize::try_from(self.size - at).map_or(WINDOW, |left| left.min(WINDOW));
            self.fill(at, &mut window[..len])?;
            if !is_zero(&window[..len]) {
                return Ok(true);
            }
            at += len as u64;
        }
        Ok(false)
    }

    fn is_later_group(&self, offset: u64) -> Result<bool, JournalError> {
        if offset + (GROUP_HEADER as u64) > self.size {
            return Ok(false);
        }
        let Some(group) = self.header_at(offset)? else {
            return Ok(false);
        };
        if group.position <= self.position || group.whole() > self.size - offset {
            return Ok(false);
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut window = vec![0; WINDOW];
        let mut at = offset + GROUP_HEADER as u64;
        let end = offset + group.whole();
        while at < end {
            let len = usize::try_from(end - at).map_or(WINDOW, |left| left.min(WINDOW));
            self.fill(at, &mut window[..len])?;
            hasher.update(&window[..len]);
            at += len as u64;
        }
        Ok(hasher.finalize() == group.crc)
    }

    fn header_at(&self, offset: u64) -> Result<Option<GroupHeader>, JournalError> {
        let mut bytes = [0; GROUP_HEADER];
        self.fill(offset, &mut bytes)?;
        Ok(GroupHeader::decode(&bytes, self.header.salt))
    }

    fn fill(&self, offset: u64, into: &mut [u8]) -> Result<(), JournalError> {
        let read = self.file.read_at(offset, into);
        read.map_err(JournalError::io("read", &self.path))
    }

    /// The error of bytes at the next group that no crash explains.
    pub(super) fn damaged(&self, problem: &'static str) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            offset: self.offset,
            problem,
        }
    }
}

/// Whether there are only zeros. In pieces, each of which is checked at once.
fn is_zero(bytes: &[u8]) -> bool {
    let mut pieces = bytes.chunks(256);
    pieces.all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}
