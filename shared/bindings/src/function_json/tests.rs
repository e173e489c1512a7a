use super::*;

fn parse(text: &str) -> Result<FunctionJson, ConfigProblems> {
    FunctionJson::parse(Path::new("f/function.json"), text)
}

#[test]
fn a_service_bus_trigger_is_read_with_its_defaults() {
    let read =
        parse(r#"{"bindings": [{"type": "serviceBusTrigger", "name": "m", "queueName": "q"}]}"#)
            .unwrap();
    let expected = ServiceBusTrigger {
        name: "m".to_owned(),
        entity: EntityPath::Queue("q".to_owned()),
        connection: DEFAULT_CONNECTION.to_owned(),
        cardinality: Cardinality::One,
        data_type: DataType::Unspecified,
        is_sessions_enabled: false,
        auto_complete: None,
    };
    assert_eq!(read.service_bus_trigger(), Some(&expected));
    assert!(read.unsupported.is_empty());
}

#[test]
fn a_service_bus_trigger_is_read_in_full() {
    let read = parse(
        r#"{"bindings": [{"type": "ServiceBusTrigger", "direction": "in", "name": "messages",
            "queueName": "%QUEUE%", "connection": "Bus", "cardinality": "Many",
            "dataType": "binary", "autoCompleteMessages": false, "accessRights": "manage"}]}"#,
    )
    .unwrap();
    let trigger = read.service_bus_trigger().unwrap();
    assert_eq!(trigger.entity, EntityPath::Queue("%QUEUE%".to_owned()));
    assert_eq!(trigger.connection, "Bus");
    assert_eq!(trigger.cardinality, Cardinality::Many);
    assert_eq!(trigger.data_type, DataType::Binary);
    assert_eq!(trigger.auto_complete, Some(false));
}

#[test]
fn what_the_host_cannot_do_yet_is_collected_by_name() {
    let read = parse(
        r#"{"bindings": [
             {"type": "serviceBusTrigger", "name": "m", "topicName": "t",
              "subscriptionName": "s", "isSessionsEnabled": true},
             {"type": "blob", "direction": "out", "name": "b", "path": "x"}]}"#,
    )
    .unwrap();
    let lines: Vec<String> = read.unsupported.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    f/function.json:4:23: bindings[1].type: "blob" is not supported by this host yet
    "#);
}

#[test]
fn outputs_of_messages_are_read_and_refused_with_their_place() {
    let read = parse(
        r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "1"},
             {"type": "serviceBus", "direction": "out", "name": "a", "queueName": "q"},
             {"type": "ServiceBus", "direction": "Out", "name": "$return", "topicName": "%T%",
              "connection": "Bus", "dataType": "binary"}]}"#,
    )
    .unwrap();
    let outputs: Vec<_> = read.service_bus_outputs().collect();
    assert_eq!((outputs[0].0, outputs[1].0), (1, 2));
    let (first, second) = (outputs[0].1, outputs[1].1);
    assert_eq!(
        (&*first.entity, &*first.connection),
        ("q", DEFAULT_CONNECTION)
    );
    assert_eq!(first.data_type, DataType::Unspecified);
    assert_eq!((second.entity_key, &*second.entity), ("topicName", "%T%"));
    assert_eq!(second.data_type, DataType::Binary);
    let problem = read.binding_problem(2, "topicName", "no").to_string();
    assert_eq!(problem, "f/function.json:3:89: bindings[2].topicName: no");
    let problems = parse(
        r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "1"},
             {"type": "serviceBus", "name": "a", "queueName": "q", "topicName": "t"},
             {"type": "serviceBus", "direction": "in", "name": "b"}]}"#,
    )
    .unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    f/function.json:2:14: bindings[1].direction: is missing: write "direction": "out"
    f/function.json:2:14: bindings[1]: expected either queueName or topicName
    f/function.json:3:50: bindings[2].direction: expected "out", found "in"
    f/function.json:3:14: bindings[2]: expected either queueName or topicName
    "#);
}

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let problems = parse(
        r#"{"bindings": [
             {"type": "serviceBusTrigger", "name": "m", "queueName": "q", "topicName": "t"},
             {"type": "timerTrigger", "name": "M", "runOnStartup": 3},
             {"name": 7, "type": ""},
             {"type": "serviceBusTrigger", "name": "n", "queueName": "q",
              "cardinality": "few", "dataType": "stream", "isSessionsEnabled": "maybe"}
           ]}"#,
    )
    .unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    f/function.json:1:14: bindings: expected exactly one trigger, found serviceBusTrigger, timerTrigger, serviceBusTrigger
    f/function.json:3:47: bindings[1].name: is the name of another binding, too (case does not count)
    f/function.json:2:14: bindings[0]: expected either queueName, or topicName and subscriptionName
    f/function.json:3:14: bindings[1].schedule: is missing: write an NCRONTAB expression, such as "0 */5 * * * *"
    f/function.json:3:68: bindings[1].runOnStartup: expected true or false, found 3
    f/function.json:4:34: bindings[2].type: is empty: name the kind of binding
    f/function.json:4:23: bindings[2].name: expected a text, found 7
    f/function.json:6:30: bindings[3].cardinality: expected "one" or "many", found "few"
    f/function.json:6:49: bindings[3].dataType: expected "string" or "binary", found "stream"
    f/function.json:6:80: bindings[3].isSessionsEnabled: expected true or false, found "maybe"
    "#);
}

