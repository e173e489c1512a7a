//! Reading: the same as sorting what was published.

use nightshift_cache::board::{Score, Scores, Standing};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

everywhere!(
    any_board_reads_as_its_members_sorted,
    of_equal_scores_the_earlier_one_is_before_the_other,
    scores_are_exact_to_their_limits,
    what_the_board_says_about_itself_is_what_was_published,
    competition_ranks_are_what_the_bounds_count,
);

/// When the window of these boards begins.
const ORIGIN: i64 = 1_763_337_600;

/// A member as a test knows it.
#[derive(Debug, Clone)]
struct Member {
    name: String,
    score: i64,
    at: i64,
}

/// A board in a list, the best first.
fn sorted(mut members: Vec<Member>, encoding: Encoding) -> Vec<Standing> {
    let sign = |score: i64| match encoding.order() {
        Order::HighestFirst => -score,
        Order::LowestFirst => score,
    };
    let has_instants = encoding.bits() > 0;
    members.sort_by(|one, other| {
        let by_score = sign(one.score).cmp(&sign(other.score));
        let by_instant = one.at.cmp(&other.at);
        let by_name = one.name.cmp(&other.name);
        by_score
            .then(if has_instants {
                by_instant
            } else {
                std::cmp::Ordering::Equal
            })
            .then(match encoding.order() {
                Order::HighestFirst => by_name.reverse(),
                Order::LowestFirst => by_name,
            })
    });
    let rank = |score: i64| {
        let better = members
            .iter()
            .filter(|other| sign(other.score) < sign(score));
        1 + better.count() as u64
    };
    let rows = (1..).zip(&members).map(|(ordinal, member)| Standing {
        ordinal,
        rank: rank(member.score),
        member: member.name.clone(),
        score: Score {
            score: member.score,
            achieved_seconds: has_instants.then_some(member.at),
        },
    });
    rows.collect()
}

fn rows(members: &[Member], encoding: Encoding) -> Rows {
    let mut rows = Rows::default();
    for Member { name, score, at } in members {
        rows.push(name, encoding.encode(*score, *at).unwrap());
    }
    rows
}

async fn any_board_reads_as_its_members_sorted(world: World) {
    let seed = rand::rng().random();
    let mut random = StdRng::seed_from_u64(seed);
    for run in 1..=40 {
        let order = [Order::HighestFirst, Order::LowestFirst][random.random_range(0..2)];
        let encoding = match random.random_range(0..3) {
            0 => Encoding::plain(order),
            bits => Encoding::earliest_first(order, 10 * bits, ORIGIN).unwrap(),
        };
        let count = random.random_range(1..40);
        let members: Vec<Member> = (0..count)
            .map(|n| Member {
                name: format!("m{n}"),
                score: random.random_range(-4..4),
                at: ORIGIN + random.random_range(0..3),
            })
            .collect();
        let meta = Meta {
            encoding,
            ..plain(run, count)
        };
        let all = stream::iter([Ok::<_, CacheError>(rows(&members, encoding))]);
        let published = world
            .boards
            .publish_all(world.publication(&meta), all, DEADLINE);
        published.await.unwrap();
        let expected = sorted(members, encoding);
        let (boards, board) = (&world.boards, &world.board);
        let said = || format!("seed {seed}, run {run}, {encoding:?}");
        for most in [0, 1, 7, 100] {
            let top = boards.top(board, most).await.unwrap().unwrap();
            assert_eq!(top.meta, meta, "{}", said());
            let most = expected.len().min(most as usize);
            assert_eq!(top.rows, expected[..most], "{}", said());
        }
        for (index, row) in expected.iter().enumerate() {
            let (above, below) = (random.random_range(0..4), random.random_range(0..4));
            let around = boards.around(board, &row.member, above, below).await;
            let from = index.saturating_sub(above as usize);
            let to = expected.len().min(index + below as usize + 1);
            assert_eq!(
                around.unwrap().unwrap().rows,
                expected[from..to],
                "{}",
                said()
            );
            let rank = boards.rank(board, &row.member).await.unwrap().unwrap();
            assert_eq!(rank.rows, std::slice::from_ref(row), "{}", said());
        }
        let nobody = boards.rank(board, "nobody").await.unwrap().unwrap();
        assert_eq!((nobody.meta, nobody.rows), (meta.clone(), Vec::new()));
        let mut asked: Vec<&str> = expected.iter().map(|row| row.member.as_str()).collect();
        asked.insert(asked.len() / 2, "nobody");
        let mut scores: Vec<Option<Score>> = expected.iter().map(|row| Some(row.score)).collect();
        scores.insert(scores.len() / 2, None);
        let answered = boards.scores(board, &asked).await.unwrap();
        assert_eq!(answered, Some(Scores { meta, scores }), "{}", said());
    }
}

