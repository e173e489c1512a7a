//! Reading a folder back: the newest checkpoint, then every change since.
//!
//! The end of the newest journal file is the only place where a crash can leave broken bytes: the
//! group that was being written. It was not synced, so nobody was told of what is in it, and it is
//! cut off. Broken bytes anywhere else, or with a later group behind them, were whole once and
//! somebody relies on them: that is refused, never skipped.
//!
//! The last whole group may have been read from the operating system's memory and not be on the
//! disk, if the process before this one died between writing and syncing it. Before anything is
//! built upon it, it is written again in its place and synced.

use std::{collections::BTreeSet, path::PathBuf};

use rand::RngCore;

use super::{
    error::JournalError,
    folder::{File, Folder},
    frame::{FILE_HEADER, FileHeader, Kind, file_name, parse_name},
    reader::{Next, Reader},
};

/// What an unfinished checkpoint ends in.
pub(super) const UNFINISHED: &str = ".tmp";

/// Takes in what was kept.
pub(crate) trait Replay {
    /// What a checkpoint holds, in pieces.
    fn checkpoint(&mut self, payload: &[u8]) -> Result<(), Unreadable>;
    /// Changes, of which the first byte has this position.
    fn changes(&mut self, payload: &[u8], position: u64) -> Result<(), Unreadable>;
}

/// A group whose checksum fits and whose content makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Where in the payload.
    pub(crate) at: usize,
    /// What is wrong.
    pub(crate) problem: &'static str,
}

/// Where the next group goes.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: Box<dyn File>,
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    /// How long the file is, with room for what comes.
    pub(super) size: u64,
    pub(super) position: u64,
    pub(super) salt: u64,
    /// The position of the newest checkpoint: what the journal begins with.
    pub(super) begin: u64,
    /// What was cut off or begun anew, if anything was.
    pub(super) notice: Option<String>,
}

/// The files of a folder, by position.
#[derive(Debug, Default)]
struct Listing {
    journals: BTreeSet<u64>,
    checkpoints: BTreeSet<u64>,
    unfinished: Vec<String>,
}

/// Reads everything, and leaves the folder ready to be written on.
pub(super) fn recover(folder: &dyn Folder, replay: &mut dyn Replay) -> Result<Tail, JournalError> {
    let listing = Listing::read(folder)?;
    let checkpoint = listing.checkpoints.last().copied();
    if let Some(position) = checkpoint {
        read_checkpoint(folder, position, replay)?;
    }
    let begin = checkpoint.unwrap_or(0);
    let tail = read_journals(folder, &listing, checkpoint, replay)?;
    listing.remove_outdated(folder, begin)?;
    folder
        .sync()
        .map_err(JournalError::io("sync", folder.path()))?;
    Ok(tail)
}

impl Listing {
    fn read(folder: &dyn Folder) -> Result<Self, JournalError> {
        let path = folder.path();
        let mut listing = Self::default();
        for name in folder.names().map_err(JournalError::io("read", path))? {
            match parse_name(&name) {
                Some((Kind::Journal, position)) => drop(listing.journals.insert(position)),
                Some((Kind::Checkpoint, position)) => drop(listing.checkpoints.insert(position)),
                None if name.starts_with("checkpoint-") && name.ends_with(UNFINISHED) => {
                    listing.unfinished.push(name);
                }
                // What file systems and desktops leave everywhere.
                None if name.starts_with('.') || name == "lost+found" => {}
                None => {
                    let path = path.join(name);
                    return Err(JournalError::Foreign { path });
                }
            }
        }
        Ok(listing)
    }

