//! Bytes that are not what was written: the torn end of the newest file is cut off, and anything
//! else is refused with its place.

use super::*;
use crate::journal::{
    folder::Folder,
    frame::{FILE_HEADER, GROUP_HEADER},
};

const FIRST: &str = "journal-00000000000000000000.log";

/// A journal of three groups, of 1, 2 and 3 changes, and where each begins in the file.
fn three_groups() -> (Disk, [usize; 3]) {
    let disk = Disk::default();
    let (keeper, _) = Keeper::open(&disk).unwrap();
    let mut number = 0;
    for count in 1..=3 {
        keeper.journal.append(|bytes| {
            for _ in 0..count {
                number += 1;
                bytes.extend_from_slice(&change(number));
            }
        });
        assert!(keeper.journal.catch_up());
    }
    drop(keeper);
    let size = |changes: usize| GROUP_HEADER + changes * CHANGE;
    let begins = [
        FILE_HEADER,
        FILE_HEADER + size(1),
        FILE_HEADER + size(1) + size(2),
    ];
    assert_eq!(disk.content(FIRST).len(), begins[2] + size(3));
    (disk.kill(), begins)
}

fn open(content: Vec<u8>) -> Result<u64, JournalError> {
    let disk = Disk::default();
    disk.put(FIRST, content);
    Keeper::open(&disk).map(|(keeper, _)| keeper.made)
}

#[test]
fn a_file_cut_at_any_byte_has_its_whole_groups() {
    let (disk, [first, second, third]) = three_groups();
    let content = disk.content(FIRST);
    for size in 0..=content.len() {
        let expected = match size {
            _ if size == content.len() => 6,
            _ if size >= third => 3,
            _ if size >= second => 1,
            _ => 0,
        };
        let disk = Disk::default();
        disk.put(FIRST, content[..size].to_vec());
        let (mut keeper, _) = Keeper::open(&disk).unwrap();
        let notice = keeper.journal.notice().unwrap_or_default();
        if size <= first {
            assert!(notice.contains("begun anew"), "{size} bytes: {notice}");
        } else {
            let is_whole = [second, third, content.len()].contains(&size);
            assert_eq!(notice.contains("cut off"), !is_whole, "{size} bytes");
        }
        assert_eq!(
            keeper.made, expected,
            "{size} bytes, groups at {first}, {second}, {third}"
        );
        // The torn bytes are gone, and what is written in their place is found.
        keeper.change();
        assert!(keeper.wait());
        drop(keeper);
        let (keeper, map) = Keeper::open(&disk.kill()).unwrap();
        assert_eq!(keeper.made, expected + 1);
        assert_eq!(map.numbers, Map::after(expected + 1));
    }
}

#[test]
fn a_file_without_groups_that_is_no_beginning_of_a_journal_is_refused() {
    let content = three_groups().0.content(FIRST);
    for size in 1..=FILE_HEADER {
        for at in 0..size {
            let mut changed = content[..size].to_vec();
            changed[at] ^= 0x40;
            if (24..32).contains(&at) && size < 33 {
                // The salt may be anything as long as no checksum tells.
                assert_eq!(open(changed).unwrap(), 0);
            } else {
                let error = open(changed).unwrap_err().to_string();
                assert!(error.starts_with(&format!("/disk/{FIRST} ")), "{error}");
            }
        }
        assert_eq!(open(vec![0; size]).unwrap(), 0, "room without a header");
    }
}

#[test]
fn a_changed_byte_in_the_middle_is_refused_with_its_place() {
    let (disk, [first, second, third]) = three_groups();
    let content = disk.content(FIRST);
    for at in 0..content.len() {
        let mut changed = content.clone();
        changed[at] ^= 0x40;
        let opened = open(changed);
        let group = match at {
            _ if at >= third => {
                assert_eq!(opened.unwrap(), 3, "the last group is cut off; byte {at}");
                continue;
            }
            _ if at >= second => second,
            _ if at >= first => first,
            0..8 => {
                assert!(
                    matches!(opened, Err(JournalError::Foreign { .. })),
                    "{opened:?}"
                );
                continue;
            }
            8 | 9 => {
                assert!(
                    matches!(opened, Err(JournalError::Version { .. })),
                    "{opened:?}"
                );
                continue;
            }
            _ => 0,
        };
        let Err(JournalError::Damaged { path, offset, .. }) = opened else {
            panic!("byte {at}: {opened:?}")
        };
        assert_eq!(
            (path.file_name().unwrap().to_str(), offset),
            (Some(FIRST), group as u64)
        );
    }
}

#[test]
fn bytes_that_pass_for_a_group_in_another_file_do_not_in_this_one() {
    let (disk, [.., third]) = three_groups();
    let content = disk.content(FIRST);
    // A message may hold the bytes of a whole journal; its own group is then torn behind them.
    let disk = Disk::default();
    let (keeper, _) = Keeper::open(&disk).unwrap();
    keeper
        .journal
        .append(|bytes| bytes.extend_from_slice(&change(1)));
    assert!(keeper.journal.catch_up());
    keeper
        .journal
        .append(|bytes| bytes.extend_from_slice(&content[third..]));
    assert!(keeper.journal.catch_up());
    drop(keeper);
    let mut torn = disk.content(FIRST);
    torn.pop();
    assert_eq!(open(torn).unwrap(), 1);
}

#[test]
fn zeros_behind_the_end_are_cut_off() {
    let mut content = three_groups().0.content(FIRST);
    content.extend_from_slice(&[0; 5_000]);
    assert_eq!(open(content).unwrap(), 6);
}

#[test]
fn files_that_are_missing_or_not_ours_are_told() {
    let (disk, _) = three_groups();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    keeper.compact().unwrap();
    keeper.change();
    assert!(keeper.wait());
    drop(keeper);
    let names = disk.list();
    let [checkpoint, journal] = &names[..] else {
        panic!("{names:?}")
    };

    let without = |name: &str| {
        let disk = disk.kill();
        disk.remove(name).unwrap();
        Keeper::open(&disk).unwrap_err().to_string()
    };
    assert!(without(journal).starts_with(&format!("/disk/{journal} is missing")));
    // Without the checkpoint, the journal does not begin at its beginning.
    assert!(without(checkpoint).starts_with(&format!("/disk/{FIRST} is missing")));

    disk.put("notes.txt", Vec::new());
    let error = Keeper::open(&disk).unwrap_err();
    assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
}

#[test]
fn a_checkpoint_that_is_cut_off_or_changed_is_refused() {
    let (disk, _) = three_groups();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    keeper.compact().unwrap();
    drop(keeper);
    let name = disk
        .list()
        .into_iter()
        .find(|name| name.starts_with("checkpoint"))
        .unwrap();
    let content = disk.content(&name);
    for at in 0..content.len() {
        let mut changed = content.clone();
        changed[at] ^= 1;
        for broken in [changed, content[..at].to_vec()] {
            let disk = disk.kill();
            disk.put(&name, broken);
            let error = Keeper::open(&disk).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/disk/{name} ")), "{error}");
        }
    }
}
