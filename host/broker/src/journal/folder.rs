//! What the journal needs of a file system, and the file system that it has.
//!
//! The operations are few, so that a test can put a file system in its place that loses what was
//! not synced, in every order in which a disk may lose it.

use std::{
    fmt::Debug,
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::error::JournalError;

/// The file whose lock says that a broker uses the folder.
const LOCK: &str = "lock";

/// A folder of files.
pub(crate) trait Folder: Debug + Send + Sync {
    /// Where it is, for messages.
    fn path(&self) -> &Path;
    /// The names of everything in it.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Creates an empty file, in place of one with this name.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Opens a file that is there, to be read and written.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when everything that was created, renamed and removed is on the disk as such.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub(crate) trait File: Debug + Send {
    /// Its size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `into` with what is there from `offset` on. To meet the end is an error.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, which may be the end.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file.
    fn cut(&mut self, size: u64) -> io::Result<()>;
    /// Returns when everything that was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder of the operating system, locked against other brokers as long as this lives.
#[derive(Debug)]
pub(crate) struct DiskFolder {
    path: PathBuf,
    handle: fs::File,
    _lock: fs::File,
}

impl DiskFolder {
    /// Creates the folder unless it is there, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |action, path: &Path| JournalError::io(action, path);
        let is_new = !path.exists();
        fs::create_dir_all(path).map_err(failed("create the folder", path))?;
        let handle = fs::File::open(path).map_err(failed("open the folder", path))?;
        // What is synced in a new folder would be lost with the folder.
        let whole = path.canonicalize().ok().filter(|_| is_new);
        if let Some(parent) = whole.as_deref().and_then(Path::parent) {
            let synced = fs::File::open(parent).and_then(|parent| parent.sync_all());
            synced.map_err(failed("sync the folder", parent))?;
        }
        let lock_path = path.join(LOCK);
        let lock = fs::File::create(&lock_path).map_err(failed("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let folder = path.to_owned();
                return Err(JournalError::InUse { folder });
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(failed("lock", &lock_path)(source));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            handle,
            _lock: lock,
        })
    }
}

impl Folder for DiskFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if name != LOCK {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut options = fs::File::options();
        options.read(true).write(true);
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn cut(&mut self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
