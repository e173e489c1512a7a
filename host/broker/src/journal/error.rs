//! What can be wrong with a journal. Each problem names the file, and the place in it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a journal cannot be used, or can be used no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The operating system refused something.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Two brokers on one folder would each overwrite what the other has promised to keep.
    #[error(
        "another broker uses the folder {}; stop it, or give this one a folder of its own",
        folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// Something that no broker has put there.
    #[error(
        "{} does not belong to a broker's journal; give the broker a folder of its own",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer broker.
    #[error(
        "{} is in version {found} of the format, and this broker knows version {known}; \
         use the broker that wrote it, or a newer one",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it is in.
        found: u16,
        /// The version that this broker writes and reads.
        known: u16,
    },
    /// What was once written and synced is not what is read.
    #[error(
        "{} is damaged at byte {offset}: {problem}; bring the folder back from a backup, or \
         move it away to begin without its messages",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins, in bytes from the beginning of the file.
        offset: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A file that has to be there is not.
    #[error(
        "{} is missing, and with it what was written at that time; bring the folder back from \
         a backup, or move it away to begin without its messages",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
}

impl JournalError {
    /// For `map_err`: what was tried, and on what.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
