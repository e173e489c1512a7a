//! What the process is given.

use uuid::Uuid;

use super::{STAYS, served};
use crate::contract::world::{ok, until};

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