    /// Removes what the checkpoint at `begin` has made superfluous, and checkpoints that were not
    /// finished.
    fn remove_outdated(&self, folder: &dyn Folder, begin: u64) -> Result<(), JournalError> {
        let journals = self.journals.range(..begin);
        let checkpoints = self.checkpoints.range(..begin);
        let outdated = journals
            .map(|position| file_name(Kind::Journal, *position))
            .chain(checkpoints.map(|position| file_name(Kind::Checkpoint, *position)))
            .chain(self.unfinished.iter().cloned());
        for name in outdated {
            let path = folder.path().join(&name);
            folder
                .remove(&name)
                .map_err(JournalError::io("remove", &path))?;
        }
        Ok(())
    }
}

fn read_checkpoint(
    folder: &dyn Folder,
    position: u64,
    replay: &mut dyn Replay,
) -> Result<(), JournalError> {
    let Some(mut reader) = Reader::open(folder, Kind::Checkpoint, position)? else {
        return Err(cut_off(folder, Kind::Checkpoint, position));
    };
    let mut payload = Vec::new();
    loop {
        let begins = reader.offset();
        match reader.next(&mut payload)? {
            // An empty group is the last one.
            Next::Group(group) if group.len == 0 => return Ok(()),
            Next::Group(_) => replay
                .checkpoint(&payload)
                .map_err(|problem| unreadable(&reader, begins, problem))?,
            Next::End => return Err(reader.damaged("the file is cut off")),
            Next::Broken(problem) => return Err(reader.damaged(problem)),
        }
    }
}

fn read_journals(
    folder: &dyn Folder,
    listing: &Listing,
    checkpoint: Option<u64>,
    replay: &mut dyn Replay,
) -> Result<Tail, JournalError> {
    let begin = checkpoint.unwrap_or(0);
    let mut end = begin;
    let mut journals = listing.journals.range(begin..).peekable();
    if journals.peek().is_none() && checkpoint.is_none() {
        return create(folder, 0, 0);
    }
    loop {
        let missing = || JournalError::Missing {
            path: folder.path().join(file_name(Kind::Journal, end)),
        };
        let position = *journals
            .next()
            .filter(|next| **next == end)
            .ok_or_else(missing)?;
        let is_last = journals.peek().is_none();
        // Groups are written only when the header is on the disk, so without groups it may not be.
        if is_last && checkpoint != Some(position) && is_unbegun(folder, position)? {
            let notice = Some(unbegun_notice(folder, position));
            let tail = create(folder, position, begin)?;
            return Ok(Tail { notice, ..tail });
        }
        let Some(mut reader) = Reader::open(folder, Kind::Journal, position)? else {
            return Err(cut_off(folder, Kind::Journal, position));
        };
        let last_group = read_groups(&mut reader, is_last, replay)?;
        end = reader.position();
        if is_last {
            let notice = reader.is_torn()?.then(|| cut_notice(&reader));
            let tail = settle(reader, last_group, begin)?;
            return Ok(Tail { notice, ..tail });
        }
    }
}

/// Reads the groups of one file and says where the last one begins.
fn read_groups(
    reader: &mut Reader,
    is_last: bool,
    replay: &mut dyn Replay,
) -> Result<u64, JournalError> {
    let mut payload = Vec::new();
    let mut last_group = FILE_HEADER as u64;
    loop {
        let begins = reader.offset();
        match reader.next(&mut payload)? {
            Next::Group(group) => {
                replay
                    .changes(&payload, group.position)
                    .map_err(|problem| unreadable(reader, begins, problem))?;
                last_group = begins;
            }
            Next::End => return Ok(last_group),
            Next::Broken(problem) => {
                if !is_last || reader.goes_on()? {
                    return Err(reader.damaged(problem));
                }
                return Ok(last_group);
            }
        }
    }
}

fn cut_notice(reader: &Reader) -> String {
    format!(
        "the last {} bytes of {} were cut off, at byte {}: they were being written when the broker \
         ended, and nobody was told of what they say",
        reader.left(),
        reader.path().display(),
        reader.offset(),
    )
}

fn unbegun_notice(folder: &dyn Folder, position: u64) -> String {
    format!(
        "{} held nothing and was begun anew: a broker that ends while it makes the file leaves it \
         so; if anything was ever written to it, that is lost",
        folder
            .path()
            .join(file_name(Kind::Journal, position))
            .display(),
    )
}