async fn of_equal_scores_the_earlier_one_is_before_the_other(world: World) {
    for (run, order, expected) in [
        (1, Order::HighestFirst, ["z", "a", "m", "b"]),
        (2, Order::LowestFirst, ["b", "z", "a", "m"]),
    ] {
        let encoding = Encoding::earliest_first(order, 20, ORIGIN).unwrap();
        let member = |name: &str, score, after| Member {
            name: name.to_owned(),
            score,
            at: ORIGIN + after,
        };
        let members = [
            member("a", 7, 60),
            member("m", 7, 61),
            member("z", 7, 59),
            member("b", 6, 0),
        ];
        let meta = Meta {
            encoding,
            ..plain(run, 4)
        };
        let all = stream::iter([Ok::<_, CacheError>(rows(&members, encoding))]);
        let published = world
            .boards
            .publish_all(world.publication(&meta), all, DEADLINE);
        published.await.unwrap();
        let top = world.boards.top(&world.board, 10).await.unwrap().unwrap();
        let names: Vec<&str> = top.rows.iter().map(|row| row.member.as_str()).collect();
        assert_eq!(names, expected);
        let ranks: Vec<u64> = top.rows.iter().map(|row| row.rank).collect();
        let shared = match order {
            Order::HighestFirst => [1, 1, 1, 4],
            Order::LowestFirst => [1, 2, 2, 2],
        };
        assert_eq!(ranks, shared);
    }
}

async fn scores_are_exact_to_their_limits(world: World) {
    const MOST: i64 = 1 << 53;
    for (run, order) in [(1, Order::HighestFirst), (2, Order::LowestFirst)] {
        let encoding = Encoding::plain(order);
        let scores = [
            MOST,
            MOST - 1,
            MOST - 2,
            1,
            0,
            -1,
            2 - MOST,
            1 - MOST,
            -MOST,
        ];
        let members: Vec<Member> = scores
            .iter()
            .map(|score| Member {
                name: format!("{score}"),
                score: *score,
                at: 0,
            })
            .collect();
        let meta = Meta {
            encoding,
            ..plain(run, scores.len())
        };
        let all = stream::iter([Ok::<_, CacheError>(rows(&members, encoding))]);
        let published = world
            .boards
            .publish_all(world.publication(&meta), all, DEADLINE);
        published.await.unwrap();
        let expected = sorted(members, encoding);
        let top = world.boards.top(&world.board, 100).await.unwrap().unwrap();
        assert_eq!(top.rows, expected);
        for row in expected {
            let rank = world.boards.rank(&world.board, &row.member).await;
            assert_eq!(rank.unwrap().unwrap().rows, [row]);
        }
    }
}

async fn what_the_board_says_about_itself_is_what_was_published(world: World) {
    assert_eq!(world.boards.meta(&world.board).await.unwrap(), None);
    assert_eq!(world.boards.top(&world.board, 1).await.unwrap(), None);
    let meta = Meta {
        run: Run((1 << 53) - 1),
        window: "season 3, \u{201c}spring\u{201d}\r\n".to_owned(),
        encoding: Encoding::earliest_first(Order::LowestFirst, 26, ORIGIN).unwrap(),
        members: 1_234_567,
        published_ms: 1_763_900_000_123,
    };
    let (top, buckets) = (b"{\"top\":[]}".to_vec(), vec![0, 255, 13, 10]);
    let publication = Publication {
        extras: Extras {
            top: Some(&top),
            buckets: Some(&buckets),
        },
        ..world.publication(&meta)
    };
    let nobody = stream::iter([] as [Result<Rows, CacheError>; 0]);
    let published = world.boards.publish_all(publication, nobody, DEADLINE);
    published.await.unwrap();
    let (boards, board) = (&world.boards, &world.board);
    assert_eq!(boards.meta(board).await.unwrap(), Some(meta));
    assert_eq!(boards.top_rendered(board).await.unwrap(), Some(top));
    assert_eq!(boards.buckets(board).await.unwrap(), Some(buckets));
}

async fn competition_ranks_are_what_the_bounds_count(world: World) {
    for (run, order) in [(1, Order::HighestFirst), (2, Order::LowestFirst)] {
        let encoding = Encoding::earliest_first(order, 22, ORIGIN).unwrap();
        let members: Vec<Member> = (0..60)
            .map(|n| Member {
                name: format!("m{n}"),
                score: n % 7 - 3,
                at: ORIGIN + n,
            })
            .collect();
        let meta = Meta {
            encoding,
            ..plain(run, members.len())
        };
        let all = stream::iter([Ok::<_, CacheError>(rows(&members, encoding))]);
        let published = world
            .boards
            .publish_all(world.publication(&meta), all, DEADLINE);
        published.await.unwrap();
        for member in &members {
            let bounds = encoding.bounds_better_than(member.score);
            let words = ["ZCOUNT", world.board.key(), &bounds.min, &bounds.max];
            let better: u64 = world.ask(&words).await;
            let rank = world.boards.rank(&world.board, &member.name).await;
            assert_eq!(
                rank.unwrap().unwrap().rows[0].rank,
                better + 1,
                "{member:?}"
            );
        }
    }
}
