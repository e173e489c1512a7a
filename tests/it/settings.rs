//! Wrong settings: all of them in one table, before anything is opened.

use std::process::Command;

use nightshift_tests::program;

#[test]
fn five_broken_settings_give_five_lines_and_exit_64_before_any_socket_opens() {
    // The port is taken: a handler that opened its socket first would fail with that instead.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Command::new(program("handler"))
        .env_clear()
        .env(
            "FUNCTIONS_CUSTOMHANDLER_PORT",
            taken.local_addr().unwrap().port().to_string(),
        )
        .env("NIGHTSHIFT_POSTGRES_URL", "mysql:/root:hunter2")
        .env("NIGHTSHIFT_REDIS_URL", "http://:hunter2@cache")
        .env("NIGHTSHIFT_BATCH_DEADLINE_SECONDS", "soon")
        .env("NIGHTSHIFT_POSTGRES_MAX_CONECTIONS", "3")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let table = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        table,
        "5 problems in the settings:\n  \
         NIGHTSHIFT_BATCH_DEADLINE_SECONDS   cannot be \"soon\": invalid digit found in string\n  \
         NIGHTSHIFT_POSTGRES_URL             is not a URL of the form postgres://user:password@host:5432/database\n  \
         NIGHTSHIFT_REDIS_URL                is not a URL of the form redis://user:password@host:6379/0, or rediss:// with TLS; what is no letter or digit in a password is written as %XX\n  \
         ServiceBusConnection                the connection ServiceBusConnection has no value: set ServiceBusConnection to a connection string, or ServiceBusConnection__fullyQualifiedNamespace to the name of a namespace\n  \
         NIGHTSHIFT_POSTGRES_MAX_CONECTIONS  is not a setting; did you mean NIGHTSHIFT_POSTGRES_MAX_CONNECTIONS?\n"
    );
}

#[test]
fn a_ping_for_a_schedule_that_is_none_is_refused_at_start_and_no_address_is_shown() {
    let output = Command::new(program("handler"))
        .env_clear()
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", "1")
        .env("NIGHTSHIFT_POSTGRES_URL", "postgres://nobody@127.0.0.1:1/x")
        .env("ServiceBusConnection", "Endpoint=sb://127.0.0.1:1/;SharedAccessKeyName=k;SharedAccessKey=a2V5;UseDevelopmentEmulator=true")
        .env(
            "NIGHTSHIFT_PINGS",
            "housekeeping-shedule=https://hc-ping.com/hunter2,housekeeping-schedule=http://hc-ping.com/hunter2",
        )
        .env("NIGHTSHIFT_PING_NETWORKS", "10.0.0.1/8")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "3 problems in the settings:\n  \
         NIGHTSHIFT_PING_NETWORKS  \"10.0.0.1/8\" has bits behind its prefix; is 10.0.0.0/8 meant?\n  \
         NIGHTSHIFT_PINGS          entry 1: housekeeping-shedule is not a schedule; did you mean housekeeping-schedule?\n  \
         NIGHTSHIFT_PINGS          entry 2: housekeeping-schedule: hc-ping.com may not be asked: its address has to begin with https://, unless it is in a network that is trusted\n"
    );
}
