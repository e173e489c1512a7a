//! The handler's process.
//!
//! It is a shell script that writes down its starts; where it has to answer calls, the test's own
//! server does that for it. Calls that a crash breaks off need a handler that crashes: those tests
//! run the scripted one.

mod endings;
mod environment;
mod logs;
mod readiness;
mod stop;
mod time_outs;

use nightshift_runtime::{Host, HostExit};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::wire::Reply;
use super::world::{PATIENCE, WEB, WORK, World, ok, queue, until, web};
use crate::host::http_client::{connect, get, read};

/// Writes down a start and stays.
const STAYS: &str = "echo $$ >> starts\nexec sleep infinity\n";

/// How long a handler of these tests may take to start.
const BRIEF_START: &str = r#", "initializationTimeout": "00:00:00.3""#;

/// A queue function and a process that runs `script`, for which the test answers.
async fn served(script: &str, replies: Vec<Reply>) -> World {
    World::new(WORK, &queue(""), replies).await.shell(script)
}

/// The same, but nothing listens.
async fn unserved(script: &str) -> World {
    let mut world = served(script, vec![ok()]).await;
    world.wire.shut().await;
    world
}

/// The scripted handler with an HTTP function.
async fn scripted(script: &str) -> World {
    let world = World::new(WEB, &web(""), vec![ok()]).await;
    world.write("script", script);
    world.program("python3", "scripted.py")
}

fn starts(world: &World) -> usize {
    world.read("starts").lines().count()
}

async fn failed(host: &Host) -> String {
    match timeout(PATIENCE, host.wait()).await.unwrap() {
        HostExit::HandlerFailed(what) => what,
        other => panic!("{other:?}"),
    }
}

fn is_alive(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}")).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_serves_all_functions() {
    let world = served(STAYS, vec![ok()]).await;
    world.function(WEB, &web(""));
    world.send(&["1", "2", "3"]).await;
    let host = world.start().await;
    world.drained().await;
    assert_eq!(get(&host, "/api/Web").await.status, 200);
    until("a start", || starts(&world) > 0).await;
    assert_eq!((starts(&world), host.stats().handler.restarts), (1, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_functions_there_is_no_process() {
    let world = served(STAYS, vec![ok()]).await;
    std::fs::remove_dir_all(world.path(WORK)).unwrap();
    let host = world.start().await;
    assert_eq!((host.handler_pid(), starts(&world)), (None, 0));
    host.stop().await;
    assert!(world.wire.probes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_gets_as_many_calls_at_once_as_there_are() {
    let Reply::Bytes(good) = ok() else {
        unreachable!()
    };
    let world = World::new(WEB, &web(""), vec![Reply::Gated(good)]).await;
    let host = world.start().await;
    let mut callers = Vec::new();
    for _ in 0..200 {
        let mut caller = connect(&host).await;
        let request = b"GET /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        caller.write_all(request).await.unwrap();
        callers.push(caller);
    }
    world.wire.call(200).await;
    world.wire.open_gate();
    for mut caller in callers {
        assert_eq!(read(&mut caller).await.status, 200);
    }
    host.stop().await;
}
