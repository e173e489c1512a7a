//! Who may ask for what.

use super::*;

/// What is served as the description of the API.
async fn operations(console: &Console) -> Vec<(String, Method, String)> {
    let document = console.get("/openapi.json").await.ok();
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(|(method, operation)| {
            let path = path.replace("{function}", "plain-work");
            let path = path.replace("{name}", "no-limit");
            let path = path.replace("{key}", "00000000000000000000000000000000");
            let method = method.to_uppercase().parse().unwrap();
            (
                path,
                method,
                operation["x-role"].as_str().unwrap().to_owned(),
            )
        })
    });
    all.collect()
}

#[tokio::test]
async fn each_role_may_do_what_the_description_says_and_nothing_more() {
    let console = Console::new().await;
    let roles = ["Reader", "Operator", "Admin"];
    let keys = [READER, OPERATOR, ADMIN];
    let operations = operations(&console).await;
    assert!(operations.len() > 25);
    for (n, (path, method, least)) in operations.into_iter().enumerate() {
        let needed = roles.iter().position(|role| *role == least).unwrap();
        for (rank, key) in keys.iter().enumerate() {
            // Whatever else is wrong with the request, the role counts first.
            let said = console
                .ask(key, method.clone(), &path, &json!({"surely": "not"}))
                .await;
            let is_let_in = !matches!(said.status, 401 | 403);
            assert_eq!(
                is_let_in,
                rank >= needed,
                "{} {method} {path}: {said:?}",
                roles[rank]
            );
            assert!(said.status < 500, "{method} {path}: {said:?}");
        }
        // Each from another address: who guesses keys is soon heard no more.
        let address = format!("192.0.2.{n}");
        for key in [Some("nobody's"), None] {
            let request = Request::builder()
                .method(method.clone())
                .uri(format!("{ROOT}{path}"))
                .header("x-forwarded-for", &address);
            let request = match key {
                Some(key) => request.header("x-functions-key", key),
                None => request,
            };
            let said = console.send(request.body(Bytes::new()).unwrap()).await;
            assert_eq!(said.response.headers()["www-authenticate"], "Bearer");
            assert_eq!(said.problem(401).0, "unauthenticated", "{method} {path}");
        }
    }
    assert_eq!(console.audited().await, [""; 0], "nothing was done");
    console.end().await;
}

#[tokio::test]
async fn who_is_not_known_does_not_learn_which_paths_there_are() {
    let console = Console::new().await;
    let unknown = console
        .ask("nobody's", Method::GET, "/nothing", &Value::Null)
        .await;
    assert_eq!(unknown.problem(401).0, "unauthenticated");
    assert_eq!(console.get("/nothing").await.problem(404).0, "not-found");
    console.end().await;
}

#[tokio::test]
async fn who_guesses_keys_is_soon_heard_no_more() {
    let console = Console::new().await;
    for _ in 0..10 {
        let said = console
            .ask("nobody's", Method::GET, "/runs", &Value::Null)
            .await;
        assert_eq!(said.problem(401).0, "unauthenticated");
    }
    let said = console
        .ask("nobody's", Method::GET, "/runs", &Value::Null)
        .await;
    assert!(said.response.headers().contains_key("retry-after"));
    assert_eq!(said.problem(429).0, "too-many-failures");
    // Others may come from the same place.
    console.get("/runs").await.ok();
    console.database.remove().await;
}
