//! Dead letters: found, read, edited, sent again, taken back, thrown away.

use sqlx::Executor;

use super::*;

/// Five that are broken and two that are ill-formed.
async fn seven(console: &Console) {
    let titles = [
        "die 1", "die 2", "ill 1", "die 3", "ill 2", "die 4", "die 5",
    ];
    let messages: Vec<TriggerMessage> = titles.into_iter().map(titled).collect();
    console.deliver("plain-work", &messages).await;
}

async fn one(console: &Console, text: &str) -> String {
    let found = console.all(&format!("/dead-letters?text={text}")).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn letters_are_grouped_listed_and_searched() {
    let console = Console::new().await;
    seven(&console).await;
    let groups = console.get("/dead-letters/groups").await.ok();
    let groups = groups["items"].as_array().unwrap();
    let counts: Vec<_> = groups
        .iter()
        .map(|group| (&group["reason"], &group["count"]))
        .collect();
    assert_eq!(
        counts,
        [
            (&json!("broken"), &json!(5)),
            (&json!("ill-formed"), &json!(2))
        ]
    );
    let fingerprint = groups[1]["fingerprint"].as_str().unwrap();
    let of = |filter: String| {
        let console = &console;
        async move { console.all(&format!("/dead-letters{filter}")).await.len() }
    };
    assert_eq!(of(String::new()).await, 7);
    assert_eq!(of(format!("?fingerprint={fingerprint}")).await, 2);
    assert_eq!(of("?function=plain-work&reason=broken".to_owned()).await, 5);
    assert_eq!(of("?function=holding-work".to_owned()).await, 0);
    assert_eq!(of("?text=DIE%203".to_owned()).await, 1);
    assert_eq!(
        of("?text=%25".to_owned()).await,
        0,
        "it is a text and no pattern"
    );
    assert_eq!(of("?text='%20OR%201=1--".to_owned()).await, 0);
    assert_eq!(of("?to=2000-01-01T00:00:00Z".to_owned()).await, 0);
    let letters = console.all("/dead-letters").await;
    let died: Vec<&str> = letters
        .iter()
        .map(|letter| letter["died"].as_str().unwrap())
        .collect();
    assert!(died.is_sorted_by(|one, next| one >= next), "{died:?}");
    console.end().await;
}

#[tokio::test]
async fn letters_of_earlier_releases_are_grouped_by_their_reason() {
    let console = Console::new().await;
    seven(&console).await;
    let before = console.get("/dead-letters/groups").await.ok();
    console
        .database
        .pool()
        .execute("UPDATE nightshift.dead_letter SET fingerprint = NULL WHERE message_id IN ('die 4', 'ill 1', 'ill 2')")
        .await
        .unwrap();
    let after = console.get("/dead-letters/groups").await.ok();
    let groups = |said: &Value| {
        let groups = said["items"].as_array().unwrap().iter();
        let groups = groups.map(|group| {
            let text = |name: &str| group[name].as_str().unwrap().to_owned();
            assert!(text("first") <= text("last"), "{group}");
            let is_known = !text("fingerprint").is_empty();
            let about = [text("function"), text("reason"), text("description")];
            (about.join(": "), is_known, group["count"].as_i64().unwrap())
        });
        groups.collect::<Vec<(String, bool, i64)>>()
    };
    let broken = |n| format!("plain-work: broken: \"die {n}\" is broken for good");
    let ill = || "plain-work: ill-formed: \"ill 2\" has no form".to_owned();
    assert_eq!(groups(&before), [(broken(5), true, 5), (ill(), true, 2)]);
    assert_eq!(
        groups(&after),
        [
            (broken(5), true, 4),
            (ill(), false, 2),
            (broken(4), false, 1),
        ]
    );
    console.end().await;
}

#[tokio::test]
async fn letters_of_two_functions_are_two_groups_also_with_one_fingerprint() {
    let console = Console::new().await;
    seven(&console).await;
    // So is what the broker refuses.
    console
        .database
        .pool()
        .execute(
            "UPDATE nightshift.dead_letter SET fingerprint = 'feedfeedfeedfeed';
             UPDATE nightshift.dead_letter SET function = 'other-work' WHERE message_id = 'die 4'",
        )
        .await
        .unwrap();
    let said = console.get("/dead-letters/groups").await.ok();
    let groups = said["items"].as_array().unwrap().iter();
    let groups: Vec<String> = groups
        .map(|group| {
            let text = |name: &str| group[name].as_str().unwrap();
            format!("{} {} {}", text("function"), text("reason"), group["count"])
        })
        .collect();
    assert_eq!(
        groups,
        [
            "plain-work broken 4",
            "plain-work ill-formed 2",
            "other-work broken 1"
        ]
    );
    console.end().await;
}

#[tokio::test]
async fn a_letter_is_edited_by_whoever_has_read_it_last_and_runs_as_edited() {
    let console = Console::new().await;
    seven(&console).await;
    let key = one(&console, "die%202").await;
    let path = format!("/dead-letters/{key}");
    let said = console.get(&path).await;
    let tag = said.response.headers()["etag"].to_str().unwrap().to_owned();
    let letter = said.ok();
    assert_eq!(letter["payload"]["title"], "die 2");
    assert_eq!(letter["decodes"], true);
    let edit = |tag: &str, payload: Value, more: Value| {
        let mut body = json!({"payload": payload, "why": "the title"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{ROOT}{path}"))
            .header("x-functions-key", ADMIN)
            .header("content-type", "application/json; charset=utf-8")
            .header("if-match", tag);
        console.send(request.body(Bytes::from(body.to_string())).unwrap())
    };
    let mut better = letter["payload"].clone();
    better["title"] = json!("live");
    let said = edit("\"0\"", better.clone(), json!({})).await;
    assert_eq!(said.problem(412).0, "changed");
    let said = edit(&tag, json!({"title": 7}), json!({})).await;
    assert_eq!(
        said.problem(400).0,
        "bad-request",
        "its function could not read that"
    );
    let said = edit(
        &tag,
        better.clone(),
        json!({"properties": {"ns-origin": "x"}}),
    )
    .await;
    assert_eq!(said.problem(400).0, "bad-request");
    let edited = edit(&tag, better.clone(), json!({"properties": {"by": "hand"}}))
        .await
        .ok();
    assert_eq!(edited["payload"]["title"], "live");
    assert_eq!(edited["properties"], json!({"by": "hand"}));
    let said = edit(&tag, better, json!({})).await;
    assert_eq!(
        said.problem(412).0,
        "changed",
        "the second of two operators"
    );
    let redriven = console
        .post("/dead-letters/redrive", json!({"filter": {"keys": [key]}}))
        .await
        .ok();
    assert_eq!(
        (&redriven["redriven"], &redriven["left"]),
        (&json!(1), &json!(0))
    );
    let copies = nightshift_testkit::take_overdue(console.database.pool(), now()).await;
    console.deliver("plain-work", &copies).await;
    assert_eq!(
        console.get(&format!("/messages/{key}")).await.ok()["state"],
        "done"
    );
    assert_eq!(console.get(&path).await.problem(404).0, "not-found");
    assert_eq!(
        console.texts("SELECT details #>> '{before,payload,title}' || ' ' || (details #>> '{after,payload,title}') FROM nightshift.audit WHERE action = 'dead-letter.edit'").await,
        ["die 2 live"]
    );
    console.end().await;
}

#[tokio::test]
async fn letters_are_sent_again_by_a_filter_at_a_rate_and_taken_back() {
    let console = Console::new().await;
    seven(&console).await;
    let redrive = "/dead-letters/redrive";
    let broken = json!({"reason": "broken"});
    let dry = console
        .post(redrive, json!({"filter": broken, "dry_run": true}))
        .await
        .ok();
    assert_eq!((&dry["redriven"], &dry["left"]), (&json!(5), &json!(0)));
    let preview = &dry["preview"][0];
    assert_eq!(
        (&preview["looked_at"], &preview["decodes"]),
        (&json!(5), &json!(5))
    );
    assert_eq!(console.all("/dead-letters").await.len(), 7);
    let asked = json!({"filter": broken, "per_second": 0.01, "limit": 3});
    let said = console.post(redrive, asked).await.ok();
    assert_eq!((&said["redriven"], &said["left"]), (&json!(3), &json!(2)));
    let due: DateTime<Utc> = said["due"].as_str().unwrap().parse().unwrap();
    let in_seconds = (due - now()).num_seconds();
    assert!(
        (150..=200).contains(&in_seconds),
        "the third of one in 100 s: {due}"
    );
    let waiting = console.all("/messages?reason=redrive").await;
    assert_eq!(waiting.len(), 3);
    // The first is due; its copy is sent, and it cannot be taken back any more.
    let copies = nightshift_testkit::take_overdue(console.database.pool(), now()).await;
    assert_eq!(copies.len(), 1);
    let undone = console
        .post("/dead-letters/undo", json!({"why": "too early"}))
        .await
        .ok();
    assert_eq!(undone["undone"], 2);
    let again = console
        .post("/dead-letters/undo", json!({"why": "too early"}))
        .await
        .ok();
    assert_eq!(again["undone"], 0);
    let groups = console.get("/dead-letters/groups").await.ok();
    assert_eq!(groups["items"][0]["count"], 4, "as they were: {groups}");
    assert_eq!(groups["items"][0]["reason"], "broken");
    let none = console.post(redrive, json!({"filter": {}})).await;
    assert_eq!(
        none.problem(400).0,
        "bad-request",
        "all of them must be meant"
    );
    assert_eq!(
        console.audited().await,
        [
            "key:ada dead-letters.redrive dead-letters",
            "key:ada dead-letters.undo dead-letters",
        ]
    );
    console.end().await;
}

#[tokio::test]
async fn two_operators_who_send_the_same_letters_again_send_each_once() {
    let console = Console::new().await;
    seven(&console).await;
    let all = || console.post("/dead-letters/redrive", json!({"filter": {"all": true}}));
    let (one, other) = tokio::join!(all(), all());
    let counts = [one, other].map(|said| said.ok()["redriven"].as_u64().unwrap());
    assert_eq!(counts.iter().sum::<u64>(), 7, "{counts:?}");
    assert_eq!(console.all("/messages").await.len(), 7);
    console.end().await;
}

#[tokio::test]
async fn a_letter_that_holds_its_session_is_discarded_and_the_session_goes_on() {
    let console = Console::new().await;
    let in_session = |title: &str, n: i64| {
        let message = message(title, notification(USER, title), now());
        message.numbered(n).in_session("s").build()
    };
    console
        .deliver("holding-work", &[in_session("die", 1)])
        .await;
    console
        .deliver("holding-work", &[in_session("next", 2)])
        .await;
    assert_eq!(console.all("/messages?reason=parked").await.len(), 1);
    let filter = json!({"function": "holding-work"});
    let discard = "/dead-letters/discard";
    let dry = console
        .post(
            discard,
            json!({"filter": filter, "why": "obsolete", "dry_run": true}),
        )
        .await
        .ok();
    assert_eq!(dry["discarded"], 1);
    let operator = console
        .ask(
            OPERATOR,
            Method::POST,
            discard,
            &json!({"filter": filter, "why": "obsolete"}),
        )
        .await;
    assert_eq!(operator.problem(403).0, "forbidden");
    let gone = console
        .post(discard, json!({"filter": filter, "why": "obsolete"}))
        .await
        .ok();
    assert_eq!((&gone["discarded"], &gone["left"]), (&json!(1), &json!(0)));
    let sent = nightshift_testkit::take_promised(console.database.pool(), now()).await;
    assert_eq!(sent.len(), 1);
    console.deliver("holding-work", &sent).await;
    assert_eq!(console.all("/messages").await, [Value::Null; 0]);
    let skipped = console
        .texts("SELECT skipped FROM nightshift.inbox WHERE skipped IS NOT NULL")
        .await;
    assert_eq!(skipped, ["discarded by key:ada: obsolete"]);
    console.end().await;
}

#[tokio::test]
async fn what_dies_after_a_request_has_begun_is_not_meant_by_it() {
    let console = Console::new().await;
    seven(&console).await;
    // As if two of them were to die in a minute.
    console
        .database
        .pool()
        .execute("UPDATE nightshift.dead_letter SET dead_at = dead_at + interval '1 minute' WHERE reason = 'ill-formed'")
        .await
        .unwrap();
    let all = json!({"all": true});
    let redriven = console
        .post("/dead-letters/redrive", json!({"filter": all, "limit": 1}))
        .await
        .ok();
    assert_eq!(
        (&redriven["redriven"], &redriven["left"]),
        (&json!(1), &json!(4))
    );
    assert!(redriven["until"].is_string(), "{redriven}");
    let gone = console
        .post(
            "/dead-letters/discard",
            json!({"filter": all, "why": "obsolete"}),
        )
        .await
        .ok();
    assert_eq!((&gone["discarded"], &gone["left"]), (&json!(4), &json!(0)));
    assert_eq!(console.all("/dead-letters").await.len(), 2);
    console.end().await;
}

#[tokio::test]
async fn an_edit_leaves_what_the_message_carries_on_for_the_platform() {
    let console = Console::new().await;
    let carried = message("die", notification(USER, "die"), now())
        .with_property("ns-failed-children", 3)
        .with_property("mine", "x");
    console.deliver("plain-work", &[carried.build()]).await;
    let key = one(&console, "die").await;
    let path = format!("/dead-letters/{key}");
    let said = console.get(&path).await;
    let tag = said.response.headers()["etag"].to_str().unwrap().to_owned();
    let payload = said.ok()["payload"].clone();
    let body = json!({"payload": payload, "properties": {"by": "hand"}, "why": "x"});
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("{ROOT}{path}"))
        .header("x-functions-key", ADMIN)
        .header("content-type", "application/json")
        .header("if-match", tag);
    let edited = console
        .send(request.body(Bytes::from(body.to_string())).unwrap())
        .await
        .ok();
    assert_eq!(
        edited["properties"],
        json!({"by": "hand", "ns-failed-children": 3})
    );
    console.end().await;
}
