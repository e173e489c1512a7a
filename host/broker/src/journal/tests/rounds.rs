//! Rounds of work write their own groups while nobody else does, and leave nothing behind.

use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use super::{Keeper, Map, change, disk::Disk, seeds};
use crate::journal::{FULL, Journal, Piece};

/// A runtime with more than one worker, in which a round may wait for a quick disk.
fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

fn append(keeper: &Keeper, number: u64) {
    let change = change(number);
    keeper
        .journal
        .append(|bytes| bytes.extend_from_slice(&change));
}

/// Has a quick disk found out to be one.
fn warm_up(keeper: &mut Keeper) {
    for _ in 0..20 {
        keeper.change();
        assert!(keeper.wait());
    }
}

#[test]
fn a_round_has_written_what_it_appended_when_it_ends() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    warm_up(&mut keeper);
    let mut written = 0;
    for _ in 0..100 {
        let syncs = disk.syncs();
        let (first, last) = (keeper.made + 1, keeper.made + 3);
        let round = keeper.journal.round();
        (first..=last).for_each(|number| append(&keeper, number));
        assert_eq!(disk.syncs(), syncs, "the round is one group");
        drop(round);
        keeper.made = last;
        // Nobody else may write here, but the thread may still be on its way to sleep.
        written += u32::from(keeper.journal.durable() == keeper.journal.end());
        assert!(keeper.wait());
        assert_eq!(disk.syncs(), syncs + 1);
    }
    assert!(written >= 50, "{written}");
}

#[test]
fn a_round_does_not_wait_for_a_slow_disk() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    disk.slow_down(Duration::from_millis(60));
    warm_up(&mut keeper);
    for _ in 0..5 {
        keeper.made += 1;
        let round = keeper.journal.round();
        append(&keeper, keeper.made);
        drop(round);
        assert!(keeper.journal.durable() < keeper.journal.end());
        assert!(keeper.wait());
    }
}

#[test]
fn the_only_worker_does_not_wait_for_the_disk() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _guard = runtime.enter();
    let (keeper, _) = Keeper::open(&Disk::default()).unwrap();
    assert!(!keeper.journal.inner.may_block);
}

#[test]
fn nothing_is_left_behind_whoever_writes() {
    let runtime = runtime();
    let _guard = runtime.enter();
    for slowness in [Duration::ZERO, Duration::from_millis(20)] {
        let turns = if slowness.is_zero() { 300 } else { 15_u64 };
        let disk = Disk::default();
        let journal = Journal::open(Arc::new(disk.clone()), &mut Map::default()).unwrap();
        disk.slow_down(slowness);
        thread::scope(|scope| {
            for thread in 0..6_u64 {
                let journal = &journal;
                scope.spawn(move || {
                    for turn in 0..turns {
                        let change = change(turn + 1);
                        let append = || journal.append(|bytes| bytes.extend_from_slice(&change));
                        if (thread + turn) % 3 == 0 {
                            append();
                        } else {
                            let round = journal.round();
                            append();
                            append();
                            drop(round);
                        }
                        if turn % 2 == 0 {
                            assert!(comes_to_the_disk(journal), "{thread} {turn}");
                        }
                    }
                });
            }
        });
    }
}

/// Whether everything appended so far comes to the disk although nobody asks for it again.
fn comes_to_the_disk(journal: &Journal) -> bool {
    let (end, begun) = (journal.end(), Instant::now());
    while journal.durable() < end {
        if begun.elapsed() > Duration::from_secs(10) {
            return false;
        }
        thread::yield_now();
    }
    true
}

#[test]
fn what_comes_while_a_round_writes_is_written_although_nothing_else_comes() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    warm_up(&mut keeper);
    // Long enough for the others to come meanwhile.
    disk.slow_down(Duration::from_millis(5));
    let (keeper, together) = (&keeper, &Barrier::new(3));
    let is_stuck = &AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                for turn in 0..20 {
                    together.wait();
                    let round = keeper.journal.round();
                    append(keeper, turn);
                    drop(round);
                    if !comes_to_the_disk(&keeper.journal) {
                        is_stuck.store(true, Ordering::Release);
                    }
                    together.wait();
                    if is_stuck.load(Ordering::Acquire) {
                        break;
                    }
                }
            });
        }
    });
    assert!(!is_stuck.load(Ordering::Acquire));
}

