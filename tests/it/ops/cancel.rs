//! What waits or runs is ended by an operator, and whoever waits for its end goes on.

use super::*;

async fn cancel(console: &Console, key: &str) -> Said {
    let path = format!("/messages/{key}/cancel");
    console.post(&path, json!({"why": "not wanted"})).await
}

async fn waiting(console: &Console, filter: &str) -> Vec<String> {
    let waiting = console.all(&format!("/messages{filter}")).await;
    let keys = waiting
        .iter()
        .map(|item| item["key"].as_str().unwrap().to_owned());
    keys.collect()
}

#[tokio::test]
async fn a_message_that_waits_is_cancelled_and_its_copies_run_no_more() {
    let console = Console::new().await;
    console.deliver("plain-work", &[titled("wait")]).await;
    let copies = nightshift_testkit::take_promised(console.database.pool(), now()).await;
    let keys = waiting(&console, "?reason=snooze").await;
    let said = cancel(&console, &keys[0]).await.ok();
    assert_eq!(
        (&said["was"], &said["function"]),
        (&json!("snooze"), &json!("plain-work"))
    );
    let fate = console.get(&format!("/messages/{}", keys[0])).await.ok();
    assert_eq!(fate["state"], "skipped");
    assert_eq!(fate["why"], "cancelled by key:ada: not wanted");
    console.deliver("plain-work", &copies).await;
    console.deliver("plain-work", &[titled("wait")]).await;
    assert_eq!(waiting(&console, "").await, [""; 0]);
    assert_eq!(cancel(&console, &keys[0]).await.problem(404).0, "not-found");
    console.end().await;
}

#[tokio::test]
async fn the_next_of_a_session_goes_on_when_its_head_is_cancelled() {
    let console = Console::new().await;
    let in_session = |title: &str, n: i64| {
        let message = message(title, notification(USER, title), now());
        message.numbered(n).in_session("s").build()
    };
    console
        .deliver("holding-work", &[in_session("wait", 1), in_session("b", 2)])
        .await;
    nightshift_testkit::take_promised(console.database.pool(), now()).await;
    let head = waiting(&console, "?reason=snooze").await;
    cancel(&console, &head[0]).await.ok();
    let sent = nightshift_testkit::take_promised(console.database.pool(), now()).await;
    assert_eq!(sent.len(), 1, "it is the other one's turn");
    console.deliver("holding-work", &sent).await;
    assert_eq!(waiting(&console, "").await, [""; 0]);
    console.end().await;
}

#[tokio::test]
async fn a_part_that_is_cancelled_counts_as_failed_for_the_finish() {
    let console = Console::new().await;
    console.deliver("plain-work", &[titled("split")]).await;
    let parts = nightshift_testkit::take_promised(console.database.pool(), now()).await;
    console.deliver("plain-work", &parts).await;
    nightshift_testkit::take_promised(console.database.pool(), now()).await;
    let part = waiting(&console, "").await;
    cancel(&console, &part[0]).await.ok();
    let finish = nightshift_testkit::take_promised(console.database.pool(), now()).await;
    assert_eq!(finish.len(), 1);
    assert_eq!(finish[0].application_properties["ns-failed-children"], 1);
    console.end().await;
}

#[tokio::test]
async fn a_run_is_cancelled_under_its_process_which_writes_nothing_more() {
    let console = Console::new().await;
    let app = Arc::clone(&console.app);
    let process = tokio::spawn(async move {
        let message = [titled("much")];
        nightshift_testkit::deliver(&app, "slow-work", &message, now()).await
    });
    let run = loop {
        let runs = console.all("/runs?state=running&text=ABOUT%20to").await;
        if let [run] = &runs[..] {
            break run.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(run["progress"], "about to do much");
    let key = run["key"].as_str().unwrap();
    let said = cancel(&console, key).await.ok();
    assert_eq!(said["was"], "calling");
    console.may.add_permits(1);
    // Its answer does not matter: the message, should it come again, is done.
    let _ = process.await.unwrap();
    let run = console.get(&format!("/runs/{key}")).await.ok();
    assert_eq!(run["state"], "cancelled");
    assert_eq!(run["error"], "cancelled by key:ada: not wanted");
    assert!(run.get("report").is_none(), "it wrote after its end: {run}");
    console.deliver("slow-work", &[titled("much")]).await;
    assert_eq!(waiting(&console, "").await, [""; 0]);
    assert_eq!(console.all("/runs?state=cancelled").await.len(), 1);
    assert_eq!(console.all("/runs?state=running").await.len(), 0);
    assert_eq!(
        console.audited().await,
        [format!("key:ada message.cancel {key}")]
    );
    console.end().await;
}
