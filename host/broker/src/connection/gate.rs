//! Keeping output back until what it tells of is durable.
//!
//! After each round of work the connection notes how far its output goes and where the journal
//! ends. Everything that the round did or saw stands before that end, be it this connection's doing
//! or another's; so output may go as soon as the disk has come there. Meanwhile the connection
//! goes on working, and later rounds wait their own turn.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::watch;

use crate::journal::{Durable, Journal};

/// More rounds than this are not told apart: the later ones wait for the last of them.
const MAX_MARKS: usize = 64;

/// What of the output may go.
#[derive(Debug)]
pub(super) struct Gate {
    journal: Option<Watched>,
    marks: VecDeque<Mark>,
    /// How many bytes were noted, may go, and have gone, since the beginning.
    noted: u64,
    open: u64,
    gone: u64,
}

#[derive(Debug)]
struct Watched {
    journal: Arc<Journal>,
    durable: watch::Receiver<Durable>,
}

/// Output up to `noted` may go when the journal is durable up to `position`.
#[derive(Debug, Clone, Copy)]
struct Mark {
    noted: u64,
    position: u64,
}

impl Gate {
    /// A gate that waits for this journal, or for nothing.
    pub(super) fn new(journal: Option<&Arc<Journal>>) -> Self {
        let watched = |journal: &Arc<Journal>| Watched {
            durable: journal.watch(),
            journal: Arc::clone(journal),
        };
        Self {
            journal: journal.map(watched),
            marks: VecDeque::new(),
            noted: 0,
            open: 0,
            gone: 0,
        }
    }

    /// Notes the end of a round, after which `waiting` bytes of output are there.
    pub(super) fn note(&mut self, waiting: usize) {
        let noted = self.gone + waiting as u64;
        if noted == self.noted {
            return;
        }
        self.noted = noted;
        let Some(Watched { journal, .. }) = &self.journal else {
            self.open = noted;
            return;
        };
        let position = journal.end();
        if position <= journal.durable() && self.marks.is_empty() {
            self.open = noted;
            return;
        }
        let mark = Mark { noted, position };
        let is_full = self.marks.len() >= MAX_MARKS;
        match self.marks.back_mut() {
            Some(last) if is_full || last.position == position => *last = mark,
            _ => self.marks.push_back(mark),
        }
    }

    /// How many bytes of the output may go now.
    pub(super) fn room(&mut self) -> usize {
        if let Some(Watched { journal, .. }) = &self.journal {
            let durable = journal.durable();
            let is_open = |mark: &mut Mark| mark.position <= durable;
            while let Some(mark) = self.marks.pop_front_if(is_open) {
                self.open = mark.noted;
            }
        }
        usize::try_from(self.open - self.gone).unwrap_or(usize::MAX)
    }

    /// Notes that output has gone.
    pub(super) fn went(&mut self, count: usize) {
        self.gone += count as u64;
    }

    /// Whether output is kept back.
    pub(super) fn is_holding(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Returns when more may go, or nothing ever will.
    pub(super) async fn opens(&mut self) {
        if let (Some(mark), Some(Watched { durable, .. })) = (self.marks.front(), &mut self.journal)
        {
            let is_open =
                |durable: &Durable| durable.has_failed || durable.position >= mark.position;
            // The journal lives as long as this does.
            let _ = durable.wait_for(is_open).await;
        }
    }

    /// Whether the journal has failed, so that what is kept back must never go.
    pub(super) fn has_failed(&self) -> bool {
        let journal = self.journal.as_ref();
        journal.is_some_and(|watched| watched.journal.has_failed())
    }

    /// Forgets what is kept back, and the journal: what comes now depends on nothing.
    pub(super) fn give_up(&mut self) {
        self.journal = None;
        self.marks.clear();
        self.noted = self.open;
    }
}