#[test]
fn a_round_that_appends_more_than_there_is_room_for_goes_on() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let (keeper, _) = Keeper::open(&Disk::default()).unwrap();
    let piece = vec![0; FULL / 4];
    let round = keeper.journal.round();
    for _ in 0..10 {
        keeper
            .journal
            .append(|bytes| bytes.extend_from_slice(&piece));
    }
    drop(round);
    assert!(keeper.journal.catch_up());
}

#[test]
fn a_sync_that_fails_in_a_round_ends_the_journal() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    warm_up(&mut keeper);
    disk.fail_sync(1);
    let round = keeper.journal.round();
    append(&keeper, keeper.made + 1);
    drop(round);
    assert!(!keeper.wait());
    assert!(keeper.journal.has_failed());
}

/// Threads that change the map in rounds and without, and one that writes checkpoints, until the
/// process dies in one of its operations. Returns the number of the last change that was durable, as
/// far as anybody could see.
fn storm(disk: &Disk) -> u64 {
    let journal = Journal::open(Arc::new(disk.clone()), &mut Map::default());
    let Ok(journal) = journal else { return 0 };
    let (made, told, is_over) = (Mutex::new(0), AtomicU64::new(0), AtomicBool::new(false));
    // As under a queue's lock: numbers stand in the journal in their order.
    let append = |bytes: &mut dyn FnMut(&[u8]) -> bool| {
        let mut made = made.lock().unwrap();
        *made += 1;
        (bytes(&change(*made)), *made)
    };
    thread::scope(|scope| {
        for index in 0..4_u64 {
            let (journal, told, is_over) = (&journal, &told, &is_over);
            let append = &append;
            scope.spawn(move || {
                let mut asked = Vec::new();
                for turn in 0..400 {
                    let round = ((index + turn) % 3 > 0).then(|| journal.round());
                    let mut write =
                        |change: &[u8]| journal.append(|bytes| bytes.extend_from_slice(change));
                    let (is_taken, number) = append(&mut write);
                    let end = journal.end();
                    drop(round);
                    if !is_taken {
                        break;
                    }
                    asked.push((number, end));
                    let durable = journal.durable();
                    asked.retain(|(number, end)| {
                        let is_durable = *end <= durable;
                        if is_durable {
                            told.fetch_max(*number, Ordering::AcqRel);
                        }
                        !is_durable
                    });
                }
                is_over.store(true, Ordering::Release);
            });
        }
        while !is_over.load(Ordering::Acquire) {
            let state = |bytes: &mut Vec<u8>| {
                let made = made.lock().unwrap();
                bytes.extend_from_slice(&journal.end().to_le_bytes());
                for (key, number) in Map::after(*made) {
                    bytes.push(key);
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                Piece::Last
            };
            // What it says is of no interest: the process may have died.
            let _ = journal.compact(state);
        }
    });
    told.into_inner()
}

#[test]
fn a_process_that_dies_while_many_write_loses_nothing_durable() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let mut most = 0;
    for seed in seeds(30) {
        let disk = Disk::default();
        disk.die_at(50 + seed * 37 % 900, seed);
        let told = storm(&disk);
        most = most.max(told);
        for after in std::iter::once(disk.kill()).chain((0..5).map(|n| disk.cut_power(seed + n))) {
            let (keeper, map) = Keeper::open(&after).unwrap();
            assert_eq!(map.numbers, Map::after(keeper.made), "seed {seed}");
            assert!(
                keeper.made >= told,
                "seed {seed}: {} of {told}",
                keeper.made
            );
        }
    }
    assert!(most > 100, "{most}");
}
