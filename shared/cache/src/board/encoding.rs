//! How a score, and the instant when it was reached, become the one number by which Redis orders.
//!
//! Redis keeps a score as a double, which is exact up to 2^53, and orders equal ones by the bytes of
//! their members: by the name, that is, and the other way round when a board is read from its other end.
//! Where whoever was first is to be before the others, the number is `score << bits | tie`, with a tie
//! that is better the earlier it was. Everything here is arithmetic of whole numbers; what does not fit
//! is refused, and never rounded.

use redis::{RedisWrite, ToRedisArgs};

/// The largest number that a double holds exactly, as it does all whole ones below.
const EXACT: i64 = 1 << 53;

/// The most bits that a tie may have: what is left for the score has at least its sign and a bit.
const MOST_BITS: u32 = 52;

/// Which end of a board is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The highest score is the first: points.
    HighestFirst,
    /// The lowest score is the first: times.
    LowestFirst,
}

/// How the scores of a board are written down in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    order: Order,
    tie: Option<Tie>,
}

/// What orders equal scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tie {
    bits: u32,
    origin_seconds: i64,
}

/// What Redis orders by, for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Composite(i64);

/// What a [`Composite`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// The score.
    pub score: i64,
    /// When it was reached, in seconds of Unix time, if the board knows it.
    pub achieved_seconds: Option<i64>,
}

/// Who is better than a score: what `ZCOUNT` counts of the numbers between these two, each as Redis
/// reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Better {
    /// The lower limit.
    pub min: String,
    /// The upper limit.
    pub max: String,
}

/// Why a score is not on a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutOfRange {
    /// The score is too large for a double, or for what the tie leaves of it.
    #[error(
        "the score {score} is not between -{most} and {most}, which is what Redis keeps exactly beside {bits} bits for the instant"
    )]
    Score {
        /// The score.
        score: i64,
        /// The bits of the tie, 0 without.
        bits: u32,
        /// What it may be at most.
        most: i64,
    },
    /// The instant is before the beginning of the board, or after what the tie can tell apart.
    #[error(
        "the instant {achieved_seconds} is not between {origin_seconds} and {last_seconds}, which is what {bits} bits can tell apart, in seconds of Unix time"
    )]
    Instant {
        /// The instant.
        achieved_seconds: i64,
        /// The earliest.
        origin_seconds: i64,
        /// The latest.
        last_seconds: i64,
        /// The bits of the tie.
        bits: u32,
    },
    /// There is no such encoding.
    #[error(
        "an instant cannot have {bits} bits; 1 to 52 can be, beginning at an instant that a calendar has"
    )]
    Bits {
        /// The bits.
        bits: u32,
    },
}

impl Encoding {
    /// The score alone. Equal ones are ordered by the bytes of their members.
    pub fn plain(order: Order) -> Self {
        Self { order, tie: None }
    }

    /// Of equal scores the one that was reached earlier is the better one. The instants are those from
    /// `origin_seconds` on, in seconds of Unix time, that fit into `bits`: 20 are 12 days and leave scores
    /// up to 8,589,934,592; 22 are 48 days, 26 two years and scores up to 134,217,728.
    ///
    /// # Errors
    /// When there are no bits, or more than 52.
    pub fn earliest_first(
        order: Order,
        bits: u32,
        origin_seconds: i64,
    ) -> Result<Self, OutOfRange> {
        let fits = (1..=MOST_BITS).contains(&bits);
        let last = fits.then(|| origin_seconds.checked_add((1 << bits) - 1));
        let tie = Tie {
            bits,
            origin_seconds,
        };
        match last.flatten() {
            Some(_) => Ok(Self {
                order,
                tie: Some(tie),
            }),
            None => Err(OutOfRange::Bits { bits }),
        }
    }

    /// Which end is the better one.
    pub fn order(self) -> Order {
        self.order
    }

    /// The bits for the instant, 0 without.
    pub fn bits(self) -> u32 {
        self.tie.map_or(0, |tie| tie.bits)
    }

    /// The first instant, in seconds of Unix time, if instants are kept.
    pub fn origin_seconds(self) -> Option<i64> {
        self.tie.map(|tie| tie.origin_seconds)
    }

    /// The number for `score`, reached at `achieved_seconds` of Unix time, which does not matter if no
    /// instants are kept.
    ///
    /// # Errors
    /// When it does not fit; it says which limit it is over.
    pub fn encode(self, score: i64, achieved_seconds: i64) -> Result<Composite, OutOfRange> {
        let bits = self.bits();
        let most = EXACT >> bits;
        let out_of_range = OutOfRange::Score { score, bits, most };
        if score < -most || score > most {
            return Err(out_of_range);
        }
        let composite = (score << bits) | self.tie(achieved_seconds)?;
        if composite > EXACT {
            return Err(out_of_range);
        }
        Ok(Composite(composite))
    }

