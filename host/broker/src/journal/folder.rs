//! What the journal needs of a file system, and the file system that it has.
//!
//! The operations are few, so that a test can put a file system in its place that loses what was
//! not synced, in every order in which a disk may lose it.
//!
//! Messages may hold what is nobody else's business, so what is made here can be read by the user
//! alone that the broker runs as.

use std::{
    fmt::Debug,
    fs, io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::error::JournalError;

/// The file whose lock says that a broker uses the folder.
const LOCK: &str = "lock";

/// Who may do what with a folder and a file that are made: their owner everything, others nothing.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

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
        let changed = missing_entries(path).map_err(failed("look for the folder", path))?;
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path);
        made.map_err(failed("create the folder", path))?;
        let handle = fs::File::open(path).map_err(failed("open the folder", path))?;
        // What is synced in a new folder would be lost with the folder, or with one that it is in.
        for folder in changed {
            let synced = fs::File::open(&folder).and_then(|folder| folder.sync_all());
            synced.map_err(failed("sync the folder", &folder))?;
        }
        let lock_path = path.join(LOCK);
        let lock = new_file(&lock_path).map_err(failed("create", &lock_path))?;
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

/// The folders that get a new entry when `path` is made with everything that it is in.
fn missing_entries(path: &Path) -> io::Result<Vec<PathBuf>> {
    let whole = std::path::absolute(path)?;
    let mut changed = Vec::new();
    for folder in whole.ancestors() {
        if folder.try_exists()? {
            break;
        }
        changed.extend(folder.parent().map(Path::to_owned));
    }
    Ok(changed)
}

/// Creates an empty file, in place of one that is there.
fn new_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::File::options();
    options.read(true).write(true).create(true).truncate(true);
    options.mode(FILE_MODE).open(path)
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
        Ok(Box::new(new_file(&self.path.join(name))?))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_folder_that_gets_an_entry_is_synced() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let nested = root.join("a/b/c");
        let expected = [root.join("a/b"), root.join("a"), root.to_owned()];
        assert_eq!(missing_entries(&nested).unwrap(), expected);
        drop(DiskFolder::open(&nested).unwrap());
        assert_eq!(
            missing_entries(&nested).unwrap(),
            [""; 0].map(PathBuf::from)
        );

        fs::write(root.join("file"), "").unwrap();
        let error = DiskFolder::open(&root.join("file/a")).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("could not look for the folder"), "{text}");
    }

    #[test]
    fn nobody_else_can_read_what_is_made() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = root.path().join("a/b");
        let folder = DiskFolder::open(&path).unwrap();
        folder.create("journal").unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&root.path().join("a")), 0o700);
        for name in [LOCK, "journal"] {
            assert_eq!(mode(&path.join(name)), 0o600, "{name}");
        }
    }
}
