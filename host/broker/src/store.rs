//! The queues of a broker and their journal.
//!
//! A queue is known in the journal by a number, which its name is given when it is first served. A
//! queue that is not served any more keeps its number and its messages, until it is served again.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    entity::{Entity, Namespace},
    journal::{Entries, Entry, Folder, Journal, JournalError, Piece, Replay, Unreadable},
    queue::{Cursor, Queue, Restoring},
};

/// Where a queue tells its changes.
#[derive(Debug)]
pub(crate) struct Record {
    journal: Arc<Journal>,
    /// The queue's number.
    queue: u32,
}

impl Record {
    /// Tells what has changed. Called under the queue's lock.
    pub(crate) fn tell(&self, queue: &mut Queue) {
        while queue.has_changes() {
            let told = self
                .journal
                .append(|out| queue.tell_changes(self.queue, out));
            if !told {
                // Nobody will be told of what happens now, so it need not be known.
                queue.forget_changes();
            }
        }
    }

    /// Tells what has changed in two queues, so that both or neither of the changes come back.
    /// Called under the locks of both.
    pub(crate) fn tell_both(&self, queue: &mut Queue, other: &Self, other_queue: &mut Queue) {
        let told = self.journal.append(|out| {
            for (number, queue) in [(self.queue, &mut *queue), (other.queue, &mut *other_queue)] {
                while queue.has_changes() {
                    queue.tell_changes(number, out);
                }
            }
        });
        if !told {
            queue.forget_changes();
            other_queue.forget_changes();
        }
    }

    /// Appends the next piece of the queue to `out`. Called under the queue's lock.
    pub(crate) fn snapshot(&self, queue: &Queue, cursor: Cursor, out: &mut Vec<u8>) -> Cursor {
        queue.snapshot(cursor, self.queue, self.journal.end(), out)
    }

    /// Appends the queue's name.
    pub(crate) fn introduce(&self, name: &str, out: &mut Vec<u8>) {
        let queue = self.queue;
        Entry::Named { queue, name }.encode(out);
    }
}

/// The queues that the journal tells of.
#[derive(Debug)]
pub(crate) struct Restored {
    journal: Arc<Journal>,
    queues: BTreeMap<u32, Known>,
    last_number: u32,
}

#[derive(Debug)]
struct Known {
    name: String,
    queue: Restoring,
}

impl Restored {
    /// Reads the journal in `folder`, at this instant.
    pub(crate) fn read(folder: Arc<dyn Folder>, now_ms: i64) -> Result<Self, JournalError> {
        let mut reading = Reading {
            queues: BTreeMap::new(),
            current: None,
            now_ms,
        };
        let journal = Journal::open(folder, &mut reading)?;
        Ok(Self {
            journal: Arc::new(journal),
            last_number: reading.queues.last_key_value().map_or(0, |(last, _)| *last),
            queues: reading.queues,
        })
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Takes out the queue with this name, compared without case, or a new one that the journal
    /// is told of.
    pub(crate) fn take(&mut self, name: &str) -> (Restoring, Record) {
        let is_it = |known: &Known| known.name.eq_ignore_ascii_case(name);
        let found = self.queues.iter().find(|(_, known)| is_it(known));
        let number = found.map(|(number, _)| *number);
        if let Some(known) = number.and_then(|number| self.queues.remove(&number)) {
            return (known.queue, self.record(number.unwrap_or_default()));
        }
        self.last_number += 1;
        let record = self.record(self.last_number);
        self.journal.append(|out| record.introduce(name, out));
        (Restoring::default(), record)
    }

    /// The queues that were not taken.
    pub(crate) fn rest(mut self) -> impl Iterator<Item = (String, Restoring, Record)> {
        let rest = std::mem::take(&mut self.queues);
        rest.into_iter()
            .map(move |(number, known)| (known.name, known.queue, self.record(number)))
    }

    fn record(&self, queue: u32) -> Record {
        Record {
            journal: Arc::clone(&self.journal),
            queue,
        }
    }
}

/// A journal that is being read.
struct Reading {
    queues: BTreeMap<u32, Known>,
    /// The queue that entries are about.
    current: Option<u32>,
    now_ms: i64,
}

impl Replay for Reading {
    fn checkpoint(&mut self, payload: &[u8]) -> Result<(), Unreadable> {
        self.apply(payload, None)
    }

