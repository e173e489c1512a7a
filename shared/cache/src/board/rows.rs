//! Members on their way to Redis.

use redis::Cmd;

use super::encoding::Composite;

/// Members with their places, packed so that a million of them are not a million allocations.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// The members, one after the other.
    members: Vec<u8>,
    /// Where each member ends, and its place.
    rows: Vec<(usize, Composite)>,
}

impl Rows {
    /// As many as one command carries: what a publication is best given at a time. More are split.
    pub const CHUNK: usize = 1_000;

    /// None yet, with room for a chunk of members of some forty bytes.
    pub fn for_chunk() -> Self {
        Self {
            members: Vec::with_capacity(Self::CHUNK * 40),
            rows: Vec::with_capacity(Self::CHUNK),
        }
    }

    /// Adds `member`.
    pub fn push(&mut self, member: &str, composite: Composite) {
        self.members.extend_from_slice(member.as_bytes());
        self.rows.push((self.members.len(), composite));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The commands that add them to `key`.
    pub(super) fn commands(&self, key: &str) -> impl Iterator<Item = Cmd> {
        let starts = (0..self.len()).step_by(Self::CHUNK);
        starts.map(move |start| {
            let end = self.len().min(start + Self::CHUNK);
            let bytes = self.end(end) - self.end(start);
            let count = end - start;
            // A number has seventeen digits at most.
            let mut command = Cmd::with_capacity(2 + 2 * count, 4 + key.len() + bytes + 17 * count);
            command.arg("ZADD").arg(key);
            self.write(&mut command, start..end);
            command
        })
    }

    /// Adds the arguments for all of them to `command`.
    pub(super) fn write_all(&self, command: &mut Cmd) {
        self.write(command, 0..self.len());
    }

    /// Adds to `command` what `ZADD` wants: a number and a member each.
    fn write(&self, command: &mut Cmd, range: std::ops::Range<usize>) {
        let mut start = self.end(range.start);
        for (end, composite) in &self.rows[range] {
            command.arg(*composite).arg(&self.members[start..*end]);
            start = *end;
        }
    }

    /// Where the first `count` members end.
    fn end(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.rows[last].0)
    }
}

/// What has changed on a board. A member that is both removed and set is set.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub(super) set: Rows,
    pub(super) removed: Vec<String>,
}

impl Changes {
    /// The most that are published at once: as long as a script may keep others waiting.
    pub const MOST: usize = 5_000;

    /// The place of `member` is a new one.
    pub fn set(&mut self, member: &str, composite: Composite) {
        self.set.push(member, composite);
    }

    /// `member` is on the board no more.
    pub fn remove(&mut self, member: impl Into<String>) {
        self.removed.push(member.into());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.set.len() + self.removed.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use redis::Arg;

    use super::super::encoding::{Encoding, Order};
    use super::*;

    fn rows(count: usize) -> Rows {
        let plain = Encoding::plain(Order::HighestFirst);
        let mut rows = Rows::for_chunk();
        for (index, score) in (0..count).zip(-3..) {
            rows.push(&format!("m{index}"), plain.encode(score, 0).unwrap());
        }
        rows
    }

    fn words(command: &Cmd) -> Vec<String> {
        let words = command.args_iter().map(|word| match word {
            Arg::Simple(word) => String::from_utf8(word.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        });
        words.collect()
    }

    #[test]
    fn members_come_in_commands_of_a_thousand_with_nothing_lost_between_them() {
        let all = rows(2_001);
        let commands: Vec<Vec<String>> = all.commands("a").map(|command| words(&command)).collect();
        let lengths: Vec<usize> = commands.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2_002, 2_002, 4]);
        assert_eq!(commands[0][..6], ["ZADD", "a", "-3", "m0", "-2", "m1"]);
        assert_eq!(commands[2], ["ZADD", "a", "1997", "m2000"]);
        assert_eq!(Rows::default().commands("a").count(), 0);
        let mut one = Cmd::new();
        all.write_all(&mut one);
        let joined: Vec<String> = commands
            .iter()
            .flat_map(|words| words[2..].to_vec())
            .collect();
        assert_eq!(words(&one), joined);
    }
}
