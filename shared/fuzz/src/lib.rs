//! Mutational fuzzing on the stable compiler: recorded bytes, damaged in every way, for a fixed
//! number of rounds from fixed seeds. For the tests of whatever reads what a stranger wrote.
//!
//! A round depends on its number alone, so one that fails can be repeated alone.
//! `NIGHTSHIFT_TEST_FUZZ_ROUNDS` raises the number of rounds for a soak.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The generator of a round.
pub type Random = StdRng;

/// Damage is done in so many ways at most.
const MOST_WAYS: usize = 6;

/// A piece that is removed, repeated or replaced is at most this long, in octets.
const LONGEST_PIECE: usize = 40;

/// Rounds of one test: `usual`, or what the environment says.
///
/// # Panics
///
/// If the environment says something that is no number.
pub fn rounds(usual: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a knob of the tests, not a setting"
    )]
    let asked = std::env::var("NIGHTSHIFT_TEST_FUZZ_ROUNDS").ok();
    #[expect(clippy::expect_used, reason = "a test fails by a panic")]
    asked.map_or(usual, |text| {
        text.parse()
            .expect("NIGHTSHIFT_TEST_FUZZ_ROUNDS is a number")
    })
}

/// The generator of one round of one test.
pub fn generator(test: u64, round: u64) -> Random {
    Random::seed_from_u64(test << 48 | round)
}

/// Damages octets in one to six ways. `telling` are pieces that mean something to their reader,
/// `others` further inputs, whose ends may take the place of this one's. Neither is empty.
pub fn damage(
    random: &mut Random,
    octets: &mut Vec<u8>,
    telling: &[&[u8]],
    others: &[impl AsRef<[u8]>],
) {
    for _ in 0..random.random_range(1..=MOST_WAYS) {
        let at = random.random_range(0..=octets.len());
        let end = random.random_range(at..=octets.len().min(at + LONGEST_PIECE));
        let piece = telling[random.random_range(0..telling.len())];
        match random.random_range(0..9) {
            0 => octets.truncate(at),
            1 => drop(octets.drain(at..end)),
            2 => {
                let again = octets[at..end].to_vec();
                drop(octets.splice(at..at, again));
            }
            3 => drop(octets.splice(at..at, piece.iter().copied())),
            4 => drop(octets.splice(at..end, piece.iter().copied())),
            // Over as many octets as it has itself.
            5 => {
                let length = piece.len().min(octets.len() - at);
                octets[at..at + length].copy_from_slice(&piece[..length]);
            }
            6 => {
                let other = others[random.random_range(0..others.len())].as_ref();
                let from = random.random_range(0..=other.len());
                octets.truncate(at);
                octets.extend_from_slice(&other[from..]);
            }
            7 if at < octets.len() => octets[at] ^= 1 << random.random_range(0..8),
            _ if at < octets.len() => octets[at] = random.random(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn damaged(round: u64) -> Vec<u8> {
        let mut random = generator(1, round);
        let mut octets = b"0123456789".to_vec();
        damage(&mut random, &mut octets, &[b"<>", b"{"], &["abcdef"]);
        octets
    }

    #[test]
    fn a_round_can_be_repeated_and_no_two_are_alike() {
        let all: Vec<Vec<u8>> = (0..1_000).map(damaged).collect();
        assert_eq!(all, (0..1_000).map(damaged).collect::<Vec<_>>());
        let different: BTreeSet<&Vec<u8>> = all.iter().collect();
        assert!(different.len() > 500, "{}", different.len());
    }

    #[test]
    fn each_way_is_taken() {
        let all: Vec<Vec<u8>> = (0..50_000).map(damaged).collect();
        let any = |is: &dyn Fn(&[u8]) -> bool| all.iter().any(|octets| is(octets));
        let holds = |octets: &[u8], piece: &[u8]| octets.windows(piece.len()).any(|it| it == piece);
        assert!(any(&|octets| octets == b"01234"), "cut off");
        assert!(any(&|octets| octets == b"0123789"), "removed");
        assert!(any(&|octets| holds(octets, b"3434")), "repeated");
        assert!(any(&|octets| octets == b"01234<>56789"), "inserted");
        assert!(any(&|octets| octets == b"01{456789"), "replaced");
        assert!(any(&|octets| octets == b"0123<>6789"), "overwritten");
        assert!(any(&|octets| octets.ends_with(b"3ef")), "spliced");
        assert!(any(&|octets| octets == b"012345678y"), "flipped or random");
    }
}