    fn changes(&mut self, payload: &[u8], position: u64) -> Result<(), Unreadable> {
        self.apply(payload, Some(position))
    }
}

impl Reading {
    fn apply(&mut self, payload: &[u8], position: Option<u64>) -> Result<(), Unreadable> {
        let mut entries = Entries::of(payload);
        loop {
            let at = entries.at();
            let unreadable = |problem| Unreadable { at, problem };
            let Some(entry) = entries.next()? else {
                return Ok(());
            };
            match entry {
                Entry::Named { queue, name } => {
                    self.name(queue, name);
                    continue;
                }
                Entry::Queue { queue, .. } => self.current = Some(queue),
                _ => {}
            }
            let known = self.current.and_then(|number| self.queues.get_mut(&number));
            let known = known.ok_or(unreadable("an entry is about no queue"))?;
            let position = position.map(|position| position + at as u64);
            let applied = known.queue.apply(entry, position);
            applied.map_err(|_| unreadable("an entry contradicts those before it"))?;
        }
    }

    /// A queue that is known already was introduced again after a checkpoint that has it.
    fn name(&mut self, number: u32, name: &str) {
        let new = || Known {
            name: name.to_owned(),
            queue: Restoring::new(self.now_ms),
        };
        self.queues.entry(number).or_insert_with(new);
    }
}

/// Writes a checkpoint whenever the journal has grown far beyond what it stands for. Runs until
/// `stop`.
pub(crate) async fn keep_small(
    namespace: Arc<Namespace>,
    journal: Arc<Journal>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = journal.grown() => {}
        }
        let live = namespace.all().map(|entity| entity.live_bytes()).sum();
        if !journal.is_worth_compacting(live) {
            continue;
        }
        let begun = std::time::Instant::now();
        let work = {
            let (namespace, journal, stop) = (namespace.clone(), journal.clone(), stop.clone());
            move || compact(&namespace, &journal, &stop)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => tracing::info!(
                journal.live_bytes = live,
                journal.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                "the journal was compacted"
            ),
            // Nothing is lost: the journal goes on as it is, and this is tried again.
            Ok(Err(error)) => tracing::warn!(
                error = crate::connection::error_chain(&error),
                "the journal could not be compacted"
            ),
            Err(error) => tracing::error!(error = %error, "compacting the journal broke off"),
        }
    }
}

/// Writes a checkpoint of all queues, unless `stop` comes first.
pub(crate) fn compact(
    namespace: &Namespace,
    journal: &Journal,
    stop: &CancellationToken,
) -> Result<(), JournalError> {
    let mut pieces = Pieces::of(namespace);
    journal.compact(|out| {
        if stop.is_cancelled() {
            Piece::GiveUp
        } else {
            pieces.next(out)
        }
    })
}

/// The pieces of a checkpoint, queue by queue.
struct Pieces<'a> {
    entities: Vec<&'a Entity>,
    cursor: Cursor,
}

impl<'a> Pieces<'a> {
    fn of(namespace: &'a Namespace) -> Self {
        Self {
            entities: namespace.all().map(Arc::as_ref).collect(),
            cursor: Cursor::Begin,
        }
    }

    /// Appends the next piece to `out`.
    fn next(&mut self, out: &mut Vec<u8>) -> Piece {
        let Some(entity) = self.entities.last() else {
            return Piece::Last;
        };
        if matches!(self.cursor, Cursor::Begin) {
            entity.introduce(out);
        }
        self.cursor = entity.snapshot(std::mem::take(&mut self.cursor), out);
        if matches!(self.cursor, Cursor::End) {
            self.entities.pop();
            self.cursor = Cursor::Begin;
        }
        Piece::More
    }
}
