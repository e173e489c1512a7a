//! The process dies, or the machine does, in every operation of a life with two checkpoints. What
//! was durable comes back, in the order in which it happened, and the journal can be used again.

use std::time::Duration;

use super::*;

/// The changes of one life, in groups; after the named groups there is a checkpoint.
const GROUPS: [u64; 9] = [1, 3, 1, 40, 2, 1, 7, 1, 2];
const CHECKPOINTS: [usize; 2] = [3, 6];

/// Lives on `disk` until the end or death. Says how many changes were made, and how many were
/// durable.
fn live(disk: &Disk) -> (u64, u64) {
    let Ok((mut keeper, _)) = Keeper::open(disk) else {
        return (0, 0);
    };
    for (index, count) in GROUPS.into_iter().enumerate() {
        (0..count).for_each(|_| keeper.change());
        let is_last = index + 1 == GROUPS.len();
        if !is_last && !keeper.wait() {
            break;
        }
        if CHECKPOINTS.contains(&index) && keeper.compact().is_err() {
            break;
        }
    }
    (keeper.made, keeper.durable)
}

/// What came back is what there was after some number of changes, not fewer than the durable ones.
fn check(disk: &Disk, made: u64, durable: u64, what: &str) -> u64 {
    let (keeper, map) = Keeper::open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let count = keeper.made;
    assert!(
        (durable..=made).contains(&count),
        "{what}: {durable} {count} {made}"
    );
    assert_eq!(map.numbers, Map::after(count), "{what}");
    count
}

fn operations_of_a_life() -> u64 {
    let disk = Disk::default();
    assert_eq!(live(&disk), (62, 60));
    assert_eq!(disk.list().len(), 2, "{:?}", disk.list());
    disk.operations()
}

#[test]
fn a_process_that_dies_in_any_operation_loses_nothing_durable() {
    for operation in 0..operations_of_a_life() {
        for seed in seeds(2) {
            let disk = Disk::default();
            disk.die_at(operation, seed);
            let (made, durable) = live(&disk);
            let what = format!("operation {operation}, seed {seed}");
            let disk = disk.kill();
            let count = check(&disk, made, durable, &what);
            // It is found the same again, and a second life begins where the first one ended.
            check(&disk.kill(), count, count, &what);
            let (made, durable) = live(&disk);
            check(&disk.kill(), made, durable, &what);
        }
    }
}

#[test]
fn a_machine_that_dies_in_any_operation_loses_nothing_durable() {
    for operation in 0..=operations_of_a_life() {
        for seed in seeds(5) {
            let disk = Disk::default();
            disk.die_at(operation, seed);
            let (made, durable) = live(&disk);
            let what = format!("operation {operation}, seed {seed}");
            let disk = disk.cut_power(seed);
            let count = check(&disk, made, durable, &what);
            // Opening it made what was found certain, even against another loss of power.
            let disk = disk.cut_power(seed + 1);
            check(&disk, count, count, &what);
            let (made, durable) = live(&disk);
            check(&disk.cut_power(seed + 2), made, durable, &what);
        }
    }
}

#[test]
fn what_a_killed_process_left_unsynced_is_certain_once_it_was_read() {
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    keeper.change();
    assert!(keeper.wait());
    // The write succeeds and the sync after it does not: the group is in memory only.
    disk.fail_sync(1);
    keeper.change();
    assert!(!keeper.wait());
    drop(keeper);
    let disk = disk.kill();
    assert_eq!(check(&disk, 2, 1, "read from memory"), 2);
    for seed in seeds(20) {
        assert_eq!(
            check(&disk.cut_power(seed), 2, 2, "after the power was cut"),
            2
        );
    }
}

#[test]
fn opening_and_dying_in_it_again_and_again_loses_nothing() {
    let disk = Disk::default();
    let (mut keeper, _) = Keeper::open(&disk).unwrap();
    (0..20).for_each(|_| keeper.change());
    assert!(keeper.wait());
    keeper.compact().unwrap();
    (0..18).for_each(|_| keeper.change());
    assert!(keeper.wait());
    drop(keeper);
    for seed in seeds(20) {
        for operation in 0..6 {
            let disk = disk.cut_power(seed);
            disk.die_at(operation, seed);
            drop(Keeper::open(&disk));
            check(&disk.cut_power(seed), 40, 40, "after dying while opening");
        }
    }
}

#[test]
fn a_checkpoint_waits_for_the_changes_that_it_holds() {
    for operation in 0..20 {
        let disk = Disk::default();
        let (mut keeper, _) = Keeper::open(&disk).unwrap();
        // The file of the checkpoint is quicker than that of the changes made meanwhile.
        disk.slow_down(Duration::from_millis(3));
        disk.die_at(disk.operations() + operation, 1);
        drop(keeper.compact());
        let made = keeper.made;
        drop(keeper);
        let disk = disk.cut_power(1);
        let what = format!("operation {operation}");
        check(&disk, made, 0, &what);
        // What comes now must not be mistaken for what was lost.
        let (mut keeper, _) = Keeper::open(&disk).unwrap();
        keeper.change();
        assert!(keeper.wait());
        let made = keeper.made;
        drop(keeper);
        check(&disk.kill(), made, made, &what);
    }
}
