//! What this host deliberately does otherwise than the real one in `strict` mode, too: the rows of
//! the table in `docs/HOST.md` that are about the contract.

use nightshift_bus::Message;

use super::process::HostProcess;
use super::wire::{answer, json};
use super::world::{WEB, WORK, World, ok, queue, stats, until, web};
use crate::host::http_client::get;

#[tokio::test(flavor = "multi_thread")]
async fn the_real_hosts_reflections_of_its_own_objects_are_not_sent() {
    for trigger in ["", r#", "cardinality": "many", "dataType": "binary""#] {
        let world = World::new(WORK, &queue(trigger), vec![ok()]).await;
        world.send_messages(vec![Message::new("{}")]).await;
        let host = world.start().await;
        let document = world.wire.call(1).await.document();
        for name in [
            "MessageReceiver",
            "MessageSession",
            "MessageActions",
            "SessionActions",
            "ReceiveActions",
            "Client",
        ] {
            assert_eq!(document["Metadata"].get(name), None, "{name}");
        }
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_for_a_handler_stay_in_the_queue() {
    let mut world = World::new(WORK, &queue(""), vec![ok()]).await;
    world.wire.shut().await;
    world.host_json("", r#", "initializationTimeout": "00:00:00.5""#);
    world.send(&["hello"]).await;
    let host = world.start_unready();
    until("half a second to pass", || {
        assert_eq!((world.counts().active, world.counts().locked), (1, 0));
        host.stats().handler.restarts == 1
    })
    .await;
    world.wire.reopen();
    world.drained().await;
    assert_eq!(stats(&host, WORK).failures, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_is_not_quoted_in_the_log() {
    let replies = vec![
        answer("200 OK", &["Content-Type: text/plain"], "private"),
        ok(),
    ];
    let world = World::new(WORK, &queue(""), replies).await;
    world.send(&["hello"]).await;
    let host = HostProcess::start(&world);
    let line = host.line("the invocation failed").await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("content type \"text/plain\""), "{error}");
    world.drained().await;
    assert!(
        host.lines()
            .iter()
            .all(|line| !line.to_string().contains("private"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_http_status_fails_the_invocation() {
    let odd = r#"{"Outputs": {"res": {"statusCode": 99}}}"#;
    let world = World::new(WEB, &web(""), vec![json(odd)]).await;
    let host = world.start().await;
    assert_eq!(get(&host, "/api/Web").await.status, 500);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_looks_like_a_date_stays_as_it_is() {
    let date = "2026-01-02T03:04:05.60+01:00";
    let reply = json(&format!(r#"{{"Outputs": {{"res": "{date}"}}}}"#));
    let world = World::new(WEB, &web(""), vec![reply]).await;
    let host = world.start().await;
    assert_eq!(get(&host, "/api/Web").await.body, date);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_https_fails_the_invocation() {
    let location = "Location: https://localhost/elsewhere";
    let world = World::new(
        WEB,
        &web(""),
        vec![answer("307 Temporary Redirect", &[location], "")],
    )
    .await;
    let host = world.start().await;
    assert_eq!(get(&host, "/api/Web").await.status, 500);
    assert_eq!(world.wire.calls().len(), 1);
    host.stop().await;
}
