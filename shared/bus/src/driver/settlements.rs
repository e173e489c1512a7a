//! The deliveries of one receiving link that nobody has settled yet, and the calls that wait for
//! the broker to confirm a settlement.
//!
//! A delivery is entered when it arrives and leaves when the broker confirms, so a settlement of
//! something that is not here (settled before) is answered at once instead of waiting for an
//! answer that the broker would never give.

use super::numbers::NumberMap;
use super::window::Window;
use crate::connection::Reply;
use crate::error::BusError;

/// Results of one settling call, in the order of its deliveries.
type Results = Vec<Result<(), BusError>>;

#[derive(Default)]
pub(super) struct Settlements {
    unsettled: Window<Slot>,
    calls: NumberMap<u64, Call>,
    next_call: u64,
}

#[derive(Clone, Copy)]
enum Slot {
    /// Handed to the application, or waiting in the inbox.
    Delivered,
    /// A decision is on its way to the broker.
    Asked { call: u64, position: usize },
}

struct Call {
    results: Results,
    remaining: usize,
    reply: Reply<Results>,
}

impl Call {
    fn note(&mut self, position: usize, result: &Result<(), BusError>) {
        self.remaining -= 1;
        // They are entered as done.
        if let (Err(error), Some(slot)) = (result, self.results.get_mut(position)) {
            *slot = Err(error.clone());
        }
    }
}

impl Settlements {
    /// Enters a delivery.
    pub(super) fn deliver(&mut self, id: u32) {
        self.unsettled.insert(id, Slot::Delivered);
    }

    /// Registers a call, and returns the deliveries that the broker has to be told about.
    pub(super) fn ask(&mut self, deliveries: Vec<u32>, reply: Reply<Results>) -> Vec<u32> {
        let call = self.next_call;
        let mut results: Results = Vec::with_capacity(deliveries.len());
        let mut asked = deliveries;
        let mut position = 0;
        asked.retain(|id| {
            let slot = self.unsettled.get_mut(*id);
            let slot = slot.filter(|slot| matches!(slot, Slot::Delivered));
            let fresh = slot.is_some();
            if let Some(slot) = slot {
                *slot = Slot::Asked { call, position };
            }
            results.push(if fresh { Ok(()) } else { Err(settled_before()) });
            position += 1;
            fresh
        });
        if asked.is_empty() {
            // The caller may have given up; then nobody needs the answer.
            let _ = reply.send(results);
        } else {
            self.next_call += 1;
            self.calls.insert(
                call,
                Call {
                    results,
                    remaining: asked.len(),
                    reply,
                },
            );
        }
        asked
    }

    /// Forgets a delivery that is settled without an answer (given back unseen).
    pub(super) fn forget(&mut self, id: u32) {
        self.unsettled.remove(id);
    }

    /// Notes the broker's word about the deliveries `first` to `last`. Neighbours were mostly asked
    /// about by one call, so that is looked up once for all of them.
    pub(super) fn confirm(&mut self, first: u32, last: u32, result: &Result<(), BusError>) {
        let (calls, mut current) = (&mut self.calls, None);
        self.unsettled.take_range(first, last, |slot| {
            note(calls, &mut current, slot, result);
        });
        put_back(calls, current);
    }

    /// Answers every waiting call with `failure` for what is not confirmed yet.
    pub(super) fn fail(&mut self, failure: &BusError) {
        let (calls, mut current) = (&mut self.calls, None);
        let result = Err(failure.clone());
        for slot in self.unsettled.drain() {
            note(calls, &mut current, slot, &result);
        }
        put_back(calls, current);
    }
}

/// The call that is looked at.
type Current = Option<(u64, Call)>;

/// Enters `result` for a delivery in the call that asked about it.
fn note(
    calls: &mut NumberMap<u64, Call>,
    current: &mut Current,
    slot: Slot,
    result: &Result<(), BusError>,
) {
    let Slot::Asked { call: id, position } = slot else {
        return;
    };
    if current.as_ref().is_none_or(|(current, _)| *current != id) {
        put_back(calls, current.take());
        *current = calls.remove(&id).map(|call| (id, call));
    }
    if let Some((_, call)) = current {
        call.note(position, result);
    }
}

/// Answers a call if it is complete; else it goes on waiting.
fn put_back(calls: &mut NumberMap<u64, Call>, call: Current) {
    match call {
        Some((_, call)) if call.remaining == 0 => {
            // The caller may have given up; then nobody needs the answer.
            let _ = call.reply.send(call.results);
        }
        Some((id, call)) => {
            calls.insert(id, call);
        }
        None => {}
    }
}

fn settled_before() -> BusError {
    BusError::MessageLockLost {
        description: "this receiver has settled it before".to_owned(),
    }
}

/// Turns delivery-ids into the ranges of consecutive ones that a disposition can name.
pub(super) fn ranges(ids: &mut [u32]) -> impl Iterator<Item = (u32, u32)> {
    ids.sort_unstable();
    ids.chunk_by(|a, b| a.checked_add(1) == Some(*b))
        .filter_map(|run| Some((*run.first()?, *run.last()?)))
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn table(ids: impl IntoIterator<Item = u32>) -> Settlements {
        let mut table = Settlements::default();
        for id in ids {
            table.deliver(id);
        }
        table
    }

    #[test]
    fn ranges_are_runs_of_consecutive_ids() {
        let collect = |mut ids: Vec<u32>| ranges(&mut ids).collect::<Vec<_>>();
        assert_eq!(collect(vec![7, 3, 1, 2, 8]), [(1, 3), (7, 8)]);
        assert_eq!(collect(vec![u32::MAX, 0]), [(0, 0), (u32::MAX, u32::MAX)]);
        assert!(collect(vec![]).is_empty());
    }

    #[test]
    fn a_call_is_answered_when_its_last_delivery_is_confirmed() {
        let mut table = table(0..5);
        let (reply, mut answer) = oneshot::channel();
        assert_eq!(table.ask(vec![4, 0, 1], reply), [4, 0, 1]);
        table.confirm(0, 1, &Ok(()));
        assert!(answer.try_recv().is_err());
        let lost = BusError::MessageLockLost {
            description: "late".to_owned(),
        };
        table.confirm(4, 4, &Err(lost));
        let results = answer.try_recv().unwrap();
        assert!(results[0].is_err() && results[1].is_ok() && results[2].is_ok());
    }

    #[test]
    fn settling_again_is_answered_without_the_broker() {
        let mut table = table(0..1);
        let (reply, _first) = oneshot::channel();
        assert_eq!(table.ask(vec![0], reply), [0]);
        let (reply, mut second) = oneshot::channel();
        assert!(table.ask(vec![0, 9], reply).is_empty());
        let results = second.try_recv().unwrap();
        assert!(
            results
                .iter()
                .all(|result| matches!(result, Err(BusError::MessageLockLost { .. })))
        );
    }

    #[test]
    fn a_failure_reaches_what_is_not_confirmed() {
        let mut table = table(0..2);
        let (reply, mut answer) = oneshot::channel();
        table.ask(vec![0, 1], reply);
        table.confirm(0, 0, &Ok(()));
        table.fail(&BusError::Closed { what: "receiver" });
        let results = answer.try_recv().unwrap();
        assert!(results[0].is_ok() && results[1].is_err());
    }
}
