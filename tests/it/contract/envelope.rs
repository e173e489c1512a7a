//! An HTTP request as an object in the envelope.

use nightshift_runtime::Host;
use serde_json::{Value, json};

use super::world::{WEB, World, ok, web};
use crate::host::http_client::{ask, raw};

/// What the handler gets of a request with extra header lines (each ended by `\r\n`) and a body.
async fn envelope(route: &str, line: &str, headers: &str, body: &str) -> Value {
    let world = World::new(WEB, &web(route), vec![ok()]).await;
    let host = world.start().await;
    ask(&host, line, headers, body).await;
    host.stop().await;
    world.wire.call(1).await.document()
}

async fn request(line: &str, headers: &str, body: &str) -> Value {
    envelope("", line, headers, body).await["Data"]["req"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_an_inline_object() {
    let document = envelope("", "POST /api/Web", "", "x").await;
    assert_eq!(document["Data"].as_object().unwrap().len(), 1);
    let request = document["Data"]["req"].as_object().unwrap();
    let members: Vec<&String> = request.keys().collect();
    let expected = [
        "Body",
        "Headers",
        "Identities",
        "Method",
        "Params",
        "Query",
        "Url",
    ];
    assert_eq!(members, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_url_is_full_and_not_decoded() {
    let request = request("GET /api/Web?a=%20b&c=d+e", "", "").await;
    assert_eq!(request["Url"], "http://localhost/api/Web?a=%20b&c=d+e");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_method_is_the_callers() {
    assert_eq!(request("PATCH /api/Web", "", "").await["Method"], "PATCH");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_query_is_an_object_with_values_of_one_name_joined() {
    let request = request("GET /api/Web?a=1&b=x%20y&a=2", "", "").await;
    assert_eq!(request["Query"], json!({"a": "1,2", "b": "x y"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_headers_are_an_object_of_arrays() {
    let request = request("GET /api/Web", "X-A: 1\r\nX-A: 2\r\nAccept: x\r\n", "").await;
    assert_eq!(request["Headers"]["X-A"], json!(["1", "2"]));
    assert_eq!(request["Headers"]["Accept"], json!(["x"]));
    assert_eq!(request["Headers"]["Host"], json!(["localhost"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_params_are_the_routes_values() {
    let route = r#", "route": "o/{id:int}/{kind?}""#;
    let document = envelope(route, "GET /api/o/7/x%20y", "", "").await;
    assert_eq!(
        document["Data"]["req"]["Params"],
        json!({"id": "7", "kind": "x y"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_was_not_given_is_null() {
    let route = r#", "route": "o/{id:int}/{kind?}""#;
    let document = envelope(route, "GET /api/o/7", "", "").await;
    assert_eq!(
        document["Data"]["req"]["Params"],
        json!({"id": "7", "kind": null})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_identities_name_the_key_that_was_used() {
    let world = World::new(WEB, &web("").replace("anonymous", "function"), vec![ok()]).await;
    world.write("keys/host.function.mine", "secret");
    let keys = world.path("keys").display().to_string();
    let world = world.setting("NIGHTSHIFT_HOST_KEYS_DIR", &keys);
    let host = world.start().await;
    ask(&host, "GET /api/Web", "x-functions-key: secret\r\n", "").await;
    host.stop().await;
    let document = world.wire.call(1).await.document();
    let identity = &document["Data"]["req"]["Identities"][0];
    assert_eq!(identity["IsAuthenticated"], true);
    assert!(identity["AuthenticationType"].is_string());
    assert!(identity["NameClaimType"].is_string() && identity["RoleClaimType"].is_string());
    let claims: Vec<(&str, &str)> = identity["Claims"]
        .as_array()
        .unwrap()
        .iter()
        .map(|claim| {
            (
                claim["Type"].as_str().unwrap(),
                claim["Value"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(
        claims
            .iter()
            .any(|(kind, value)| kind.ends_with("authlevel") && *value == "Function")
    );
    assert!(
        claims
            .iter()
            .any(|(kind, value)| kind.ends_with("keyid") && *value == "mine")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_body_is_a_string() {
    for kind in [
        "text/plain",
        "application/json",
        "application/x-www-form-urlencoded",
    ] {
        let headers = format!("Content-Type: {kind}\r\n");
        let request = request("POST /api/Web", &headers, "{\"a\": 1}").await;
        assert_eq!(request["Body"], "{\"a\": 1}", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_body_is_base64_if_its_type_is_binary() {
    for kind in [
        "application/octet-stream",
        "multipart/form-data; boundary=x",
    ] {
        let headers = format!("Content-Type: {kind}\r\n");
        let request = request("POST /api/Web", &headers, "hi").await;
        assert_eq!(request["Body"], "aGk=", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_length_or_with_length_0_it_has_no_body() {
    let world = World::new(WEB, &web(""), vec![ok()]).await;
    let host = world.start().await;
    let head = "POST /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let none = async |host: &Host, rest: &str| {
        assert_eq!(raw(host, &format!("{head}{rest}")).await.status, 200);
    };
    none(
        &host,
        "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    )
    .await;
    none(&host, "Content-Length: 0\r\n\r\n").await;
    none(&host, "\r\n").await;
    for call in world.wire.calls() {
        assert_eq!(call.document()["Data"]["req"].get("Body"), None);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enable_chunked_request_binding_binds_a_body_without_a_length() {
    let world = World::new(WEB, &web(""), vec![ok()]).await;
    world.host_json(
        r#", "extensions": {"http": {"enableChunkedRequestBinding": true}}"#,
        "",
    );
    let host = world.start().await;
    let request = "POST /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                   Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    raw(&host, request).await;
    assert_eq!(
        world.wire.call(1).await.document()["Data"]["req"]["Body"],
        "hi"
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_query_headers_and_route_are_repeated_in_the_metadata() {
    let document = envelope(
        r#", "route": "o/{id}""#,
        "GET /api/o/7?a=1&a=2",
        "X-A: b\r\n",
        "",
    )
    .await;
    let metadata = &document["Metadata"];
    assert_eq!(metadata["Query"], json!({"a": "1,2"}));
    assert_eq!(metadata["Headers"]["X-A"], "b");
    assert_eq!(metadata["id"], "\"7\"");
    assert_eq!(metadata["a"], "\"1,2\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_properties_of_its_json_body_join_the_metadata() {
    let json = "Content-Type: application/json\r\n";
    let body = r#"{"n": 5, "o": {"p": 1}, "list": [1]}"#;
    let document = envelope("", "POST /api/Web", json, body).await;
    let metadata = &document["Metadata"];
    assert_eq!(
        (&metadata["n"], &metadata["o"]),
        (&json!("\"5\""), &json!({"p": 1}))
    );
    assert_eq!(metadata.get("list"), None);
}

/// The request line that the handler gets of a call to `function` with either switch on.
async fn lines_despite_switches(function: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for switch in ["enableForwardingHttpRequest", "enableProxyingHttpRequest"] {
        let world = World::new(WEB, function, vec![ok()]).await;
        world.host_json("", &format!(r#", "{switch}": true"#));
        let host = world.start().await;
        ask(&host, "GET /api/Web", "", "").await;
        lines.push(world.wire.call(1).await.line().to_owned());
        host.stop().await;
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_used_where_a_function_has_more_bindings_even_with_forwarding() {
    let more = r#", {"type": "serviceBus", "direction": "out", "name": "next",
        "queueName": "next", "connection": "Bus"}]}"#;
    let lines = lines_despite_switches(&web("").replace("]}", more)).await;
    assert_eq!(lines, ["POST /Web HTTP/1.1", "POST /Web HTTP/1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_used_where_a_function_has_no_output_even_with_forwarding() {
    let function = r#"{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req",
        "authLevel": "anonymous"}]}"#;
    let lines = lines_despite_switches(function).await;
    assert_eq!(lines, ["POST /Web HTTP/1.1", "POST /Web HTTP/1.1"]);
}
