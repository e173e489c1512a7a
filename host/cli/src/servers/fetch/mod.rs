//! Fetches what a machine lacks, without root and without installing anything.
//!
//! Whatever is fetched is unpacked into a folder of the cache: first beside its final place, then
//! renamed, so that a killed fetch never leaves half a program. A stamp file says what exactly is
//! there; a start that finds the stamp it wants does nothing. Package managers are used as they
//! are configured on the machine, with their own mirrors, proxies and signatures.

pub(crate) mod debian;
pub(crate) mod npm;
pub(crate) mod python;
pub(crate) mod tool;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::home::try_lock;
use super::process::POLL;
use super::{ServerError, progress::Progress};

/// How long another process may take to fetch the same thing before this one gives up.
const PATIENCE: Duration = Duration::from_mins(15);

/// The file that says what a folder of the cache holds.
const STAMP: &str = ".stamp";

/// Makes sure that `folder` holds what `stamp` says, calling `fill` with an empty folder to fill
/// if it does not. Two processes that want the same thing at once fetch it once.
pub(crate) async fn installed<F>(
    folder: &Path,
    stamp: &str,
    progress: &Progress,
    fill: impl FnOnce(PathBuf) -> F,
) -> Result<(), ServerError>
where
    F: Future<Output = Result<(), ServerError>>,
{
    if is_stamped(folder, stamp) {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(ServerError::file("create", parent))?;
    let _lock = lock(&beside(folder, "lock"), progress).await?;
    if is_stamped(folder, stamp) {
        return Ok(());
    }
    let partial = beside(folder, "partial");
    remove(&partial)?;
    std::fs::create_dir(&partial).map_err(ServerError::file("create", &partial))?;
    let filled = fill(partial.clone()).await;
    if let Err(error) = filled {
        remove(&partial)?;
        return Err(error);
    }
    let stamp_file = partial.join(STAMP);
    std::fs::write(&stamp_file, stamp).map_err(ServerError::file("write", &stamp_file))?;
    remove(folder)?;
    std::fs::rename(&partial, folder).map_err(ServerError::file("rename to", folder))
}

fn is_stamped(folder: &Path, stamp: &str) -> bool {
    std::fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == stamp)
}

async fn lock(file: &Path, progress: &Progress) -> Result<std::fs::File, ServerError> {
    let deadline = Instant::now() + PATIENCE;
    let mut has_told = false;
    loop {
        if let Some(lock) = try_lock(file)? {
            return Ok(lock);
        }
        if Instant::now() >= deadline {
            return Err(ServerError::Machine(format!(
                "another process has held {} for {} s",
                file.display(),
                PATIENCE.as_secs()
            )));
        }
        if !has_told {
            has_told = true;
            progress.say("waiting", "another process is fetching the same thing");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A path beside `folder`, with `suffix` after its name.
fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{suffix}"));
    folder.with_file_name(name)
}

/// Removes a folder with everything in it; one that does not exist is no error.
pub(crate) fn remove(folder: &Path) -> Result<(), ServerError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ServerError::file("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_stamped_folder_is_filled_once_per_stamp_even_by_two_at_once() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("thing");
        let (quiet, fills) = (Progress::quiet(), AtomicUsize::new(0));
        let fill = |stamp: &'static str| {
            installed(&folder, stamp, &quiet, move |partial| async move {
                tokio::task::yield_now().await;
                std::fs::write(partial.join("program"), stamp).unwrap();
                Ok(())
            })
        };
        let counted = async |stamp| {
            fills.fetch_add(1, Ordering::Relaxed);
            fill(stamp).await
        };
        let (one, other) = tokio::join!(counted("1"), counted("1"));
        one.unwrap();
        other.unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.join("program")).unwrap(),
            "1"
        );
        fill("2").await.unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.join("program")).unwrap(),
            "2"
        );
        assert!(!beside(&folder, "partial").exists());
    }

    #[tokio::test]
    async fn a_failed_fetch_leaves_what_was_there() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("thing");
        let quiet = Progress::quiet();
        installed(&folder, "1", &quiet, |_| async { Ok(()) })
            .await
            .unwrap();
        let failed = installed(&folder, "2", &quiet, |_| async {
            Err(ServerError::Machine("no network".into()))
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "no network");
        assert!(is_stamped(&folder, "1") && !beside(&folder, "partial").exists());
    }
}
