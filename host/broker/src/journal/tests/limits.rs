//! Disks that are full or fail, and folders that are in use.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::journal::{DiskFolder, FULL};

#[test]
fn a_full_disk_ends_the_journal_and_what_was_durable_stays() {
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    keeper.change();
    assert!(keeper.wait());
    disk.leave_room(40);
    keeper.change();
    assert!(keeper.wait());
    keeper.change();
    assert!(!keeper.wait());
    assert!(keeper.journal.has_failed());
    assert_eq!(
        keeper.journal.end(),
        u64::MAX,
        "no later round passes for durable"
    );
    drop(keeper);
    let (keeper, map) = Keeper::open(&disk.kill()).unwrap();
    assert_eq!((keeper.made, map.numbers), (2, Map::after(2)));
}

#[tokio::test]
async fn a_sync_that_fails_is_told_and_never_tried_again() {
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    disk.fail_sync(1);
    keeper.change();
    let failure = timeout(Duration::from_secs(10), keeper.journal.failure());
    let error = failure.await.expect("it is told");
    let text = format!("{error}");
    assert!(text.starts_with("could not sync /disk/journal-"), "{text}");
    let before = disk.operations();
    keeper.change();
    assert!(!keeper.wait() && keeper.journal.durable() == 0);
    assert!(keeper.compact().is_ok(), "it says so by other means");
    drop(keeper);
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_checkpoint_without_room_leaves_the_journal_as_it_was() {
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    (0..30).for_each(|_| keeper.change());
    assert!(keeper.wait());
    // Room for the new file and the two changes, and not for the checkpoint.
    disk.leave_room(250);
    keeper.compact().unwrap_err();
    let left = disk.list();
    assert!(
        left.iter().all(|name| name.starts_with("journal")),
        "{left:?}"
    );
    assert!(keeper.wait(), "the journal goes on");
    drop(keeper);
    let (keeper, map) = Keeper::open(&disk.kill()).unwrap();
    assert_eq!((keeper.made, map.numbers), (32, Map::after(32)));
}

/// Asks for a checkpoint that cannot have a file, and goes on. What was lost is found.
fn go_on_without_a_new_file(refuse: impl Fn(&Disk), allow: impl Fn(&Disk)) {
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    (0..5).for_each(|_| keeper.change());
    assert!(keeper.wait());
    refuse(&disk);
    let error = keeper.compact().unwrap_err().to_string();
    assert!(error.starts_with("could not create /disk/"), "{error}");
    assert_eq!(disk.list().len(), 1, "{:?}", disk.list());
    keeper.change();
    assert!(keeper.wait(), "the journal goes on");
    for seed in seeds(20) {
        let (keeper, map) = Keeper::open(&disk.cut_power(seed)).unwrap();
        assert_eq!((keeper.made, map.numbers), (6, Map::after(6)));
    }
    allow(&disk);
    keeper.compact().unwrap();
    assert!(disk.list()[0].starts_with("checkpoint-"));
    assert!(keeper.wait());
    drop(keeper);
    let (keeper, map) = Keeper::open(&disk.kill()).unwrap();
    assert_eq!((keeper.made, map.numbers), (8, Map::after(8)));
}

#[test]
fn a_process_without_file_descriptors_goes_on_in_the_file_that_it_has() {
    go_on_without_a_new_file(
        |disk| disk.refuse_files(true),
        |disk| disk.refuse_files(false),
    );
}

#[test]
fn a_new_file_that_is_not_on_the_disk_is_removed_for_good() {
    go_on_without_a_new_file(|disk| disk.fail_sync(1), |_| ());
}

#[test]
fn a_folder_whose_sync_fails_ends_the_journal() {
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    keeper.change();
    assert!(keeper.wait());
    disk.fail_folder_sync();
    assert!(keeper.compact().is_ok(), "it says so by other means");
    assert!(keeper.journal.has_failed());
    drop(keeper);
    for seed in seeds(20) {
        let (keeper, map) = Keeper::open(&disk.cut_power(seed)).unwrap();
        assert_eq!((keeper.made, map.numbers), (1, Map::after(1)));
    }
}

#[test]
fn the_buffer_is_bounded() {
    let disk = Disk::default();
    let (keeper, _) = Keeper::open(&disk).unwrap();
    let piece = vec![0; FULL / 4];
    for _ in 0..20 {
        keeper
            .journal
            .append(|bytes| bytes.extend_from_slice(&piece));
        let waiting = keeper.journal.inner.buffer().bytes.len();
        assert!(waiting <= FULL + FULL / 4, "{waiting}");
    }
    assert!(keeper.journal.catch_up() && !keeper.journal.is_congested());
}

#[test]
fn a_folder_serves_one_broker_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let first = DiskFolder::open(&path).unwrap();
    let error = DiskFolder::open(&path).unwrap_err().to_string();
    assert!(
        error.starts_with("another broker uses the folder"),
        "{error}"
    );
    drop(first);
    DiskFolder::open(&path).unwrap();
}

#[test]
fn a_real_folder_keeps_what_was_appended() {
    let folder = tempfile::tempdir().unwrap();
    let open = |map: &mut Map| {
        let folder = DiskFolder::open(folder.path()).unwrap();
        Journal::open(Arc::new(folder), map).unwrap()
    };
    for round in 0..3_u64 {
        let mut map = Map::default();
        let journal = open(&mut map);
        assert_eq!(map.numbers, Map::after(round * 100));
        for number in round * 100 + 1..=round * 100 + 100 {
            journal.append(|bytes| bytes.extend_from_slice(&change(number)));
        }
        // Closing it brings everything to the disk.
        if round == 1 {
            let end = journal.end();
            let state = |bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(&end.to_le_bytes());
                for (key, number) in Map::after(200) {
                    bytes.push(key);
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                Piece::Last
            };
            journal.compact(state).unwrap();
        }
    }
}
