//! The cluster's files: data folder, password, and what a killed server left in them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::{PostgresOptions, Programs, USER, is_postmaster_of};
use crate::private_file;
use crate::servers::account::Account;
use crate::servers::fetch::remove;
use crate::servers::fetch::tool::Tool;
use crate::servers::roster::{Entry, Stop};
use crate::servers::{ServerError, hex, ports, process_table};

/// A cluster on disk, with everything that is needed to start it.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) options: PostgresOptions,
    pub(super) programs: Programs,
    pub(super) account: Option<Account>,
    pub(super) log: PathBuf,
    password: String,
}

impl Cluster {
    /// The cluster in `options.data_dir`, made if it is not there.
    pub(super) async fn open(
        mut options: PostgresOptions,
        programs: Programs,
        account: Option<Account>,
        log: &Path,
    ) -> Result<Self, ServerError> {
        let parent = options
            .data_dir
            .parent()
            .unwrap_or(Path::new("/"))
            .to_owned();
        std::fs::create_dir_all(&parent).map_err(ServerError::file("create", &parent))?;
        let parent = parent
            .canonicalize()
            .map_err(ServerError::file("find", parent))?;
        options.data_dir = parent.join(options.data_dir.file_name().unwrap_or_default());
        let password_file = options.data_dir.with_extension("password");
        let has_data = options.data_dir.join("PG_VERSION").is_file();
        let password = match std::fs::read_to_string(&password_file) {
            Ok(text) if has_data => text.trim().to_owned(),
            // Data without a password cannot be entered any more, so it is made anew.
            _ => {
                make(
                    &options.data_dir,
                    &password_file,
                    &programs,
                    account.as_ref(),
                )
                .await?
            }
        };
        Ok(Self {
            options,
            programs,
            account,
            log: log.to_owned(),
            password,
        })
    }

    pub(super) fn url(&self, port: u16, database: &str) -> String {
        let address = ports::loopback(port);
        format!("postgres://{USER}:{}@{address}/{database}", self.password)
    }

    /// Ends a server that still works in the data folder, although its supervisor is gone, and
    /// removes the file that would keep a new one from starting when its process id has meanwhile
    /// been given to another program.
    pub(super) fn end_leftover(&self) {
        let file = self.options.data_dir.join("postmaster.pid");
        let Ok(text) = std::fs::read_to_string(&file) else {
            return;
        };
        let pid = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        if let Some(pid) = pid
            && is_postmaster_of(pid, &self.options.data_dir)
        {
            let stop = Stop {
                signal: Signal::SIGQUIT,
                grace: super::GRACE,
            };
            let started = process_table::start_time(pid);
            Entry {
                pid,
                started,
                stop,
                name: "postgres".to_owned(),
            }
            .end();
        }
        // Missing when the server has just ended in good order.
        let _ = std::fs::remove_file(&file);
    }
}

/// Makes a cluster at `data` with a new password in `password_file`; returns the password.
async fn make(
    data: &Path,
    password_file: &Path,
    programs: &Programs,
    account: Option<&Account>,
) -> Result<String, ServerError> {
    let partial = data.with_extension("partial");
    remove(&partial)?;
    remove(data)?;
    std::fs::create_dir(&partial).map_err(ServerError::file("create", &partial))?;
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&partial, private).map_err(ServerError::file("close", &partial))?;
    let password = hex::password();
    let text = format!("{password}\n");
    private_file::write(password_file, &text).map_err(ServerError::file("write", password_file))?;
    if let Some(account) = account {
        account.own(&partial)?;
        account.own(password_file)?;
    }
    let mut initdb = Tool::new(programs.path("initdb"))
        .args([
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=password",
        ])
        .arg(format!("--username={USER}"))
        .arg(format!("--pwfile={}", password_file.display()))
        .arg("-D")
        .arg(&partial)
        .folder(Path::new("/"))
        .account(account);
    for (name, value) in programs.environment() {
        initdb = initdb.env(name, value);
    }
    initdb.run().await?;
    std::fs::rename(&partial, data).map_err(ServerError::file("rename to", data))?;
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(folder: &Path) -> Cluster {
        Cluster {
            options: PostgresOptions {
                data_dir: folder.to_owned(),
                durable: false,
                port: None,
            },
            programs: Programs {
                folder: PathBuf::new(),
                libraries: std::ffi::OsString::new(),
                origin: String::new(),
            },
            account: None,
            log: PathBuf::new(),
            password: "0a".into(),
        }
    }

    #[test]
    fn the_lock_file_of_a_dead_server_is_removed_and_strangers_live_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postmaster.pid");
        // Our own process id: alive, but no Postgres.
        std::fs::write(&file, format!("{}\n/data\n", std::process::id())).unwrap();
        cluster(folder.path()).end_leftover();
        assert!(!file.exists());
    }

    #[test]
    fn the_url_has_the_password() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            cluster(folder.path()).url(5, "x"),
            "postgres://nightshift:0a@127.0.0.1:5/x"
        );
    }
}
