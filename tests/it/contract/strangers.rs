//! Handlers that are not ours: a plain Node server and a plain Python one, as their authors would
//! write them for the real host, unchanged in both modes.

use std::collections::BTreeSet;

use nightshift_bus::Message;

use super::world::{World, ok, queue, stats, timer, until, web};
use crate::host::http_client::ask;

/// Both modes of the host.
const MODES: [&str; 2] = ["strict", "default"];

/// A handler by its interpreter and its file.
type Stranger = (&'static str, &'static str);

const NODE: Stranger = ("node", "plain.mjs");
const PYTHON: Stranger = ("python3", "plain.py");

async fn app(stranger: Stranger, mode: &str, name: &str, function: &str) -> World {
    let world = World::new(name, function, vec![ok()]).await;
    let world = world.setting("NIGHTSHIFT_HOST_MODE", mode);
    world.program(stranger.0, stranger.1)
}

/// Waits for `count` effects, and returns them without their order.
async fn effects(world: &World, count: usize) -> BTreeSet<String> {
    let read = || -> Vec<String> {
        let text = world.read("effects");
        text.lines().map(str::to_owned).collect()
    };
    until("the effects", || read().len() >= count).await;
    let lines = read();
    assert_eq!(lines.len(), count, "{lines:?}");
    lines.into_iter().collect()
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// Each message is worked on, and one that fails comes again.
async fn takes_messages_one_by_one(stranger: Stranger) {
    for mode in MODES {
        let world = app(stranger, mode, "order", &queue("")).await;
        world
            .send(&[r#"{"id": 1}"#, r#"{"id": 2, "fails": true}"#])
            .await;
        let host = world.start().await;
        world.drained().await;
        let expected = set(&["order 1 try 1", "order 2 try 1", "order 2 try 2"]);
        assert_eq!(effects(&world, 3).await, expected, "{mode}");
        assert_eq!(
            (world.counts().removed, stats(&host, "order").failures),
            (2, 1)
        );
        host.stop().await;
    }
}

async fn takes_many_messages_at_once(stranger: Stranger) {
    for mode in MODES {
        let trigger = queue(r#", "cardinality": "many", "dataType": "string""#);
        let trigger = trigger.replace("\"order\"", "\"orders\"");
        let world = app(stranger, mode, "orders", &trigger).await;
        let message =
            |id| Message::new(format!("{{\"id\": {id}}}")).with_message_id(format!("m{id}"));
        world.send_messages((1..=3).map(message).collect()).await;
        let host = world.start().await;
        world.drained().await;
        let expected = set(&[
            "orders 1 message m1",
            "orders 2 message m2",
            "orders 3 message m3",
        ]);
        assert_eq!(effects(&world, 3).await, expected, "{mode}");
        assert_eq!(stats(&host, "orders").failures, 0);
        host.stop().await;
    }
}

async fn sends_messages_by_an_output(stranger: Stranger) {
    for mode in MODES {
        let output = r#", {"type": "serviceBus", "direction": "out", "name": "next",
            "queueName": "next", "connection": "Bus"}]}"#;
        let function = queue("").replace("]}", output);
        let world = app(stranger, mode, "relay", &function).await;
        world.send(&[r#"{"id": 7}"#]).await;
        let host = world.start().await;
        world.drained().await;
        assert_eq!(world.sent().await, ["first of 7", "second of 7"], "{mode}");
        host.stop().await;
    }
}

async fn answers_requests_in_the_envelope(stranger: Stranger) {
    for mode in MODES {
        let world = app(
            stranger,
            mode,
            "greet",
            &web(r#", "route": "greetings/{tone}""#),
        )
        .await;
        let host = world.start().await;
        let json = "Content-Type: application/json\r\n";
        for (line, body) in [
            ("GET /api/greetings/warm?name=Ada", ""),
            ("POST /api/greetings/cool", r#"{"name": "Ada"}"#),
        ] {
            let answer = ask(&host, line, json, body).await;
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (201, r#"{"hello":"Ada"}"#)
            );
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let tone = if body.is_empty() { "warm" } else { "cool" };
            assert_eq!(answer.header("x-greeting"), Some(tone));
        }
        let expected = set(&["greet Ada GET warm", "greet Ada POST cool"]);
        assert_eq!(effects(&world, 2).await, expected, "{mode}");
        host.stop().await;
    }
}

async fn answers_requests_that_are_forwarded(stranger: Stranger) {
    for mode in MODES {
        for switch in ["enableForwardingHttpRequest", "enableProxyingHttpRequest"] {
            let world = app(stranger, mode, "hello", &web("")).await;
            world.host_json("", &format!(r#", "{switch}": true"#));
            let host = world.start().await;
            let answer = ask(&host, "POST /api/hello?name=Ada", "", "hi").await;
            assert_eq!(
                (answer.status, &*answer.body),
                (202, "hello Ada"),
                "{mode} {switch}"
            );
            let expected = if stranger == NODE { "node" } else { "python" };
            assert_eq!(answer.header("x-plain"), Some(expected));
            assert_eq!(effects(&world, 1).await, set(&["hello POST Ada hi"]));
            host.stop().await;
        }
    }
}

async fn is_run_by_a_timer(stranger: Stranger) {
    for mode in MODES {
        let world = app(stranger, mode, "nightly", &timer("0 0 3 1 1 *", "")).await;
        let host = world.start().await;
        assert_eq!(
            effects(&world, 1).await,
            set(&["nightly past due false"]),
            "{mode}"
        );
        until("the run's end", || stats(&host, "nightly").invocations == 1).await;
        assert_eq!(stats(&host, "nightly").failures, 0);
        host.stop().await;
    }
}

macro_rules! strangers {
    ($($scenario:ident),+ $(,)?) => {
        mod node {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(super::NODE).await;
            })+
        }

        mod python {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario(super::PYTHON).await;
            })+
        }
    };
}

strangers! {
    takes_messages_one_by_one,
    takes_many_messages_at_once,
    sends_messages_by_an_output,
    answers_requests_in_the_envelope,
    answers_requests_that_are_forwarded,
    is_run_by_a_timer,
}
