//! The workbench on which authors of functions test them: through retries, slices and parts, with a
//! clock that does not make anybody wait.

use nightshift_testkit::Workbench;

use super::*;

#[tokio::test]
async fn a_function_is_stepped_through_its_retries_until_it_succeeds_or_is_dead() {
    let retry = Step::Fail(Disposition::RetryAfter(Duration::from_hours(3)));
    let never = vec![Step::Fail(Disposition::Retry); 4];
    let script = Scripted::default();
    let steps = [
        ("a", vec![retry.clone(), retry, Step::Enqueue("b", None)]),
        ("never", never),
    ];
    script
        .0
        .lock()
        .unwrap()
        .extend(steps.map(|(title, steps)| (title.to_owned(), steps)));
    let bench = Workbench::new(start_of_time(), |registry| registry.with_batch(script)).await;
    bench
        .pool()
        .execute("CREATE TABLE effect (key uuid PRIMARY KEY, title text, attempt integer)")
        .await
        .unwrap();
    bench
        .deliver("scripted", &[titled("a"), titled("never")])
        .await
        .unwrap();
    let waiting = bench.waiting().await;
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0].last_error.as_deref(), Some("the script says so"));
    assert!(bench.dead().await.is_empty());
    bench.run_to_end().await;
    // Two pauses of three hours, without anybody having waited for them.
    assert_eq!(bench.clock().now(), after(6 * 3_600));
    assert!(bench.waiting().await.is_empty());
    let dead = bench.dead().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].reason.as_str(), dead[0].attempt),
        ("attempts-used-up", 4)
    );
    // It goes to a queue of nobody here, so it stays.
    let sent = bench.enqueued().await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].queue, "elsewhere");
    assert_eq!(sent[0].message.enqueued_time, after(6 * 3_600 + 90));
    bench.remove().await;
}
