//! How the host ends the process.

use super::{STAYS, is_alive, served};
use crate::contract::wire::Reply;
use crate::contract::world::{ok, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_in_flight() {
    let Reply::Bytes(good) = ok() else {
        unreachable!()
    };
    let world = served(STAYS, vec![Reply::Gated(good)]).await;
    world.send(&["hello"]).await;
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    world.wire.call(1).await;
    let stopping = tokio::spawn(host.stop());
    assert!(is_alive(pid));
    world.wire.open_gate();
    stopping.await.unwrap();
    assert!(!is_alive(pid));
    assert_eq!((world.counts().removed, world.counts().active), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_kills_without_a_warning() {
    let script = "trap 'touch warned' TERM INT HUP\ntouch trapped\nwhile :; do sleep 0.01; done\n";
    let world = served(script, vec![ok()]).await;
    let host = world.start().await;
    until("the trap", || world.path("trapped").exists()).await;
    let pid = host.handler_pid().unwrap();
    host.stop().await;
    assert!(!is_alive(pid) && !world.path("warned").exists());
}
