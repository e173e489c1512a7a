//! Answers that many ask for, kept for a moment.
//!
//! They are kept by what is asked for, however it is written. However many ask at the same time for one that is
//! not there, it is made once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ask::Ask;
use super::problem::Problem;

/// How many answers are kept, and how many bytes all of them have.
const MOST: usize = 1_024;
const MOST_BYTES: usize = 4 << 20;

/// What browsers and proxies may do with an answer: boards change once a minute.
const MAX_AGE: HeaderValue = HeaderValue::from_static("max-age=10");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer, as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    body: Bytes,
    tag: HeaderValue,
}

impl Answer {
    pub(super) fn new(body: Vec<u8>) -> Self {
        // Its keys are always the same, so that all processes of a release say the same of the same body.
        let mut hasher = DefaultHasher::new();
        hasher.write(&body);
        let tag = format!("\"{:016x}\"", hasher.finish());
        Self {
            body: body.into(),
            tag: HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    /// The answer to somebody who has those with the tags in `known` (RFC 9110, 13.1.2).
    pub(super) fn into_response(self, known: Option<&HeaderValue>) -> Response<Bytes> {
        let is_known = known.is_some_and(|known| is_among(known, &self.tag));
        let mut response = Response::new(if is_known { Bytes::new() } else { self.body });
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        if !is_known {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        headers.insert(header::ETAG, self.tag);
        headers.insert(header::CACHE_CONTROL, MAX_AGE);
        response
    }
}

/// Whether `tag` is in the list, where weak tags count as well.
fn is_among(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let known = known.as_bytes().split(|byte| *byte == b',');
    let mut known = known.map(<[u8]>::trim_ascii);
    known.any(|one| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes())
}

/// What becomes of a request.
type Found = Result<Answer, Problem>;

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Answers(RwLock<HashMap<Ask, Arc<Slot>>>);

/// The place of one.
#[derive(Debug, Default)]
struct Slot {
    known: RwLock<Option<(Found, Instant)>>,
    /// Held by whoever makes it.
    making: Mutex<()>,
}

impl Slot {
    fn fresh(&self) -> Option<Found> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (found, until) = known.as_ref()?;
        (Instant::now() < *until).then(|| found.clone())
    }

    fn bytes(&self) -> usize {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.as_ref() {
            Some((Ok(answer), _)) => answer.body.len(),
            _ => 0,
        }
    }
}

impl Answers {
    /// The answer to `ask`, made if there is none that is still good, or by whoever makes it already. It is
    /// good for `span`.
    pub(super) async fn get(
        &self,
        ask: &Ask,
        span: Duration,
        make: impl Future<Output = Found>,
    ) -> Found {
        if let Some(known) = self.fresh(ask) {
            return known;
        }
        let Some(slot) = self.slot(ask) else {
            return make.await;
        };
        let _turn = slot.making.lock().await;
        if let Some(found) = slot.fresh() {
            return found;
        }
        let found = make.await;
        let mut known = slot.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some((found.clone(), Instant::now() + span));
        found
    }

    fn fresh(&self, ask: &Ask) -> Option<Found> {
        let slots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(ask)?.fresh()
    }

    /// The place of `ask`. `None`: there is no room for it.
    fn slot(&self, ask: &Ask) -> Option<Arc<Slot>> {
        let mut slots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(ask) {
            return Some(Arc::clone(slot));
        }
        let is_full = |slots: &HashMap<Ask, Arc<Slot>>| {
            let bytes: usize = slots.values().map(|slot| slot.bytes()).sum();
            slots.len() >= MOST || bytes >= MOST_BYTES
        };
        if is_full(&slots) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.fresh().is_some());
        }
        if is_full(&slots) {
            return None;
        }
        let slot = Arc::<Slot>::default();
        slots.insert(ask.clone(), Arc::clone(&slot));
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    const SPAN: Duration = Duration::from_secs(1);

    fn body(answer: Found) -> Bytes {
        answer.unwrap().into_response(None).into_body()
    }

    fn top(limit: u32) -> Ask {
        Ask::read("global/weekly/top", &format!("limit={limit}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_made_once_however_many_ask_and_again_when_it_is_old() {
        let answers = Answers::default();
        let times = AtomicU32::new(0);
        let make = || async {
            sleep(Duration::from_millis(100)).await;
            let number = times.fetch_add(1, Ordering::Relaxed);
            Ok(Answer::new(number.to_string().into_bytes()))
        };
        // However it is written.
        let ways = [
            Ask::read("global/weekly/top", "").unwrap(),
            Ask::read("/global//weekly/top/", "&limit=100&code=x").unwrap(),
        ];
        let asked = (0..50).map(|n| answers.get(&ways[n % 2], SPAN, make()));
        let asked = join_all(asked).await;
        assert!(asked.into_iter().all(|answer| body(answer) == "0"));
        advance(SPAN).await;
        assert_eq!(body(answers.get(&ways[0], SPAN, make()).await), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_than_so_many_or_so_many_bytes() {
        for (size, most) in [(1, MOST), (MOST_BYTES / 8, 8)] {
            let answers = Answers::default();
            for number in 0..1_000 {
                for group in ["a", "b"] {
                    let query = format!("limit={}&group=column:{group}", number + 1);
                    let ask = Ask::read("global/weekly/top", &query).unwrap();
                    let make = async { Ok(Answer::new(vec![1; size])) };
                    assert_eq!(body(answers.get(&ask, SPAN, make).await).len(), size);
                    assert!(answers.0.read().unwrap().len() <= most);
                }
            }
            assert_eq!(answers.0.read().unwrap().len(), most);
            // Those that are old make room.
            advance(SPAN).await;
            let make = async { Ok(Answer::new(vec![1])) };
            answers.get(&top(1_000), SPAN, make).await.unwrap();
            assert_eq!(answers.0.read().unwrap().len(), 1);
        }
    }

    #[test]
    fn whoever_has_it_is_not_sent_it_again() {
        let answer = Answer::new(b"{}".to_vec());
        let full = answer.clone().into_response(None);
        let tag = full.headers()[header::ETAG].clone();
        let text = tag.to_str().unwrap();
        for (known, is_known) in [
            (text.to_owned(), true),
            (format!("\"x\", W/{text}"), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
            (String::new(), false),
        ] {
            let known = HeaderValue::try_from(known).unwrap();
            let response = answer.clone().into_response(Some(&known));
            assert_eq!(response.status() == 304, is_known, "{known:?}");
            assert_eq!(response.body().is_empty(), is_known, "{known:?}");
            assert_eq!(response.headers()[header::ETAG], tag);
        }
        let other = Answer::new(b"[]".to_vec());
        assert_ne!(other.tag, answer.tag);
    }
}
