//! Rule 2: what a function sends leaves if its effect commits, and only then.

use super::*;

const NEXT: Step = Step::Enqueue("next", None);

#[tokio::test]
async fn rule_2_what_a_function_enqueues_commits_with_its_effect() {
    let world = World::new(&[("a", &[NEXT])]).await;
    let original = message("a", notification(USER, "a"), start_of_time())
        .with_property("traceparent", "00-1-2-01")
        .build();
    world
        .deliver(std::slice::from_ref(&original))
        .await
        .unwrap();
    let next = world.copy().await;
    assert_eq!(next.enqueued_time, after(90), "delayed");
    assert_eq!(next.application_properties["traceparent"], "00-1-2-01");
    assert_ne!(next.message_id.as_deref(), Some("a"));
    world.deliver(&[original]).await.unwrap();
    assert_eq!(world.promised().await, [], "a redelivery sends nothing");
    world.end().await;
}

#[tokio::test]
async fn rule_2_what_a_failed_try_has_enqueued_is_not_sent() {
    let world = World::new(&[("a", &[Step::EnqueueAndFail, NEXT])]).await;
    world.deliver(&[titled("a"), titled("b")]).await.unwrap();
    let copy = world.copy().await;
    assert!(copy.message_id.as_deref().unwrap().starts_with("ns:"));
    world.deliver(&[copy]).await.unwrap();
    let next = world.copy().await;
    assert!(String::from_utf8_lossy(&next.body).contains("\"next\""));
    world.end().await;
}

#[tokio::test]
async fn rule_2_of_messages_with_one_unique_key_one_has_an_effect() {
    let unique = Step::Enqueue("same", Some("hourly"));
    let world = World::new(&[
        ("a", std::slice::from_ref(&unique)),
        ("b", std::slice::from_ref(&unique)),
    ])
    .await;
    world.deliver(&[titled("a"), titled("b")]).await.unwrap();
    let sent = world.promised().await;
    assert_eq!(sent.len(), 2);
    world.deliver(&sent[..1]).await.unwrap();
    world.deliver(&sent[1..]).await.unwrap();
    assert_eq!(world.effects().await, ["a 1", "b 1", "same 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_3_long_work_goes_on_from_its_checkpoint_under_one_key() {
    let world = World::new(&[
        ("1", &[Step::Fail(Disposition::Retry), Step::Continue("2")]),
        ("2", &[Step::Continue("3")]),
    ])
    .await;
    world.deliver(&[titled("1")]).await.unwrap();
    for state in ["1 retry 1 1", "2 continue 2 0", "3 continue 3 0"] {
        assert_eq!(world.waiting().await, [state]);
        let copy = world.copy().await;
        // Whatever is delivered twice in between changes nothing.
        world.deliver(&[titled("1"), copy.clone()]).await.unwrap();
        world.deliver(&[copy]).await.unwrap();
    }
    assert_eq!(world.effects().await, ["3 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_10_a_copy_that_would_not_fit_leaves_its_body_in_the_database() {
    let world = World::new(&[("a", &[Step::Fail(Disposition::Retry)])]).await;
    let padded = format!("{}{}", notification(USER, "a"), " ".repeat(200 * 1024));
    let original = message("a", padded.clone(), start_of_time()).build();
    world.deliver(&[original]).await.unwrap();
    let copy = world.copy().await;
    assert_eq!(copy.body.len(), 0);
    // A rescue that is late comes in the same batch as the next copy.
    let rescue = {
        let mut rescue = copy.clone();
        rescue
            .application_properties
            .insert("ns-gen".to_owned(), 9.into());
        rescue
    };
    let batch = [rescue, copy.clone(), titled("b")];
    world.deliver(&batch).await.unwrap();
    assert_eq!(world.effects().await, ["a 2", "b 1"]);
    world.deliver(&[copy]).await.unwrap();
    assert_eq!(
        world.dead().await,
        [""; 0],
        "a stale one is not a broken one"
    );
    world.end().await;
}