    /// What orders this instant among equal scores.
    fn tie(self, achieved_seconds: i64) -> Result<i64, OutOfRange> {
        let Some(Tie {
            bits,
            origin_seconds,
        }) = self.tie
        else {
            return Ok(0);
        };
        let last = (1 << bits) - 1;
        let since = achieved_seconds.checked_sub(origin_seconds);
        let since = since.filter(|since| (0..=last).contains(since));
        let since = since.ok_or(OutOfRange::Instant {
            achieved_seconds,
            origin_seconds,
            last_seconds: origin_seconds + last,
            bits,
        })?;
        Ok(match self.order {
            Order::HighestFirst => last - since,
            Order::LowestFirst => since,
        })
    }

    /// What `composite`, which this encoding has made, says.
    pub fn decode(self, composite: Composite) -> Score {
        let Some(Tie {
            bits,
            origin_seconds,
        }) = self.tie
        else {
            return Score {
                score: composite.0,
                achieved_seconds: None,
            };
        };
        let last = (1 << bits) - 1;
        let tie = composite.0 & last;
        let since = match self.order {
            Order::HighestFirst => last - tie,
            Order::LowestFirst => tie,
        };
        Score {
            score: composite.0 >> bits,
            achieved_seconds: Some(origin_seconds + since),
        }
    }

    /// Who is better than `score`, whenever that was reached: one more than there are is the rank that
    /// equal scores share (1, 2, 2, 4).
    pub fn bounds_better_than(self, score: i64) -> Better {
        let most = EXACT >> self.bits();
        // What no board can have is as good as twice the most, which a double holds exactly too.
        let score = match score {
            above if above > most => 2 * most,
            below if below < -most => -2 * most,
            score => score,
        };
        let lowest = score << self.bits();
        match self.order {
            Order::HighestFirst => Better {
                min: format!("({}", lowest | ((1 << self.bits()) - 1)),
                max: "+inf".to_owned(),
            },
            Order::LowestFirst => Better {
                min: "-inf".to_owned(),
                max: format!("({lowest}"),
            },
        }
    }
}

impl Composite {
    /// The number itself.
    pub fn get(self) -> i64 {
        self.0
    }

    /// A number as Redis writes it; `None` if no encoding has made it.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let number = text.parse().ok().or_else(|| whole(text.parse().ok()?))?;
        (-EXACT..=EXACT).contains(&number).then_some(Self(number))
    }
}

/// The whole number that a double is: some servers write large ones with an exponent.
fn whole(number: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what has a fraction or does not fit is not equal to what it becomes"
    )]
    let truncated = number as i64;
    #[expect(
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "exact below 2^53; what is above is refused by the caller"
    )]
    let is_whole = truncated as f64 == number;
    is_whole.then_some(truncated)
}

impl ToRedisArgs for Composite {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        self.0.write_redis_args(out);
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::*;

    const ORDERS: [Order; 2] = [Order::HighestFirst, Order::LowestFirst];

    fn encoding(order: Order, bits: u32) -> Encoding {
        Encoding::earliest_first(order, bits, 1_000).unwrap()
    }

    /// An encoding, and two scores with instants, close together and at the limits of what fits.
    fn cases() -> impl Strategy<Value = (Encoding, [(i64, i64); 2])> {
        let order = prop::sample::select(ORDERS.to_vec());
        (order, 1..=MOST_BITS, -4_000_000_000_i64..4_000_000_000).prop_flat_map(
            |(order, bits, origin)| {
                let encoding = Encoding::earliest_first(order, bits, origin).unwrap();
                let most = EXACT >> bits;
                let last = (1_i64 << bits) - 1;
                let score = prop_oneof![-3..=3_i64, -most..=most - 1, most - 3..=most - 1]
                    .prop_map(move |score| score.clamp(-most, most - 1));
                let since = prop_oneof![0..=3_i64, 0..=last, last - 1..=last]
                    .prop_map(move |since| since.min(last));
                let one = (score, since).prop_map(move |(score, since)| (score, origin + since));
                (Just(encoding), [one.clone(), one])
            },
        )
    }