/// Makes the end of the newest file certain: nothing behind it, and its last group on the disk.
fn settle(reader: Reader, last_group: u64, begin: u64) -> Result<Tail, JournalError> {
    let path = reader.path().to_owned();
    let (offset, position, salt) = (reader.offset(), reader.position(), reader.salt());
    let mut file = reader.into_file();
    let mut again = || {
        file.cut(offset)?;
        let from = if last_group < offset { last_group } else { 0 };
        let mut group = vec![0; usize::try_from(offset - from).unwrap_or_default()];
        file.read_at(from, &mut group)?;
        file.write_at(from, &group)?;
        file.sync()
    };
    again().map_err(JournalError::io("write", &path))?;
    Ok(Tail {
        file,
        path,
        offset,
        size: offset,
        position,
        salt,
        begin,
        notice: None,
    })
}

/// Whether a file is at most a header, or the beginning of one. Other bytes were never left by a
/// broker that ended while it made the file.
fn is_unbegun(folder: &dyn Folder, position: u64) -> Result<bool, JournalError> {
    let name = file_name(Kind::Journal, position);
    let path = folder.path().join(&name);
    let read = || {
        let file = folder.open(&name)?;
        let len = usize::try_from(file.size()?).unwrap_or(usize::MAX);
        if len > FILE_HEADER {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        file.read_at(0, &mut bytes)?;
        Ok(Some(bytes))
    };
    let Some(bytes) = read().map_err(JournalError::io("read", &path))? else {
        return Ok(false);
    };
    // Zeros are what a file system has made room for and was not given.
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(true);
    }
    if let Ok(whole) = <&[u8; FILE_HEADER]>::try_from(&bytes[..]) {
        return FileHeader::decode(whole, &path, Kind::Journal, position).map(|_| true);
    }
    if FileHeader::begins(&bytes, Kind::Journal, position) {
        return Ok(true);
    }
    Err(JournalError::Damaged {
        path,
        offset: 0,
        problem: "the file is cut off, and does not begin as a journal does",
    })
}

/// Begins a journal file. It is on the disk, and found there, before anything is written into it.
fn create(folder: &dyn Folder, position: u64, begin: u64) -> Result<Tail, JournalError> {
    let tail = prepare(folder, position, begin)?;
    folder
        .sync()
        .map_err(JournalError::io("sync", folder.path()))?;
    Ok(tail)
}

/// Begins a journal file that is on the disk, and will be found there when the folder is synced.
pub(super) fn prepare(
    folder: &dyn Folder,
    position: u64,
    begin: u64,
) -> Result<Tail, JournalError> {
    let name = file_name(Kind::Journal, position);
    let path = folder.path().join(&name);
    let header = FileHeader {
        kind: Kind::Journal,
        position,
        salt: rand::rng().next_u64(),
    };
    let created = || {
        let mut file = folder.create(&name)?;
        file.write_at(0, &header.encode())?;
        file.sync()?;
        Ok(file)
    };
    Ok(Tail {
        file: created().map_err(JournalError::io("create", &path))?,
        path,
        offset: FILE_HEADER as u64,
        size: FILE_HEADER as u64,
        position,
        salt: header.salt,
        begin,
        notice: None,
    })
}

fn cut_off(folder: &dyn Folder, kind: Kind, position: u64) -> JournalError {
    JournalError::Damaged {
        path: folder.path().join(file_name(kind, position)),
        offset: 0,
        problem: "the file is cut off in its header",
    }
}

fn unreadable(reader: &Reader, begins: u64, problem: Unreadable) -> JournalError {
    let header = super::frame::GROUP_HEADER as u64;
    JournalError::Damaged {
        path: reader.path().to_owned(),
        offset: begins + header + problem.at as u64,
        problem: problem.problem,
    }
}
