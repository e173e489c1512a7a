//! Which queues forward to which: checked as a whole before anything starts.
//!
//! A queue may forward its messages, its dead letters, or both. Targets must exist, and the arrows
//! must never come back to where they started, by whatever mixture of both kinds: a message that
//! fails everywhere would go round and round. Because of this, taking the lock of a target while
//! holding that of its source can never become a deadlock: all locks are taken along the arrows.

use std::collections::HashMap;

use crate::{BrokerError, QueueConfig};

/// The places of all queues in `queues`, every target before its sources.
pub(crate) fn order(queues: &[QueueConfig]) -> Result<Vec<usize>, BrokerError> {
    let named = |(index, queue): (usize, &QueueConfig)| (queue.name.to_lowercase(), index);
    let places: HashMap<String, usize> = queues.iter().enumerate().map(named).collect();
    let targets: Result<Vec<Vec<usize>>, BrokerError> =
        queues.iter().map(|queue| targets(queue, &places)).collect();
    let targets = targets?;

    let mut order = Vec::with_capacity(queues.len());
    let mut state = vec![Visit::Not; queues.len()];
    for start in 0..queues.len() {
        if state[start] != Visit::Not {
            continue;
        }
        // The way from `start` to here, each with how many of its targets were looked at.
        let mut way = vec![(start, 0)];
        state[start] = Visit::OnTheWay;
        while let Some((here, looked)) = way.last_mut() {
            let Some(&target) = targets[*here].get(*looked) else {
                state[*here] = Visit::Done;
                order.push(*here);
                way.pop();
                continue;
            };
            *looked += 1;
            match state[target] {
                Visit::Not => {
                    state[target] = Visit::OnTheWay;
                    way.push((target, 0));
                }
                Visit::OnTheWay => return Err(circle(queues, &way, target)),
                Visit::Done => {}
            }
        }
    }
    Ok(order)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    OnTheWay,
    Done,
}

fn targets(
    queue: &QueueConfig,
    places: &HashMap<String, usize>,
) -> Result<Vec<usize>, BrokerError> {
    let both = [&queue.forward_to, &queue.forward_dead_letters_to];
    let place = |target: &String| {
        let place = places.get(&target.to_lowercase()).copied();
        place.ok_or_else(|| BrokerError::UnknownForwardTarget {
            name: queue.name.clone(),
            target: target.clone(),
        })
    };
    both.into_iter().flatten().map(place).collect()
}

fn circle(queues: &[QueueConfig], way: &[(usize, usize)], end: usize) -> BrokerError {
    let start = way.iter().position(|(place, _)| *place == end);
    let members = way.iter().skip(start.unwrap_or(0)).map(|(place, _)| *place);
    let names: Vec<&str> = members
        .chain([end])
        .map(|place| queues[place].name.as_str())
        .collect();
    BrokerError::ForwardCircle {
        path: names.join(" -> "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str, to: &str, dead_letters_to: &str) -> QueueConfig {
        let mut queue = QueueConfig::new(name);
        let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        queue.forward_to = some(to);
        queue.forward_dead_letters_to = some(dead_letters_to);
        queue
    }

    #[test]
    fn targets_come_before_their_sources_whatever_the_order_of_the_file() {
        let queues = [
            queue("a", "B", "dead"),
            queue("b", "c", "dead"),
            queue("c", "", ""),
            queue("dead", "", ""),
        ];
        let order = order(&queues).unwrap();
        let place = |of: usize| order.iter().position(|index| *index == of).unwrap();
        assert_eq!(order.len(), 4);
        assert!(place(2) < place(1) && place(1) < place(0) && place(3) < place(1));
    }

    #[test]
    fn circles_and_unknown_targets_are_told_exactly() {
        let told = |queues: &[QueueConfig]| order(queues).unwrap_err().to_string();
        let circle = [
            queue("x", "a", ""),
            queue("a", "b", ""),
            queue("b", "", "c"),
            queue("c", "A", ""),
        ];
        assert_eq!(
            told(&circle),
            "messages would be forwarded in a circle: a -> b -> c -> a"
        );
        let own = [queue("a", "", "a")];
        assert_eq!(
            told(&own),
            "messages would be forwarded in a circle: a -> a"
        );
        let unknown = [queue("a", "nowhere", "")];
        assert_eq!(
            told(&unknown),
            "queue \"a\" forwards to \"nowhere\", which is not configured"
        );
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let mut queues: Vec<QueueConfig> = (0..20_000)
            .map(|n| queue(&n.to_string(), &(n + 1).to_string(), ""))
            .collect();
        queues.push(queue("20000", "", ""));
        assert_eq!(order(&queues).unwrap()[0], 20_000);
    }
}
