//! The same rules under a host that is as strict as Azure's: one batch in flight, failed messages come
//! back at once. Under the host's default mode, and with deaths, `tests/it/kill_matrix.rs` has them.

use nightshift_tests::chaos::{Run, start_postgres};

use crate::walking_skeleton::until;

/// Whether so much has gone wrong as the load has in a few seconds: failures in batches, calls that failed
/// and whose end nobody knew, and failing heads of sessions.
const ENOUGH: &str = "
    SELECT ((SELECT count(*) FROM chaos.wait WHERE reason = 'retry') >= 10
        AND (SELECT count(*) FROM chaos.answer WHERE is_asked) >= 1
        AND (SELECT count(*) FROM chaos.acted) >= 11
        AND (SELECT count(*) FROM chaos.in_session) >= 30)::integer::bigint";

#[tokio::test]
async fn in_strict_mode_failing_members_and_calls_back_off_alone_and_sessions_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut postgres = start_postgres(folder.path()).await.unwrap();
    let mut run = Run::start_strict("strict", &mut postgres).await.unwrap();
    until(run.pool(), ENOUGH, 1).await;
    let report = run.settle().await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.suspects, 0, "{report}");
    run.stop().await.unwrap();
    postgres.stop().await;
}