    proptest! {
        #[test]
        fn the_numbers_order_as_score_and_instant_do((encoding, [one, other]) in cases()) {
            let number = |(score, at)| encoding.encode(score, at).unwrap();
            // Earlier is better: larger where the highest is the first, smaller where the lowest is.
            let expected = match encoding.order() {
                Order::HighestFirst => (one.0, Reverse(one.1)).cmp(&(other.0, Reverse(other.1))),
                Order::LowestFirst => one.cmp(&other),
            };
            prop_assert_eq!(number(one).cmp(&number(other)), expected);
        }

        #[test]
        fn what_is_written_is_read_again((encoding, [(score, at), _]) in cases()) {
            let composite = encoding.encode(score, at).unwrap();
            let said = Score { score, achieved_seconds: Some(at) };
            prop_assert_eq!(encoding.decode(composite), said);
            #[expect(clippy::cast_precision_loss, reason = "that it is exact is what is tested")]
            let double = composite.get() as f64;
            for text in [format!("{double}"), format!("{double:e}"), composite.get().to_string()] {
                prop_assert_eq!(Composite::read(&text), Some(composite), "{}", text);
            }
        }

        #[test]
        fn better_is_who_has_a_better_score((encoding, [one, other]) in cases()) {
            let Better { min, max } = encoding.bounds_better_than(one.0);
            let number = encoding.encode(other.0, other.1).unwrap().get();
            let limit = |text: &str| text.strip_prefix('(').map(|text| text.parse::<i64>().unwrap());
            let is_within = limit(&min).is_none_or(|min| number > min)
                && limit(&max).is_none_or(|max| number < max);
            let is_better = match encoding.order() {
                Order::HighestFirst => other.0 > one.0,
                Order::LowestFirst => other.0 < one.0,
            };
            prop_assert_eq!(is_within, is_better);
        }
    }

    #[test]
    fn a_score_is_exact_up_to_2_to_the_53_and_refused_beyond() {
        let plain = Encoding::plain(Order::HighestFirst);
        for score in [EXACT, -EXACT] {
            let composite = plain.encode(score, 0).unwrap();
            assert_eq!(plain.decode(composite).score, score);
        }
        for score in [EXACT + 1, -EXACT - 1, i64::MAX, i64::MIN] {
            let refused = plain.encode(score, 0).unwrap_err();
            assert!(matches!(refused, OutOfRange::Score { .. }), "{refused}");
        }
    }

    #[test]
    fn with_an_instant_the_limits_are_those_of_both_together() {
        for order in ORDERS {
            let week = encoding(order, 20);
            let most = EXACT >> 20;
            assert_eq!(most, 8_589_934_592);
            let last = 1_000 + (1 << 20) - 1;
            // The largest number there is has a tie of zero.
            let (best, worst) = match order {
                Order::HighestFirst => (last, 1_000),
                Order::LowestFirst => (1_000, last),
            };
            assert_eq!(week.encode(most, best).unwrap().get(), EXACT);
            for score in [most, most + 1, -most - 1] {
                let refused = week.encode(score, worst).unwrap_err();
                let expected = OutOfRange::Score {
                    score,
                    bits: 20,
                    most,
                };
                assert_eq!(refused, expected);
            }
            assert_eq!(week.encode(-most, best).unwrap().get(), -EXACT);
            week.encode(-most, worst).unwrap();
            week.encode(most - 1, worst).unwrap();
            for at in [999, last + 1, i64::MIN, i64::MAX] {
                let refused = week.encode(0, at).unwrap_err();
                assert!(matches!(refused, OutOfRange::Instant { .. }), "{refused}");
            }
        }
    }

    #[test]
    fn better_than_what_is_no_score_is_everybody_or_nobody() {
        let highest = encoding(Order::HighestFirst, 20);
        let everybody = highest.bounds_better_than(i64::MIN).min;
        let lowest = everybody.strip_prefix('(').unwrap();
        assert!(lowest.parse::<i64>().unwrap() < -EXACT, "{everybody}");
        let nobody = highest.bounds_better_than(i64::MAX).min;
        let highest = nobody.strip_prefix('(').unwrap();
        assert!(highest.parse::<i64>().unwrap() > EXACT, "{nobody}");
    }

    #[test]
    fn a_tie_has_one_to_52_bits() {
        for bits in [0, 53, 64, u32::MAX] {
            let refused = Encoding::earliest_first(Order::LowestFirst, bits, 0);
            assert_eq!(refused, Err(OutOfRange::Bits { bits }));
        }
        assert!(Encoding::earliest_first(Order::LowestFirst, 1, i64::MAX).is_err());
    }

    #[test]
    fn what_no_encoding_has_made_is_not_read() {
        for text in ["", "nan", "inf", "-inf", "0.5", "9007199254740994", "1e300"] {
            assert_eq!(Composite::read(text), None, "{text}");
        }
    }
}
