use super::*;
use std::path::Path;

/// This very checkout.
fn here() -> Checkout {
    Checkout::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")))
}

fn refusal(name: &str, kind: Kind) -> String {
    Scaffold::new(&here(), name, kind).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let queue = |name: &str| Kind::Queue(name.to_owned());
    let http = |route: &str| Kind::Http(route.to_owned());
    let timer = |cron: &str| Kind::Timer(cron.to_owned());
    let refusals = [
        (
            refusal("admin", queue("q")),
            "functions/admin is there already",
        ),
        (
            refusal("handler", queue("q")),
            "handler means something else",
        ),
        (refusal("bus", queue("q")), "the crate nightshift-bus"),
        (
            refusal("decode", queue("q")),
            "shared/contract/src/decode.rs",
        ),
        (
            refusal("a", queue("notifications")),
            "read by notifications-dispatch",
        ),
        (refusal("a", queue("A/b")), "no name for a queue"),
        (
            refusal("a", timer("0 0 25 * * *")),
            "25 is not between 0 and 23",
        ),
        (refusal("a", timer("0 3 * * *")), "must have six fields"),
        (refusal("a", timer("01:00:00")), "must have six fields"),
        (
            refusal("housekeeping", timer("0 0 3 * * *")),
            "is there already",
        ),
        (refusal("a", http("ops/x")), "begins with ops"),
        (refusal("a", http("Admin")), "begins with Admin"),
        (refusal("a", http("x//y")), "is no route"),
        (refusal("a", http("x\"y")), "is no route"),
    ];
    for (refusal, expected) in refusals {
        assert!(refusal.contains(expected), "{refusal:?} lacks {expected:?}");
    }
}

#[test]
fn each_kind_agrees_with_the_rest_of_this_checkout() {
    let checkout = here();
    let cron = "0 0 4 * * *".to_owned();
    let kinds = [
        ("zoo-keeper", Kind::Queue("animals".to_owned())),
        ("aardvark", Kind::Timer(cron.clone())),
        ("in-between", Kind::Http("between/{name}".to_owned())),
    ];
    for (name, kind) in kinds {
        let scaffold = Scaffold::new(&checkout, name, kind).unwrap();
        let changes = scaffold.changes(&checkout).unwrap();
        let created = changes.iter().filter(|change| change.before.is_none());
        assert!(created.count() >= 3);
        let sample = ["sample-job", "SampleJob", "sample_job", "sample-queue"];
        for change in changes.iter().filter(|change| change.before.is_none()) {
            for word in sample {
                assert!(!change.after.contains(word), "{word} in {}", change.file);
            }
        }
        assert_eq!(scaffold.next_steps().len(), 3);
    }
}

#[test]
fn a_checkout_of_another_shape_is_left_alone() {
    let registry = here().text("functions/registry.rs").unwrap();
    let pending = BTreeMap::from([(
        "functions/registry.rs".to_owned(),
        registry.replace("    empty\n", "    empty // all\n"),
    )]);
    let checkout = here().with(pending);
    let scaffold = Scaffold::new(&checkout, "a", Kind::Http("a".to_owned())).unwrap();
    let error = scaffold.changes(&checkout).unwrap_err().to_string();
    assert!(error.contains("functions/registry.rs"), "{error}");
}
