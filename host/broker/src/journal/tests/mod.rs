//! The journal by itself: what comes back after every kind of end.
//!
//! What is kept here is a map from a byte to a number. Numbers are given out in order, so a state
//! that came back can be compared with the states that there were.

mod crashes;
mod damage;
pub(crate) mod disk;
mod limits;
mod rounds;

use std::{collections::BTreeMap, sync::Arc};

use self::disk::Disk;
use super::{Journal, JournalError, Piece, Replay, Unreadable};

/// The seeds of a random test: so many in every run, and twenty times as many in the long one.
pub(crate) fn seeds(ordinary: u64) -> std::ops::Range<u64> {
    let is_long = std::env::var_os("NIGHTSHIFT_TEST_SOAK").is_some();
    0..if is_long { ordinary * 20 } else { ordinary }
}

/// The bytes of one change: which key, and its new number.
const CHANGE: usize = 9;

/// The state, and the position that the checkpoint says it is of.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Map {
    numbers: BTreeMap<u8, u64>,
    of: u64,
}

impl Map {
    fn set(&mut self, change: &[u8]) {
        let number = u64::from_le_bytes(change[1..].try_into().unwrap());
        self.numbers.insert(change[0], number);
    }

    /// The state after the first `count` changes.
    fn after(count: u64) -> BTreeMap<u8, u64> {
        let mut map = Self::default();
        (1..=count).for_each(|number| map.set(&change(number)));
        map.numbers
    }
}

/// The `number`-th change. Keys repeat in no simple order.
fn change(number: u64) -> [u8; CHANGE] {
    let mut bytes = [0; CHANGE];
    bytes[0] = u8::try_from(number * number % 37).unwrap();
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
}

impl Replay for Map {
    fn checkpoint(&mut self, payload: &[u8]) -> Result<(), Unreadable> {
        self.of = u64::from_le_bytes(payload[..8].try_into().unwrap());
        payload[8..]
            .chunks(CHANGE)
            .for_each(|change| self.set(change));
        Ok(())
    }

    fn changes(&mut self, payload: &[u8], position: u64) -> Result<(), Unreadable> {
        for (index, change) in payload.chunks(CHANGE).enumerate() {
            if position + (index * CHANGE) as u64 >= self.of {
                self.set(change);
            }
        }
        Ok(())
    }
}

/// A journal of changes to a map.
#[derive(Debug)]
struct Keeper {
    journal: Journal,
    /// How many changes were made, and how many are known to be durable.
    made: u64,
    durable: u64,
}

impl Keeper {
    fn open(disk: &Disk) -> Result<(Self, Map), JournalError> {
        let mut map = Map::default();
        let journal = Journal::open(Arc::new(disk.clone()), &mut map)?;
        let made = map.numbers.values().max().copied().unwrap_or(0);
        let keeper = Self {
            journal,
            made,
            durable: made,
        };
        Ok((keeper, map))
    }

    fn change(&mut self) {
        self.made += 1;
        let change = change(self.made);
        self.journal
            .append(|bytes| bytes.extend_from_slice(&change));
    }

    /// Waits for the disk. Says whether the journal still works.
    fn wait(&mut self) -> bool {
        let caught_up = self.journal.catch_up();
        if caught_up {
            self.durable = self.made;
        }
        caught_up
    }

    /// Writes a checkpoint in two pieces, each of which comes after another change.
    fn compact(&mut self) -> Result<(), JournalError> {
        let mut made = self.made;
        let mut pieces = 0;
        let written = self.journal.compact(|bytes| {
            made += 1;
            let change = change(made);
            self.journal
                .append(|bytes| bytes.extend_from_slice(&change));
            pieces += 1;
            if pieces == 2 {
                bytes.extend_from_slice(&self.journal.end().to_le_bytes());
                for (key, number) in Map::after(made) {
                    bytes.push(key);
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
            }
            if pieces == 2 {
                Piece::Last
            } else {
                Piece::More
            }
        });
        self.made = made;
        written
    }
}