#[test]
fn a_file_without_bindings_is_refused() {
    insta::assert_snapshot!(parse("{}").unwrap_err(), @"f/function.json: bindings: expected an array with at least one binding");
    assert!(parse(r#"{"bindings": []}"#).is_err());
    assert!(parse(r#"{"bindings": "none"}"#).is_err());
}

#[test]
fn function_names_are_letters_digits_and_dashes() {
    for name in ["a", "orders-work", "A_1"] {
        assert!(is_function_name(name), "{name}");
    }
    let long = "a".repeat(129);
    for name in ["", "1a", "-a", "a.b", "é", "host", "HOST", long.as_str()] {
        assert!(!is_function_name(name), "{name}");
    }
}

#[test]
fn http_and_timer_bindings_are_read_in_full_and_with_their_defaults() {
    let web = parse(
        r#"{"bindings": [
             {"type": "httpTrigger", "name": "req", "route": "o/{id}", "authLevel": "Anonymous",
              "methods": ["get", "POST", "Get"]},
             {"type": "http", "direction": "out", "name": "$return"}]}"#,
    )
    .unwrap();
    let Some(Binding::HttpTrigger(trigger)) = web.trigger() else {
        panic!("{web:?}")
    };
    assert_eq!(trigger.route.as_deref(), Some("o/{id}"));
    assert_eq!(trigger.methods, ["GET", "POST"]);
    assert_eq!(trigger.auth_level, AuthLevel::Anonymous);
    assert_eq!(web.http_output().unwrap().name, "$return");
    let problem = web.trigger_problem("route", "no").to_string();
    assert_eq!(problem, "f/function.json:2:62: bindings[0].route: no");
    let plain = parse(r#"{"bindings": [{"type": "httpTrigger", "name": "req"}]}"#).unwrap();
    let Some(Binding::HttpTrigger(trigger)) = plain.trigger() else {
        panic!("{plain:?}")
    };
    assert_eq!((trigger.route.as_deref(), trigger.methods.len()), (None, 0));
    assert_eq!(trigger.auth_level, AuthLevel::Function);
    let timer = parse(
        r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "%S%",
            "useMonitor": false}]}"#,
    )
    .unwrap();
    let Some(Binding::TimerTrigger(trigger)) = timer.trigger() else {
        panic!("{timer:?}")
    };
    assert_eq!(trigger.schedule, "%S%");
    assert!(!trigger.run_on_startup && !trigger.use_monitor);
}

#[test]
fn wrong_http_and_timer_members_are_refused_with_their_place() {
    let problems = parse(
        r#"{"bindings": [
             {"type": "httpTrigger", "name": "req", "direction": "out", "authLevel": "nobody",
              "methods": ["GET", "FETCH"]},
             {"type": "http", "name": "res"}]}"#,
    )
    .unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    f/function.json:2:66: bindings[0].direction: expected "in", found "out"
    f/function.json:3:34: bindings[0].methods[1]: there is no method "FETCH"; expected GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS, TRACE
    f/function.json:2:86: bindings[0].authLevel: expected "anonymous" or "function" or "admin", found "nobody"
    f/function.json:4:14: bindings[1].direction: is missing: write "direction": "out"
    "#);
    let problems = parse(r#"{"bindings": [{"type": "timerTrigger", "name": "t"}]}"#).unwrap_err();
    insta::assert_snapshot!(problems, @r#"f/function.json:1:15: bindings[0].schedule: is missing: write an NCRONTAB expression, such as "0 */5 * * * *""#);
}
