//! The handler's process.
//!
//! It is a shell script that writes down its starts; where it has to answer calls, the test's own
//! server does that for it. Calls that a crash breaks off need a handler that crashes: those tests
//! run the scripted one.

use std::time::{Duration, Instant};

use nightshift_runtime::{Host, HostExit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use uuid::Uuid;

use super::process::HostProcess;
use super::wire::{Reply, answer, json};
use super::world::{PATIENCE, WEB, WORK, World, ok, queue, stats, until, web};
use crate::host::http_client::{connect, get, read};

/// Writes down a start and stays.
const STAYS: &str = "echo $$ >> starts\nexec sleep infinity\n";

/// How long a handler of these tests may take to start.
const BRIEF_START: &str = r#", "initializationTimeout": "00:00:00.3""#;

/// A queue function and a process that runs `script`, for which the test answers.
async fn served(script: &str, replies: Vec<Reply>) -> World {
    World::new(WORK, &queue(""), replies)
        .await
        .shell(script, true)
}

/// The same, but nothing listens.
async fn unserved(script: &str) -> World {
    World::new(WORK, &queue(""), vec![ok()])
        .await
        .shell(script, false)
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

/// The value of a variable in the handler's environment.
async fn variables(names: &[&str]) -> Vec<Option<String>> {
    let script = format!("env -0 > environment\nmv environment seen\n{STAYS}");
    let world = served(&script, vec![ok()])
        .await
        .setting("MY_SETTING", "a b");
    let host = world.start().await;
    until("the environment", || world.path("seen").exists()).await;
    let text = world.read("seen");
    let value = |name: &&str| {
        let mut pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        pairs.find(|(found, _)| found == name).map(|(_, value)| {
            let root = world.root.path().display().to_string();
            let port = world.wire.port.to_string();
            value.replace(&root, "ROOT").replace(&port, "PORT")
        })
    };
    let values = names.iter().map(value).collect();
    host.stop().await;
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn its_environment_names_the_port_twice() {
    let values = variables(&["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"]).await;
    assert_eq!(values, [Some("PORT".to_owned()), Some("PORT".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_environment_has_an_id_of_the_process_twice() {
    let names = [
        "FUNCTIONS_CUSTOMHANDLER_WORKER_ID",
        "FUNCTIONS_HTTPWORKER_ID",
    ];
    let values = variables(&names).await;
    assert_eq!(values[0], values[1]);
    assert!(Uuid::parse_str(values[0].as_ref().unwrap()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_environment_names_the_apps_root() {
    let values = variables(&["FUNCTIONS_APP_ROOT_PATH"]).await;
    assert_eq!(values, [Some("ROOT".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_environment_has_the_hosts_settings() {
    let values = variables(&["MY_SETTING", "Bus", "NIGHTSHIFT_HOST_MODE"]).await;
    assert_eq!(values[0].as_deref(), Some("a b"));
    assert!(values[1].as_ref().unwrap().starts_with("Endpoint="));
    assert_eq!(values[2].as_deref(), Some("strict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_command_line_is_what_host_json_says() {
    let world = served(
        "echo \"$# $*\" >> arguments\nexec sleep infinity\n",
        vec![ok()],
    )
    .await;
    let host = world.start().await;
    until("a start", || world.read("arguments").ends_with('\n')).await;
    assert_eq!(world.read("arguments"), "0 \n");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_asked_for_at_the_root() {
    let world = served(STAYS, vec![ok()]).await;
    let host = world.start().await;
    assert_eq!(world.wire.probes()[0].1.line(), "GET / HTTP/1.1");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_status_means_ready() {
    // The test's server answers the probe with 404, and is asked no more.
    let world = served(STAYS, vec![ok()]).await;
    let host = world.start().await;
    world.send(&["hello"]).await;
    world.wire.call(1).await;
    assert_eq!(world.wire.probes().len(), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_asked_for_every_25_ms() {
    let world = served(STAYS, vec![ok()]).await;
    world.wire.be_deaf_for(20);
    let host = world.start().await;
    let times: Vec<Instant> = world.wire.probes().iter().map(|probe| probe.0).collect();
    assert_eq!(times.len(), 21);
    let gaps: Vec<Duration> = times.windows(2).map(|two| two[1] - two[0]).collect();
    let shortest = gaps.iter().min().unwrap();
    assert!(
        gaps.iter().all(|gap| *gap >= Duration::from_millis(24)),
        "{gaps:?}"
    );
    assert!(*shortest < Duration::from_millis(250), "{gaps:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_means_not_ready_yet() {
    let mut world = served(STAYS, vec![ok()]).await;
    world.wire.shut().await;
    let host = world.start_unready();
    until("a start", || starts(&world) == 1).await;
    assert_eq!(host.handler_pid(), None);
    world.wire.reopen().await;
    host.wait_until_ready(PATIENCE).await.unwrap();
    assert_eq!(starts(&world), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_127_0_0_1_is_asked() {
    let mut world = served(STAYS, vec![ok()]).await;
    world.host_json("", BRIEF_START);
    world.wire.shut().await;
    let other = TcpListener::bind(("127.0.0.2", world.wire.port))
        .await
        .unwrap();
    let host = world.start_unready();
    assert!(failed(&host).await.contains("did not listen on 127.0.0.1:"));
    assert!(timeout(Duration::ZERO, other.accept()).await.is_err());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_being_ready_in_time_is_an_error_and_leads_to_a_restart() {
    let world = unserved(STAYS).await;
    world.host_json("", BRIEF_START);
    let host = world.start_unready();
    assert!(failed(&host).await.contains("within 300ms"));
    assert_eq!(starts(&world), 3);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_wait_for_the_handler() {
    let mut world = served(STAYS, vec![ok()]).await;
    world.function(WEB, &web(""));
    world.wire.shut().await;
    let host = world.start_unready();
    let mut caller = connect(&host).await;
    let request = b"GET /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    caller.write_all(request).await.unwrap();
    until("the call to wait", || stats(&host, WEB).running == 1).await;
    world.wire.reopen().await;
    assert_eq!(read(&mut caller).await.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_four_times_the_time_to_start_stops_the_host() {
    // It asks to be restarted for ever, which is no error.
    let world = World::new(WEB, &web(""), vec![ok()])
        .await
        .shell("exit 200", false);
    world.host_json("", BRIEF_START);
    let host = world.start_unready();
    let begun = Instant::now();
    let asked = get(&host, "/api/Web");
    let (answer, what) = tokio::join!(asked, failed(&host));
    assert!(answer.status >= 500, "{answer:?}");
    assert!(
        what.contains("was not ready while an invocation waited"),
        "{what}"
    );
    assert!(begun.elapsed() >= Duration::from_millis(1_200));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_two_errors_lead_to_a_restart_at_once_and_the_third_stops_the_host() {
    let world = unserved("echo $$ >> starts\nexit 3\n").await;
    let host = world.start_unready();
    assert!(failed(&host).await.contains("exit status: 3"));
    assert_eq!((starts(&world), host.stats().handler.restarts), (3, 2));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_errors_do_not_stop_the_host() {
    let script = format!(
        "[ -e twice ] && exec sleep infinity\n[ -e once ] && touch twice\ntouch once\n{}",
        "exit 3\n"
    );
    let world = served(&script, vec![ok()]).await;
    let host = world.start_unready();
    until("two restarts", || host.stats().handler.restarts == 2).await;
    host.wait_until_ready(PATIENCE).await.unwrap();
    world.send(&["hello"]).await;
    world.wire.call(1).await;
    host.stop().await;
}

/// A process that stays until the file `leave` exists, and then exits with `code`.
fn leaves(code: u8) -> String {
    format!("echo $$ >> starts\nuntil [ -e leave ]; do sleep 0.01; done\nexit {code}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_0_restarts_nothing_and_calls_go_to_whoever_listens() {
    let world = served(&leaves(0), vec![ok()]).await;
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    world.write("leave", "");
    until("the exit", || !is_alive(pid)).await;
    world.send(&["hello"]).await;
    world.wire.call(1).await;
    world.drained().await;
    let restarts = host.stats().handler.restarts;
    assert_eq!((restarts, stats(&host, WORK).failures), (0, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_exit_code_0_calls_are_refused() {
    let world = World::new(WEB, &web(""), vec![ok()]).await;
    let mut world = world.shell(&leaves(0), true);
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    world.write("leave", "");
    until("the exit", || !is_alive(pid)).await;
    world.wire.shut().await;
    for _ in 0..2 {
        assert_eq!(get(&host, "/api/Web").await.status, 500);
    }
    assert_eq!((starts(&world), host.stats().handler.restarts), (1, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_0_before_readiness_is_noticed_by_the_time_to_start() {
    let world = unserved("echo $$ >> starts\nexit 0\n").await;
    world.host_json("", BRIEF_START);
    let host = world.start_unready();
    let begun = Instant::now();
    assert!(failed(&host).await.contains("did not listen"));
    assert!(begun.elapsed() >= Duration::from_millis(900));
    assert_eq!(starts(&world), 3);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_200_restarts_and_is_not_counted() {
    let script =
        "echo $$ >> starts\n[ $(wc -l < starts) -lt 6 ] && exit 200\nexec sleep infinity\n";
    let world = served(script, vec![ok()]).await;
    let host = world.start_unready();
    until("six starts", || starts(&world) == 6).await;
    host.wait_until_ready(PATIENCE).await.unwrap();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_at_a_crash_fail_with_a_500() {
    let world = scripted("wait\ncrash\nok").await;
    let host = world.start().await;
    let mut caller = connect(&host).await;
    let request = b"GET /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    caller.write_all(request).await.unwrap();
    until("the first call", || {
        world.read("requests").lines().count() == 1
    })
    .await;
    assert_eq!(get(&host, "/api/Web").await.status, 500);
    assert_eq!(read(&mut caller).await.status, 500);
    assert_eq!(stats(&host, WEB).failures, 2);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_flight_at_a_crash_are_abandoned() {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    world.write("script", "crash\nok");
    let world = world.program("python3", "scripted.py");
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let requests = world.read("requests");
    let counts: Vec<bool> = requests
        .lines()
        .map(|line| line.contains(r#"\"DeliveryCount\":\"2\""#))
        .collect();
    assert_eq!(counts, [false, true]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_three_lines_of_its_standard_error_tell_why_it_ended() {
    let script = "for n in 1 2 3 4 5; do echo line $n >&2; done\nexit 3\n";
    let world = unserved(script).await;
    let host = world.start_unready();
    let what = failed(&host).await;
    assert!(what.ends_with("line 3 | line 4 | line 5"), "{what}");
    host.stop().await;
}

/// What the host logs of these lines.
async fn logged(script: &str, more: &str, message: &str) -> (String, String) {
    let world = served(&format!("{script}\n{STAYS}"), vec![ok()]).await;
    world.host_json("", more);
    let host = HostProcess::start(&world);
    let line = host.line(message).await;
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    (text("level"), text("log.category"))
}

fn console(level: &str) -> (String, String) {
    (level.to_owned(), "Host.Function.Console".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_standard_output_is_information() {
    assert_eq!(
        logged("echo an error", "", "an error").await,
        console("INFO")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_standard_error_is_errors() {
    assert_eq!(
        logged("echo hello >&2", "", "hello").await,
        console("ERROR")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_on_its_standard_error_is_one() {
    assert_eq!(
        logged("echo a Warning >&2", "", "a Warning").await,
        console("WARN")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_with_the_systems_prefix_is_the_systems() {
    let logged = logged("echo LanguageWorkerConsoleLog hello", "", "hello").await;
    assert_eq!(logged, ("INFO".to_owned(), "Host.System".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_with_the_tools_prefix_is_the_tools() {
    let logged = logged("echo azfuncjsonlog:hello", "", "hello").await;
    assert_eq!(logged, ("INFO".to_owned(), "Host.Tooling".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_an_answer_are_information_of_their_invocation() {
    let replies = vec![
        answer(
            "500 No",
            &["Content-Type: application/json"],
            r#"{"Logs": ["lost"]}"#,
        ),
        json(r#"{"Logs": ["kept", "second"]}"#),
    ];
    let world = served(STAYS, replies).await;
    world.send(&["hello"]).await;
    let host = HostProcess::start(&world);
    let line = host.line("kept").await;
    host.line("second").await;
    assert_eq!(
        (&line["level"], &line["function.name"]),
        (&"INFO".into(), &WORK.into())
    );
    let id = world.wire.call(2).await;
    let id = id.header("x-azure-functions-invocationid").unwrap();
    assert_eq!(line["invocation.id"], id);
    assert!(host.lines().iter().all(|line| line["message"] != "lost"));
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

const ONE_SECOND: &str = r#", "functionTimeout": "00:00:01""#;

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_fails_the_invocation_and_kills_the_handler() {
    let world = served(STAYS, vec![Reply::Never, ok()]).await;
    world.host_json(ONE_SECOND, "");
    world.send(&["hello"]).await;
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    world.drained().await;
    assert!(!is_alive(pid));
    let restarts = host.stats().handler.restarts;
    assert_eq!((restarts, stats(&host, WORK).failures), (1, 1));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_fails_every_call_in_flight() {
    let world = scripted("hang\nhang\nok").await;
    world.host_json(ONE_SECOND, "");
    let host = world.start().await;
    let request = b"GET /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut first = connect(&host).await;
    first.write_all(request).await.unwrap();
    until("the first call", || {
        world.read("requests").lines().count() == 1
    })
    .await;
    let mut second = connect(&host).await;
    second.write_all(request).await.unwrap();
    let (first, second) = tokio::join!(read(&mut first), read(&mut second));
    assert_eq!((first.status, second.status), (500, 500));
    assert_eq!(get(&host, "/api/Web").await.status, 200);
    assert_eq!(host.stats().handler.restarts, 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_time_out_the_handler_gets_the_same_port() {
    let world = scripted("hang\nok").await;
    world.host_json(ONE_SECOND, "");
    let host = world.start().await;
    let port = host.stats().handler.port;
    assert_eq!(get(&host, "/api/Web").await.status, 500);
    assert_eq!(get(&host, "/api/Web").await.status, 200);
    assert_eq!(
        (host.stats().handler.port, host.stats().handler.restarts),
        (port, 1)
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_outs_are_not_counted_as_errors() {
    let mut replies = vec![Reply::Never; 4];
    replies.push(ok());
    let world = served(STAYS, replies).await;
    world.host_json(ONE_SECOND, "");
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let restarts = host.stats().handler.restarts;
    assert_eq!((restarts, stats(&host, WORK).failures), (4, 4));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_out_reaches_a_handler_alive() {
    let world = served(STAYS, vec![Reply::Never, ok()]).await;
    world.host_json(ONE_SECOND, "");
    world.send(&["hello"]).await;
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    until("the connection's end", || {
        let is_dead = !is_alive(pid);
        let is_closed = world.wire.given_up() == 1;
        assert!(is_dead || !is_closed, "the connection was closed first");
        is_closed
    })
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_that_goes_away_reaches_the_handler() {
    let Reply::Bytes(good) = ok() else {
        unreachable!()
    };
    let world = World::new(WEB, &web(""), vec![Reply::Gated(good)]).await;
    let host = world.start().await;
    let mut caller = connect(&host).await;
    let request = b"POST /api/Web HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";
    caller.write_all(request).await.unwrap();
    world.wire.call(1).await;
    drop(caller);
    world.wire.open_gate();
    until("the call's end", || stats(&host, WEB).invocations == 1).await;
    assert_eq!(stats(&host, WEB).failures, 0);
    host.stop().await;
}

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
