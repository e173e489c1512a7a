//! How files and groups begin: the bytes around what is kept.
//!
//! A file begins with a header of [`FILE_HEADER`] bytes, and groups follow, each with a header of
//! [`GROUP_HEADER`] bytes. All numbers are little-endian.
//!
//! | file header | | group header | |
//! | --- | --- | --- | --- |
//! | 0..8 | `NSBROKER` | 0..4 | `GRP\n` |
//! | 8..10 | version | 4..8 | length of what follows the header |
//! | 10..12 | kind: 1 journal, 2 checkpoint | 8..16 | position |
//! | 12..16 | zero | 16..20 | CRC-32 of what follows |
//! | 16..24 | position | 20..24 | CRC-32 of salt and 0..20 |
//! | 24..32 | salt | | |
//! | 32..36 | CRC-32 of 0..32 | | |
//!
//! Zeros behind the last group are room for groups to come.
//!
//! A position counts the bytes of all groups ever written, without headers. The salt is drawn anew
//! for every file and told to nobody, so no client can send a message with bytes in it that pass
//! for a group.

use super::error::JournalError;
use std::path::Path;

/// The version of the format.
pub(super) const VERSION: u16 = 1;

/// The sizes of the headers, in bytes.
pub(super) const FILE_HEADER: usize = 36;
pub(super) const GROUP_HEADER: usize = 24;

const FILE_MAGIC: [u8; 8] = *b"NSBROKER";
pub(super) const GROUP_MAGIC: [u8; 4] = *b"GRP\n";

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes, in the order in which they happened.
    Journal,
    /// What all changes before some position came to.
    Checkpoint,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::Journal => 1,
            Self::Checkpoint => 2,
        }
    }
}

/// The beginning of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) kind: Kind,
    /// Of the first group, or of the moment of the checkpoint.
    pub(super) position: u64,
    pub(super) salt: u64,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.kind.code().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Whether these bytes, fewer than a header, are the beginning of one of this kind and position.
    pub(super) fn begins(bytes: &[u8], kind: Kind, position: u64) -> bool {
        let mut whole = [0; FILE_HEADER];
        let len = bytes.len().min(FILE_HEADER);
        whole[..len].copy_from_slice(&bytes[..len]);
        let salt = u64_at(&whole, 24);
        let header = Self {
            kind,
            position,
            salt,
        };
        header.encode().starts_with(bytes)
    }

    /// Reads the header of the file at `path`, which must be of this kind and position: its name
    /// says so.
    pub(super) fn decode(
        bytes: &[u8; FILE_HEADER],
        path: &Path,
        kind: Kind,
        position: u64,
    ) -> Result<Self, JournalError> {
        if bytes[..8] != FILE_MAGIC {
            let path = path.to_owned();
            return Err(JournalError::Foreign { path });
        }
        let damaged = |offset, problem| JournalError::Damaged {
            path: path.to_owned(),
            offset,
            problem,
        };
        // The version comes first: a newer one may have another checksum.
        let found = u16::from_le_bytes([bytes[8], bytes[9]]);
        if found != VERSION {
            return Err(JournalError::Version {
                path: path.to_owned(),
                found,
                known: VERSION,
            });
        }
        if u32_at(bytes, 32) != crc32fast::hash(&bytes[..32]) {
            return Err(damaged(0, "the checksum of its header does not fit"));
        }
        if u16::from_le_bytes([bytes[10], bytes[11]]) != kind.code() {
            return Err(damaged(10, "it is not what its name says"));
        }
        if u64_at(bytes, 16) != position {
            return Err(damaged(16, "it was written under another name"));
        }
        let salt = u64_at(bytes, 24);
        Ok(Self {
            kind,
            position,
            salt,
        })
    }
}

/// The beginning of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// How many bytes follow.
    pub(super) len: u32,
    /// Of the first of them.
    pub(super) position: u64,
    /// Their checksum.
    pub(super) crc: u32,
}

impl GroupHeader {
    /// The header of a group with these bytes.
    pub(super) fn of(payload: &[u8], position: u64) -> Self {
        Self {
            // A group is bounded by the buffer that it was gathered in.
            len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            position,
            crc: crc32fast::hash(payload),
        }
    }

    pub(super) fn encode(&self, salt: u64) -> [u8; GROUP_HEADER] {
        let mut bytes = [0; GROUP_HEADER];
        bytes[..4].copy_from_slice(&GROUP_MAGIC);
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.position.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.crc.to_le_bytes());
        let crc = header_crc(&bytes, salt);
        bytes[20..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header, unless these bytes are none.
    pub(super) fn decode(bytes: &[u8; GROUP_HEADER], salt: u64) -> Option<Self> {
        let is_header = bytes[..4] == GROUP_MAGIC && u32_at(bytes, 20) == header_crc(bytes, salt);
        is_header.then(|| Self {
            len: u32_at(bytes, 4),
            position: u64_at(bytes, 8),
            crc: u32_at(bytes, 16),
        })
    }

    /// How many bytes the group has with its header.
    pub(super) fn whole(&self) -> u64 {
        u64::from(self.len) + GROUP_HEADER as u64
    }

    /// The position of what comes after the group.
    pub(super) fn end(&self) -> u64 {
        self.position.saturating_add(u64::from(self.len))
    }
}

fn header_crc(bytes: &[u8; GROUP_HEADER], salt: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&bytes[..20]);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// The name of a file of this kind.
pub(super) fn file_name(kind: Kind, position: u64) -> String {
    match kind {
        Kind::Journal => format!("journal-{position:020}.log"),
        Kind::Checkpoint => format!("checkpoint-{position:020}.log"),
    }
}

/// What [`file_name`] made a name of.
pub(super) fn parse_name(name: &str) -> Option<(Kind, u64)> {
    let stem = name.strip_suffix(".log")?;
    let (kind, digits) = match stem.strip_prefix("journal-") {
        Some(digits) => (Kind::Journal, digits),
        None => (Kind::Checkpoint, stem.strip_prefix("checkpoint-")?),
    };
    let position = digits.parse().ok()?;
    (file_name(kind, position) == name).then_some((kind, position))
}
