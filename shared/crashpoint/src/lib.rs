//! Points in the life of a message at which a test may stop a process, to kill it or another one there.
//!
//! Whoever reaches a point for which the folder in `NIGHTSHIFT_TEST_CRASH_POINTS` has a file takes
//! that file and is held until the test lets go: one task of one process, at this place. The rest of
//! the process goes on. To add a point, add a line below and call [`CrashPoint::reach`]; the tests go
//! through [`CrashPoint::ALL`].
//!
//! A release build has nothing of this. It hangs on `debug_assertions` and not on a feature of the
//! crate, because a feature that one package turns on is on for all that are built with it.

use std::io;
use std::path::{Path, PathBuf};

/// The setting with the folder.
pub const FOLDER: &str = "NIGHTSHIFT_TEST_CRASH_POINTS";

/// How often a task that is held looks whether it may go on.
#[cfg(debug_assertions)]
const LOOK: std::time::Duration = std::time::Duration::from_millis(1);

macro_rules! crash_points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A place in the code of which a test wants to know what a death there does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CrashPoint {
            $($(#[$doc])* $point,)*
        }

        impl CrashPoint {
            /// All of them, in the order in which a message meets them.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// Its name, which is its file's.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

crash_points! {
    /// Handler: the transaction is about to begin; nothing is claimed.
    BeforeClaim = "before-claim",
    /// Function of the tests: everything is claimed, and the effect about to be written.
    BeforeEffect = "before-effect",
    /// Handler: the function has written its effect, nothing is committed.
    AfterEffect = "after-effect",
    /// Handler: committed, and nothing of what that has promised is sent.
    BeforeFlush = "before-flush",
    /// Handler: the broker has what was promised, and the outbox still has it, too.
    InFlush = "in-flush",
    /// Handler: committed, and the host does not know.
    BeforeAnswer = "before-answer",
    /// Host: the handler has answered, and the broker does not know.
    BeforeSettle = "before-settle",
    /// Handler: it is committed that a call is made, and it is not made yet.
    BeforeCall = "before-call",
    /// Handler: the call was made and is answered, and nobody has written that down.
    AfterCall = "after-call",
    /// Handler: a run is to give a sign of life.
    InHeartbeat = "in-heartbeat",
    /// Handler: it is decided what is due, and nothing of that is committed.
    InTick = "in-tick",
    /// Handler: it is committed what is due, and nothing of that is sent.
    AfterTick = "after-tick",
}

impl CrashPoint {
    /// Says that this place is reached; returns when the caller may go on, which is at once unless a
    /// test has armed it.
    #[cfg_attr(
        not(debug_assertions),
        expect(clippy::unused_async, reason = "callers are the same in both builds")
    )]
    pub async fn reach(self) {
        #[cfg(debug_assertions)]
        if let Some(folder) = std::env::var_os(FOLDER) {
            self.reach_in(Path::new(&folder)).await;
        }
    }

    #[cfg(debug_assertions)]
    async fn reach_in(self, folder: &Path) {
        let held = self.held(folder);
        // Of several that come, one gets the file.
        if std::fs::rename(folder.join(self.name()), &held).is_ok() {
            while held.exists() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Has the next one who comes be held.
    pub fn arm(self, folder: &Path) -> io::Result<()> {
        std::fs::write(folder.join(self.name()), "")
    }

    /// Whether somebody is held.
    pub fn is_held(self, folder: &Path) -> bool {
        self.held(folder).exists()
    }

    /// Lets whoever is held go on.
    pub fn release(self, folder: &Path) -> io::Result<()> {
        std::fs::remove_file(self.held(folder))
    }

    fn held(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.held", self.name()))
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_who_comes_to_an_armed_point_is_held_until_it_is_released() {
        const POINT: CrashPoint = CrashPoint::InFlush;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        POINT.reach_in(&path).await;
        POINT.arm(&path).unwrap();
        let held = tokio::spawn({
            let path = path.clone();
            async move { POINT.reach_in(&path).await }
        });
        while !POINT.is_held(&path) {
            tokio::time::sleep(LOOK).await;
        }
        CrashPoint::BeforeFlush.reach_in(&path).await;
        POINT.reach_in(&path).await;
        assert!(!held.is_finished(), "the first one is held");
        POINT.release(&path).unwrap();
        held.await.unwrap();
        assert!(!POINT.is_held(&path));
    }
}
